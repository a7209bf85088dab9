"""A second process in a folder that one is at work in: refused with one line; the first one ends as if alone."""

from __future__ import annotations

import fcntl
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from drill_children import begin, command
from drill_commands import COMMANDS, complaint
from drill_kills import differences, ended, results_of


def is_held(lock: Path) -> bool:
    """Whether another process holds the lock."""
    if not lock.exists():
        return False
    with lock.open() as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def until(what: Callable[[], bool], seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.002)


@pytest.mark.parametrize(
    "what", [pytest.param(name, marks=[] if name in ("train", "sample") else [pytest.mark.drill]) for name in COMMANDS]
)
def test_the_second_is_refused(drill_places: dict[str, str], tmp_path: Path, told, what: str):
    arguments = COMMANDS[what].arguments
    out, peace = tmp_path / "out", tmp_path / "peace"
    assert (
        ended(begin(command, arguments({**drill_places, "out": str(peace)}), log=tmp_path / "0"), tmp_path / "0") == 0
    )
    call = arguments({**drill_places, "out": str(out)})
    first = begin(command, call, log=tmp_path / "first.txt")
    assert first.pid is not None
    locks = (out / ".lock", out.with_name(f".{out.name}.lock"))
    until(lambda: any(map(is_held, locks)) or first.exitcode is not None)
    os.kill(first.pid, signal.SIGSTOP)  # so that it is at work for as long as the second needs
    try:
        assert any(map(is_held, locks))
        code = ended(begin(command, call, log=tmp_path / "second.txt"), tmp_path / "second.txt")
    finally:
        os.kill(first.pid, signal.SIGCONT)
    assert (code, complaint(tmp_path / "second.txt")) == (2, f"error: {out}: another process is at work in this folder")
    assert ended(first, tmp_path / "first.txt") == 0, (tmp_path / "first.txt").read_text()
    losses = differences(results_of(out), results_of(peace))
    told("two processes", what, 1, len(losses), "the second: one line, exit code 2; the first: the bytes of one alone")
    assert losses == []
