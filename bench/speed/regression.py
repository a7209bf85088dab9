"""Measures every figure of speed anew, briefly, and compares it with the last committed table,
``bench/speed/baseline.json``.

A ratio that is more than 20 % worse is measured once more, and flagged when it is worse both times. Seconds, bytes and
rates belong to the machine that measured them and are not compared.

Run: ``python -m bench.speed.regression [--only NAME ...] [--tolerance 0.2]``. Prints one table; exit code 1 where
something is flagged, 2 where there is no table to compare with.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from bench.speed.benches import SCRIPTS, run_bench
from bench.speed.measure import BASELINE, RATIO, ROOT, Figure
from labelgan.core.provenance import measured_at

TOLERANCE = 0.2

Verdict = Literal["as before", "better", "worse", "missing", "new"]
FLAGGED = ("worse", "missing")


@dataclass(frozen=True)
class Compared:
    """One figure of two tables; ``worse`` is by how much, as a share: below 0 where it is better."""

    name: str
    verdict: Verdict
    before: float | None = None
    now: float | None = None
    worse: float = 0.0


def worsening(before: Figure, now: Figure) -> float:
    """By what share a figure has become worse: 0.25 where 1.00 that should be low is 1.25, or 1.25 that should be
    high is 1.00. Below 0 where it has become better, and 0 within the figure's slack.
    """
    was, new = before.ratio.value, now.ratio.value
    if abs(new - was) <= before.slack:
        return 0.0
    low, high = (was, new) if before.better == "lower" else (new, was)
    return high / low - 1 if low > 0 else float("inf") if high > low else 0.0


def compare(before: Sequence[Figure], now: Sequence[Figure], tolerance: float = TOLERANCE) -> list[Compared]:
    """Compares the ratios of one bench.

    Args:
        before: of the committed table; what the short run leaves out, and what is no ratio, is passed over.
        now: measured anew.
        tolerance: share by which a ratio may be worse.
    """
    new = {figure.name: figure for figure in now if figure.unit == RATIO}
    old = {figure.name: figure for figure in before if figure.unit == RATIO}
    rows = []
    for name, figure in old.items():
        if name not in new:
            if figure.short:
                rows.append(Compared(name, "missing", figure.ratio.value))
            continue
        worse = worsening(figure, new[name])
        verdict: Verdict = "worse" if worse > tolerance else "better" if worse < -tolerance else "as before"
        rows.append(Compared(name, verdict, figure.ratio.value, new[name].ratio.value, worse))
    rows += [Compared(name, "new", None, figure.ratio.value) for name, figure in new.items() if name not in old]
    return rows


def best_of(first: Sequence[Figure], second: Sequence[Figure]) -> list[Figure]:
    """Of every figure that was measured twice the better one, of the others what there is."""
    chosen = {figure.name: figure for figure in first}
    for figure in second:
        other = chosen.get(figure.name)
        sign = 1 if figure.better == "higher" else -1
        if other is None or sign * figure.ratio.value > sign * other.ratio.value:
            chosen[figure.name] = figure
    return list(chosen.values())


def check(
    table: Mapping[str, Sequence[Figure]], measure: Callable[[str], Sequence[Figure]], tolerance: float = TOLERANCE
) -> dict[str, list[Compared]]:
    """Compares every bench of a table, once more where the first look flags something.

    Args:
        table: bench to its figures, as committed; benches that the short run leaves out whole are passed over.
        measure: gives a bench's figures anew, none where it fails.
        tolerance: as in `compare`.
    """
    found = {}
    for name, before in table.items():
        if not any(figure.short and figure.unit == RATIO for figure in before):
            continue
        now = measure(name)
        rows = compare(before, now, tolerance)
        if any(row.verdict in FLAGGED for row in rows):
            rows = compare(before, best_of(now, measure(name)), tolerance)
        found[name] = rows
    return found


def committed_table() -> dict[str, list[Figure]]:
    """The table of the last commit, or the file where there is no repository; empty without either."""
    told = subprocess.run(
        ["git", "show", f"HEAD:{BASELINE.relative_to(ROOT).as_posix()}"], cwd=ROOT, capture_output=True, check=False
    )
    text = told.stdout if told.returncode == 0 else BASELINE.read_bytes() if BASELINE.is_file() else b"{}"
    table: dict[str, Any] = json.loads(text)
    return {name: [Figure.from_json(each) for each in entry["figures"]] for name, entry in table.items()}


def as_text(found: Mapping[str, Sequence[Compared]]) -> str:
    """The comparison, a line a figure."""

    def shown(value: float | None) -> str:
        return "" if value is None else f"{value:.3g}"

    lines = ["| bench | what | before | now | worse by | |", "|---|---|---:|---:|---:|---|"]
    for bench, rows in found.items():
        for row in rows:
            by = f"{row.worse:+.0%}" if row.before is not None and row.now is not None else ""
            mark = f"**{row.verdict}**" if row.verdict in FLAGGED else row.verdict
            lines.append(f"| {bench} | {row.name} | {shown(row.before)} | {shown(row.now)} | {by} | {mark} |")
    return "\n".join(lines)


def main() -> int:
    """Prints the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=sorted(SCRIPTS), help="benches to look at")
    parser.add_argument("--tolerance", type=float, default=TOLERANCE, help="share by which a ratio may be worse")
    options = parser.parse_args()
    table = committed_table()
    table = {name: table[name] for name in table if name in SCRIPTS and (not options.only or name in options.only)}
    if not table:
        print("error: bench/speed/baseline.json: holds no such table; make bench writes one", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as folder:
        found = check(table, lambda name: run_bench(name, Path(folder), ["--short"]), options.tolerance)
    print(measured_at() + "\n")
    print(as_text(found))
    flagged = [f"{bench}: {row.name}" for bench, rows in found.items() for row in rows if row.verdict in FLAGGED]
    print(f"{len(flagged)} flagged" + "".join(f"\n  {line}" for line in flagged))
    return int(bool(flagged))


if __name__ == "__main__":
    sys.exit(main())
