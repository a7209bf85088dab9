"""What the benches of speed share: calls that take turns, ratios of pairs, the machine's ceiling, rows and their table.

Seconds are of the processor where nothing else is said: other work on the machine lengthens them little. Ours and its
rival take turns in short calls, and a figure is the median of the ratios of neighbouring calls, so that what slows the
machine slows both.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any, Literal

from labelgan.core.files import write_json_atomic
from labelgan.core.provenance import measured_at
from tools.sections import write_section

ROOT = Path(__file__).parents[2]
BASELINE = ROOT / "bench" / "speed" / "baseline.json"
DOCUMENT = ROOT / "docs" / "results" / "speed.md"
RATIO = "×"

Clock = Callable[[], float]


@dataclass(frozen=True)
class Ratio:
    """The median of some ratios, and the 95 % interval of that median: all of them where they are below six."""

    value: float
    low: float
    high: float
    pairs: int


@dataclass(frozen=True)
class Figure:
    """One row of the table.

    Attributes:
        name: what was measured; the key by which two tables are compared.
        against: the rival, or what the value is a share of.
        ratio: the value and its interval.
        better: the direction that is good.
        target: the value that is promised, where one is.
        detail: seconds, bytes or rates behind the ratio.
        unit: ``×`` for a ratio, which two tables are compared by; another unit's value belongs to one machine.
        slack: a difference of less than this is none, however large its share.
        short: whether the short run measures it too.
    """

    name: str
    against: str
    ratio: Ratio
    better: Literal["higher", "lower"]
    target: float | None = None
    detail: str = ""
    unit: str = RATIO
    slack: float = 0.0
    short: bool = True

    @property
    def met(self) -> bool | None:
        """Whether the target is reached; None without one."""
        if self.target is None:
            return None
        return self.ratio.value >= self.target if self.better == "higher" else self.ratio.value <= self.target

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Figure:
        """Reads what ``asdict`` gave."""
        return cls(**{**value, "ratio": Ratio(**value["ratio"])})


@dataclass(frozen=True)
class Bench:
    """A script of figures.

    Attributes:
        name: of its section and of its entry in the baseline.
        title: its heading.
        command: how it is run.
        text: what is measured and how, Markdown.
        figures: measures them; with True as its argument in fewer repeats and without the long ones.
    """

    name: str
    title: str
    command: str
    text: str
    figures: Callable[[bool], list[Figure]]


def median_ratio(numerators: Sequence[float], denominators: Sequence[float]) -> Ratio:
    """The median of the ratios of pairs."""
    ratios = [a / b for a, b in zip(numerators, denominators, strict=True)]
    return Ratio(median(ratios), *median_interval(ratios), len(ratios))


def median_interval(values: Sequence[float]) -> tuple[float, float]:
    """Two of the values between which the median lies with 95 % confidence, whatever they are drawn from.

    The median exceeds the k-th smallest of n values unless fewer than k of them lie below it: the number that do is
    binomial with n and one half. Below six values even the outermost two give less than 95 %, and are given.
    """
    ordered, count = sorted(values), len(values)
    outside, skipped = 0.0, 0
    while (outside := outside + math.comb(count, skipped) / 2**count) <= 0.025:
        skipped += 1
    place = max(0, skipped - 1)
    return ordered[place], ordered[count - 1 - place]


def single(value: float) -> Ratio:
    """A value that was measured once."""
    return Ratio(value, value, value, 1)


def take_turns(
    calls: Sequence[Callable[[], object]], rounds: int, clock: Clock = time.process_time, warm: int = 1
) -> list[list[float]]:
    """Seconds of each call in each round; every second round runs backwards, so that drift meets both alike.

    A call that returns a float tells its own seconds, for instance those of another process.

    Args:
        calls: what is timed.
        rounds: how often.
        clock: gives seconds.
        warm: rounds before, which do not count.
    """
    times: list[list[float]] = [[] for _ in calls]
    for number in range(-warm, rounds):
        order = list(enumerate(calls))
        for place, call in order if number % 2 == 0 else reversed(order):
            seconds = timed(call, clock)
            if number >= 0:
                times[place].append(seconds)
    return times


def timed(call: Callable[[], object], clock: Clock = time.process_time) -> float:
    """Seconds of a call, or those that it tells itself."""
    started = clock()
    told = call()
    return told if isinstance(told, float) else clock() - started


class Turns:
    """Given to a training as its ``report``: after every step the rivals take a turn, each of them timed.

    So the loop that is timed is the command's own, with all that it does between two steps. Nothing before the first
    report counts.

    Attributes:
        times: seconds of the training's steps, then of each rival's; one place each for every step but the first.
    """

    def __init__(self, rivals: Sequence[Callable[[int], object]], clock: Clock = time.process_time) -> None:
        self.rivals, self.clock = rivals, clock
        self.times: list[list[float]] = [[] for _ in range(1 + len(rivals))]
        self._since: float | None = None

    def __call__(self, done: int, steps: int, text: str) -> None:
        """Takes the time of the step that has ended, and lets the rivals make the same."""
        if self._since is not None:
            self.times[0].append(self.clock() - self._since)
            for rival, times in zip(self.rivals, self.times[1:], strict=True):
                times.append(timed(lambda rival=rival: rival(done - 1), self.clock))
        self._since = self.clock()


def in_rounds(times: Sequence[float], length: int) -> list[float]:
    """Sums of neighbours, ``length`` each; what is left over at the end is dropped."""
    return [sum(times[start : start + length]) for start in range(0, len(times) - length + 1, length)]


@contextlib.contextmanager
def stopwatch(owner: Any, name: str, clock: Clock = time.process_time) -> Iterator[list[float]]:
    """Collects the seconds of every call of a function or method while the context lasts."""
    original, spent = getattr(owner, name), []

    def watched(*args: Any, **kwargs: Any) -> Any:
        started = clock()
        try:
            return original(*args, **kwargs)
        finally:
            spent.append(clock() - started)

    setattr(owner, name, watched)
    try:
        yield spent
    finally:
        setattr(owner, name, original)


PRODUCT_SIDE = 1024
PRODUCT_GFLOP = 2 * PRODUCT_SIDE**3 / 1e9


def matrix_product() -> Callable[[], object]:
    """A call that makes one fp32 product of 1024×1024 matrices, 2.15 GFLOP: the machine's own ceiling."""
    import torch

    a, b = torch.randn(PRODUCT_SIDE, PRODUCT_SIDE), torch.randn(PRODUCT_SIDE, PRODUCT_SIDE)
    out = torch.empty_like(a)
    return lambda: torch.mm(a, b, out=out)


def as_table(figures: Sequence[Figure]) -> str:
    """The figures as Markdown."""
    lines = [
        "| what | against | value | 95 % interval | pairs | target | behind it |",
        "|---|---|---:|---|---:|---|---|",
    ]
    for figure in figures:
        ratio = figure.ratio
        interval = f"{_short(ratio.low)} to {_short(ratio.high)}" if ratio.pairs > 1 else ""
        lines.append(
            f"| {figure.name} | {figure.against} | {as_value(figure)} | {interval} | {ratio.pairs} | "
            f"{target_text(figure)} | {figure.detail} |"
        )
    return "\n".join(lines)


def as_value(figure: Figure) -> str:
    """The value with its unit."""
    unit = "" if figure.unit == RATIO else f" {figure.unit}"
    return f"{_short(figure.ratio.value)}{unit}"


def target_text(figure: Figure) -> str:
    """The target and whether it is met."""
    if figure.target is None:
        return ""
    sign = "≥" if figure.better == "higher" else "≤"
    return f"{sign} {_short(figure.target)}: {'met' if figure.met else '**missed**'}"


def _short(value: float) -> str:
    """Three figures that count, thousands in full."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    decimals = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:,.{decimals}f}"


def load() -> float:
    """Runnable processes for every core, mean of the last minute."""
    return os.getloadavg()[0] / (os.cpu_count() or 1)


def main(bench: Bench) -> None:
    """Measures, prints the table, and writes it where that is asked for."""
    parser = argparse.ArgumentParser(description=bench.text, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="fewer repeats, and without what takes long")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here")
    parser.add_argument(
        "--write", action="store_true", help="write docs/results/speed.md and bench/speed/baseline.json"
    )
    options = parser.parse_args()
    before = load()
    figures = bench.figures(options.short)
    loads = (before, load())
    print(as_table(figures))
    if options.json:
        write_json_atomic(options.json, [asdict(figure) for figure in figures])
    if options.write:
        if options.short:
            sys.exit("error: --write: the table is written from a whole run, without --short")
        write(bench, figures, loads)


def write(bench: Bench, figures: Sequence[Figure], loads: tuple[float, float]) -> None:
    """Puts figures into the document's section and the baseline's entry of their bench."""
    before, after = loads
    told = f"`{bench.command}`. Load while it ran, runnable processes a core: {before:.1f} before, {after:.1f} after."
    told = f"{told} {measured_at()}"
    write_section(DOCUMENT, bench.name, f"## {bench.title}\n\n{bench.text.strip()}\n\n{told}\n\n{as_table(figures)}")
    table = read_baseline(BASELINE) if BASELINE.exists() else {}
    table[bench.name] = {"load": [round(value, 2) for value in loads], "figures": [asdict(each) for each in figures]}
    write_json_atomic(BASELINE, dict(sorted(table.items())))


def read_baseline(path: Path) -> dict[str, Any]:
    """Bench to its load and its figures, as JSON has them."""
    return json.loads(path.read_text(encoding="utf-8"))
