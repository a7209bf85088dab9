"""Times a study's machinery against plain calls of the same functions one after the other.

Run: ``python -m bench.speed.study.overhead [--short]``. Prints one table. ``scheduler.py`` looks at studies of 100,000
jobs.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from itertools import count, pairwise
from pathlib import Path
from statistics import median

from bench.speed.measure import Bench, Figure, Ratio, main, median_interval, median_ratio, take_turns
from bench.speed.study.scheduler import TARGET_MS, compute
from labelgan.config.study import EngineConfig
from labelgan.study.engine.engines import InlineEngine
from labelgan.study.engine.ledger import Job, Ledger
from labelgan.study.engine.local import LocalEngine
from labelgan.study.engine.scheduler import Event, run_jobs
from labelgan.study.engine.worker import Context

ROUNDS = 1_500_000  # of a job's arithmetic: about a tenth of a second
A_TURN = 4  # jobs
RUNNERS = "bench.speed.study.scheduler"


def jobs_of(runner: str, numbers: range, rounds: int) -> list[Job]:
    """Jobs of a runner of ``scheduler.py``."""
    return [
        Job("busy", f"{number}", {"number": number, "rounds": rounds}, {}, f"{RUNNERS}:{runner}") for number in numbers
    ]


def studied(ledger: Ledger, numbers: Iterator[int]) -> None:
    """Plans new jobs, and runs them through ledger, scheduler and worker in this process."""
    first = A_TURN * next(numbers)
    jobs = jobs_of("compute", range(first, first + A_TURN), ROUNDS)
    with InlineEngine() as engine:
        summary = run_jobs(jobs, ledger, engine)
    assert summary.done == A_TURN


def called(root: Path) -> None:
    """The same work, called."""
    for number in range(A_TURN):
        compute(Context("busy", {"number": number, "rounds": ROUNDS}, {}, root, {}))


def wall_a_job(jobs: list[Job], root: Path) -> list[float]:
    """Seconds by the wall's clock from one job's end to the next one's; one local worker."""
    ends: list[float] = []

    def note(event: Event) -> None:
        if event.what == "done":
            ends.append(time.perf_counter())

    with LocalEngine(EngineConfig(workers=1, threads=1, gpus=0)) as engine:
        summary = run_jobs(jobs, Ledger(root), engine, tell=note)
    assert summary.done == len(jobs)
    return [after - before for before, after in pairwise(ends)]


def figures(short: bool) -> list[Figure]:
    """Runs jobs of a tenth of a second here, and trivial ones on a worker."""
    os.environ["PYTHONPATH"] = os.pathsep.join(
        [str(Path(__file__).resolve().parents[3]), os.environ.get("PYTHONPATH", "")]
    )
    with tempfile.TemporaryDirectory() as name:
        root, numbers = Path(name), count()
        ledger = Ledger(root / "inline")
        ours, plain = take_turns([lambda: studied(ledger, numbers), lambda: called(root)], 5 if short else 9)
        walls = [1e3 * wall for wall in wall_a_job(jobs_of("nothing", range(40 if short else 100), 0), root / "local")]
    each = median(theirs - mine for theirs, mine in zip(ours, plain, strict=True)) / A_TURN
    work = median(plain) / A_TURN
    return [
        Figure(
            name="a job of a tenth of a second",
            against="a plain call",
            ratio=median_ratio(ours, plain),
            better="lower",
            detail=f"{1e3 * each:.1f} ms more than {1e3 * work:.0f} ms a job",
        ),
        Figure(
            name="a job that does nothing, on a local worker",
            against="the clock on the wall",
            ratio=Ratio(median(walls), *median_interval(walls), len(walls)),
            better="lower",
            target=TARGET_MS,
            unit="ms",
            detail=f"{len(walls)} jobs, each written, run, synced to disk and looked up",
        ),
    ]


BENCH = Bench(
    name="study",
    title="The machinery of studies",
    command="python -m bench.speed.study.overhead",
    text="""
What planning, ledger, scheduler and worker add to a job's own work: jobs of a tenth of a second of arithmetic, run as a
study runs them in this process, in turns with plain calls of the same function. Jobs of a real study take minutes. The
second row is the local engine with a worker process, whose every job is synced to disk: from the end of one job to the
end of the next.
""",
    figures=figures,
)

if __name__ == "__main__":
    main(BENCH)
