"""The sbatch script, and real submissions through submitit to processes of this machine; there is no Slurm here."""

from __future__ import annotations

import pickle
import shutil
import sys
import threading
import time
from pathlib import Path

import pytest

from labelgan.config.study import EngineConfig
from labelgan.core.errors import ConfigError
from labelgan.study.engine.base import Ended
from labelgan.study.engine.ledger import Ledger
from labelgan.study.engine.scheduler import run_jobs
from labelgan.study.engine.slurm import JobTask, SlurmEngine
from toy_jobs import number, toy

TESTS = str(Path(__file__).resolve().parents[2])
LOCAL = EngineConfig(cluster="local", workers=4, poll_s=0.05, grace_s=20)


@pytest.fixture(autouse=True)
def _toys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", TESTS)


def test_the_script_of_an_array(tmp_path: Path):
    ledger = Ledger(tmp_path)
    jobs = [toy("add", str(place), gpus=2) for place in range(3)]
    folders = [ledger.folder(job) for job in jobs]
    config = EngineConfig(
        partition="gpu", account="neuro", minutes=90, memory_gb=32, threads=4, workers=2, grace_s=60,
        setup=("module load cuda",),
    )  # fmt: skip
    lines = SlurmEngine(tmp_path / "slurm", config).script(jobs, folders).splitlines()
    assert lines[0] == "#!/bin/bash"
    options = {line.removeprefix("#SBATCH --") for line in lines if line.startswith("#SBATCH")}
    assert options >= {
        "array=0-2%2",
        "partition=gpu",
        "account=neuro",
        "time=90",
        "mem=32GB",
        "cpus-per-task=4",
        "gpus-per-node=2",
        "job-name=labelgan",
        "signal=USR2@90",
        "open-mode=append",
    }
    assert lines.index("module load cuda") < next(place for place, line in enumerate(lines) if "srun" in line)
    tasks = [f"# task {place}: {sys.executable} -m labelgan.study.engine.worker {f}" for place, f in enumerate(folders)]
    assert lines[-3:] == tasks
    assert not ledger.jobs.exists()
    assert not (tmp_path / "slurm").exists()


def test_the_script_of_one_job_without_gpus_is_no_array(tmp_path: Path):
    job = toy("add")
    text = SlurmEngine(tmp_path).script([job], [Ledger(tmp_path).folder(job)])
    assert "--array" not in text
    assert "gpus" not in text
    assert "-m submitit.core._submit" in text


def test_without_slurm_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with SlurmEngine(tmp_path / "slurm") as engine, pytest.raises(ConfigError, match=r"--engine slurm: .*srun"):
        run_jobs([number(1)], Ledger(tmp_path), engine)


@pytest.mark.slow
def test_a_study_of_toys_through_submitit(tmp_path: Path):
    ledger = Ledger(tmp_path)
    a, b = number(1), number(2)
    total = number(4, a=a, b=b)
    with SlurmEngine(tmp_path / "slurm", LOCAL) as engine:
        summary = run_jobs([total, toy("die_once"), toy("leak"), toy("environment")], ledger, engine, retries=1)
    assert ledger.result(total) == {"value": 7}
    assert ledger.result(toy("die_once")) == {"tries": 2}
    assert ledger.result(toy("environment"))["OMP_NUM_THREADS"] == "1"
    assert summary.done == 5
    (failure,) = summary.failed
    assert (failure.reason, failure.exit_code) == ("fold-03: patient P1 is held out", 3)


class Submission:
    """Stands in for a submitit job: over when it is told to be."""

    job_id, state = "4711_3", "RUNNING"

    def __init__(self, over: bool = False, said: str = "") -> None:
        self.over, self.said, self.cancelled = over, said, False

    def done(self, force_check: bool = False) -> bool:
        return self.over

    def stderr(self) -> str:
        return self.said

    def cancel(self, check: bool = True) -> None:
        self.cancelled = True


def engine_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left: dict[str, Submission]):
    """An engine for Slurm whose executor submits nothing real: job numbers in ``left`` are known, others are over."""
    sent: list[list[JobTask]] = []

    class Executor:
        def __init__(self, gpus: int) -> None:
            self.gpus = gpus

        @staticmethod
        def job_class(folder: Path, number: str) -> Submission:
            return left.get(number, Submission(over=True))

        def batch(self):
            sent.append([])
            return pytest.MonkeyPatch.context()

        def submit(self, task: JobTask) -> Submission:
            sent[-1].append(task)
            return Submission()

    engine = SlurmEngine(tmp_path / "slurm", EngineConfig(poll_s=0.01, array_size=3))
    monkeypatch.setattr(engine, "_executor", Executor)
    return engine, sent


def test_ready_jobs_go_out_as_one_array_for_each_number_of_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    engine, sent = engine_with(tmp_path, monkeypatch, {})
    ledger = Ledger(tmp_path)
    jobs = [number(1), number(2, gpus=1), number(3)]
    for job, room in zip(jobs, (3, 2, 1), strict=True):
        assert engine.room(job.gpus) == room
        engine.submit(job, ledger.prepare(job).path)
    assert engine.room(0) == 0
    ledger.at(jobs[0]).write_done(0, {}, {})
    ledger.at(jobs[1]).write_failed("no")
    assert sorted(end.key for end in engine.wait()) == sorted([jobs[0].key, jobs[1].key])
    assert [[Path(task.folder).name for task in array] for array in sent] == [
        [jobs[0].key, jobs[2].key],
        [jobs[1].key],
    ]
    assert engine.room(0) == 2


def test_a_job_that_slurm_lost_is_told_with_its_last_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    engine, _ = engine_with(tmp_path, monkeypatch, {})
    ledger, job = Ledger(tmp_path), number(1)
    engine.submit(job, ledger.prepare(job).path)
    lost = Submission(over=True, said="slurmstepd\nerror: node failure\n")
    lost.state = "NODE_FAIL"
    engine._send()
    engine._running[job.key] = (ledger.at(job), lost)
    assert engine.wait() == [Ended(job.key, "Slurm job 4711_3 ended as NODE_FAIL: error: node failure")]


def test_what_a_killed_study_left_running_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    running = Submission()
    engine, sent = engine_with(tmp_path, monkeypatch, {"77_1": running})
    ledger, kept, gone = Ledger(tmp_path), number(1), number(2)
    for job, submitted in ((kept, "slurm 77_1"), (gone, "slurm 77_2")):
        path = ledger.prepare(job).path
        (path / "submitted.txt").write_text(submitted)
        engine.submit(job, path)
    finish = threading.Timer(0.2, ledger.at(kept).write_done, (0, {}, {}))
    finish.start()
    assert engine.wait() == [Ended(kept.key)]
    assert [[Path(task.folder).name for task in array] for array in sent] == [[gone.key]]
    engine.close(now=True)
    assert engine.room(0) == 3


def test_closing_cancels_what_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    engine, _ = engine_with(tmp_path, monkeypatch, {})
    job = number(1)
    engine.submit(job, Ledger(tmp_path).prepare(job).path)
    engine._send()
    submission = engine._running[job.key][1]
    engine.close(now=True)
    assert submission.cancelled


def test_before_the_time_limit_the_job_saves_its_state_and_is_queued_again(tmp_path: Path):
    ledger, job = Ledger(tmp_path), toy("train")
    folder = ledger.prepare(job).path
    task = JobTask(str(folder), threads=1, grace_s=30)
    codes = []
    running = threading.Thread(target=lambda: codes.append(task()))
    running.start()
    deadline = time.monotonic() + 60
    while not (folder / "running.txt").is_file():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    again = task.checkpoint()
    running.join(60)
    assert codes == [130]
    assert ledger.state(job) == "open"
    resumed = pickle.loads(pickle.dumps(again.function))
    assert (resumed.folder, resumed._process) == (str(folder), None)
    assert resumed() == 0
    assert ledger.result(job) == {"first": int((folder / "step.txt").read_text())}
