"""Times a training by its own reports: a step at a batch that fits a budget, and what comes around the steps."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

MOST_STEPS = 40  # of one training that is timed
MANY = 0.7  # of a budget's rest, for the larger batch
DRAWN = 1 / 12  # of a game's step for a slice: what it takes to draw one, for generator and critic of like size

Report = Callable[[int, int, str], None]


def now() -> np.ndarray:
    """Wall-clock and processor time, seconds."""
    return np.array([time.perf_counter(), time.process_time()])


class _EnoughError(Exception):
    """Ends a training that is only timed."""


@dataclass
class Marks:
    """Notes the time at every report of a training, and ends it after ``most`` steps or past the deadline."""

    most: float = math.inf
    deadline: float = math.inf
    times: list[np.ndarray] = field(default_factory=lambda: [now()])

    def __call__(self, *_: object) -> None:
        self.times.append(now())
        if len(self.times) > self.most or time.perf_counter() > self.deadline:
            raise _EnoughError

    def spent(self) -> np.ndarray:
        """(intervals, 2) between the marks."""
        return np.diff(np.array(self.times), axis=0)

    def step(self, period: int) -> np.ndarray:
        """Mean time of a step over whole periods; the first step, which warms up, is left out where there are more."""
        spent = self.spent()
        if len(spent) == 1:
            return spent[0]
        return spent[1 : 1 + max(period, (len(spent) - 1) // period * period)].mean(axis=0)


@dataclass
class Timed:
    """What a training costs; times are wall-clock and processor seconds.

    Attributes:
        step: at the full batch.
        batch: slices of the batch that was timed.
        around: before the first step and after the last.
        saving: more at a step that saves a checkpoint.
        bytes: of the folder in the end.
        checkpoint_bytes: of the checkpoints while it runs.
    """

    step: np.ndarray
    batch: int
    around: np.ndarray = field(default_factory=lambda: np.zeros(2))
    saving: np.ndarray = field(default_factory=lambda: np.zeros(2))
    bytes: int = 0
    checkpoint_bytes: int = 0

    def line(self, kind: str, recipe: str, every: int) -> dict[str, Any]:
        """As a measurement goes out; every so many steps there is a checkpoint."""
        return {
            "kind": kind,
            "recipe": recipe,
            "fixed": self.around.tolist(),
            "unit": (self.step + self.saving / every).tolist(),
            "fixed_bytes": self.bytes,
            "passing_bytes": self.checkpoint_bytes,
            "batch": self.batch,
        }


Train = Callable[[Path, int, int | None, Report], object]


def time_training(train: Train, folder: Path, batch: int, period: int, budget_s: float, around: int = 0) -> Timed:
    """Times a training within a budget.

    Steps are timed with one slice, then with a batch that fits the budget, and drawn out to the full batch along a
    line. Where time is left, a training of two steps is played to its end, for what comes before and after the steps.

    Args:
        train: called with (folder, batch size, steps or None for all, report).
        folder: to work in.
        batch: the full batch size.
        period: steps after which their costs repeat.
        budget_s: seconds of wall-clock time; a wish, as a period of steps of one slice is played whatever it takes.
        around: slices that are computed besides the steps in a training that is played to its end.
    """
    deadline = time.perf_counter() + budget_s

    def timed_step(name: str, size: int, most: int, until: float = math.inf) -> np.ndarray:
        marks = Marks(most, until)
        with contextlib.suppress(_EnoughError):
            train(folder / name, size, None, marks)
        return marks.step(period)

    one = timed_step("one", 1, period + 1)
    timed = Timed(one * batch, 1)
    slice_s = float(one[0])
    whole_s = slice_s * (2 + around * DRAWN)
    left = MANY * (deadline - time.perf_counter())
    size = min(batch, int(left / (slice_s * (period + 1))))
    if size > 1:
        steps = period * max(1, min(MOST_STEPS, int(left / (slice_s * size))) // period) + 1
        many = timed_step("many", size, steps, deadline)
        # A step of b slices takes a + b c; with few slices a counts, with the full batch c.
        slope = ((many - one) / (size - 1)).clip(0, many / size)
        timed = Timed(many + slope * (batch - size), size)
    if whole_s < deadline - time.perf_counter():
        marks = Marks()
        train(folder / "whole", 1, 2, marks)
        beginning, last, end = (*marks.spent(), now() - marks.times[-1])
        timed.around = (beginning - one).clip(0) + end
        timed.saving = (last - one).clip(0)
        in_all = folder_bytes(folder / "whole")
        checkpoints = sum(folder_bytes(path) for path in (folder / "whole").rglob("checkpoints"))
        timed.bytes, timed.checkpoint_bytes = in_all - checkpoints, 2 * checkpoints  # two are kept, one was made
    return timed


def folder_bytes(folder: Path) -> int:
    """Bytes of the files under a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
