"""metrics.csv: one row every so many steps, with the mean of each metric over the steps since the row before."""

from __future__ import annotations

import csv
import io
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from labelgan.core.files import write_text_atomic


class MetricsCsv:
    """Collects the metrics of steps and writes their means as rows.

    Until `open` is called it only collects: the processes of a team that write no files never open it.

    Args:
        path: the file.
        columns: ``step`` and ``seconds`` among them; ``images_per_second`` is filled in where it is one.
        batch_size: slices of a step.
        clock: gives seconds.

    Attributes:
        unwritten: every value since the last row, by metric. Checkpoints keep it, so that the first row after a
            resumption has the same means as without the interruption.
    """

    def __init__(
        self, path: Path, columns: Sequence[str], batch_size: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.path, self.columns, self.batch_size, self._clock = path, tuple(columns), batch_size, clock
        self.unwritten: dict[str, list[float]] = {}
        self._start: float | None = None
        self._last = (0, 0.0)

    def open(self, step: int) -> None:
        """Drops the rows after ``step``, where the training goes on, and continues their count of seconds."""
        kept = [row for row in _read_rows(self.path, self.columns) if int(row["step"]) <= step]
        seconds = float(kept[-1]["seconds"]) if kept else 0.0
        write_text_atomic(self.path, self._as_csv([dict(zip(self.columns, self.columns, strict=True)), *kept]))
        self._start, self._last = self._clock() - seconds, (step, seconds)

    def add(self, metrics: Mapping[str, float]) -> None:
        """Takes the metrics of one step; not every step need have every metric."""
        for name, value in metrics.items():
            self.unwritten.setdefault(name, []).append(value)

    def write(self, step: int, **cells: object) -> dict[str, float]:
        """Writes a row of means and of ``cells``, columns that are no means; gives the means."""
        means = {name: math.fsum(values) / len(values) for name, values in self.unwritten.items()}
        self.unwritten.clear()
        if self._start is not None:
            seconds = self._clock() - self._start
            row: dict[str, object] = {"step": step, "seconds": f"{seconds:.2f}", **cells}
            if "images_per_second" in self.columns:
                steps, passed = step - self._last[0], seconds - self._last[1]
                row["images_per_second"] = f"{steps * self.batch_size / passed if passed > 0 else 0.0:.1f}"
            self._last = (step, seconds)
            with self.path.open("a", newline="", encoding="utf-8") as stream:
                stream.write(self._as_csv([row | {name: f"{value:.6g}" for name, value in means.items()}]))
        return means

    def close(self, complete: bool) -> None:
        """Ends the rows; ``complete`` is False where the training was interrupted or failed."""

    def _as_csv(self, rows: Iterable[Mapping[str, object]]) -> str:
        text = io.StringIO()
        csv.DictWriter(text, self.columns, lineterminator="\n").writerows(rows)
        return text.getvalue()


def _read_rows(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """Gives the whole rows of a file, if it is there; a killed process may leave half a line at its end."""
    if not path.is_file():
        return []
    whole, _, _ = path.read_text(encoding="utf-8").rpartition("\n")
    rows = csv.DictReader(whole.splitlines())
    return [row for row in rows if [*row] == [*columns] and None not in row.values() and row["step"].isdigit()]
