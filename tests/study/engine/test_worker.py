"""One job folder, run: what is left behind when it goes well, goes wrong, is killed or is told to stop."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from labelgan.core.errors import DataError
from labelgan.study.engine import worker
from labelgan.study.engine.ledger import Job, Ledger, job_lock
from labelgan.study.engine.worker import find_runner, main, run_folder
from toy_jobs import number, toy

TESTS = str(Path(__file__).resolve().parents[2])


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ledger:
    monkeypatch.setenv("PYTHONPATH", TESTS)
    monkeypatch.setattr(worker, "_made_with", lambda: {"labelgan": "test"})
    return Ledger(tmp_path)


def test_a_job_is_run_and_says_so(ledger: Ledger):
    a, b = number(1), number(2)
    total = number(3, a=a, b=b)
    for job in (a, b, total):
        assert run_folder(ledger.prepare(job).path) == 0
    record = ledger.record(total)
    assert record["result"] == {"value": 6}
    assert record["made_with"] == {"labelgan": "test"}
    assert 0 <= record["seconds"] < 60
    assert sorted(path.name for path in ledger.folder(total).iterdir()) == [".job", "done.json", "job.json", "log.txt"]


def test_a_job_that_is_done_is_not_run_again(ledger: Ledger):
    folder = ledger.prepare(number(1)).path
    run_folder(folder)
    before = (folder / "log.txt").read_bytes()
    assert run_folder(folder) == 0
    assert (folder / "log.txt").read_bytes() == before


def test_a_job_whose_done_file_is_damaged_is(ledger: Ledger):
    at = ledger.prepare(number(1))
    (at.path / "done.json").write_text("{")
    assert run_folder(at.path) == 0
    assert ledger.result(number(1)) == {"value": 1}


def test_everything_it_prints_goes_to_its_log(ledger: Ledger, capfd: pytest.CaptureFixture[str]):
    at = ledger.prepare(toy("speak"))
    run_folder(at.path)
    print("after it")
    log = at.log.read_text().splitlines()
    assert log[0].startswith("== speak : attempt 1, ")
    middle = {"from python", "from python, as an error", "from a descriptor", "from a child"}
    assert set(log[1:-1]) == middle
    assert log[-1].startswith("== done in")
    assert capfd.readouterr().out == "after it\n"
    assert ledger.result(toy("speak")) == {"tty": False}


@pytest.mark.parametrize(
    ("how", "code", "reason", "traced"),
    [
        ("fault", 1, "ValueError: three channels were expected", True),
        ("leak", 3, "fold-03: patient P1 is held out", False),
        ("leave", 1, "SystemExit: 5", True),
        ("not_json", 1, "TypeError: Object of type PosixPath is not JSON serializable", True),
    ],
)
def test_what_goes_wrong_is_one_line_and_a_log(ledger: Ledger, how: str, code: int, reason: str, traced: bool):
    at = ledger.prepare(toy(how))
    assert run_folder(at.path) == code
    failed = at.read_failed()
    assert failed == {"reason": " ".join(reason.split()), "attempts": 1, "exit_code": code}
    assert ("Traceback" in at.log.read_text()) == traced
    assert not ledger.is_done(toy(how))
    ledger.prepare(toy(how))
    run_folder(at.path)
    assert at.log.read_text().count("== failed: ") == 2


def test_an_input_that_is_not_done_is_a_failure(ledger: Ledger):
    a = number(1)
    at = ledger.prepare(number(2, a=a))
    assert run_folder(at.path) == 2
    failed = at.read_failed()
    assert failed is not None
    assert failed["reason"] == f"{ledger.folder(a)}: is not done, and add 2 reads it"


@pytest.mark.parametrize("runner", ["no_such_module:f", "toy_jobs:no_such_function"])
def test_a_runner_that_is_not_there_is_a_failure(ledger: Ledger, runner: str):
    at = ledger.prepare(Job("toy", "x", {}, runner=runner))
    assert run_folder(at.path) == 2
    with pytest.raises(DataError, match="cannot be found"):
        find_runner(runner)


def test_a_second_worker_waits_and_then_gives_up(ledger: Ledger):
    at = ledger.prepare(number(1))
    with job_lock(at.path), pytest.raises(DataError, match="another process is at work"):
        run_folder(at.path, lock_wait_s=0.3)
    assert at.read_failed() is None
    assert run_folder(at.path, lock_wait_s=0) == 0


def test_a_folder_without_a_job_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main([str(tmp_path)]) == 2
    assert "job.json: cannot be read as JSON" in capsys.readouterr().err
    assert main([]) == 2
    assert "usage: python -m labelgan.study.engine.worker JOBFOLDER" in capsys.readouterr().err


def start(*arguments: str, pass_fds: tuple[int, ...] = ()) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "labelgan.study.engine.worker", *arguments], pass_fds=pass_fds)


def wait_for(path: Path, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while not path.exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_as_a_command_it_runs_one_folder(ledger: Ledger):
    at = ledger.prepare(toy("leak"))
    assert start(str(at.path)).wait(60) == 3
    at = ledger.prepare(toy("environment"))
    assert start(str(at.path)).wait(60) == 0
    assert ledger.result(toy("environment"))["pid"] != os.getpid()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_told_to_stop_a_training_saves_its_state_and_goes_on_later(ledger: Ledger, number: int):
    job = toy("train")
    at = ledger.prepare(job)
    process = start(str(at.path))
    wait_for(at.path / "running.txt", process)
    process.send_signal(number)
    assert process.wait(60) == 130
    assert ledger.state(job) == "open"
    saved = int((at.path / "step.txt").read_text())
    assert run_folder(ledger.prepare(job).path) == 0
    assert ledger.result(job) == {"first": saved}


def test_when_the_engine_dies_its_worker_saves_and_ends(ledger: Ledger):
    job = toy("train")
    at = ledger.prepare(job)
    commands, replies = os.pipe(), os.pipe()
    process = start("--serve", str(commands[0]), str(replies[1]), "30", pass_fds=(commands[0], replies[1]))
    os.close(commands[0])
    os.close(replies[1])
    os.write(commands[1], f'"{at.path}"\n'.encode())
    wait_for(at.path / "running.txt", process)
    os.close(commands[1])  # as the system does when the engine's process is killed
    process.wait(60)
    os.close(replies[0])
    assert (at.path / "step.txt").is_file()
    assert ledger.state(job) == "open"
    with job_lock(at.path):
        pass
