from __future__ import annotations

import json
from pathlib import Path

import pytest

from labelgan.cli.app import run_command
from labelgan.config.study import StudyConfig
from labelgan.study.run import require_study_folder
from tiny import folder_bytes, study_settings


def run(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    capsys.readouterr()
    code = run_command([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return code, out, err


def tiny(*more: str) -> list[str]:
    return [part for setting in (*study_settings("auto"), *more) for part in ("--set", setting)]


NAMED = ["--arms", "real, classical", "--patients", "3,2", "--repeats", "1", "--ensemble", "1", "--seed", "5"]


def test_a_study_from_the_command_line_and_again(capsys, study_cohort, tmp_path):
    out = tmp_path / "study"
    arguments = ["study", study_cohort, "--out", out, *NAMED, *tiny(), "--device", "cpu", "--workers", "2"]
    code, words, err = run(capsys, *arguments)
    assert code == 0, err
    assert words.startswith("13 jobs done, 0 done before, 0 failed, 0 wait for those\n")
    assert "study 13/13" in err
    config = StudyConfig.from_toml(out / "config.toml")
    assert (config.arms, config.patients, config.members, config.seed) == (("real", "classical"), (2, 3), 1, 5)
    verdict = json.loads((out / "verdict.json").read_text())
    assert verdict["headline"] in words
    assert (out / "report.html").is_file()
    code, words, err = run(capsys, "study", study_cohort, "--out", out, "--resume", "--device", "cpu")
    assert (code, words.partition("\n")[0]) == (0, "0 jobs done, 13 done before, 0 failed, 0 wait for those"), err
    (out / "report.html").unlink()
    code, words, err = run(capsys, "report", out)
    assert (code, words) == (0, f"report: {out / 'report.html'}\n"), err


@pytest.mark.usefixtures("jobs_here")
def test_a_refused_job_gives_exit_code_3(capsys, study_cohort, tiny_study, tmp_path):
    from labelgan.gan.sample import sample_cohort

    generator = tiny_study.folder / "jobs" / tiny_study.plan.generators["fold-00"].key / "run"
    theirs = sample_cohort(generator, tmp_path / "theirs", 6, format="npz", force=True)
    named = ["--arms", "classical+synthetic", "--folds", "2", "--synthetic", theirs, "--device", "cpu"]
    code, words, err = run(capsys, "study", study_cohort, "--out", tmp_path / "study", *named, *tiny())
    assert code == 3, err
    assert "error: fold-0" in err
    assert " was made from the held-out " in err
    assert "0 failed" not in words


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--arms", "magic"], "--arms magic: unknown arm; one of real, "),
        (["--arms", "real,classical", "--reference", "strong"], "--reference strong: is none of the study's arms"),
        (["--patients", "few"], "--patients few: expected numbers separated by commas"),
        (["--patients", "9"], "--patients 9: 4 annotated patients leave at most 3"),
        (["--folds", "7"], "--folds 7: there are only 4 annotated patients"),
        (["--size", "big"], "--size big: expected ROWS"),
        (["--preset", "tiny"], "unknown preset"),
        (["--engine", "steam"], "--engine steam: there is no such engine"),
        (["--start-from", "nowhere"], "nowhere: is not a run folder"),
        (["--resume"], "--resume: there is no study in"),
    ],
)
def test_wrong_use_is_one_line(capsys, study_cohort, tmp_path, arguments, words):
    code, _, err = run(capsys, "study", study_cohort, "--out", tmp_path / "study", *arguments)
    assert code == 2
    lines = [line for line in err.strip().splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    assert words in lines[0]


def test_a_dry_run_answers_and_leaves_no_jobs(capsys, study_cohort, tmp_path, monkeypatch):
    from labelgan.study.cost import estimate as cost
    from labelgan.study.cost.probe import Probe
    from labelgan.study.cost.work import Rate

    kinds = ("prepare", "train member", "predict", "score")
    rates = {kind: {"": Rate(60.0, 0.0)} for kind in kinds}
    monkeypatch.setattr(cost, "measure", lambda *_, **__: Probe(rates=rates))
    out = tmp_path / "study"
    arguments = ["study", study_cohort, "--out", out, *NAMED, *tiny(), "--device", "cpu", "--workers", "1"]
    code, words, err = run(capsys, *arguments, "--dry-run")
    assert code == 0, err
    assert words.splitlines()[-1] == "13 jobs, 0 done; about 13 min on 1 worker"
    assert "\nreference classical; secondary: real\n" in words
    assert "timing a few steps" in err
    assert {path.name for path in out.rglob("*")} == {"cohort.json", "cohort-fingerprints.npz"}
    require_study_folder(out)  # the study itself may follow


def test_a_dry_run_of_a_finished_study_changes_nothing(capsys, study_cohort, tiny_study, monkeypatch):
    from labelgan.study.cost import estimate as cost

    monkeypatch.setattr(cost, "measure", None)  # nothing is left to time
    folder = tiny_study.folder
    before = folder_bytes(folder)
    code, words, err = run(capsys, "study", study_cohort, "--out", folder, "--dry-run", "--device", "cpu")
    assert code == 0, err
    jobs = len(list((folder / "jobs").iterdir()))
    assert words.splitlines()[-1].startswith(f"{jobs} jobs, {jobs} done; nothing is left on ")
    assert folder_bytes(folder) == before
