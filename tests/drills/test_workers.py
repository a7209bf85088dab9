"""A study's worker that is killed, out of memory, stopped or slow: the study names the job, does the rest, and ends."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
from drill_children import Child, begin, command, nothing
from drill_kills import DONE_JOBS, Tally, checkpoints_hold, differences, ended, results_of

from labelgan.config.study import EngineConfig
from labelgan.core.rng import generator_for
from labelgan.study.engine.ledger import Job, Ledger
from labelgan.study.engine.local import LocalEngine
from labelgan.study.engine.scheduler import RunSummary, run_jobs
from tiny import tiny_study_config

DRILL = pytest.mark.drill
HERE = str(Path(__file__).resolve().parent)
FINE = 4
KILLS = 4


def job(runner: str, **params: int) -> Job:
    return Job("drill", f"{runner} {params}", {"runner": runner, **params}, {}, f"drill_jobs:{runner}")


def study_with(harmed: Job, out: Path, monkeypatch: pytest.MonkeyPatch, **settings: float) -> tuple[RunSummary, float]:
    """Runs jobs that are fine around one that comes to harm; gives the summary and how long it took, seconds."""
    monkeypatch.setenv("PYTHONPATH", HERE)
    jobs = [harmed, *(job("fine", number=number) for number in range(FINE))]
    reader = Job("drill", "reader", {}, {"harmed": harmed}, "drill_jobs:fine")
    began = time.monotonic()
    with LocalEngine(EngineConfig.build({"workers": 2, "gpus": 0, "grace_s": 1.0, **settings})) as engine:
        summary = run_jobs([*jobs, reader], Ledger(out), engine)
    return summary, time.monotonic() - began


HARMS = {
    "killed as when memory is short": ("die", {}, "its worker was killed by SIGKILL (out of memory?)"),
    "stopped (SIGSTOP)": (
        "stop",
        {"silence_s": 3.0},
        "its worker gave no sign of life for 3 s: it was stopped, or hung",
    ),
    "longer than its time limit": ("linger", {"job_minutes": 0.05}, "took longer than the engine's job_minutes, 0.05"),
}


@pytest.mark.parametrize("harm", [name if "time" not in name else pytest.param(name, marks=DRILL) for name in HARMS])
def test_a_job_that_harms_its_worker_is_tried_again(tmp_path: Path, monkeypatch, told, harm: str):
    runner, settings, _ = HARMS[harm]
    harmed = job(runner, times=1)
    summary, seconds = study_with(harmed, tmp_path, monkeypatch, **settings)
    told("worker", f"{harm}, once", 1, int(not summary.complete), f"tried again; the study took {seconds:.0f} s")
    assert summary.complete
    assert Ledger(tmp_path).result(harmed) == {"attempts": 2}
    assert summary.done == FINE + 2


@pytest.mark.parametrize("harm", [name if "killed" in name else pytest.param(name, marks=DRILL) for name in HARMS])
def test_a_job_that_always_does_is_named_and_the_rest_is_done(tmp_path: Path, monkeypatch, told, harm: str):
    runner, settings, reason = HARMS[harm]
    harmed = job(runner, times=9)
    summary, seconds = study_with(harmed, tmp_path, monkeypatch, **settings)
    lost = FINE - summary.done
    told("worker", f"{harm}, always", 1, lost, f"failed by name after 2 attempts; the study took {seconds:.0f} s")
    assert [(failure.job, failure.reason, failure.attempts) for failure in summary.failed] == [(harmed, reason, 2)]
    assert [blocked.label for blocked in summary.blocked] == ["reader"]
    assert lost == 0


def test_a_job_that_gets_no_memory_is_named_and_the_rest_is_done(tmp_path: Path, monkeypatch, told):
    summary, _ = study_with(job("eat"), tmp_path, monkeypatch)
    told("worker", "no more memory (RLIMIT_AS)", 1, FINE - summary.done, "failed by name")
    assert [failure.reason for failure in summary.failed] == ["out of memory: the machine gave no more"]
    assert summary.done == FINE


def children_of(pid: int) -> list[int]:
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [
        int(child) for child in found if b"labelgan.study.engine.worker" in Path(f"/proc/{child}/cmdline").read_bytes()
    ]


@DRILL
@pytest.mark.parametrize("target", ["worker", "study", "all"])
def test_a_real_study_with_its_workers(study_cohort: Path, tmp_path: Path, told, target: str):
    """Kills a worker, the study's process, or both, while real jobs run; what goes on comes to the same bytes."""
    settings, log, tally = tmp_path / "study.toml", tmp_path / "log.txt", Tally()
    settings.write_text(tiny_study_config('arms=["classical", "classical+synthetic"]', "folds=2").to_toml())

    def start(folder: Path) -> Child:
        study = ["study", str(study_cohort), "--out", str(folder), "--config", str(settings), "--workers", "2"]
        return begin(command, [*study, "--device", "cpu"], log=log)

    assert ended(begin(nothing, log=log), log) == 0
    began = time.monotonic()
    assert ended(start(tmp_path / "peace"), log) == 0, log.read_text()
    lasts_s, wanted = time.monotonic() - began, results_of(tmp_path / "peace")
    draw, runs, kills = generator_for(6, target), 0, 0
    while kills < KILLS:
        folder, code = tmp_path / f"study-{runs}", -signal.SIGKILL
        while code != 0 and not tally.losses:
            done = {path: path.read_bytes() for path in folder.glob(DONE_JOBS)}
            child, victims = start(folder), []
            assert child.pid is not None
            if kills < KILLS:
                child.join(float(draw.uniform(0, lasts_s)))
                workers = children_of(child.pid) if child.exitcode is None else []
                victims = {"worker": workers[:1], "study": [child.pid], "all": [child.pid, *workers]}[target]
            if child.exitcode is None:
                for victim in victims:
                    os.kill(victim, signal.SIGKILL)
                kills += bool(victims)
            code = ended(child, log)
            tally.losses += [f"exit code {code}"] if code not in (0, -signal.SIGKILL) and not victims else []
            tally.losses += [str(path) for path, content in done.items() if path.read_bytes() != content]
            tally.losses += [broken for broken in (checkpoints_hold(folder),) if broken]
        tally.losses += differences(results_of(folder), wanted)
        runs += 1
    told("kill -9", f"study with two workers: {target} killed", kills, len(tally.losses), f"{runs} runs")
    assert tally.losses == []
