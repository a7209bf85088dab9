"""Runs jobs in the order that their inputs ask for, through any engine, and says what became of each.

The order is the list scheduling of Graham (SIAM J. Appl. Math. 17(2), 1969): of the jobs that could run, first those
that the longest chain of others waits for, then those that most others wait for, then as they were given.
"""

from __future__ import annotations

import heapq
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from labelgan.core.errors import ConfigError, DataError
from labelgan.core.progress import Report
from labelgan.study.engine.base import Engine
from labelgan.study.engine.ledger import Job, Ledger


@dataclass(frozen=True)
class Event:
    """Something happened to a job: ``note`` is the reason or remark, one line, or empty."""

    what: Literal["damaged", "started", "done", "retried", "failed", "blocked"]
    job: Job
    note: str = ""


@dataclass(frozen=True)
class Failure:
    """A job that failed for good, with its log (relative to the ledger's root)."""

    job: Job
    reason: str
    log: str
    attempts: int
    exit_code: int

    def record(self) -> dict[str, str]:
        """As study.json lists it."""
        return {"job": self.job.key, "label": self.job.label, "reason": self.reason, "log": self.log}


@dataclass
class RunSummary:
    """Counts of the jobs: run and done now, done before, failed, and left because an input failed.

    ``seconds`` is wall-clock time, ``damaged`` names each ``done.json`` that could not be used, and why.
    """

    done: int = 0
    reused: int = 0
    failed: list[Failure] = field(default_factory=list)
    blocked: list[Job] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def complete(self) -> bool:
        """Whether every job is done."""
        return not self.failed and not self.blocked


class JobGraph:
    """Jobs with everything that they depend on, each key once, inputs before their readers.

    ``position`` maps a key to its place in ``jobs``; ``readers[i]`` lists who reads job i; ``height[i]`` is the number
    of jobs in the longest chain that waits for it.
    """

    def __init__(self, jobs: Iterable[Job]) -> None:
        self.jobs: list[Job] = []
        self.position: dict[str, int] = {}
        for job in jobs:
            self._add(job)
        self.readers: list[list[int]] = [[] for _ in self.jobs]
        for reader, job in enumerate(self.jobs):
            for key in {given.key for given in job.inputs.values()}:
                self.readers[self.position[key]].append(reader)
        self.height = [0] * len(self.jobs)
        for place in reversed(range(len(self.jobs))):
            self.height[place] = max((self.height[reader] + 1 for reader in self.readers[place]), default=0)

    def _add(self, job: Job) -> None:
        # Without recursion: a chain may be longer than Python's stack.
        path = [job]
        while path:
            last = path[-1]
            if last.key in self.position:
                path.pop()
                continue
            missing = [given for given in last.inputs.values() if given.key not in self.position]
            if missing:
                path.extend(reversed(missing))
                continue
            self.position[last.key] = len(self.jobs)
            self.jobs.append(last)
            path.pop()


def run_jobs(
    jobs: Sequence[Job],
    ledger: Ledger,
    engine: Engine,
    *,
    report: Report | None = None,
    tell: Callable[[Event], None] | None = None,
    retries: int = 1,
) -> RunSummary:
    """Runs what is not done yet, inputs first, and goes on past failures.

    A job whose worker died is tried again ``retries`` times; one that raised is not. What depends on a failed job is
    blocked, everything else is run. When this raises, the engine's running jobs are interrupted first and can be
    resumed by the next call.

    Args:
        jobs: any order; the jobs that they read join by themselves, and jobs of one key are one job.
        ledger: where their folders are.
        engine: runs them; it stays open.
        report: called with (done, in all, label of the job that was done last).
        tell: called with every event.
        retries: how often a job whose worker died is tried again in this call.

    Raises:
        ConfigError: a job asks for more GPUs than the engine ever has.
        KeyboardInterrupt: interrupted; everything finished stays done.
    """
    started = time.monotonic()
    run = _Run(JobGraph(jobs), ledger, engine, report, tell or (lambda event: None), retries)
    try:
        run.to_the_end()
    except BaseException:
        engine.close(now=True)
        raise
    run.summary.seconds = time.monotonic() - started
    return run.summary


class _Run:
    def __init__(
        self,
        graph: JobGraph,
        ledger: Ledger,
        engine: Engine,
        report: Report | None,
        tell: Callable[[Event], None],
        retries: int,
    ) -> None:
        self.graph, self.ledger, self.engine, self.retries = graph, ledger, engine, retries
        self.report, self.tell = report, tell
        self.summary = RunSummary()
        self.ready: defaultdict[int, list[tuple[int, int, int]]] = defaultdict(list)  # by GPUs asked for
        self.running: set[int] = set()
        self.deaths: dict[int, int] = {}
        self.blocked: set[int] = set()
        self.waiting = self._count_missing_inputs()

    def _count_missing_inputs(self) -> dict[int, int]:
        """Counts, for every job that is not done, the inputs that are not; puts those without any on the heap."""
        graph = self.graph
        known = {path.name for path in self.ledger.jobs.iterdir()} if self.ledger.jobs.is_dir() else set()
        missing = [place for place, job in enumerate(graph.jobs) if job.key not in known or not self._is_done(job)]
        self.summary.reused = len(graph.jobs) - len(missing)
        waiting = dict.fromkeys(missing, 0)
        for place in missing:
            for reader in graph.readers[place]:
                if reader in waiting:
                    waiting[reader] += 1
        for place in missing:
            if not waiting[place]:
                self._push(place)
        return waiting

    def _is_done(self, job: Job) -> bool:
        try:
            return self.ledger.at(job).read_done() is not None
        except DataError as error:
            self.summary.damaged.append(str(error))
            self.tell(Event("damaged", job, f"{error}; it is run again"))
            return False

    def _push(self, place: int) -> None:
        rank = (-self.graph.height[place], -len(self.graph.readers[place]), place)
        heapq.heappush(self.ready[self.graph.jobs[place].gpus], rank)

    def to_the_end(self) -> None:
        self._show("")
        while self.running or any(self.ready.values()):
            self._feed()
            if not self.running:
                gpus, heap = next((gpus, heap) for gpus, heap in self.ready.items() if heap)
                job = self.graph.jobs[heap[0][2]]
                raise ConfigError(f"job {job.label}", f"asks for {gpus} GPUs, which the engine never has")
            for ended in self.engine.wait():
                self._ended(self.graph.position[ended.key], ended.lost)

    def _feed(self) -> None:
        # Jobs for GPUs first: a job without may take a worker that one with a GPU needs.
        for gpus in sorted(self.ready, reverse=True):
            heap = self.ready[gpus]
            while heap and self.engine.room(gpus) > 0:
                place = heapq.heappop(heap)[2]
                job = self.graph.jobs[place]
                folder = self.ledger.prepare(job).path
                self.running.add(place)
                self.tell(Event("started", job))
                self.engine.submit(job, folder)

    def _ended(self, place: int, lost: str | None) -> None:
        self.running.discard(place)
        job = self.graph.jobs[place]
        at = self.ledger.at(job)
        damage = None
        try:
            if at.read_done() is not None:
                self._done(place)
                return
        except DataError as error:
            damage = str(error)
        failed = at.read_failed()
        if failed is not None and lost is None:
            self._fail(place, failed)
            return
        reason = lost or damage or "its worker ended without a word"
        self.deaths[place] = self.deaths.get(place, 0) + 1
        if self.deaths[place] <= self.retries:
            at.write_failed(reason)
            self.tell(Event("retried", job, reason))
            self._push(place)
            return
        at.write_failed(reason)
        self._fail(place, at.read_failed() or {})

    def _done(self, place: int) -> None:
        self.summary.done += 1
        job = self.graph.jobs[place]
        self.tell(Event("done", job))
        self._show(job.label)
        del self.waiting[place]
        for reader in self.graph.readers[place]:
            if reader in self.waiting:
                self.waiting[reader] -= 1
                if not self.waiting[reader] and reader not in self.blocked:
                    self._push(reader)

    def _fail(self, place: int, failed: dict[str, Any]) -> None:
        job = self.graph.jobs[place]
        log = self.ledger.at(job).log.relative_to(self.ledger.root).as_posix()
        reason = str(failed.get("reason", "unknown"))
        failure = Failure(job, reason, log, int(failed.get("attempts", 1)), int(failed.get("exit_code", 1)))
        self.summary.failed.append(failure)
        self.tell(Event("failed", job, f"{reason} (log: {self.ledger.root / log})"))
        path = list(self.graph.readers[place])
        while path:
            reader = path.pop()
            if reader in self.waiting and reader not in self.blocked:
                self.blocked.add(reader)
                blocked = self.graph.jobs[reader]
                self.summary.blocked.append(blocked)
                self.tell(Event("blocked", blocked, f"waits for {job.label}, which failed"))
                path.extend(self.graph.readers[reader])

    def _show(self, label: str) -> None:
        if self.report is not None:
            self.report(self.summary.done + self.summary.reused, len(self.graph.jobs), label)
