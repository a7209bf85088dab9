"""Progress of long work: a bar with rate and time left on a terminal, plain lines elsewhere. Always on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any, Self, TypeAlias

from labelgan.core.words import duration

LINE_EVERY_S = 10.0

Report: TypeAlias = Callable[[int, int, str], None]  # (done, in all, text)


class Progress:
    """Context whose value is called with (done, in all, text); work done before it began does not count as rate."""

    def __init__(self, title: str, unit: str) -> None:
        self.title, self.unit = title, unit
        self._bar: Any = None
        self._task: Any = None
        self._started = self._last_line = time.monotonic()
        self._first: int | None = None
        self._shown = -1

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

            self._bar = Progress(
                TextColumn("[bold]{task.description}"),
                BarColumn(),
                TextColumn("{task.completed:.0f}/{task.total:.0f}"),
                TextColumn("{task.fields[rate]}"),
                TimeRemainingColumn(),
                TextColumn("{task.fields[note]}", markup=False),
                console=Console(stderr=True),
            )
            self._bar.start()
        return self

    def __call__(self, done: int, total: int, note: str = "") -> None:
        """Shows that ``done`` of ``total`` are done."""
        now = time.monotonic()
        if self._first is None:
            self._first = max(0, done - 1)
        rate = (done - self._first) / max(now - self._started, 1e-9)
        if self._bar is not None:
            if self._task is None:
                self._task = self._bar.add_task(self.title, total=total, rate="", note="")
            self._bar.update(self._task, completed=done, total=total, rate=f"{rate:.3g} {self.unit}/s", note=note)
        elif now - self._last_line >= LINE_EVERY_S or (done == total and self._shown != done):
            self._last_line, self._shown = now, done
            left = f", {duration((total - done) / rate)} left" if rate > 0 and done < total else ""
            note = f"  {note}" if note else ""
            print(f"{self.title} {done}/{total}  {rate:.3g} {self.unit}/s{left}{note}", file=sys.stderr, flush=True)

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()
