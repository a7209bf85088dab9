"""Does it pay to choose samples by what they teach, or to leave out copies? On a league's development patients.

Run: python -m bench.experiments.useful_samples LEAGUE --out FOLDER [--row refiner] [--size 5] [--steps 600]

A cheap form of letting the segmenter teach the generator (GenSeg, Zhang et al. 2025, updates the generator through the
segmenter's step; here samples are only chosen). For every training patient in turn a segmenter is trained on the
others; a sample is useful when a step on it would lower the loss on the patient left out, to first order: the cosine of
the two gradients, mean over patients. Of every draw of training patients, segmenters then train on all samples, on the
useful half, on the useless half, on half of them at random, and on all but those that `sample --audited` would leave
out. They are scored on the development patients who were not drawn, on the store's grid. Nobody else is looked at.

The generator has seen the patients left out, so that a copy of one may count as useful: a stricter form would train a
generator for each of them.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch

from bench.league.plan import LeagueConfig, plan_league, split_patients
from labelgan.config.seg import SegConfig
from labelgan.config.study import StudyConfig
from labelgan.core.files import read_json, write_json_atomic
from labelgan.core.progress import Progress
from labelgan.core.provenance import measured_at
from labelgan.core.rng import generator_for
from labelgan.data.curation import Curation, write_curation
from labelgan.data.layouts.detect import read_cohort
from labelgan.data.slices import Slices
from labelgan.data.store import SliceStore
from labelgan.data.volume import LESION
from labelgan.seg.losses import soft_dice_loss
from labelgan.seg.predict import Ensemble, to_lesions
from labelgan.seg.synthetic import read_synthetic
from labelgan.seg.train import train_segmenter
from labelgan.study.arms import arm_settings
from labelgan.study.cohort import know_cohort
from labelgan.study.engine.ledger import Ledger
from labelgan.study.jobs import COHORT, RUN, STORE, sample_judge
from labelgan.study.places import Places

ARMS = ("all", "useful half", "useless half", "random half", "no copies")
RESULT = "useful_samples.json"


def gradient(network: torch.nn.Module, images_NCHW: np.ndarray, masks_NHW: np.ndarray) -> torch.Tensor:
    """Gives the gradient of the Dice loss of one batch, all weights in one row, (P,)."""
    network.zero_grad(set_to_none=True)
    loss = soft_dice_loss(network(torch.from_numpy(images_NCHW.astype(np.float32))), torch.from_numpy(masks_NHW))
    loss.backward()
    grads = [weight.grad for weight in network.parameters() if weight.grad is not None]
    return torch.cat([grad.flatten() for grad in grads])


def agreement(network: torch.nn.Module, store: SliceStore, judged_by: str, samples: Slices) -> np.ndarray:
    """Cosine of every sample's gradient and that of a patient's lesion slices, (N,)."""
    rows = store.rows_of(case.id for case in store.cases if case.patient == judged_by)
    rows = rows[store.index["lesion_voxels"][rows] > 0]
    batch = store.read(rows)
    wanted = gradient(network, batch.images_NCHW, batch.masks_NHW)
    found = [
        torch.nn.functional.cosine_similarity(
            wanted, gradient(network, samples.images_NCHW[[number]], samples.masks_NHW[[number]]), dim=0
        ).item()
        for number in range(len(samples))
    ]
    return np.nan_to_num(np.array(found))  # no gradient at all teaches nothing


def half_of(order: np.ndarray, with_lesion: np.ndarray) -> np.ndarray:
    """The first half in an order, of samples with a lesion and of those without apart, so that the mix stays."""
    groups = [order[with_lesion[order] == lesion] for lesion in (True, False)]
    return np.concatenate([group[: (len(group) + 1) // 2] for group in groups])


def dsc(network: Ensemble, store: SliceStore, patient: str) -> float:
    """Dice of a patient's masks on the store's grid; 1 where nothing was drawn and nothing found."""
    both = total = 0
    for case in (case for case in store.cases if case.patient == patient):
        slices = store.volume(case.id)
        found = to_lesions(network.probabilities(slices.images_NCHW), network.config.predict) == LESION
        truth = slices.masks_NHW == LESION
        both, total = both + int((found & truth).sum()), total + int(found.sum() + truth.sum())
    return 2 * both / total if total else 1.0


class Trial:
    """One draw: the store, its training patients, a generator's samples, and a folder for what is trained."""

    def __init__(self, store: SliceStore, train: Sequence[str], samples: Path, out: Path, config: SegConfig) -> None:
        self.store, self.train, self.samples, self.out, self.config = store, list(train), samples, out, config
        others = [case for case in store.cases if case.patient not in train]
        self.extra = read_synthetic(samples, store, others).slices
        self.with_lesion = (self.extra.masks_NHW == LESION).any(axis=(1, 2))

    def segmenter(self, name: str, train: Sequence[str], synthetic: Path | None, steps: int) -> Ensemble:
        """Trains a network, or takes the one that is there."""
        folder = self.out / name
        if not (folder / "done").is_file():
            shutil.rmtree(folder, ignore_errors=True)
            arm = "classical" if synthetic is None else "classical+synthetic"
            config = arm_settings(arm, self.plan_settings(steps), 1 / 3)
            exclude = sorted({case.patient for case in self.store.cases} - set(train))
            with Progress(name, "step") as progress:
                train_segmenter(self.store, folder, config, synthetic=synthetic, exclude=exclude, report=progress)
            (folder / "done").touch()
        return Ensemble.load(folder, device="cpu")

    def plan_settings(self, steps: int) -> StudyConfig:
        """The settings of a study with one network an arm."""
        changes = [f"train.steps={steps}", "train.members=1", "train.threads=1", "train.device=cpu"]
        return StudyConfig(segmenter=self.config.with_settings(changes))

    def usefulness(self, steps: int) -> np.ndarray:
        """Mean agreement over the training patients, each left out in turn, (N,)."""
        place = self.out / "usefulness.npy"
        if not place.is_file():
            found = []
            for patient in self.train:
                rest = [other for other in self.train if other != patient]
                inner = self.segmenter(f"without-{patient}", rest, None, steps // 2)
                found.append(agreement(inner.networks[0], self.store, patient, self.extra))
            np.save(place, np.mean(found, axis=0))
        return np.load(place)

    def chosen(self, kept: np.ndarray, name: str) -> Path:
        """A copy of the samples in which all others are rejected, as in studio."""
        folder = self.out / f"samples-{name}"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self.samples, folder)
        cases = read_cohort(folder).cases
        curation = Curation()
        for number in sorted(set(range(len(cases))) - {int(place) for place in kept}):
            curation = curation.with_decision(cases[number], "reject")
        write_curation(folder, curation)
        return folder


def play(trial: Trial, generator: Path, steps: int, judges: Sequence[str]) -> dict[str, Any]:
    """Trains and scores every arm of a draw."""
    useful = trial.usefulness(steps)
    count = len(useful)
    kept: dict[str, Callable[[], np.ndarray]] = {
        "all": lambda: np.arange(count),
        "useful half": lambda: half_of(np.argsort(-useful), trial.with_lesion),
        "useless half": lambda: half_of(np.argsort(useful), trial.with_lesion),
        "random half": lambda: half_of(generator_for(0, "random half").permutation(count), trial.with_lesion),
        "no copies": lambda: np.flatnonzero(
            [not reason for reason in sample_judge(generator, trial.store.path)(*_arrays(trial.extra))]
        ),
    }
    found: dict[str, Any] = {"usefulness": np.quantile(useful, [0, 0.25, 0.5, 0.75, 1]).tolist()}
    for arm in ARMS:
        rows = kept[arm]()
        name = arm.replace(" ", "-")
        network = trial.segmenter(name, trial.train, trial.chosen(rows, name), steps)
        scores = {patient: dsc(network, trial.store, patient) for patient in judges}
        found[arm] = {"samples": len(rows), "dsc": fmean(scores.values()), "scores": scores}
    return found


def _arrays(slices: Slices) -> tuple[np.ndarray, np.ndarray]:
    return slices.images_NCHW.astype(np.float32), slices.masks_NHW


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("league", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--row", default="refiner")
    parser.add_argument("--size", type=int, default=5)
    parser.add_argument("--steps", type=int, default=600)
    given = parser.parse_args()
    torch.set_num_threads(1)
    config = LeagueConfig.build(read_json(given.league / "league.json")["config"])
    with Progress("look", "case") as progress:
        cohort = know_cohort(Places.of(given.league / "jobs" / "any").data, given.league / "cohort.json", progress)
    plan, ledger = plan_league(config, cohort), Ledger(given.league)
    store_job = next(job for job in plan.jobs.values() if job.kind == "prepare")
    store = SliceStore.open(ledger.folder(store_job) / STORE)
    print(measured_at() + "\n")
    development, _ = split_patients(cohort.patients)
    found: dict[str, dict[str, Any]] = {}
    for fold in (fold for fold in plan.folds if len(fold.train) == given.size):
        key = fold.name, given.row
        out = given.out / fold.name
        out.mkdir(parents=True, exist_ok=True)
        samples = ledger.folder(plan.samples[key]) / COHORT
        trial = Trial(store, fold.train, samples, out, config.segmenter)
        judges = [patient for patient in development if patient not in fold.train]
        found[fold.name] = play(trial, ledger.folder(plan.training[key]) / RUN, given.steps, judges)
        write_json_atomic(given.out / RESULT, found)
        print(fold.name, json.dumps({arm: round(found[fold.name][arm]["dsc"], 3) for arm in ARMS}), flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
