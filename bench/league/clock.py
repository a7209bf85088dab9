"""The clock that gives every generator the same time, and stops a training of `labelgan` by it."""

from __future__ import annotations

import shutil
import signal
import time
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from labelgan.config.gan import GanConfig
    from labelgan.data.store import SliceStore
    from labelgan.gan.train import Report, TrainingResult

NEVER = 10**8  # steps; the clock comes first


@dataclass
class Clock:
    """Seconds since it was made.

    On a CPU they are this process's processor seconds: with one thread the same as by the wall on an idle machine, and
    unlike those no smaller a budget where others are at work. On a GPU they are seconds by the wall.
    """

    device: torch.device
    _begun: float = field(init=False)

    def __post_init__(self) -> None:
        self._begun = self._now()

    def _now(self) -> float:
        return time.process_time() if self.device.type == "cpu" else time.monotonic()

    def seconds(self) -> float:
        """Gives them; work that a GPU still has before it counts."""
        if self.device.type == "cuda":
            import torch

            torch.cuda.synchronize(self.device)
        return self._now() - self._begun


class Alarm:
    """A training's report hook that asks it to save its state and stop, as Ctrl-C would, once the time is nearly over.

    A training that is asked makes one more step. It is asked where the second next would end too late.

    Attributes:
        rung: whether it has asked.
    """

    def __init__(self, clock: Clock, seconds: float, report: Report | None = None) -> None:
        self.clock, self.seconds, self.report = clock, seconds, report
        self.rung = False
        self._last = clock.seconds()

    def __call__(self, step: int, _: int, text: str) -> None:
        """Called after every step."""
        now = self.clock.seconds()
        taken, self._last = now - self._last, now
        if self.report is not None:
            self.report(step, max(step + 1, int(step * self.seconds / max(now, 1e-9))), text)
        if not self.rung and now + 2 * taken > self.seconds:
            self.rung = True
            signal.raise_signal(signal.SIGINT)


def train_for(
    store: SliceStore,
    out: Path,
    config: GanConfig,
    seconds: float,
    *,
    most_steps: int = NEVER,
    exclude: Collection[str] = (),
    start_from: Path | None = None,
    report: Report | None = None,
) -> tuple[TrainingResult, float]:
    """Trains a generator for so many seconds, two steps at the least; what another attempt left in ``out`` is lost.

    Args:
        store: prepared slices.
        out: run folder.
        config: every setting but the number of steps.
        seconds: by `Clock`.
        most_steps: after which it stops, though there be time left.
        exclude: case or patient ids that the generator must never see.
        start_from: run folder to fine-tune.
        report: called after every step.

    Returns:
        The result, whose ``steps`` are those made, and the seconds that they took by `Clock`.

    Raises:
        KeyboardInterrupt: somebody else interrupted it.
    """
    from labelgan.gan.train import train_generator
    from labelgan.training.device import choose_device

    shutil.rmtree(out, ignore_errors=True)
    # Checkpoints and pictures on the way cost time that some games would spend on more steps than others.
    rhythm = [f"train.steps={most_steps}", *(f"train.{key}_every={NEVER}" for key in ("checkpoint", "sample"))]
    clock = Clock(choose_device(config.train.device))
    alarm = Alarm(clock, seconds, report)
    try:
        result = train_generator(
            store, out, config.with_settings(rhythm), exclude=exclude, start_from=start_from, report=alarm
        )
        return result, clock.seconds()
    except KeyboardInterrupt:
        if not alarm.rung:
            raise
    spent = clock.seconds()
    (checkpoint,) = (out / "checkpoints").glob("step-*")
    made = config.with_settings([f"train.steps={int(checkpoint.name.removeprefix('step-'))}"])
    return train_generator(store, out, made, exclude=exclude, resume=True, start_from=start_from), spent
