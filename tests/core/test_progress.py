from __future__ import annotations

import io
import sys

import pytest

from labelgan.core import progress
from labelgan.core.progress import Progress


class Clock:
    """Stands in for the time module."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


def test_a_line_every_ten_seconds_with_rate_and_time_left(clock, capsys):
    with Progress("train", "step") as report:
        for done in range(1, 101):
            clock.now += 0.5
            report(done, 100, "W 1.2")
    out, err = capsys.readouterr()
    assert out == ""
    lines = err.splitlines()
    assert lines[0] == "train 20/100  2 step/s, 40 s left  W 1.2"
    assert lines[-1] == "train 100/100  2 step/s  W 1.2"
    assert len(lines) == 5


def test_short_work_says_one_line_at_its_end(clock, capsys):
    with Progress("check", "case") as report:
        for done in range(1, 4):
            clock.now += 1
            report(done, 3)
    assert capsys.readouterr().err == "check 3/3  1 case/s\n"


def test_work_done_before_does_not_count_as_rate(clock, capsys):
    with Progress("train", "step") as report:
        for done in range(901, 921):
            clock.now += 1
            report(done, 1000)
    assert capsys.readouterr().err.splitlines()[-1] == "train 920/1000  1 step/s, 80 s left"


def test_a_terminal_gets_a_bar_that_shows_notes_as_they_are(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("COLUMNS", "160")
    with Progress("train", "step") as report:
        report(1, 4, "")
        report(4, 4, "[red]note")
    shown = terminal.getvalue()
    assert "4/4" in shown
    assert "step/s" in shown
    assert "[red]note" in shown
