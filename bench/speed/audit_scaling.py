"""How the cost of an audit grows with its samples: 1,000 and 3,000 of them, against as many training slices.

Run: ``python -m bench.speed.audit_scaling [--short]``. Prints one table. ``audit_speed.py`` measures one audit part by
part, of 10,000 samples too.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported

import math
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from bench.speed.audit_speed import build
from bench.speed.measure import Bench, Figure, main, single
from labelgan.audit.run import run_audit
from labelgan.config.audit import AuditConfig
from labelgan.data.store import SliceStore

COUNTS = (1000, 3000)
SHORT_COUNTS = (300, 900)
SIDE, HELD_OUT_SHARE = 64, 0.2


@dataclass(frozen=True)
class Cost:
    """Seconds of the processor of an audit, in all and of the part that asked for most."""

    seconds: float
    largest: float
    part: str


def audited(folder: Path, count: int) -> Cost:
    """Draws slices and audits them."""
    folder.mkdir()
    build(folder, count, int(HELD_OUT_SHARE * count), SIDE)
    store = SliceStore.open(folder / "store")
    held_out = [case.id for case in store.cases if case.id.startswith("h")]
    config = AuditConfig().with_settings(["data.threads=1", "data.device=cpu"])
    marks: list[tuple[str, float]] = [("read", time.process_time())]

    def report(done: int, steps: int, what: str) -> None:
        marks.append((what or "write", time.process_time()))

    run_audit(folder / "samples", store, held_out, folder / "audit", config, report=report)
    marks.append(("", time.process_time()))
    spent = [(marks[k + 1][1] - marks[k][1], marks[k][0]) for k in range(len(marks) - 1)]
    largest, part = max(spent)
    return Cost(sum(seconds for seconds, _ in spent), largest, part)


def exponent(small: float, large: float, times: float) -> float:
    """The p by which ``times`` as many samples cost ``times``ᵖ as much."""
    return math.log(large / small) / math.log(times)


def figures(short: bool) -> list[Figure]:
    """Audits a few and three times as many."""
    few, many = SHORT_COUNTS if short else COUNTS
    with tempfile.TemporaryDirectory() as name:
        audited(Path(name, "warm"), 200)
        small, large = (audited(Path(name, str(count)), count) for count in (few, many))
    return [
        Figure(
            name=f"exponent of an audit's cost, {few:,} to {many:,} samples",
            against="1: in proportion",
            ratio=single(exponent(small.seconds, large.seconds, many / few)),
            better="lower",
            detail=f"{small.seconds:.0f} s; {large.seconds:.0f} s, most for {large.part}: {large.largest:.0f} s",
            short=short,
        ),
    ]


BENCH = Bench(
    name="audit",
    title="Auditing",
    command="python -m bench.speed.audit_scaling",
    text=f"""
Whole audits of drawn slices of {SIDE}×{SIDE}, from folders to the last picture: {COUNTS[0]:,} and {COUNTS[1]:,} samples
against as many training slices, and a fifth as many held out. An exponent of 1 would be a cost in proportion to the
samples, 2 one in proportion to the pairs. What an audit of 10,000 samples of 128×128 costs, part by part, is in
[Auditing samples](audit.md#cost).
""",
    figures=figures,
)

if __name__ == "__main__":
    main(BENCH)
