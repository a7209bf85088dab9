"""Asks this machine what a study's jobs cost here: a short measurement in a child process, see `cost_measure`."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from labelgan.config.study import StudyConfig
from labelgan.data.pseudonyms import keyfile
from labelgan.study.cohort import KnownCase, KnownCohort
from labelgan.study.cost.work import Rate, recipe
from labelgan.study.engine.ledger import Job
from labelgan.study.plan import AUDIT, GENERATOR, MEMBER, PREDICT, SAMPLE

BUDGET_S = 16.0  # of measuring, after the child's imports
DEADLINE_S = 27.0  # from its start, when it is killed
ENOUGH_VOXELS = 500_000  # of the cases that are prepared; where cases are pictures that takes many
MOST_CASES = 24

WALL, PROCESSOR = 0, 1  # the two clocks that everything is measured with


@dataclass
class Probe:
    """Measurements of the child process.

    Attributes:
        rates: kind, then recipe.
        slices: cohort, then case, to slices with brain: those of the prepared cases, scaled by headers.
        start_s: from a worker's start to its first job.
        device: that it computed on.
        failed: kind to reason, where one could not be measured.
        seconds: that all of it took.
        clocks: sum of all that was measured, by either clock.
        lines: as they came.
    """

    rates: dict[str, dict[str, Rate]] = field(default_factory=dict)
    slices: dict[str, dict[str, float]] = field(default_factory=dict)
    start_s: float = 0.0
    device: str = ""
    failed: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    clocks: list[float] = field(default_factory=lambda: [0.0, 0.0])
    lines: list[Mapping[str, Any]] = field(default_factory=list, repr=False)

    @property
    def busy(self) -> float:
        """Wall-clock over processor seconds: above 1 where threads had to wait, as on a machine with other work."""
        wall, processor = self.clocks
        return wall / processor if processor else 1.0

    def add(self, line: Mapping[str, Any], clock: int = WALL) -> None:
        """Takes in one line of `cost_measure`."""
        self.lines.append(line)
        if "device" in line:
            self.device, self.start_s = line["device"], line["start"][clock]
        elif "slices" in line:
            self.slices = line["slices"]
        elif "failed" in line:
            self.failed[line["kind"]] = line["failed"]
        else:
            size = {key: line[key] for key in ("fixed_bytes", "unit_bytes", "passing_bytes", "batch") if key in line}
            self.clocks = [sum(pair) for pair in zip(self.clocks, line["unit"], strict=True)]
            rate = Rate(line["fixed"][clock], line["unit"][clock], **size)
            self.rates.setdefault(line["kind"], {})[line["recipe"]] = rate

    def by(self, clock: int) -> Probe:
        """The same by another clock, ``WALL`` or ``PROCESSOR``."""
        other = Probe(failed=dict(self.failed), seconds=self.seconds)
        for line in self.lines:
            other.add(line, clock)
        return other


def request_of(
    jobs: Iterable[Job],
    kinds: Collection[str],
    config: StudyConfig,
    cohort: KnownCohort,
    test: KnownCohort | None,
    device: str,
    folder: Path,
) -> dict[str, Any]:
    """Says what is to be measured for these jobs: every kind once, with every recipe that it comes in."""
    generators, members, predictions, audits = {}, {}, {}, {}
    settings: dict[str, Any] = config.segmenter.model_dump(mode="json")
    for job in jobs:
        name = recipe(job)
        if job.kind == GENERATOR:
            generators.setdefault(name, job.params["config"])
        elif job.kind == AUDIT:
            audits.setdefault(name, job.params["config"])
        elif job.kind == MEMBER and name not in members:
            drawn = job.inputs["samples"].params["num"] if "samples" in job.inputs else 0
            members[name] = {"config": {**settings, **job.params["config"]}, "samples": drawn}
        elif job.kind == PREDICT and name not in predictions:
            predictions[name] = {
                "config": {**settings, "predict": dict(job.params["predict"])},
                "networks": len(job.inputs),
            }
    wanted = set(kinds)
    if AUDIT in wanted:
        wanted.add(SAMPLE)
    if SAMPLE in wanted and generators:
        wanted.add(GENERATOR)  # it draws from the one that was timed
    return {
        "data": str(cohort.root.resolve()),
        "test": None if test is None else str(test.root.resolve()),
        "folder": str(folder),
        "cases": [case.id for case in chosen_cases(cohort)],
        "voxels": {case.id: case.voxels for case in cohort.cases},
        "prepare": config.prepare.model_dump(mode="json"),
        "kinds": sorted(wanted),
        "generators": generators,
        "audits": audits,
        "members": members,
        "predictions": predictions,
        "device": device,
        "pseudonymise": None if keyfile() is None else str(keyfile()),
        "budget_s": BUDGET_S,
    }


def chosen_cases(cohort: KnownCohort) -> list[KnownCase]:
    """The smallest cases of at least two patients with lesions, where there are such, as many as are worth timing."""
    ordered = sorted(cohort.cases, key=lambda case: (case.lesion_ml == 0, case.voxels))
    firsts = list({case.patient: case for case in reversed(ordered)}.values())[::-1]
    chosen = firsts[:2]
    for case in (*firsts[2:], *(case for case in ordered if case not in firsts)):
        if sum(one.voxels for one in chosen) >= ENOUGH_VOXELS or len(chosen) >= MOST_CASES:
            break
        chosen.append(case)
    return chosen


def measure(
    jobs: Iterable[Job],
    kinds: Collection[str],
    config: StudyConfig,
    cohort: KnownCohort,
    test: KnownCohort | None = None,
    *,
    device: str = "auto",
    threads: int | None = None,
) -> Probe:
    """Measures kinds of jobs on this machine, in ``DEADLINE_S`` seconds at most; nothing is left behind.

    Args:
        jobs: of the study.
        kinds: which of them; a training's batch is cut down where a step of it would take too long, and scaled.
        config: the study's settings.
        cohort: whose cases are timed; the smallest ones.
        test: a second cohort, whose slices are counted.
        device: where to compute.
        threads: of the child, as a worker will have; None: torch's own choice.
    """
    probe = Probe()
    environment = dict(os.environ)
    if threads is not None:
        environment |= dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(threads))
    with tempfile.TemporaryDirectory(prefix="labelgan-probe-") as place:
        request = request_of(jobs, kinds, config, cohort, test, device, Path(place))
        began = time.monotonic()
        said = (Path(place) / "stderr").open("w+", encoding="utf-8")
        child = subprocess.Popen(
            [sys.executable, "-m", "labelgan.study.cost.measure"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said, env=environment, text=True,
        )  # fmt: skip
        overdue = threading.Event()

        def end() -> None:
            overdue.set()
            child.kill()

        killer = threading.Timer(DEADLINE_S, end)
        killer.start()
        with said, child:
            assert child.stdin is not None
            assert child.stdout is not None
            try:
                with contextlib.suppress(BrokenPipeError), child.stdin as stream:
                    json.dump({**request, "began": time.time()}, stream)
                for line in child.stdout:
                    probe.add(json.loads(line))
                child.wait()
            finally:
                killer.cancel()
                child.kill()
            said.seek(0)
            last = (said.read().strip().splitlines() or ["it ended early"])[-1]
        probe.seconds = time.monotonic() - began
        for kind in request["kinds"]:
            if kind not in probe.rates:
                late = f"took longer than the {DEADLINE_S:.0f} s that a probe may take" if overdue.is_set() else last
                probe.failed.setdefault(kind, late)
    return probe
