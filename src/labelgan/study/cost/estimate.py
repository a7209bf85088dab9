"""Estimates the cost of a study: a job's seconds are a fixed part and its work times a rate; see `cost.work`.

Rates come from the study's own finished jobs where there are some of a kind, else from a probe of a few real steps on
this machine. The time of all jobs on W workers comes from a simulation of the scheduler's own order.
"""

from __future__ import annotations

import heapq
import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from labelgan.config.study import EngineConfig, StudyConfig
from labelgan.core.words import duration
from labelgan.study.cohort import KnownCohort
from labelgan.study.cost.probe import BUDGET_S, Probe, measure
from labelgan.study.cost.work import (
    Rate,
    Sizes,
    finished,
    ledger_rates,
    median_rate,
    recipe,
    stored_slices,
    work,
)
from labelgan.study.engine.ledger import Job, Ledger
from labelgan.study.engine.local import LocalEngine, cores
from labelgan.study.engine.scheduler import JobGraph
from labelgan.study.jobs import KINDS
from labelgan.study.plan import Plan

BUSY = 1.5  # wall-clock over processor time from which on it is told

Rates = Mapping[str, Mapping[str, Rate]]


@dataclass(frozen=True)
class KindCost:
    """One kind of job in an estimate.

    Attributes:
        kind, jobs, done: how many there are, and are done.
        seconds: of those that are left, one after the other; nan where nothing is known.
        bytes: of those that are left.
        unit: what the work is counted in.
        unit_s: median seconds a unit.
        source: where the rate comes from, in words.
    """

    kind: str
    jobs: int
    done: int
    seconds: float
    bytes: float
    unit: str
    unit_s: float
    source: str


@dataclass(frozen=True)
class Estimate:
    """Jobs that are left of a study, and their cost.

    Attributes:
        kinds: in the order in which they come.
        workers: jobs at a time.
        threads: cores of a job.
        wall_s: from the start to the end of what is left.
        core_hours: of the CPU, of jobs without a GPU where there are GPUs.
        gpu_hours: of jobs with a GPU.
        passing_bytes: on disk besides, while it runs.
        notes: what a reader should know, one line each.
    """

    kinds: tuple[KindCost, ...]
    workers: int
    threads: int
    wall_s: float
    core_hours: float
    gpu_hours: float
    passing_bytes: float = 0.0
    notes: tuple[str, ...] = field(default=())

    @property
    def jobs(self) -> int:
        """All jobs."""
        return sum(kind.jobs for kind in self.kinds)

    @property
    def done(self) -> int:
        """Jobs that are done."""
        return sum(kind.done for kind in self.kinds)

    @property
    def bytes(self) -> float:
        """Disk that the jobs that are left will fill."""
        return math.fsum(kind.bytes for kind in self.kinds)

    @property
    def unknown(self) -> tuple[str, ...]:
        """Kinds of which jobs are left and nothing is known."""
        return tuple(kind.kind for kind in self.kinds if math.isnan(kind.seconds))

    @property
    def line(self) -> str:
        """The answer in one line."""
        left = "nothing is left" if self.done == self.jobs else f"about {duration(self.wall_s)}"
        if self.unknown:
            left = f"{left.replace('about', 'more than')}, as nothing is known of {', '.join(self.unknown)}"
        several = "1 worker" if self.workers == 1 else f"{self.workers} workers"
        return f"{self.jobs} jobs, {self.done} done; {left} on {several}"


def estimate_plan(
    plan: Plan,
    ledger: Ledger,
    config: StudyConfig,
    cohort: KnownCohort,
    test: KnownCohort | None = None,
    *,
    workers: int | None = None,
    device: str = "auto",
    tell: Callable[[str], None] | None = None,
) -> Estimate:
    """Estimates what is left of a study. Nothing is written in its folder.

    Args:
        plan: its jobs.
        ledger: the jobs that are done; a ledger whose folder is not there will do.
        config: the study's settings.
        cohort: whose patients are trained on.
        test: a second cohort to test on.
        workers: jobs at a time; None: as the local engine has it on this machine.
        device: where jobs compute.
        tell: called with a line before this machine is measured, which takes some seconds.
    """
    seconds = finished(plan.jobs, ledger)
    left = [job for job in plan.jobs if job.key not in seconds]
    with LocalEngine(EngineConfig(workers=workers)) as engine:
        slots = engine.slots
    threads = 1 if slots > 1 else cores()
    known = {job.kind for job in plan.jobs if job.key in seconds}
    missing = {job.kind for job in left} - known - {name for name, kind in KINDS.items() if kind.instant}
    slices = stored_slices(plan, ledger) if test is None else None
    probe = Probe()
    if missing or (left and slices is None):
        if tell is not None:
            tell(f"timing a few steps of these networks on this machine, about {BUDGET_S:.0f} s")
        probe = measure(plan.jobs, missing, config, cohort, test, device=device, threads=threads if slots > 1 else None)
    sizes = sizes_of(cohort, test, slices or probe.slices)
    rates = {**probe.rates, **ledger_rates(plan.jobs, ledger, seconds, sizes)}
    notes = [f"{kind} could not be timed: {reason}" for kind, reason in probe.failed.items()]
    if probe.device == "cpu" and probe.busy > BUSY:
        notes.append(f"this machine is busy: what was timed waited {1 - 1 / probe.busy:.0%} of the time for a core")
    return estimate(
        plan.jobs,
        rates,
        sizes,
        done=seconds,
        workers=slots,
        threads=threads,
        start_s=probe.start_s,
        notes=notes,
    )


def estimate(
    jobs: Sequence[Job],
    rates: Rates,
    sizes: Sizes,
    *,
    done: Mapping[str, float] | None = None,
    workers: int = 1,
    threads: int = 1,
    start_s: float = 0.0,
    notes: Sequence[str] = (),
) -> Estimate:
    """Estimates jobs from rates, by kind and recipe.

    Args:
        jobs: of the study.
        rates: see `cost_probe.Rate`; a recipe that is not there costs the median of its kind.
        sizes: of the cases.
        done: keys of the jobs that are done.
        workers: jobs at a time.
        threads: cores of a job.
        start_s: until a worker begins its first job.
        notes: what the reader should know.
    """
    done = {} if done is None else done
    groups: defaultdict[str, list[Job]] = defaultdict(list)
    for job in jobs:
        groups[job.kind].append(job)
    seconds: dict[str, float] = {}
    core_s = gpu_s = passing = 0.0
    kinds = []
    for kind, members in groups.items():
        left = [job for job in members if job.key not in done]
        spent, size, units = [], [], []
        for job in left:
            rate = _rate(rates.get(kind, {}), recipe(job), kind)
            amount = work(job, sizes)
            spent.append(rate.seconds(amount))
            size.append(rate.bytes(amount))
            units.append(rate.unit_s)
            seconds[job.key] = 0.0 if math.isnan(spent[-1]) else spent[-1]
            gpu_s += seconds[job.key] * job.gpus
            core_s += 0.0 if job.gpus else seconds[job.key] * threads
            passing = max(passing, rate.passing_bytes)
        kinds.append(
            KindCost(
                kind,
                len(members),
                len(members) - len(left),
                math.fsum(spent),
                float(np.nan_to_num(size).sum()),
                KINDS[kind].unit if kind in KINDS else "job",
                float(np.median(units)) if units else 0.0,
                _source(rates.get(kind, {}), kind, bool(left)),
            )
        )
    wall_s = makespan(jobs, seconds, workers) + (start_s if seconds else 0.0)
    return Estimate(
        tuple(kinds), workers, threads, wall_s, core_s / 3600, gpu_s / 3600, passing * workers, tuple(notes)
    )


def _rate(rates: Mapping[str, Rate], name: str, kind: str) -> Rate:
    if name in rates:
        return rates[name]
    if not rates:
        return Rate(0.0, 0.0) if _is_instant(kind) else Rate(math.nan, math.nan)
    return median_rate(rates.values())


def _is_instant(kind: str) -> bool:
    return kind in KINDS and KINDS[kind].instant


def _source(rates: Mapping[str, Rate], kind: str, left: bool) -> str:
    if not left:
        return ""
    if _is_instant(kind):
        return "next to nothing"
    if not rates:
        return "unknown"
    jobs = sum(rate.jobs for rate in rates.values())
    if jobs:
        return "1 finished job" if jobs == 1 else f"{jobs} finished jobs"
    batches = [rate.batch for rate in rates.values() if rate.batch is not None]
    return f"probe, batch of {min(batches)}" if batches else "probe"


def makespan(jobs: Sequence[Job], seconds: Mapping[str, float], workers: int) -> float:
    """Seconds until the last job ends, with ``workers`` at a time in the order of `labelgan.study.engine.scheduler`.

    Args:
        jobs: of the study, with what they depend on.
        seconds: key to seconds, of the jobs that are left.
        workers: jobs at a time.
    """
    graph = JobGraph(jobs)
    waiting = {place: 0 for place, job in enumerate(graph.jobs) if job.key in seconds}
    for place in waiting:
        for reader in graph.readers[place]:
            if reader in waiting:
                waiting[reader] += 1

    def rank(place: int) -> tuple[int, int, int]:
        return -graph.height[place], -len(graph.readers[place]), place

    ready = [rank(place) for place, count in waiting.items() if not count]
    heapq.heapify(ready)
    running: list[tuple[float, int]] = []
    now = 0.0
    while ready or running:
        while ready and len(running) < workers:
            place = heapq.heappop(ready)[2]
            heapq.heappush(running, (now + seconds[graph.jobs[place].key], place))
        now, place = heapq.heappop(running)
        for reader in graph.readers[place]:
            if reader in waiting:
                waiting[reader] -= 1
                if not waiting[reader]:
                    heapq.heappush(ready, rank(reader))
    return now


def sizes_of(cohort: KnownCohort, test: KnownCohort | None, slices: Mapping[str, Mapping[str, float]]) -> Sizes:
    """Puts together what work is counted from; where slices are not known, a scan is taken for one of 65,536 pixels."""
    cohorts = {"data": cohort} if test is None else {"data": cohort, "test": test}
    voxels = {name: {case.id: case.voxels for case in known.cases} for name, known in cohorts.items()}
    counted = {
        name: {case: slices.get(name, {}).get(case, count / 65536) for case, count in known.items()}
        for name, known in voxels.items()
    }
    cases: defaultdict[str, list[str]] = defaultdict(list)
    for case in cohort.cases:
        cases[case.patient].append(case.id)
    return Sizes(
        voxels, counted, {patient: tuple(ids) for patient, ids in cases.items()}, unlabelled=len(cohort.unlabelled)
    )
