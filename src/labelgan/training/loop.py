"""The training loop that generators and segmenters share.

`Training.run` reads from top to bottom; a subclass says in hooks what one step is, what a checkpoint holds and what is
left behind at the end. All processes of a team run the same loop, and the first alone writes files.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import torch

from labelgan.core.errors import CheckpointError, ConfigError, TrainingError
from labelgan.core.files import lock_folder, naming, sweep
from labelgan.core.interrupts import Interrupts
from labelgan.core.progress import Report
from labelgan.core.rng import make_deterministic
from labelgan.training.checkpoint import Checkpoint, checkpoint_folders, load_latest, save_checkpoint
from labelgan.training.launch import gathered
from labelgan.training.metrics_csv import MetricsCsv
from labelgan.training.team import Team

if TYPE_CHECKING:
    from torch import Tensor

Result = TypeVar("Result")
Result_co = TypeVar("Result_co", covariant=True)

# Settings that say how long, where and how often: they may differ when a training is resumed.
FREE_SETTINGS = frozenset({"steps", "checkpoint_every", "log_every", "device", "devices", "threads"})


class Settings(Protocol):
    """The settings that the loop reads."""

    @property
    def batch_size(self) -> int: ...
    @property
    def log_every(self) -> int: ...
    @property
    def checkpoint_every(self) -> int: ...
    @property
    def device(self) -> str: ...
    @property
    def devices(self) -> int: ...
    @property
    def threads(self) -> int: ...
    @property
    def deterministic(self) -> bool: ...


class Trains(Protocol[Result_co]):
    """A training, as one process of a team sees it."""

    def train(self, interrupts: Interrupts) -> Result_co | None:
        """Trains; gives the result in the first process."""
        ...


def train_as_team(
    begin: Callable[..., Trains[Result]], out: Path, settings: Settings, *task: object, **first: object
) -> Result:
    """Runs ``begin(team, *task).train(interrupts)`` in every process of a team, with ``out`` locked.

    Args:
        begin: a class or function at the top of a module; the other processes find it by name.
        out: folder that the training writes.
        settings: how many processes, on which devices.
        task: what is trained, picklable.
        first: further arguments in the first process, which is this one.
    """
    with (
        lock_folder(out),
        naming(out),
        Interrupts() as interrupts,
        gathered(settings.devices, settings.device, settings.batch_size, _follow, begin, settings, task) as team,
    ):
        _set_up_torch(settings)
        result = begin(team, *task, **first).train(interrupts)
        assert result is not None
        return result


def _follow(team: Team, begin: Callable[..., Trains[Any]], settings: Settings, task: tuple[object, ...]) -> None:
    with Interrupts() as interrupts:
        _set_up_torch(settings)
        begin(team, *task).train(interrupts)


def _set_up_torch(settings: Settings) -> None:
    if settings.threads:
        torch.set_num_threads(settings.threads)
    make_deterministic(settings.deterministic)


class Training(ABC):
    """One training, from its last checkpoint to its last step.

    Args:
        team: the processes that train together.
        settings: its rhythm.
        checkpoints: folder of its checkpoints.
        table: its metrics.csv.
        steps: where it ends.
        name: what a message calls it.

    Attributes:
        step: steps made since the first weights.
        total: steps made in all, those before a restart too; checkpoints and rows of metrics.csv are numbered by it.
        logged: means of the last row of metrics.csv.
    """

    def __init__(
        self, team: Team, settings: Settings, checkpoints: Path, table: MetricsCsv, steps: int, name: str
    ) -> None:
        self.team, self.settings, self.checkpoints, self.table = team, settings, checkpoints, table
        self.steps, self.name = steps, name
        self.step = self.total = 0
        self.logged: dict[str, float] = {}

    def resume(self) -> None:
        """Goes back to the last checkpoint, where there is one; all processes call it.

        Raises:
            CheckpointError: it is damaged, or of another network.
            ConfigError: it has more steps than are asked for.
        """
        checkpoint = load_latest(self.checkpoints)
        if checkpoint is not None:
            self.restore(checkpoint)
            if self.step > self.steps:
                raise ConfigError("--steps", f"{self.name} has already made {self.step} steps")
        if self.team.is_first:
            sweep(self.checkpoints.parent)  # what a killed process left half-written
        self.team.barrier()  # from here on the first process may write another checkpoint

    def run(self, interrupts: Interrupts, report: Report | None = None) -> None:
        """Makes the steps that are left.

        Args:
            interrupts: whether somebody asks it to stop.
            report: called after every step with (steps made, steps in all, metrics as text).

        Raises:
            TrainingError: a metric or a weight became non-finite; the last checkpoint stands.
            KeyboardInterrupt: this or another process was asked to stop; the state is saved.
        """
        first = self.team.is_first
        try:
            if first:
                self.table.open(self.total)
            while self.step < self.steps:
                metrics = self.train_step()
                self.step += 1
                self.total += 1
                if bad := [name for name, value in metrics.items() if not math.isfinite(value)]:
                    raise self.failure(bad)
                if first:
                    metrics |= self.evaluate()
                self.table.add(metrics)
                if self.is_due(self.settings.log_every):
                    self.logged = self.table.write(self.total, **self.cells())
                self.end_step()
                stop = self.team.any(interrupts.wanted)
                if first and (stop or self.is_due(self.settings.checkpoint_every)):
                    self.save()
                if report is not None:
                    report(self.step, self.steps, self.describe())
                if stop and self.step < self.steps:
                    raise KeyboardInterrupt
        finally:
            self.table.close(complete=self.step == self.steps)
        if first:
            self.finish()

    def is_due(self, every: int) -> bool:
        """Whether what is done every so many steps, and at the last one, is to be done after this step."""
        return self.total % every == 0 or self.step == self.steps

    def save(self) -> None:
        """Writes a checkpoint; weights that are not finite are never saved."""
        parts = self.parts()
        if not all(bool(tensor.isfinite().all()) for part in parts.values() for tensor in part.values()):
            raise self.failure(["weights"])
        save_checkpoint(self.checkpoints, self.total, parts, self.state())

    def last_saved(self) -> int:
        """Step of the last checkpoint, 0 where there is none."""
        folders = checkpoint_folders(self.checkpoints)
        return int(folders[-1].name.removeprefix("step-")) if folders else 0

    # Hooks

    @abstractmethod
    def train_step(self) -> dict[str, float]:
        """Makes step number ``self.step``, counted from 0; gives its metrics."""

    @abstractmethod
    def parts(self) -> dict[str, dict[str, Tensor]]:
        """Gives the tensors of a checkpoint."""

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """Gives the rest of a checkpoint, as JSON takes it."""

    @abstractmethod
    def restore(self, checkpoint: Checkpoint) -> None:
        """Puts a checkpoint back, ``step`` and ``total`` included."""

    @abstractmethod
    def failure(self, bad: Sequence[str]) -> TrainingError:
        """Gives the error for metrics, or ``weights``, that became non-finite at the step just made."""

    @abstractmethod
    def finish(self) -> None:
        """Writes what a finished training leaves behind; in the first process alone."""

    def evaluate(self) -> dict[str, float]:
        """Gives metrics that not every step has; in the first process alone."""
        return {}

    def cells(self) -> Mapping[str, object]:
        """Gives cells of a row of metrics.csv that are no means."""
        return {}

    def end_step(self) -> None:  # noqa: B027
        """Does what remains to be done between a row of metrics.csv and a checkpoint; in all processes."""

    def describe(self) -> str:
        """Gives the metrics that progress shows."""
        return ""


def require_same_cases(before: Mapping[str, Any], now: Mapping[str, Any], folder: Path) -> None:
    """Refuses to resume a training on other cases than its manifest lists."""
    # Fingerprints and hashes of masks do not count: runs of earlier versions go on without them.
    keys = ("id", "patient", "slices", "hashes")
    seen = [[{key: case.get(key) for key in keys} for case in facts["training_cases"]] for facts in (before, now)]
    if seen[0] != seen[1]:
        raise CheckpointError(folder, "was trained on other cases than these; name another folder")
