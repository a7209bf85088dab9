from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from labelgan.study import cost_timing
from labelgan.study.cost_timing import Marks, folder_bytes, time_training


class Clock:
    """A clock that moves when it is told to; the processor works half of the time."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> np.ndarray:
        return np.array([self.seconds, self.seconds / 2])


class Training:
    """Takes 5 s before its steps, 1 s + 0.25 s a slice for a step, 3 s more for every ``every``-th, 4 s at its end."""

    def __init__(self, clock: Clock, every: int = 0) -> None:
        self.clock, self.every = clock, every
        self.runs: list[tuple[int, int]] = []

    def __call__(self, folder: Path, batch: int, steps: int | None, report) -> None:
        self.runs.append((batch, 0))
        self.clock.seconds += 5
        for step in range(steps or 1000):
            self.clock.seconds += 1 + 0.25 * batch + (3 if self.every and step % self.every == 0 else 0)
            if step + 1 == steps:
                self.clock.seconds += 0.5
                (folder / "checkpoints").mkdir(parents=True)
                (folder / "checkpoints" / "state").write_bytes(bytes(70))
                (folder / "weights").write_bytes(bytes(30))
            self.runs[-1] = (batch, step + 1)
            report(step + 1, steps, "")
        self.clock.seconds += 4


@pytest.fixture
def clock(monkeypatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(cost_timing, "now", made.now)
    monkeypatch.setattr(cost_timing.time, "perf_counter", lambda: made.seconds)
    return made


def test_with_time_enough_the_full_batch_is_timed_and_a_whole_training_played(clock, tmp_path):
    timed = time_training(training := Training(clock), tmp_path, 16, 1, 1000)
    assert timed.batch == 16
    assert timed.step == pytest.approx([5, 2.5])
    assert timed.around == pytest.approx([5 + 4, 4.5])
    assert timed.saving == pytest.approx([0.5, 0.25])
    assert (timed.bytes, timed.checkpoint_bytes) == (30, 140)
    assert training.runs[0] == (1, 2)
    assert training.runs[-1] == (1, 2)


def test_a_small_budget_draws_a_line_through_two_batches(clock, tmp_path):
    timed = time_training(Training(clock), tmp_path, 16, 1, 25)
    assert 1 < timed.batch < 16
    assert timed.step == pytest.approx([5, 2.5])


def test_without_time_one_slice_is_timed_and_scaled(clock, tmp_path):
    timed = time_training(training := Training(clock), tmp_path, 16, 1, 1)
    assert training.runs == [(1, 2)]
    assert timed.batch == 1
    assert timed.step == pytest.approx([16 * 1.25, 8 * 1.25])


def test_costly_steps_count_as_often_as_they_come(clock, tmp_path):
    timed = time_training(training := Training(clock, every=4), tmp_path, 16, 4, 1000)
    assert training.runs[0] == (1, 5)
    assert timed.step[0] == pytest.approx(5 + 3 / 4)


def test_the_line_that_goes_out(clock, tmp_path):
    line = time_training(Training(clock), tmp_path, 16, 1, 1000).line("train member", "r", 10)
    assert line["unit"] == pytest.approx([5.05, 2.525])
    assert line["fixed"] == pytest.approx([9, 4.5])
    assert (line["kind"], line["recipe"], line["batch"]) == ("train member", "r", 16)


def test_a_lone_step_is_all_there_is(clock):
    marks = Marks()
    clock.seconds = 7
    marks()
    assert marks.step(1) == pytest.approx([7, 3.5])


def test_folder_bytes(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "x").write_bytes(bytes(3))
    (tmp_path / "a" / "b" / "y").write_bytes(bytes(4))
    assert folder_bytes(tmp_path) == 7
