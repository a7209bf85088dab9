from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import labelgan
from labelgan import api
from labelgan.cli import app as cli
from labelgan.cli.app import run_command
from tiny import SEG_SETTINGS, settings_of, study_settings


def run(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a command line."""
    capsys.readouterr()
    code = run_command([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return code, out, err


def fails(capsys: pytest.CaptureFixture[str], *arguments: str | Path, code: int = 2) -> str:
    """The one line that a failing command leaves on stderr, without ``error: ``."""
    found, _, err = run(capsys, *arguments)
    lines = [line for line in err.splitlines() if line]
    assert found == code, err
    assert len(lines) == 1, err
    assert lines[0].startswith("error: ")
    return lines[0].removeprefix("error: ")


def sets(*settings: str) -> list[str]:
    return [part for setting in settings for part in ("--set", setting)]


def tiny_settings(*more: str, model: str = "auto") -> list[str]:
    return sets(*settings_of(model), *more)


# One line, naming the option or file


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["prepare", "a", "b", "--sizze", "3"], "--sizze: no such option; did you mean --set or --size?"),
        (["check", "x", "--jsn"], "--jsn: no such option"),
        (["chek", "x"], "labelgan: No such command 'chek'. Did you mean 'check'?"),
        (["check", "a", "b"], "labelgan: Got unexpected extra argument"),
        (["train", "a", "--out", "b", "--steps", "0"], "--steps: "),
        (["phantom", "x", "--patients", "many"], "--patients: "),
        (["train", "a"], "--out: Missing option"),
        (["prepare", "a"], "out: Missing argument"),
        (["train", "a", "--out"], "--out: Option '--out' requires an argument"),
        (["check", "/no/such/folder"], "/no/such/folder: no such folder"),
        (["prepare", "/no/such/folder", "out"], "/no/such/folder: no such folder"),
        (["train", "/no/such/folder", "--out", "out"], "/no/such/folder: there is no such folder"),
        (["sample", "/no/such/folder", "--out", "out"], "/no/such/folder: there is no such run folder"),
        (["prepare", "a", "b", "--size", "big"], "--size big: expected ROWS or ROWSxCOLUMNS, such as 200 or 192x160"),
        (
            ["prepare", "a", "b", "--size", "64x60"],
            "prepare: setting 'size.1': Input should be a multiple of 8",
        ),
        (["prepare", "a", "b", "--every", "0"], "prepare: setting 'every'"),
        (["prepare", "a", "b", "--brain-mask", "mine"], "prepare: setting 'brain_mask'"),
        (["prepare", "a", "b", "--set", "evry=2"], "--set evry=2: unknown setting 'evry'"),
        (["train", "a", "--out", "b", "--set", "train.stepz=2"], "--set train.stepz=2: unknown setting 'train.stepz'"),
        (["train", "a", "--out", "b", "--set", "train.steps=x"], "--set: setting 'train.steps'"),
        (["train", "a", "--out", "b", "--model", "vae"], "--model vae: unknown model; one of auto, r3gan, refiner"),
        (["train", "a", "--out", "b", "--preset", "huge"], "--preset huge: unknown preset"),
        (["train", "a", "--out", "b", "--start-from", "/no/run"], "/no/run: is not a run folder"),
        (["sample", "a", "--out", "b", "--format", "dicom"], "--format dicom: unknown format; one of wmh, bids"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_usage_is_one_line_that_names_it(capsys, tmp_path, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    line = fails(capsys, *arguments)
    assert line.startswith(said)
    # nothing was begun
    assert list(tmp_path.iterdir()) == []


def test_a_truncated_nifti_is_named(capsys, phantom_cohort, tmp_path):
    cohort = tmp_path / "cohort"
    shutil.copytree(phantom_cohort, cohort)
    broken = next(cohort.glob("*/*/pre/T1.nii.gz"))
    broken.write_bytes(broken.read_bytes()[:-2000])
    code, _, err = run(capsys, "prepare", cohort, tmp_path / "store")
    assert code == 2
    lines = [line for line in err.splitlines() if line.startswith("error")]
    assert len(lines) == 1
    assert lines[0].startswith(f"error: {broken}: ")
    assert "Traceback" not in err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cohort"]

    code, out, _ = run(capsys, "check", cohort, "--json")
    assert code == 1
    (problem,) = json.loads(out)["problems"]
    assert problem["severity"] == "error"
    assert (cohort / problem["file"]) == broken
    assert problem["case"] in broken.as_posix()
    code, out, _ = run(capsys, "check", cohort)
    assert code == 1
    assert "1 problems" in out


def test_a_fault_of_ours_is_one_line_too(capsys, monkeypatch, tmp_path):
    def broken(*_, **__):
        raise ZeroDivisionError("first\nsecond")

    monkeypatch.setattr(api, "check", broken)
    line = fails(capsys, "check", tmp_path, code=1)
    assert line == "ZeroDivisionError: first second (a fault of labelgan; --debug shows where)"


def test_debug_shows_where_and_keeps_the_code(capsys):
    code, _, err = run(capsys, "--debug", "check", "/no/such/folder")
    assert code == 2
    assert "Traceback (most recent call last)" in err
    assert err.splitlines()[-1] == "error: /no/such/folder: no such folder"


def test_interrupts_and_closed_pipes_have_their_codes(monkeypatch, capsys):
    monkeypatch.setattr(cli, "app", _raising(KeyboardInterrupt()))
    assert run(capsys, "doctor")[0] == 130

    class Stream:
        closed = False

        def close(self) -> None:
            self.closed = True

    stream = Stream()
    monkeypatch.setattr(cli.sys, "stderr", stream)
    monkeypatch.setattr(cli, "app", _raising(BrokenPipeError()))
    assert run_command(["doctor"]) == 0
    assert stream.closed


def _raising(error: BaseException):
    def app(*_, **__):
        raise error

    return app


def test_the_command_itself_leaves_with_the_code_and_one_line():
    done = subprocess.run(
        [sys.executable, "-m", "labelgan", "check", "/no/such/folder"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (2, "", "error: /no/such/folder: no such folder\n")


# The verbs


def test_help_and_version(capsys):
    code, out, err = run(capsys, "--help")
    assert (code, err) == (0, "")
    for verb in ("check", "demo", "doctor", "phantom", "prepare", "sample", "train"):
        assert verb in out
    assert run(capsys, "--version") == (0, f"labelgan {labelgan.__version__}\n", "")
    code, out, err = run(capsys)
    assert (code, err) == (2, "")
    assert "Usage: labelgan" in out


def test_doctor(capsys):
    code, out, _ = run(capsys, "doctor")
    assert code == 0
    names = [line.split()[0] for line in out.splitlines()]
    assert {"labelgan", "python", "torch", "device", "memory"} <= set(names)


def test_check_says_what_it_understood(capsys, phantom_cohort):
    code, out, _ = run(capsys, "check", phantom_cohort)
    assert code == 0
    assert out.startswith("layout wmh: 3 cases of 3 patients, 3 annotated; channels FLAIR, T1")
    code, out, _ = run(capsys, "check", phantom_cohort, "--json")
    assert code == 0
    content = json.loads(out)
    assert content.keys() >= {"layout", "cases", "problems"}
    assert content["layout"] == "wmh"
    assert [case["id"] for case in content["cases"]] == ["P001", "P002", "P003"]
    assert content["problems"] == []


def test_phantom_writes_patients(capsys, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(
        api, "phantom", lambda out, patients, seed, **more: asked.append((out, patients, seed, more)) or ["P001"]
    )
    code, out, _ = run(capsys, "phantom", tmp_path / "p", "--patients", "1", "--seed", "7", "--force")
    assert (code, out) == (0, f"1 phantom patients in {tmp_path / 'p'}\n")
    assert asked[0][:3] == (tmp_path / "p", 1, 7)
    assert asked[0][3]["force"] is True


def test_the_main_job_from_cohort_to_checked_samples(capsys, phantom_cohort, tmp_path):
    store, out, synthetic = tmp_path / "store", tmp_path / "run", tmp_path / "synthetic"
    options = ["--size", "32x40", "--spacing", "6", "--every", "2", "--exclude", "P002"]
    code, said, _ = run(capsys, "prepare", phantom_cohort, store, *options)
    assert code == 0
    assert "slices of 32×40 (FLAIR, T1) from 2 cases" in said

    settings = tiny_settings("train.collapse_ratio=0", model="wgan-gp")
    code, said, err = run(
        capsys, "train", store, "--out", out, "--model", "wgan-gp", "--steps", "2", "--seed", "5", "--device", "cpu",
        "--threads", "1", "--exclude", "P003", *settings,
    )  # fmt: skip
    assert code == 0, err
    assert said.startswith(f"2 steps in {out}: diversity ")
    manifest = json.loads((out / "manifest.json").read_text())
    assert [case["id"] for case in manifest["training_cases"]] == ["P001"]
    assert (manifest["model"], manifest["steps"]) == ("wgan-gp", 2)

    code, said, _ = run(capsys, "sample", out, "--num", "3", "--out", synthetic, "--format", "nnunet", "--seed", "4")
    assert (code, said) == (0, f"3 synthetic slices in {synthetic}\n")
    assert json.loads((synthetic / "manifest.json").read_text())["seed"] == 4
    code, said, _ = run(capsys, "check", synthetic, "--json")
    assert code == 0
    assert json.loads(said)["layout"] == "nnunet"


def test_lesions_outside_the_crop_are_warned_of(capsys, phantom_cohort, tmp_path):
    small = ("prepare", phantom_cohort, tmp_path / "store", "--size", "16", "--spacing", "6")
    assert "of the lesion voxels lie outside the slices" in fails(capsys, *small)
    code, _, err = run(capsys, *small, "--set", "max_cropped=1")
    assert code == 0
    assert "of the lesion voxels lie outside the slices" in err
    code, _, err = run(capsys, "prepare", phantom_cohort, tmp_path / "fitted", "--size", "16", "--spacing", "auto")
    assert code == 0
    assert "outside" not in err
    assert "such as 1.5, or auto" in fails(capsys, *small[:-1], "coarse")


def test_an_occupied_output_is_refused(capsys, phantom_store, tiny_run, phantom_cohort):
    assert fails(capsys, "prepare", phantom_cohort, phantom_store.path).startswith(f"{phantom_store.path}: ")
    line = fails(capsys, "train", phantom_store.path, "--out", tiny_run, *tiny_settings())
    assert line == f"{tiny_run}: is not empty; go on with --resume, or name another folder"
    line = fails(capsys, "sample", tiny_run, "--out", phantom_cohort)
    assert line == f"{phantom_cohort}: is not empty; name another folder"


def test_an_unknown_patient_is_named(capsys, phantom_store, tmp_path):
    line = fails(
        capsys, "train", phantom_store.path, "--out", tmp_path / "run", "--exclude", "P001, P099,,X", *tiny_settings()
    )
    assert line.startswith("--exclude P099,X: no such case or patient in ")


def test_a_collapsed_generator_is_refused_with_its_own_code(capsys, phantom_store, tmp_path):
    out = tmp_path / "run"
    settings = tiny_settings("train.collapse_ratio=1000", "train.steps=1")
    code, _, err = run(capsys, "train", phantom_store.path, "--out", out, *settings)
    assert code == 0
    assert "warning: the generator has collapsed" in err
    line = fails(capsys, "sample", out, "--out", tmp_path / "synthetic", "--num", "1", code=3)
    assert line.startswith(f"{out}: the generator has collapsed")
    assert run(capsys, "sample", out, "--out", tmp_path / "synthetic", "--num", "1", "--force")[0] == 0


def test_resume_takes_the_settings_of_the_run(capsys, phantom_store, tmp_path):
    """The command that an interrupted run suggests names no setting and no excluded patient."""
    out = tmp_path / "run"
    settings = tiny_settings("train.lesion_fraction=none", "train.collapse_ratio=0", model="gan")
    options = ["--model", "gan", "--exclude", "P002", "--steps", "2"]
    assert run(capsys, "train", phantom_store.path, "--out", out, *options, *settings)[0] == 0
    code, said, err = run(capsys, "train", phantom_store.path, "--out", out, "--resume", "--steps", "4")
    assert code == 0, err
    assert said.startswith("4 steps")
    cases = json.loads((out / "manifest.json").read_text())["training_cases"]
    assert [case["id"] for case in cases] == ["P001", "P003"]
    line = fails(capsys, "train", phantom_store.path, "--out", out, "--resume", "--model", "wgan")
    assert line == f"--model wgan: {out} is a run of gan"
    line = fails(capsys, "train", phantom_store.path, "--out", out, "--resume", "--steps", "9", "--set", "train.seed=3")
    assert line == f"{out}: was trained with train.seed = 0, not 3"


@pytest.mark.parametrize(
    ("command", "setting", "said"),
    [
        ("train", "network.hidden=64", "network.hidden does not apply: network.family=refiner does not read it; "),
        ("segment", "train.synthetic_share=0.5", "without synthetic slices does not read it"),
        ("segment", "train.epochs=3", "train.steps=6 settles how long the training is"),
        ("study", "generator.objective.clip=0.5", "generator.objective.name=r3gan does not read it; what applies: "),
        ("study", "segmenter.train.members=2", "a study settles it by members"),
    ],
)
def test_a_setting_that_does_not_apply_is_refused_by_name(capsys, phantom_store, tmp_path, command, setting, said):
    out = tmp_path / "out"
    before = {
        "train": ["train", phantom_store.path, "--out", out],
        "segment": ["segment", "train", phantom_store.path, "--out", out, "--steps", "6"],
        "study": ["study", phantom_store.path.parent / "cohort", "--out", out],
    }[command]
    line = fails(capsys, *before, "--set", setting)
    assert line.startswith(f"--set {setting}: ")
    assert said in line
    assert not out.exists()


@pytest.mark.usefixtures("jobs_here")
def test_folders_may_be_named_like_values(capsys, phantom_cohort, tmp_path, monkeypatch):
    """A date, a number, true or none is a folder's name like any other, as input and as output of every stage."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(phantom_cohort, "2019")
    cpu, audit = ["--device", "cpu"], ["encoder.steps=5", "encoder.side=32", "fidelity.projections=16"]
    more = [*tiny_settings("train.steps=1", "train.collapse_ratio=0", model="r3gan"), "--exclude", "P001", *cpu]
    segment = ["--synthetic", "true", "--exclude", "P001", *sets(*SEG_SETTINGS)]
    study = ["--arms", "real", "--folds", "2", "--ensemble", "1", "--workers", "1", *cpu]
    for arguments in (
        ["check", "2019"],
        ["prepare", "2019", "2024-05-01", "--size", "32", "--spacing", "6"],
        ["train", "2024-05-01", "--out", "none", "--model", "r3gan", *more],
        ["train", "2024-05-01", "--out", "null", "--start-from", "none", *more],
        ["sample", "null", "--out", "true", "--num", "4"],
        ["audit", "true", "--train", "2024-05-01", "--exclude", "P001", "--out", "1.5", *sets(*audit), *cpu],
        ["segment", "train", "2024-05-01", "--out", "1e3", *segment],
        ["segment", "predict", "1e3", "2019", "--out", "nan", *cpu],
        ["score", "2019", "nan", "--json"],
        ["export", "2019", "true", "--format", "nnunet", "--out", "2024-05-02"],
        ["study", "2019", "--out", "false", *study, *sets(*study_settings("auto"))],
        ["report", "false"],
    ):
        code, _, err = run(capsys, *arguments)
        assert code in ((0, 3) if arguments[0] == "audit" else (0,)), err  # so small a generator passes no gate
    assert json.loads(Path("1e3/manifest.json").read_text())["synthetic"]
    for made in ("1.5/audit.json", "nan/P001/result.nii.gz", "2024-05-02/dataset.json", "false/report.html"):
        assert Path(made).is_file()


@pytest.mark.parametrize("encoding", ["cp437", "ascii"])
@pytest.mark.parametrize(
    "words",
    [["check", "{cohort}"], ["config", "show"], ["doctor"], ["score", "{cohort}", "{cohort}"], ["--help"]],
    ids=lambda words: words[0],
)
def test_every_table_is_printed_in_any_encoding(words, encoding, phantom_cohort, tmp_path: Path, monkeypatch):
    """In a folder whose name has a space and an accent, too."""
    cohort = tmp_path / "scans añejos"
    cohort.symlink_to(phantom_cohort)
    out = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", out)
    assert run_command([word.format(cohort=cohort) for word in words]) == 0
    out.flush()
    assert len(out.buffer.getvalue()) > 200  # pyright: ignore[reportAttributeAccessIssue]
