"""Checks the cost model of `labelgan study --dry-run` against a small phantom study that is then run.

Run: python bench/cost_model.py [--patients 4] [--steps 60]
Every kind of job is predicted from the probe, before anything is run, and from every second finished job. Seconds are
of the processor, one thread, which a busy machine changes little, and of the clock on the wall, which it changes much.
"""

from __future__ import annotations

import argparse
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported

import tempfile
import time
from collections import defaultdict
from pathlib import Path

from labelgan import api, api_study
from labelgan.config_study import StudyConfig
from labelgan.study import cost_probe
from labelgan.study.cost import estimate, makespan, sizes_of
from labelgan.study.cost_probe import PROCESSOR, WALL
from labelgan.study.cost_rates import Rate, ledger_rates, stored_slices
from labelgan.study.engines import InlineEngine
from labelgan.study.jobs import Places
from labelgan.study.ledger import Job, Ledger
from labelgan.study.plan import Plan
from labelgan.study.run import StudySources, look, make_plan
from labelgan.study.scheduler import run_jobs
from labelgan.study.worker import run_folder

ARMS = '["classical", "classical+copypaste", "classical+synthetic"]'
CLOCKS = {"processor": PROCESSOR, "wall": WALL}


def settings(steps: int) -> StudyConfig:
    """Networks of the laptop preset on slices of 64×64, trained for fewer steps."""
    changed = [f"arms={ARMS}", "prepare.spacing_mm=3.2", "members=2", "samples=100"]
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


def totals(jobs: list[Job], seconds: dict[str, float]) -> dict[str, float]:
    """Seconds of each kind."""
    sums: defaultdict[str, float] = defaultdict(float)
    for job in jobs:
        sums[job.kind] += seconds[job.key]
    return dict(sums)


def predicted(jobs: list[Job], rates: dict[str, dict[str, Rate]], sizes) -> dict[str, float]:
    """Seconds of each kind, from rates."""
    return {kind.kind: kind.seconds for kind in estimate(jobs, rates, sizes).kinds}


def main() -> None:
    """Prints a table for each clock, as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patients", type=int, default=4)
    parser.add_argument("--steps", type=int, default=60, help="of every training")
    parser.add_argument("--budget", type=float, help="seconds that the probe may measure (default: as --dry-run)")
    parser.add_argument("--folder", type=Path, help="where the study is made (default: a temporary folder)")
    arguments = parser.parse_args()
    if arguments.budget is not None:
        cost_probe.BUDGET_S, cost_probe.DEADLINE_S = arguments.budget, 3 * arguments.budget
    with tempfile.TemporaryDirectory(dir=arguments.folder) as place:
        root = Path(place)
        api.phantom(root / "cohort", arguments.patients, 0)
        sources, out, config = StudySources(root / "cohort"), root / "study", settings(arguments.steps)
        cohort, _ = look(sources, out)
        plan = make_plan(config, sources, cohort, None)
        kinds = set(plan.counts())
        wall = cost_probe.measure(plan.jobs, kinds, config, cohort, device="cpu", threads=1)
        assert not wall.failed, wall.failed
        import torch.utils.tensorboard  # noqa: F401 (as a worker that has begun)

        Places(sources.data, device="cpu").write(out)
        ledger = Ledger(out)
        spent = run(plan, ledger)
        sizes = sizes_of(cohort, None, stored_slices(plan, ledger) or {})
        for name, clock in CLOCKS.items():
            probe = wall.by(clock)
            seconds = {key: both[clock] for key, both in spent.items()}
            measured = totals(plan.jobs, seconds)
            before = predicted(plan.jobs, probe.rates, sizes_of(cohort, None, probe.slices))
            half = {job.key: seconds[job.key] for kind in kinds for job in _every_second(plan.jobs, kind)}
            after = predicted(plan.jobs, ledger_rates(plan.jobs, ledger, half, sizes), sizes)
            waited = f"{probe.busy:.1f} times the processor's while probing"
            print(f"\n{name} seconds, one worker, one thread; the wall's clock ran {waited}\n")
            print("| kind | jobs | measured, s | probe / measured | half of the jobs / measured |")
            print("|---|---:|---:|---:|---:|")
            rows = {kind: (before[kind], after[kind]) for kind in measured}
            for kind, (probed, halved) in rows.items():
                ratio = [value / measured[kind] for value in (probed, halved)]
                count = plan.counts()[kind]
                print(f"| {kind} | {count} | {measured[kind]:.2f} | {ratio[0]:.2f} | {ratio[1]:.2f} |")
            in_all = sum(measured.values())
            sums = [sum(column) / in_all for column in zip(*rows.values(), strict=True)]
            print(f"| all | {len(plan.jobs)} | {in_all:.2f} | {sums[0]:.2f} | {sums[1]:.2f} |")
            two = makespan(plan.jobs, seconds, 2)
            print(f"\ntwo workers would take {two:.1f} s: {in_all / two:.2f} times as fast")


def _every_second(jobs: list[Job], kind: str) -> list[Job]:
    return [job for job in jobs if job.kind == kind][::2]


if __name__ == "__main__":
    main()
