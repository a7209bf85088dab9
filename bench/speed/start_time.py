"""Times `labelgan --help` and `import labelgan` against Python that does nothing, and that imports NumPy.

Run: ``python -m bench.speed.start_time [--short]``. Prints one table.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from statistics import median

from bench.speed.measure import Bench, Figure, Ratio, main, median_interval, median_ratio, take_turns

HELP_S = 1.0
CALLS = {
    "`python -c pass`": ("-c", "pass"),
    "`python -c 'import numpy'`": ("-c", "import numpy"),
    "`import labelgan`": ("-c", "import labelgan"),
    "`labelgan --help`": ("-m", "labelgan", "--help"),
}


def child_seconds() -> float:
    """Seconds of the processor of all children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def started(arguments: Sequence[str], walls: list[float]) -> Callable[[], None]:
    """A call that runs Python once, and notes the clock on the wall."""

    def run() -> None:
        began = time.perf_counter()
        subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
        walls.append(time.perf_counter() - began)

    return run


def figures(short: bool) -> list[Figure]:
    """Starts Python in turns."""
    walls: dict[str, list[float]] = {name: [] for name in CALLS}
    calls = [started(arguments, walls[name]) for name, arguments in CALLS.items()]
    times = dict(zip(CALLS, take_turns(calls, 5 if short else 9, child_seconds), strict=True))
    nothing, numpy, package, helped = CALLS
    rows = [
        Figure(
            name=what,
            against=rival,
            ratio=median_ratio(times[what], times[rival]),
            better="lower",
            detail=f"{median(times[what]) * 1e3:.0f} ms; {median(times[rival]) * 1e3:.0f} ms",
        )
        for what, rival in ((package, nothing), (helped, nothing), (helped, numpy))
    ]
    spent = times[helped]
    rows.append(
        Figure(
            name=helped,
            against="the processor",
            ratio=Ratio(median(spent), *median_interval(spent), len(spent)),
            better="lower",
            target=HELP_S,
            unit="s",
            detail=f"{median(walls[helped]):.2f} s by the clock on the wall, fastest {min(walls[helped]):.2f} s",
        )
    )
    return rows


BENCH = Bench(
    name="start",
    title="Starting",
    command="python -m bench.speed.start_time",
    text="""
A Python of its own for every call, in turns; seconds of its processor, which all work on the machine leaves nearly
alone, and for `--help` also by the clock on the wall, which it does not.
""",
    figures=figures,
)

if __name__ == "__main__":
    main(BENCH)
