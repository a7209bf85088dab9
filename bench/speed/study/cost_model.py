"""Checks the cost model of `labelgan study --dry-run` against a small phantom study that is then run.

Run: python -m bench.speed.study.cost_model [--patients 4] [--steps 60], or python -m bench.speed.study.cost_model
--study DIR Every kind of job is predicted from the probe, before anything is run, and the second half of its jobs from
the first. Seconds are of the processor, one thread, which a busy machine changes little, and of the clock on the wall,
which it changes much. With --study the halves are of a study that was run, or is running; nothing in it is changed.
"""

from __future__ import annotations

import argparse
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported

import math
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from labelgan import api
from labelgan.api import study as api_study
from labelgan.config.study import StudyConfig
from labelgan.core.files import read_json
from labelgan.core.provenance import measured_at
from labelgan.data.store import SliceStore
from labelgan.study.amounts import Sizes
from labelgan.study.cost import probe as cost_probe
from labelgan.study.cost.estimate import estimate, makespan, sizes_of
from labelgan.study.cost.probe import PROCESSOR, WALL
from labelgan.study.cost.work import Rate, finished, ledger_rates, stored_slices
from labelgan.study.engine.engines import InlineEngine
from labelgan.study.engine.ledger import Job, Ledger
from labelgan.study.engine.scheduler import run_jobs
from labelgan.study.engine.worker import run_folder
from labelgan.study.jobs import STORE
from labelgan.study.places import Places
from labelgan.study.plan import PREPARE, Plan
from labelgan.study.run import StudySources, make_plan, scan_cohorts

ARMS = '["classical", "classical+copypaste", "classical+synthetic"]'
CLOCKS = {"processor": PROCESSOR, "wall": WALL}


def settings(steps: int) -> StudyConfig:
    """Networks of the laptop preset on slices of 64×64, trained for fewer steps."""
    changed = [f"arms={ARMS}", "prepare.spacing_mm=3.2", "members=2", "samples=100", "audited=false"]
    for part in ("generator", "segmenter"):
        changed += [f"{part}.train.steps={steps}", f"{part}.train.device=cpu"]
    return api_study.study_config(preset="laptop", settings=changed)


def run(plan: Plan, ledger: Ledger) -> dict[str, tuple[float, float]]:
    """Runs every job in this process; gives key to seconds by the wall's clock and of the processor."""
    spent = {}

    def timed(folder: Path) -> None:
        wall, processor = time.perf_counter(), time.process_time()
        run_folder(folder)
        spent[folder.name] = (time.perf_counter() - wall, time.process_time() - processor)

    with InlineEngine(timed) as engine:
        summary = run_jobs(plan.jobs, ledger, engine)
    assert summary.complete, summary.failed
    return spent


def totals(jobs: list[Job], seconds: Mapping[str, float]) -> dict[str, float]:
    """Seconds of each kind."""
    sums: defaultdict[str, float] = defaultdict(float)
    for job in jobs:
        sums[job.kind] += seconds[job.key]
    return dict(sums)


def predicted(jobs: list[Job], rates: dict[str, dict[str, Rate]], sizes: Sizes) -> dict[str, float]:
    """Seconds of each kind, from rates."""
    return {kind.kind: kind.seconds for kind in estimate(jobs, rates, sizes).kinds}


def halves(jobs: list[Job], done: Mapping[str, float]) -> tuple[list[Job], list[Job]]:
    """The finished jobs of every kind, every second one and the others."""
    groups: defaultdict[str, list[Job]] = defaultdict(list)
    for job in jobs:
        if job.key in done:
            groups[job.kind].append(job)
    first, second = ([job for group in groups.values() for job in group[start::2]] for start in (0, 1))
    return first, second


def other_half(
    jobs: list[Job], ledger: Ledger, seconds: Mapping[str, float], sizes: Sizes
) -> dict[str, tuple[int, float, float]]:
    """For every kind with two finished jobs or more: how many are predicted, their seconds, those predicted."""
    known, others = halves(jobs, seconds)
    rates = ledger_rates(jobs, ledger, {job.key: seconds[job.key] for job in known}, sizes)
    made = estimate(others, rates, sizes, done={}) if others else None
    measured = totals(others, seconds)
    return {} if made is None else {k.kind: (k.jobs, measured[k.kind], k.seconds) for k in made.kinds}


def jobs_of(ledger: Ledger) -> list[Job]:
    """The jobs whose folders are there, whatever version of the package planned them."""
    found: dict[str, Job] = {}

    def load(key: str) -> Job:
        if key not in found:
            told = read_json(ledger.jobs / key / "job.json")
            inputs = {name: load(read) for name, read in told["inputs"].items()}
            found[key] = Job(told["kind"], told["label"], told["params"], inputs, told["runner"], told["gpus"])
            assert found[key].key == key
        return found[key]

    return [load(path.parent.name) for path in sorted(ledger.jobs.glob("*/job.json"))]


def check_study(folder: Path) -> None:
    """Prints how well every second job of a study predicts the others."""
    places, ledger = Places.of(folder / "jobs" / "any"), Ledger(folder)
    cohort, test = scan_cohorts(StudySources(places.data, places.test), folder)
    jobs = jobs_of(ledger)
    seconds = finished(jobs, ledger)
    store = next(job for job in jobs if job.kind == PREPARE)
    manifest = SliceStore.open(ledger.folder(store) / STORE).manifest
    sizes = sizes_of(cohort, test, {"data": {case.id: float(case.count) for case in manifest.cases}})
    print(measured_at() + "\n")
    print("| kind | jobs predicted | measured, s | predicted / measured |")
    print("|---|---:|---:|---:|")
    for kind, (count, measured, predicted_s) in other_half(jobs, ledger, seconds, sizes).items():
        print(f"| {kind} | {count} | {measured:.1f} | {predicted_s / measured:.2f} |")


def main() -> None:
    """Prints a table for each clock, as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patients", type=int, default=4)
    parser.add_argument("--steps", type=int, default=60, help="of every training")
    parser.add_argument("--budget", type=float, help="seconds that the probe may measure (default: as --dry-run)")
    parser.add_argument("--folder", type=Path, help="where the study is made (default: a temporary folder)")
    parser.add_argument("--study", type=Path, metavar="DIR", help="check a study that was run instead")
    arguments = parser.parse_args()
    if arguments.study is not None:
        check_study(arguments.study)
        return
    if arguments.budget is not None:
        cost_probe.BUDGET_S, cost_probe.DEADLINE_S = arguments.budget, 3 * arguments.budget
    with tempfile.TemporaryDirectory(dir=arguments.folder) as place:
        root = Path(place)
        api.phantom(root / "cohort", arguments.patients, 0)
        sources, out, config = StudySources(root / "cohort"), root / "study", settings(arguments.steps)
        cohort, _ = scan_cohorts(sources, out)
        plan = make_plan(config, sources, cohort, None)
        kinds = set(plan.counts())
        wall = cost_probe.measure(plan.jobs, kinds, config, cohort, device="cpu", threads=1)
        assert not wall.failed, wall.failed
        import torch.utils.tensorboard  # noqa: F401 (as a worker that has begun)

        Places(sources.data, device="cpu").write(out)
        ledger = Ledger(out)
        spent = run(plan, ledger)
        sizes = sizes_of(cohort, None, stored_slices(plan, ledger) or {})
        print(measured_at())
        for name, clock in CLOCKS.items():
            probe = wall.by(clock)
            seconds = {key: both[clock] for key, both in spent.items()}
            measured = totals(plan.jobs, seconds)
            before = predicted(plan.jobs, probe.rates, sizes_of(cohort, None, probe.slices))
            other = other_half(plan.jobs, ledger, seconds, sizes)
            waited = f"{probe.busy:.1f} times the processor's while probing"
            print(f"\n{name} seconds, one worker, one thread; the wall's clock ran {waited}\n")
            print("| kind | jobs | measured, s | probe / measured | other half, predicted / measured |")
            print("|---|---:|---:|---:|---:|")
            for kind, spent_s in measured.items():
                _, half_s, predicted_s = other.get(kind, (0, math.nan, math.nan))
                count, ratio = plan.counts()[kind], before[kind] / spent_s
                print(f"| {kind} | {count} | {spent_s:.2f} | {ratio:.2f} | {predicted_s / half_s:.2f} |")
            in_all = sum(measured.values())
            rest = [sum(column) for column in list(zip(*other.values(), strict=True))[1:]]
            sums = [sum(before.values()) / in_all, rest[1] / rest[0]]
            print(f"| all | {len(plan.jobs)} | {in_all:.2f} | {sums[0]:.2f} | {sums[1]:.2f} |")
            two = makespan(plan.jobs, seconds, 2)
            print(f"\ntwo workers would take {two:.1f} s: {in_all / two:.2f} times as fast")


if __name__ == "__main__":
    main()
