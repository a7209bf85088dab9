"""What a run leaves behind while it goes on: metrics.csv, sample grids, TensorBoard."""

from __future__ import annotations

import contextlib
import csv
import io
import math
import threading
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from labelgan.core.files import write_text_atomic
from labelgan.data.pictures import mosaic, save_png
from labelgan.gan.tracking import Tracker

FIGURES = (
    "critic_loss", "generator_loss", "critic_real", "critic_fake", "penalty", "r1", "r2", "change",
    "wasserstein_estimate", "diversity", "lesion_rate",
)  # fmt: skip
COLUMNS: tuple[str, ...] = ("step", "seconds", "images_per_second", *FIGURES)


class Recorder:
    """Writes a run's figures, and tells a tracker where there is one; rows after the resumed step are dropped first.

    ``unwritten`` is what a checkpoint kept of the figures since the last row: see the property of that name.
    """

    def __init__(
        self,
        run: Path,
        step: int,
        batch_size: int,
        tracker: Tracker | None = None,
        unwritten: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        self.run, self.batch_size, self._tracker = run, batch_size, tracker
        self.path = run / "metrics.csv"
        self._sums: dict[str, list[float]] = defaultdict(list)
        for name, values in (unwritten or {}).items():
            self._sums[name] = [float.fromhex(value) for value in values]
        self._last = (step, 0.0)
        kept = [row for row in _read_rows(self.path) if int(row["step"]) <= step]
        self._offset = float(kept[-1]["seconds"]) if kept else 0.0
        self._last = (step, self._offset)
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(kept)
        write_text_atomic(self.path, text.getvalue())
        self._stream = self.path.open("a", newline="", encoding="utf-8")
        self._writer = csv.DictWriter(self._stream, COLUMNS, lineterminator="\n")
        self._board = _open_tensorboard(run / "tensorboard", step)
        self._told_before = threading.excepthook
        threading.excepthook = self._thread_failed

    @property
    def unwritten(self) -> dict[str, list[str]]:
        """Figures since the last row, exact and as JSON takes them: a row has the same means after a kill."""
        return {name: [value.hex() for value in values] for name, values in self._sums.items()}

    def add(self, figures: dict[str, float]) -> None:
        """Takes one step's figures; `log` writes their means."""
        for name, value in figures.items():
            self._sums[name].append(value)

    def log(self, step: int, seconds: float) -> dict[str, float]:
        """Writes the means since the last row; ``seconds`` counts from the start of this process."""
        total = self._offset + seconds
        means = {name: math.fsum(values) / len(values) for name, values in self._sums.items()}
        self._sums.clear()
        steps, elapsed = step - self._last[0], total - self._last[1]
        self._last = (step, total)
        rate = steps * self.batch_size / elapsed if elapsed > 0 else 0.0
        row = {"step": step, "seconds": f"{total:.2f}", "images_per_second": f"{rate:.1f}"}
        self._writer.writerow(row | {name: f"{value:.6g}" for name, value in means.items()})
        self._stream.flush()
        if self._board is not None:
            for name, value in means.items():
                self._board.add_scalar(name, value, step)
        if self._tracker is not None:
            self._tracker.figures(means, step)
        return means

    def picture(self, step: int, images_NCHW: np.ndarray, masks_NHW: np.ndarray) -> None:
        """Writes a sample grid as PNG and to TensorBoard."""
        pixels = mosaic(images_NCHW, masks_NHW)
        save_png(self.run / "samples" / f"step-{step:08d}.png", pixels)
        if self._board is not None:
            self._board.add_image("samples", pixels, step, dataformats="HWC")

    def close(self, complete: bool = True) -> None:
        """Closes the files, and ends a tracker's run as ``complete`` or not."""
        threading.excepthook = self._told_before
        # What cannot be written for want of room was told when it was written, or will be of the weights.
        with contextlib.suppress(OSError):
            self._stream.close()
        if self._board is not None:
            with contextlib.suppress(OSError):
                self._board.close()
        if self._tracker is not None:
            self._tracker.close(complete)

    def _thread_failed(self, failure: threading.ExceptHookArgs) -> None:
        """TensorBoard writes in a thread of its own, whose errors it raises again in this one: once is enough."""
        if not isinstance(failure.exc_value, OSError):
            self._told_before(failure)


def _read_rows(path: Path) -> list[dict[str, str]]:
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    # A killed process may leave half a row at the end.
    return [row for row in rows if all(row.get(name) is not None for name in COLUMNS) and row["step"].isdigit()]


def _open_tensorboard(folder: Path, step: int) -> Any:
    try:
        from torch.utils.tensorboard.writer import SummaryWriter
    except ImportError:  # a bare GPU machine: metrics.csv has the same figures
        return None
    return SummaryWriter(str(folder), purge_step=step + 1)
