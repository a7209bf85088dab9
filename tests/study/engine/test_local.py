"""Worker processes on this machine: results, deaths, GPUs, interrupts."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from labelgan.config.study import EngineConfig
from labelgan.study.engine.ledger import Job, Ledger, job_lock
from labelgan.study.engine.local import LocalEngine, cores, how_it_ended, visible_gpus
from labelgan.study.engine.scheduler import Event, run_jobs
from toy_jobs import number, toy

TESTS = str(Path(__file__).resolve().parents[2])


@pytest.fixture(autouse=True)
def _toys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", TESTS)


def slow(name: str, seconds: float, value: float = 1) -> Job:
    return Job("toy", name, {"name": name, "seconds": seconds, "value": value}, {}, "toy_jobs:slow_add")


def test_a_study_of_toys(tmp_path: Path):
    ledger = Ledger(tmp_path)
    leaves = [number(value) for value in range(8)]
    pairs = [number(100, a=leaves[place], b=leaves[place + 1]) for place in range(7)]
    total = number(0, 0, **{f"p{place}": pair for place, pair in enumerate(pairs)})
    with LocalEngine(EngineConfig(workers=2, gpus=0)) as engine:
        summary = run_jobs([total, toy("die_once"), toy("die"), toy("fault")], ledger, engine)
    assert ledger.result(total) == {"value": 700 + sum(2 * place + 1 for place in range(7))}
    assert ledger.result(toy("die_once")) == {"tries": 2}
    assert summary.done == len(leaves) + len(pairs) + 2
    reasons = {failure.job.label.strip(): (failure.reason, failure.attempts) for failure in summary.failed}
    assert reasons == {
        "die": ("its worker was killed by SIGKILL (out of memory?)", 2),
        "fault": ("ValueError: three channels were expected", 1),
    }


def test_workers_live_long_and_two_work_at_a_time(tmp_path: Path):
    ledger = Ledger(tmp_path)
    jobs = [slow(str(place), 0.1) for place in range(8)]
    running, most = set(), 0

    def watch(event: Event) -> None:
        nonlocal most
        (running.add if event.what == "started" else running.discard)(event.job.key)
        most = max(most, len(running))

    with LocalEngine(EngineConfig(workers=2, gpus=0)) as engine:
        run_jobs(jobs, ledger, engine, tell=watch)
    assert len({ledger.result(job)["pid"] for job in jobs}) == 2
    assert most == 2


def test_a_worker_that_is_killed_from_outside_is_replaced(tmp_path: Path):
    ledger = Ledger(tmp_path)
    engine = LocalEngine(EngineConfig(workers=1, gpus=0))
    killed = []

    def kill(event: Event) -> None:
        if event.what == "done" and not killed:
            killed.append(engine._workers[0].process.pid)
            threading.Timer(0.2, os.kill, (killed[0], signal.SIGKILL)).start()

    jobs = [number(0), slow("long", 0.6), number(2)]
    with engine:
        summary = run_jobs(jobs, ledger, engine, tell=kill)
    assert summary.complete
    assert ledger.result(jobs[1])["pid"] != killed[0]
    assert "attempt 2" in ledger.at(jobs[1]).log.read_text()


@pytest.mark.parametrize(("workers", "threads", "seen"), [(2, None, "1"), (1, 3, "3"), (2, 2, "2"), (1, None, "7")])
def test_threads_of_a_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int, threads: int, seen: str):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    with LocalEngine(EngineConfig(workers=workers, threads=threads, gpus=0)) as engine:
        run_jobs([toy("environment")], Ledger(tmp_path), engine)
    assert Ledger(tmp_path).result(toy("environment"))["OMP_NUM_THREADS"] == seen


def test_one_gpu_for_each_job_that_asks_and_none_for_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,GPU-5f")
    ledger = Ledger(tmp_path)
    one = [toy("environment", f"gpu {place}", gpus=1) for place in range(6)]
    both = toy("environment", "both", gpus=2)
    none = [toy("environment", f"cpu {place}") for place in range(3)]
    holding: dict[str, int] = {}
    most = 0

    def watch(event: Event) -> None:
        nonlocal most
        holding[event.job.key] = event.job.gpus if event.what == "started" else 0
        most = max(most, sum(holding.values()))

    with LocalEngine(EngineConfig(workers=3)) as engine:
        assert (engine.room(1), engine.room(2), engine.room(3), engine.room(0)) == (2, 1, 0, 3)
        summary = run_jobs([*one, *none, both], ledger, engine, tell=watch)
    assert summary.done == 10
    assert most == 2
    seen = [ledger.result(job)["CUDA_VISIBLE_DEVICES"] for job in one]
    assert set(seen) == {"4", "GPU-5f"}
    assert ledger.result(both)["CUDA_VISIBLE_DEVICES"] == "4,GPU-5f"
    assert {ledger.result(job)["CUDA_VISIBLE_DEVICES"] for job in none} == {""}


@pytest.mark.parametrize(
    ("listed", "limit", "found"),
    [("", None, ()), ("-1", None, ()), ("0, 2", None, ("0", "2")), ("0,1,2", 2, ("0", "1")), ("0,1", 0, ())],
)
def test_gpus_are_those_that_the_environment_lists(monkeypatch, listed: str, limit: int | None, found: tuple):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", listed)
    assert visible_gpus(limit) == found


def test_the_pool_has_a_worker_for_each_gpu_or_core(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2")
    assert LocalEngine().slots == 3
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert LocalEngine().slots == cores()
    assert LocalEngine(EngineConfig(threads=10_000 if cores() > 1024 else 1024)).slots == 1
    assert LocalEngine(EngineConfig(workers=5)).slots == 5


def test_an_end_in_words():
    assert how_it_ended(3) == "its worker ended with exit code 3"
    assert how_it_ended(-11) == "its worker was killed by SIGSEGV"
    assert how_it_ended(-250) == "its worker was killed by signal 250"


def test_closing_twice_and_without_work_is_idle():
    engine = LocalEngine(EngineConfig(gpus=0))
    engine.close()
    engine.close(now=True)


def until(what, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except OSError:
        return False


# A shell that runs the tests in the background has them ignore SIGINT, and their children with them.
STUDY = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from pathlib import Path
from labelgan.config.study import EngineConfig
from labelgan.study.engine.local import LocalEngine
from labelgan.study.engine.ledger import Ledger
from labelgan.study.engine.scheduler import run_jobs
from toy_jobs import number, toy
first = number(1)
with LocalEngine(EngineConfig(workers=1, gpus=0)) as engine:
    run_jobs([first, toy("train", "x", first=first)], Ledger(Path(sys.argv[1])), engine)
"""


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at processes through /proc")
@pytest.mark.parametrize("number_", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_study_that_is_stopped_leaves_nothing_running_and_is_resumed(tmp_path: Path, number_: int):
    ledger = Ledger(tmp_path)
    first = number(1)
    job = toy("train", "x", first=first)
    study = subprocess.Popen([sys.executable, "-c", STUDY, str(tmp_path)], stderr=subprocess.DEVNULL)
    running = ledger.folder(job) / "running.txt"
    until(lambda: running.is_file() and running.read_text())
    worker = int(running.read_text())
    study.send_signal(number_)
    assert study.wait(60) != 0
    until(lambda: not alive(worker))
    assert ledger.is_done(first)
    assert ledger.state(job) == "open"
    saved = int((ledger.folder(job) / "step.txt").read_text())
    with job_lock(ledger.folder(job)):
        pass
    with LocalEngine(EngineConfig(workers=1, gpus=0)) as engine:
        summary = run_jobs([job], ledger, engine)
    assert (summary.done, summary.reused) == (1, 1)
    assert ledger.result(job) == {"first": saved}


def test_an_interrupt_waits_for_no_more_than_the_grace(tmp_path: Path):
    ledger = Ledger(tmp_path)
    job = Job("toy", "deaf", {"seconds": 60, "value": 0}, {}, "toy_jobs:deaf")
    engine = LocalEngine(EngineConfig(workers=1, gpus=0, grace_s=0.5))
    started = time.monotonic()
    engine.submit(job, ledger.prepare(job).path)
    until((ledger.folder(job) / "running.txt").is_file)
    engine.close(now=True)
    assert time.monotonic() - started < 30
    assert ledger.state(job) == "open"
