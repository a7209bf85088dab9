from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest
import torch

from labelgan.core.errors import ConfigError, TrainingError
from labelgan.training import launch as parallel_launch
from labelgan.training.launch import gathered
from toy_team import count, die


def enter(devices: int, device: str = "cpu", batch_size: int = 4) -> None:
    with gathered(devices, device, batch_size, count):
        raise AssertionError("it was let in")


def test_one_device_starts_nothing_and_needs_nothing(monkeypatch):
    monkeypatch.setattr(subprocess, "Popen", None)
    monkeypatch.setattr(torch.distributed, "init_process_group", None)
    with gathered(1, "cpu", 5, count) as team:
        assert (team.size, team.device) == (1, torch.device("cpu"))
    assert not torch.distributed.is_initialized()


@pytest.mark.parametrize(
    ("arguments", "place", "name", "value", "said"),
    [
        ((2, "cpu", 5), None, "", 0, r"^train\.batch_size: 5 slices cannot be shared evenly among 2 devices$"),
        ((2, "cpu:0"), None, "", 0, r"^--device cpu:0: is one device, not the 2 of train\.devices; say cuda or cpu$"),
        ((2, "cuda"), torch.cuda, "device_count", 1, r"^train\.devices: is 2, and this machine has 1 GPU$"),
        ((2,), torch.distributed, "is_available", False, r"^train\.devices: .* a build of torch that has torch\.distr"),
        ((2,), torch.distributed, "is_initialized", True, r"^train\.devices: .* in a group of torch\.distributed"),
    ],
)
def test_what_cannot_be_shared_is_refused_before_anything_starts(monkeypatch, arguments, place, name, value, said):
    monkeypatch.setattr(subprocess, "Popen", None)
    monkeypatch.setattr(parallel_launch, "choose_device", torch.device)
    if place is not None:
        monkeypatch.setattr(place, name, lambda *_: value)
    with pytest.raises(ConfigError, match=said):
        enter(*arguments)


def test_a_process_that_cannot_begin_is_quoted(monkeypatch):
    monkeypatch.setattr(parallel_launch, "COMMAND", "raise SystemExit('no such luck')")
    with pytest.raises(TrainingError, match=r"^train\.devices: process 2 ended with code 1: no such luck$"):
        enter(2)


def test_a_process_that_dies_ends_the_training_and_leaves_this_one_as_it_was():
    threads, hook, environment = torch.get_num_threads(), sys.excepthook, dict(os.environ)
    with (  # noqa: PT012
        pytest.raises(TrainingError, match=r"^train\.devices: process 2 ended with code -9: it said nothing$"),
        gathered(2, "cpu", 4, die) as team,
    ):
        team.any(False)
        team.any(False)
    assert not torch.distributed.is_initialized()
    assert (torch.get_num_threads(), sys.excepthook, dict(os.environ)) == (threads, hook, environment)


@pytest.mark.slow
def test_when_the_first_process_is_killed_the_other_ends():
    program = (
        "import os\n"
        "from labelgan.training import launch\n"
        "from toy_team import count\n"
        "start = launch._Follower.start\n"
        "def told(task):\n"
        "    follower = start(task)\n"
        "    print(follower.process.pid, flush=True)\n"
        "    return follower\n"
        "launch._Follower.start = told\n"
        "with launch.gathered(2, 'cpu', 4, count) as team:\n"
        "    team.any(False)\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join(path for path in sys.path if path))
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == -9, done.stderr
    until = time.monotonic() + 30
    while alive(int(done.stdout)) and time.monotonic() < until:
        time.sleep(0.1)
    assert not alive(int(done.stdout))


def alive(pid: int) -> bool:
    done = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return done.stdout.strip() not in ("", "Z")  # an orphan's death is noticed late where nobody is its parent
