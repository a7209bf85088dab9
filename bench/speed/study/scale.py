"""What the challenge's study, and one of 10,000 patients, would take on GPUs: counted work over an assumed speed.

Run: python -m bench.speed.study.scale
Nothing here is measured on a GPU. Floating-point operations are counted in one real step of each network on the CPU
(torch.utils.flop_counter; a multiplication and an addition are two), gradient penalty included. Seconds are these over
a share of an H100's dense bf16 peak, which is assumed, and no step is taken to be shorter than ``FLOOR_S``. What runs
on cores (preparing, scoring) is timed here, in processor seconds. The plans and the schedule are the real ones.
"""

from __future__ import annotations

import argparse
import json
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported

import resource
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from labelgan import api
from labelgan.config.gan import GanConfig
from labelgan.config.seg import SegConfig
from labelgan.config.study import StudyConfig
from labelgan.core.provenance import measured_at
from labelgan.core.words import duration
from labelgan.gan.inputs.inputs import make_inputs
from labelgan.gan.trainer import Trainer
from labelgan.seg.losses import soft_dice_loss
from labelgan.seg.networks import build_segmenter
from labelgan.study.cohort import KnownCase, KnownCohort, know_cohort
from labelgan.study.cost import probe as cost_probe
from labelgan.study.cost.estimate import Estimate, estimate, sizes_of
from labelgan.study.cost.work import Rate
from labelgan.study.plan import GENERATOR, MEMBER, PREDICT, PREPARE, SAMPLE, SCORE, Plan, plan_study

PEAK = 989e12  # bf16, dense, H100 SXM, as its maker states it
SHARES = (0.03, 0.1, 0.3)  # of the peak; assumed
FLOOR_S = 0.025  # of a training step: kernels to launch, a batch to read and move; assumed
VOXELS, SLICES = 240 * 240 * 48, 48  # of a scan of the challenge; slices with brain, assumed
SIZE, CHANNELS = (200, 200), 2
SITES = ("Utrecht", "Singapore", "Amsterdam")
GPUS = (1, 8, 64)


class Counter(TorchDispatchMode):
    """Adds up operations. torch's own FlopCounterMode does the same, but cannot follow a gradient of a gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Counts one operator."""
        out = func(*args, **(kwargs or {}))
        if (count := flop_registry.get(func._overloadpacket)) is not None:
            self.total += count(*args, **(kwargs or {}), out_val=out)
        return out


def made_up(patients: int) -> KnownCohort:
    """A cohort that is not there, with paths and hashes as long as real ones."""
    cases = []
    for number in range(patients):
        name, site = f"{number:05d}", SITES[number % len(SITES)]
        paths = [f"{site}/{name}/{file}" for file in ("pre/FLAIR.nii.gz", "pre/T1.nii.gz", "wmh.nii.gz")]
        cases.append(
            KnownCase(
                id=f"{site}-{name}",
                patient=f"{site}-{name}",
                site=site,
                stamp=tuple((path, 10**6, 10**18) for path in paths),
                files=dict.fromkeys(paths, f"{number:064x}"),
                hashes={"FLAIR": f"{2 * number:064x}", "T1": f"{2 * number + 1:064x}"},
                lesion_ml=float(number * number % 61),
                voxels=VOXELS,
            )
        )
    return KnownCohort(Path("cohort"), tuple(cases))


def operations(config: StudyConfig) -> dict[str, float]:
    """Operations for every slice: of a generator's step and draw, of a segmenter's step and pass."""
    counted = {}
    gan: GanConfig = config.generator.with_settings(["train.batch_size=1", "objective.penalty_every=1"])
    inputs = make_inputs(gan, None)
    trainer = Trainer(gan, CHANNELS + 1, SIZE, inputs, torch.device("cpu"))
    real_NCHW = torch.randn(1, CHANNELS + 1, *SIZE).tanh()
    with Counter() as counter:
        trainer.step(0, lambda turn: real_NCHW)
    counted[GENERATOR] = counter.total
    with torch.no_grad(), Counter() as counter:
        trainer.averaged(*inputs.samples(0, range(1)))
    counted[SAMPLE] = counter.total
    network = build_segmenter(config.segmenter.network, CHANNELS)
    images_NCHW, masks_NHW = torch.randn(1, CHANNELS, *SIZE), torch.zeros(1, *SIZE, dtype=torch.uint8)
    with Counter() as counter:
        soft_dice_loss(network(images_NCHW), masks_NHW).backward()
    counted[MEMBER] = counter.total
    with torch.no_grad(), Counter() as counter:
        network(images_NCHW)
    counted[PREDICT] = counter.total
    return counted


def core_rates() -> dict[str, float]:
    """Processor seconds a voxel of preparing and scoring, timed on two phantoms."""
    config = StudyConfig().with_settings(['arms=["real"]'])
    with tempfile.TemporaryDirectory() as place:
        api.phantom(Path(place) / "cohort", 3, 0)
        cohort = know_cohort(Path(place) / "cohort", Path(place) / "cohort.json")
        plan = plan_study(config, cohort)
        cost_probe.DEADLINE_S = 600.0
        probe = cost_probe.measure(plan.jobs, {SCORE}, config, cohort, device="cpu", threads=1)
        probe = probe.by(cost_probe.PROCESSOR)
    return {kind: probe.rates[kind][""].unit_s for kind in (PREPARE, SCORE)}


def rates(config: StudyConfig, flops: dict[str, float], cores: dict[str, float], share: float) -> dict:
    """Rates of every kind at a share of the peak."""
    speed = share * PEAK

    def step_s(kind: str, batch: int) -> float:
        return max(FLOOR_S, flops[kind] * batch / speed)

    seg: SegConfig = config.segmenter
    pass_s = flops[PREDICT] / speed + cores[PREPARE] * VOXELS / SLICES / config.members
    return {
        PREPARE: {"": Rate(0, cores[PREPARE])},
        GENERATOR: {"": Rate(0, step_s(GENERATOR, config.generator.train.batch_size))},
        SAMPLE: {"": Rate(0, flops[SAMPLE] / speed)},
        MEMBER: {"": Rate(0, step_s(MEMBER, seg.train.batch_size))},
        PREDICT: {"": Rate(0, pass_s)},
        SCORE: {"": Rate(0, cores[SCORE])},
    }


def planned(config: StudyConfig, cohort: KnownCohort, test: KnownCohort | None) -> tuple[Plan, float]:
    """A plan for GPUs, and the seconds that planning took."""
    began = time.perf_counter()
    return plan_study(config, cohort, test, gpus=1), time.perf_counter() - began


def main() -> None:
    """Prints the tables as Markdown."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    # Nothing is known of what an audit takes on a GPU.
    config = StudyConfig(audited=False, segmenter=SegConfig.for_segmenter("li2018"))
    flops, cores = operations(config), core_rates()
    print(measured_at() + "\n")
    print(f"{SIZE[0]}×{SIZE[1]}, r3gan and li2018 at their defaults; GFLOP a slice:")
    for kind, count in flops.items():
        print(f"- {kind}: {count / 1e9:,.1f}")
    print(f"\nprocessor time a million voxels: prepare {cores[PREPARE] * 1e6:.2f} s, score {cores[SCORE] * 1e6:.2f} s")
    curve = config.model_copy(update={"patients": (60,)})
    studies = {
        "60 patients, leave one out": (config, made_up(60), None),
        "trained on 60, tested on 110": (curve, made_up(60), _renamed(made_up(110))),
        "10,000 patients, 5 folds": (config.model_copy(update={"folds": 5}), made_up(10_000), None),
    }
    for title, (settings, cohort, test) in studies.items():
        plan, planning_s = planned(settings, cohort, test)
        every = {name: {case.id: float(SLICES) for case in known.cases} for name, known in _named(cohort, test)}
        sizes = sizes_of(cohort, test, every)
        print(f"\n{title}: {len(plan.jobs):,} jobs, planned in {planning_s:.1f} s\n")
        print(
            "| share of the peak | GPU-hours | core-hours | "
            + " | ".join("1 GPU" if gpus == 1 else f"{gpus} GPUs" for gpus in GPUS)
            + " |"
        )
        print("|---:|" + "---:|" * (2 + len(GPUS)))
        for share in SHARES:
            made: list[Estimate] = [
                estimate(plan.jobs, rates(settings, flops, cores, share), sizes, workers=gpus) for gpus in GPUS
            ]
            walls = " | ".join(duration(each.wall_s) for each in made)
            print(f"| {share:.0%} | {made[0].gpu_hours:,.0f} | {made[0].core_hours:,.2f} | {walls} |", flush=True)
        largest: dict[str, int] = {}
        for job in plan.jobs:
            if job.kind not in largest:
                largest[job.kind] = len(json.dumps(job.params, default=dict))
        print("\njob.json of one job, kB: " + ", ".join(f"{kind} {size / 1e3:,.1f}" for kind, size in largest.items()))
    print(f"\npeak memory of this process {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3:,.0f} MB")


def _renamed(cohort: KnownCohort) -> KnownCohort:
    cases = [case.model_copy(update={"id": f"t{case.id}", "patient": f"t{case.patient}"}) for case in cohort.cases]
    return KnownCohort(cohort.root, tuple(cases))


def _named(cohort: KnownCohort, test: KnownCohort | None) -> list[tuple[str, KnownCohort]]:
    return [("data", cohort), *([] if test is None else [("test", test)])]


if __name__ == "__main__":
    main()
