"""Gives what jobs cost, a rate for each kind and recipe, from those that are finished."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from labelgan.core.errors import DataError
from labelgan.data.store import SliceStore
from labelgan.study.amounts import Sizes
from labelgan.study.engine.ledger import Job, Ledger
from labelgan.study.jobs import KINDS, STORE
from labelgan.study.plan import PREPARE, Plan


def work(job: Job, sizes: Sizes) -> float:
    """Gives a job's work in the units of its kind; a kind that nobody knows counts by the job."""
    return KINDS[job.kind].work(job, sizes) if job.kind in KINDS else 1.0


def recipe(job: Job) -> str:
    """Names what a unit of a job's work costs: jobs of one kind and recipe differ in the amount of work alone."""
    return KINDS[job.kind].recipe(job) if job.kind in KINDS else ""


SPREAD = 1.5  # largest over smallest work from which on a fixed part can be told from the rest
ENOUGH = 5  # jobs from which on it can
MOST_PAIRED = 300  # jobs that a robust line is laid through
MOST_WEIGHED = 20  # job folders of a kind whose size is looked at


@dataclass(frozen=True)
class Rate:
    """Cost of jobs of one kind and recipe: a fixed part and a part for every unit of work.

    Attributes:
        fixed_s, unit_s: seconds.
        fixed_bytes, unit_bytes: on disk in the end.
        passing_bytes: on disk while it runs, besides.
        jobs: finished jobs that this was measured on; 0: a probe.
        batch: slices of the batch that the probe timed, where it was a training; the rest is scaled.
    """

    fixed_s: float
    unit_s: float
    fixed_bytes: float = 0.0
    unit_bytes: float = 0.0
    passing_bytes: float = 0.0
    jobs: int = 0
    batch: int | None = None

    def seconds(self, work: float) -> float:
        """Seconds of a job."""
        return self.fixed_s + work * self.unit_s

    def bytes(self, work: float) -> float:
        """Bytes that a job leaves behind."""
        return self.fixed_bytes + work * self.unit_bytes


def median_rate(rates: Collection[Rate]) -> Rate:
    """The rate in the middle of several, part by part."""

    def middle(values: Iterable[float]) -> float:
        return float(np.median(list(values)))

    return Rate(
        middle(rate.fixed_s for rate in rates),
        middle(rate.unit_s for rate in rates),
        middle(rate.fixed_bytes for rate in rates),
        middle(rate.unit_bytes for rate in rates),
        middle(rate.passing_bytes for rate in rates),
        jobs=sum(rate.jobs for rate in rates),
    )


def stored_slices(plan: Plan, ledger: Ledger) -> dict[str, dict[str, float]] | None:
    """Slices of every case, from the slice store once it is there."""
    store = next(job for job in plan.jobs if job.kind == PREPARE)
    if not ledger.is_done(store):
        return None
    try:
        manifest = SliceStore.open(ledger.folder(store) / STORE).manifest
    except DataError:
        return None
    return {"data": {case.id: float(case.count) for case in manifest.cases}}


def finished(jobs: Sequence[Job], ledger: Ledger) -> dict[str, float]:
    """Key to seconds of the jobs that are done."""
    known = {path.name for path in ledger.jobs.iterdir()} if ledger.jobs.is_dir() else set()
    done = [job for job in jobs if job.key in known and ledger.is_done(job)]
    return {job.key: float(ledger.record(job)["seconds"]) for job in done}


def ledger_rates(
    jobs: Sequence[Job], ledger: Ledger, seconds: Mapping[str, float], sizes: Sizes
) -> dict[str, dict[str, Rate]]:
    """Rates of every kind and recipe of which jobs are done."""
    groups: defaultdict[tuple[str, str], list[Job]] = defaultdict(list)
    for job in jobs:
        if job.key in seconds:
            groups[job.kind, recipe(job)].append(job)
    rates: defaultdict[str, dict[str, Rate]] = defaultdict(dict)
    for (kind, name), done in groups.items():
        amounts = np.array([max(work(job, sizes), 1e-9) for job in done])
        fixed_s, unit_s = fit(amounts, np.array([seconds[job.key] for job in done]))
        some = range(0, len(done), math.ceil(len(done) / MOST_WEIGHED))
        weights = np.array([_folder_bytes(ledger.folder(done[place])) for place in some])
        per_job = kind in KINDS and not KINDS[kind].grows
        weight = float(np.median(weights if per_job else weights / amounts[list(some)]))
        bytes_of = (weight, 0.0) if per_job else (0.0, weight)
        rates[kind][name] = Rate(fixed_s, unit_s, *bytes_of, jobs=len(done))
    return dict(rates)


def fit(work: np.ndarray, seconds: np.ndarray) -> tuple[float, float]:
    """Fits seconds = fixed + work × rate, so that a few jobs that were disturbed do not matter.

    The rate is the median slope of all pairs (Theil 1950, Sen 1968), the fixed part the median of what is over. Where
    jobs are few, or all alike in work, there is no fixed part and the rate is the median of seconds a unit.

    Returns:
        The fixed part and the rate, neither below zero.
    """
    if len(work) >= ENOUGH and work.max() >= SPREAD * work.min():
        some = np.linspace(0, len(work) - 1, min(len(work), MOST_PAIRED)).astype(int)
        from scipy.stats import theilslopes

        x, y = work[some], seconds[some]
        slope = float(np.asarray(theilslopes(y, x))[0])
        fixed = float(np.median(y - slope * x))
        if slope >= 0 and fixed >= 0:
            return fixed, slope
    return 0.0, float(np.median(seconds / work))


def _folder_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
