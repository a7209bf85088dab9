from __future__ import annotations

import csv
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from labelgan.config.study import StudyConfig
from labelgan.core.errors import ConfigError, DataError, LeakError
from labelgan.data.curation import Curation, write_curation
from labelgan.data.layouts.detect import read_cohort
from labelgan.gan.sample import sample_cohort
from labelgan.scoring.scores_csv import COLUMNS
from labelgan.study.cohort import know_cohort
from labelgan.study.cost.estimate import estimate_plan
from labelgan.study.engine.engines import InlineEngine
from labelgan.study.engine.ledger import Job, Ledger
from labelgan.study.jobs import KINDS, Kind
from labelgan.study.plan import MEMBER
from labelgan.study.run import StudySources, make_plan, run_study, scan_cohorts
from tiny import tiny_study_config


def inline(ledger: Ledger) -> InlineEngine:
    return InlineEngine()


def rows_of(folder) -> list[dict[str, str]]:
    with (folder / "scores.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


# What a study leaves behind


def test_the_folder_has_the_contracts_files(tiny_study):
    out = tiny_study.folder
    assert tiny_study.run.complete
    rows = rows_of(out)
    assert tuple(rows[0]) == COLUMNS
    assert [(row["fold"], row["arm"]) for row in rows].count(("fold-00", "classical")) == 2
    assert sorted({row["patient"] for row in rows}) == ["P001", "P002", "P003", "P004"]
    study = json.loads((out / "study.json").read_text())
    assert (study["status"], study["protocol"], study["failed"]) == ("complete", "cross-validation", [])
    assert sum(entry["jobs"] for entry in study["cost"]) == len(tiny_study.plan.jobs)
    assert [entry["fold"] for entry in study["generators"]] == ["fold-00", "fold-01"]
    assert [entry["fold"] for entry in study["audits"]] == ["fold-00", "fold-01"]
    assert all((out / entry["page"]).is_file() for entry in study["audits"])
    assert StudyConfig.from_toml(out / "config.toml").arms == ("classical", "classical+synthetic")
    assert json.loads((out / "verdict.json").read_text()) == tiny_study.verdict
    page = (out / "report.html").read_text()
    assert tiny_study.verdict["headline"] in page
    assert "data:image/png;base64," in page
    assert "audit of the slices" in page


def test_a_second_run_does_nothing_again(tiny_study, study_config, study_cohort):
    out = tiny_study.folder
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file() and path.name != ".lock"}
    started = time.monotonic()
    result = run_study(study_config, StudySources(study_cohort), out, engine=inline, device="cpu")
    assert time.monotonic() - started < 5
    assert (result.run.done, result.run.reused) == (0, len(tiny_study.plan.jobs))
    free = {"places.json"}
    after = {path: path.stat().st_mtime_ns for path in before}
    assert {path.name for path in before if before[path] != after[path]} <= free


def test_a_lost_job_is_done_again_and_nothing_else(tiny_study, study_config, study_cohort, tmp_path):
    out = shutil.copytree(tiny_study.folder, tmp_path / "study")
    score = next(iter(tiny_study.plan.scores.values()))
    (Ledger(out).folder(score) / "done.json").unlink()
    result = run_study(study_config, StudySources(study_cohort), out, engine=inline, device="cpu")
    assert (result.run.done, result.run.reused) == (1, len(tiny_study.plan.jobs) - 1)
    assert (out / "scores.csv").read_bytes() == (tiny_study.folder / "scores.csv").read_bytes()


def test_another_reference_is_asked_of_the_work_that_is_done(study_cohort, tmp_path):
    out, config = tmp_path / "study", tiny_study_config('arms=["real", "classical"]', "folds=2")
    first = run_study(config, StudySources(study_cohort), out, engine=inline, device="cpu")
    assert (first.verdict["reference"], first.verdict["references"]) == ("classical", ["classical", "real"])
    named = config.with_settings(["reference=real"])
    then = run_study(named, StudySources(study_cohort), out, engine=inline, device="cpu")
    assert (then.run.done, then.run.reused) == (0, len(first.plan.jobs))
    assert (then.verdict["reference"], then.verdict["references"]) == ("real", ["real", "classical"])
    told = json.loads((out / "study.json").read_text())
    assert (told["reference"], told["config"]["reference"]) == ("real", "real")
    assert StudyConfig.from_toml(out / "config.toml") == named
    assert "real: named; comparisons with classical are secondary" in (out / "report.html").read_text()


def test_a_failed_job_is_named_and_the_rest_goes_on(study_cohort, tmp_path):
    config = tiny_study_config('arms=["classical"]', "folds=2")
    broken = []

    class Breaking(InlineEngine):
        def submit(self, job, folder):
            if job.kind == MEMBER and not broken:
                broken.append(job)
                (folder / "segmenter").write_text("in the way")
            super().submit(job, folder)

    out = tmp_path / "study"
    result = run_study(config, StudySources(study_cohort), out, engine=lambda ledger: Breaking(), device="cpu")
    assert [failure.job.key for failure in result.failures] == [broken[0].key]
    assert len(result.run.blocked) == 2
    study = json.loads((out / "study.json").read_text())
    assert study["status"] == "incomplete"
    assert study["failed"][0]["log"] == f"jobs/{broken[0].key}/log.txt"
    assert (out / study["failed"][0]["log"]).is_file()
    assert {row["fold"] for row in rows_of(out)} == {"fold-01"}
    # Mended, only what is missing is run.
    (out / "jobs" / broken[0].key / "segmenter").unlink()
    result = run_study(config, StudySources(study_cohort), out, engine=inline, device="cpu")
    assert (result.run.done, result.run.complete) == (3, True)


def test_a_kind_of_job_is_one_entry(study_cohort, tmp_path, monkeypatch):
    """It is planned in every fold, counted, run, and not run a second time."""

    def count(context, places):
        return {"patients": len(context.params["train"])}

    def each_fold(plan, fold, config):
        yield Job("count", f"{fold.name}, how many", {"train": list(fold.train)}, {"store": plan.jobs[0]})

    monkeypatch.setitem(KINDS, "count", Kind(count, unit="patient", plan=each_fold))
    config, sources = tiny_study_config('arms=["real"]', "folds=2"), StudySources(study_cohort)
    result = run_study(config, sources, tmp_path / "study", engine=inline, device="cpu")
    assert result.run.complete
    ledger, jobs = Ledger(tmp_path / "study"), [job for job in result.plan.jobs if job.kind == "count"]
    assert [ledger.result(job)["patients"] for job in jobs] == [len(fold.train) for fold in result.plan.folds]
    made = estimate_plan(result.plan, ledger, config, know_cohort(study_cohort, tmp_path / "study" / "cohort.json"))
    assert [(kind.done, kind.unit) for kind in made.kinds if kind.kind == "count"] == [(2, "patient")]


# Leaks, planted


def test_one_scan_under_two_patients_is_refused(study_cohort, tmp_path):
    data = shutil.copytree(study_cohort, tmp_path / "data")
    site = next(data.rglob("P001"))
    shutil.copytree(site, site.with_name("P009"))
    with pytest.raises(LeakError, match=r"P009.*P001"):
        run_study(tiny_study_config(), StudySources(data), tmp_path / "study", engine=inline, device="cpu")
    assert not (tmp_path / "study" / "jobs").exists()


def test_a_test_cohort_that_was_trained_on_is_refused(study_cohort, tmp_path):
    config = tiny_study_config("patients=[2]")
    sources = StudySources(study_cohort, test=shutil.copytree(study_cohort, tmp_path / "test"))
    with pytest.raises(LeakError, match="holds the voxels of case P001"):
        run_study(config, sources, tmp_path / "study", engine=inline, device="cpu")


def refusals(config, sources, out) -> set[str]:
    result = run_study(config, sources, out, engine=inline, device="cpu")
    assert all(failure.exit_code == 3 for failure in result.failures)
    assert result.failures
    return {failure.reason for failure in result.failures}


def test_slices_of_a_generator_that_saw_the_held_out_are_refused(study_cohort, tiny_study, tmp_path):
    run = tiny_study.folder / "jobs" / tiny_study.plan.generators["fold-00"].key / "run"
    theirs = sample_cohort(run, tmp_path / "theirs", 6, format="npz", force=True)
    config = tiny_study_config('arms=["classical+synthetic"]', "folds=2")
    reasons = refusals(config, StudySources(study_cohort, synthetic=theirs), tmp_path / "study")
    assert any("was made from the held-out case" in reason and "theirs" in reason for reason in reasons)
    assert not any(str(tmp_path) in reason for reason in reasons)  # study.json and the page tell reasons


def test_slices_of_unknown_origin_are_refused(study_cohort, tiny_study, tmp_path):
    run = tiny_study.folder / "jobs" / tiny_study.plan.generators["fold-00"].key / "run"
    theirs = sample_cohort(run, tmp_path / "theirs", 6, format="npz", force=True)
    (theirs / "manifest.json").unlink()
    config = tiny_study_config('arms=["classical+synthetic"]', "folds=2")
    reasons = refusals(config, StudySources(study_cohort, synthetic=theirs), tmp_path / "study")
    assert all("does not tell which cases its generator has seen" in reason for reason in reasons)


def test_what_was_rejected_takes_part_in_what_a_job_is(study_cohort, tiny_samples, tmp_path):
    theirs = Path(shutil.copytree(tiny_samples, tmp_path / "theirs"))
    first, second = read_cohort(theirs).cases[:2]
    sources, config = StudySources(study_cohort, synthetic=theirs), tiny_study_config('arms=["classical+synthetic"]')

    def keys() -> set[str]:
        known, _ = scan_cohorts(sources, tmp_path)
        plan = make_plan(config, sources, known, None)
        return {job.key for members in plan.members.values() for job in members}

    plain = keys()
    write_curation(theirs, Curation().with_decision(first, "accept"))
    (theirs / "blind_tests.json").write_text("{}")
    assert keys() == plain  # nothing is left out
    rejecting = Curation().with_decision(first, "reject")
    write_curation(theirs, rejecting)
    without_first = keys()
    assert without_first.isdisjoint(plain)
    write_curation(theirs, rejecting.with_decision(second, "accept"))
    assert keys() == without_first
    write_curation(theirs, rejecting.with_decision(second, "reject"))
    assert keys().isdisjoint(without_first | plain)


def test_a_parent_generator_that_saw_the_held_out_is_refused(study_cohort, tiny_study, tmp_path):
    parent = tiny_study.folder / "jobs" / tiny_study.plan.generators["fold-00"].key / "run"
    config = tiny_study_config('arms=["classical+synthetic"]', "folds=2")
    reasons = refusals(config, StudySources(study_cohort, start_from=parent), tmp_path / "study")
    assert any("was made from the held-out" in reason for reason in reasons)


# Wrong use


def test_a_folder_of_something_else_is_left_alone(study_cohort, tmp_path):
    (tmp_path / "thesis.doc").write_text("mine")
    with pytest.raises(DataError, match="is not empty; it holds no study, so name another folder"):
        run_study(tiny_study_config(), StudySources(study_cohort), tmp_path, engine=inline)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["thesis.doc"]


def test_synthetic_slices_that_no_arm_uses(study_cohort, tmp_path):
    sources = StudySources(study_cohort, synthetic=tmp_path)
    with pytest.raises(ConfigError, match="no arm of the study uses synthetic"):
        run_study(tiny_study_config('arms=["real"]'), sources, tmp_path / "study", engine=inline)


def test_a_chosen_share_is_used(study_cohort, tmp_path):
    config = tiny_study_config(
        *('arms=["classical+synthetic"]', "patients=[3]", "repeats=1"),
        *("share=auto", "shares=[0.25, 0.5]", "seed=2"),
    )
    result = run_study(config, StudySources(study_cohort), tmp_path / "study", engine=inline, device="cpu")
    assert result.run.complete
    ledger = Ledger(tmp_path / "study")
    chosen = ledger.result(result.plan.shares["n003-draw0"])
    assert chosen["share"] in (0.25, 0.5)
    assert chosen["mean_dsc"][f"{chosen['share']:.6g}"] == max(chosen["mean_dsc"].values())
    member = ledger.result(result.plan.members["n003-draw0", "classical+synthetic"][0])
    assert member["synthetic_share"] == chosen["share"]
    study = json.loads((tmp_path / "study" / "study.json").read_text())
    assert study["shares"] == {"n003-draw0": chosen["share"]}


def test_kill_9_loses_nothing_that_was_done(study_cohort, study_config, tiny_study, tmp_path):
    """The study's own process is killed midway; going on gives the scores of the study that was left in peace."""
    out, settings = tmp_path / "study", tmp_path / "study.toml"
    settings.write_text(study_config.to_toml())
    arguments = ["study", study_cohort, "--out", out, "--config", settings, "--workers", "1", "--device", "cpu"]
    process = subprocess.Popen([sys.executable, "-m", "labelgan", *map(str, arguments)], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 240
    while len(list(out.glob("jobs/*/done.json"))) < 4:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = {path: path.read_bytes() for path in out.glob("jobs/*/done.json")}
    assert len(done) < len(tiny_study.plan.jobs)
    result = run_study(study_config, StudySources(study_cohort), out, engine=inline, device="cpu")
    assert result.run.complete
    assert {path: path.read_bytes() for path in done} == done
    assert (out / "scores.csv").read_bytes() == (tiny_study.folder / "scores.csv").read_bytes()
