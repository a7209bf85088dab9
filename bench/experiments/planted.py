"""Does a study find what was planted? Unseen real patients as "synthetic" slices must help, random masks must harm.

A cohort is split by patient into a few to train on, some that play the synthetic slices, and the rest to test on. The
first study gets those slices as they are: nothing better could come from a generator. The second gets them with balls
in random places for masks: nothing worse. Both are ordinary studies, with the ordinary verdict.

    python -m bench.experiments.planted COHORT WORK [--train 3] [--synthetic 40] [--steps 400]
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np

from labelgan.api.study import study_config, study_sources
from labelgan.config.study import EngineConfig
from labelgan.core.provenance import measured_at
from labelgan.core.rng import generator_for
from labelgan.data.case import Case
from labelgan.data.layouts.detect import read_cohort
from labelgan.scoring.metrics import METRICS
from labelgan.study.cohort import know_cohort
from labelgan.study.folds import draw_order
from labelgan.study.run import run_study


def write_cohort(cases: Sequence[Case], root: Path, *, random_masks: bool = False) -> Path:
    """Copies cases into a folder in the WMH layout; ``random_masks`` puts a ball of the lesion's size anywhere."""
    for case in cases:
        folder = root / (case.site or "site") / case.id
        mask = case.load_mask()
        assert mask is not None
        lesion = random_ball(mask.data, case.id) if random_masks else (mask.data == 1).astype(np.uint8)
        save(folder / "wmh.nii.gz", lesion, mask.affine)
        for channel in case.images:
            volume = case.load_image(channel)
            save(folder / "pre" / f"{channel}.nii.gz", volume.data, volume.affine)
    # Who made them has seen no patient of any other folder: they are patients themselves.
    (root / "manifest.json").write_text(json.dumps({"generator": {"training_cases": []}}))
    return root


def random_ball(mask: np.ndarray, name: str) -> np.ndarray:
    """A ball with as many voxels as the lesion has, around a random voxel."""
    rng = generator_for(0, "ball", name)
    centre = [rng.integers(size) for size in mask.shape]
    away = sum((axis - c) ** 2.0 for axis, c in zip(np.indices(mask.shape), centre, strict=True))
    count = int((mask == 1).sum())
    result = np.zeros(mask.size, np.uint8)
    result[np.argsort(np.asarray(away).ravel(), kind="stable")[:count]] = 1
    return result.reshape(mask.shape)


def save(path: Path, data: np.ndarray, affine: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(data, affine), path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cohort", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--train", type=int, default=3)
    parser.add_argument("--synthetic", type=int, default=40)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1)
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    known = know_cohort(given.cohort, given.work / "cohort.json")
    order = draw_order(known, known.patients, given.seed, 0, "site+load")  # of annotated patients
    parts = {
        "train": order[: given.train],
        "synthetic": order[given.train : given.train + given.synthetic],
        "test": order[given.train + given.synthetic :],
    }
    cases = read_cohort(given.cohort).cases
    for name, patients in (*parts.items(), ("random", parts["synthetic"])):
        shutil.rmtree(given.work / name, ignore_errors=True)
        chosen = [case for case in cases if case.patient in patients]
        write_cohort(chosen, given.work / name, random_masks=name == "random")
        print(f"{name:<10} {len(patients)} patients")
    settings = [f"patients=[{given.train}]", 'arms=["classical", "classical+synthetic"]', "share=0.5"]
    settings += [f"segmenter.train.steps={given.steps}", f"seed={given.seed}"]
    # One more patient than are drawn has to be there for a draw; the test cohort is tested on whole.
    config = study_config(preset="laptop", settings=settings)
    print(measured_at() + "\n")
    print("| planted | metric | classical | + planted slices | difference | 95 % interval | p (Holm) | verdict |")
    print("|---|---|---:|---:|---:|---|---:|---|")
    for planted, name in (("unseen patients", "synthetic"), ("random masks", "random")):
        sources = study_sources(given.work / "train", test=given.work / "test", synthetic=given.work / name)
        result = run_study(config, sources, given.work / "studies", engine_config=EngineConfig.of(given.workers))
        assert result.run.complete, [failure.reason for failure in result.failures]
        shutil.copy(given.work / "studies" / "verdict.json", given.work / f"verdict-{name}.json")
        means = {(row["arm"], row["metric"]): row["mean"] for row in result.verdict["summary"]}
        for row in result.verdict["comparisons"]:
            metric = METRICS[row["metric"]]
            low, high = row["interval"] or (float("nan"), float("nan"))
            print(
                f"| {planted} | {metric.title}{f', {metric.unit}' if metric.unit else ''} "
                f"| {means['classical', metric.name]:.3f} | {means[row['arm'], metric.name]:.3f} "
                f"| {row['difference']:+.3f} | {low:+.3f} to {high:+.3f} | {row['p_holm']:.3g} | {row['verdict']} |"
            )
        print(f"\n{planted}: {result.verdict['headline']}\n", flush=True)


if __name__ == "__main__":
    main()
