"""Records a generator's training as it goes on: metrics.csv, sample grids, TensorBoard, an experiment tracker."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from labelgan.data.pictures import mosaic, save_png
from labelgan.gan.tracking import Tracker, open_tracker
from labelgan.training.metrics_csv import MetricsCsv

COLUMNS = (
    "step", "seconds", "images_per_second",
    "critic_loss", "generator_loss", "critic_real", "critic_fake", "penalty", "r1", "r2", "change",
    "wasserstein_estimate", "diversity", "lesion_rate",
)  # fmt: skip


class Recorder(MetricsCsv):
    """Sends every row's means to TensorBoard and to a tracker as well.

    Args:
        run: run folder.
        batch_size: slices of a step.
        tracker: key of ``gan.tracking.TRACKERS``, or None.
        settings: nested settings of the training, for the tracker.
        clock: gives seconds.
    """

    def __init__(
        self,
        run: Path,
        batch_size: int,
        tracker: str | None = None,
        settings: Mapping[str, Any] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(run / "metrics.csv", COLUMNS, batch_size, clock)
        self.run, self._tracked = run, (tracker, run, settings or {})
        self._tracker: Tracker | None = None
        self._board: Any = None
        self._excepthook: Callable[[threading.ExceptHookArgs], Any] | None = None

    def open(self, step: int) -> None:
        """As `MetricsCsv.open`; TensorBoard forgets the steps after ``step`` likewise."""
        self._tracker = open_tracker(*self._tracked)
        self._board = _open_tensorboard(self.run / "tensorboard", step)
        self._excepthook = threading.excepthook
        threading.excepthook = self._thread_failed
        super().open(step)

    def write(self, step: int, **cells: object) -> dict[str, float]:
        """Writes a row of means; gives them."""
        means = super().write(step, **cells)
        if self._board is not None:
            for name, value in means.items():
                self._board.add_scalar(name, value, step)
        if self._tracker is not None:
            self._tracker.metrics(means, step)
        return means

    def picture(self, step: int, images_NCHW: np.ndarray, masks_NHW: np.ndarray) -> None:
        """Writes a sample grid as PNG and to TensorBoard."""
        pixels = mosaic(images_NCHW, masks_NHW)
        save_png(self.run / "samples" / f"step-{step:08d}.png", pixels)
        if self._board is not None:
            self._board.add_image("samples", pixels, step, dataformats="HWC")

    def close(self, complete: bool) -> None:
        """Closes TensorBoard, and ends a tracker's run as ``complete`` or not; nothing where it was not opened."""
        if self._excepthook is not None:
            threading.excepthook = self._excepthook
        if self._board is not None:
            # An error for want of room was raised when it was written, or will be when the weights are.
            with contextlib.suppress(OSError):
                self._board.close()
        if self._tracker is not None:
            self._tracker.close(complete)

    def _thread_failed(self, failure: threading.ExceptHookArgs) -> None:
        """Leaves out errors of TensorBoard's writing thread, which it raises in this one too."""
        if self._excepthook is not None and not isinstance(failure.exc_value, OSError):
            self._excepthook(failure)


def _open_tensorboard(folder: Path, step: int) -> Any:
    try:
        from torch.utils.tensorboard.writer import SummaryWriter
    except ImportError:  # a bare GPU machine: metrics.csv has the same metrics
        return None
    return SummaryWriter(str(folder), purge_step=step + 1)
