"""Judges simulated studies of known truth: how often `make_verdict` is wrong, and how small a gain it sees.

Run: python bench/experiments/verdict_power.py [--studies 1000] [--resamples 2000] [--part NAME] [--out FILE]

Prints the tables of docs/results/verdict.md. One core, and 40 (leave one out) to 300 milliseconds (learning curves of
four sizes) a study. With ``--out`` every finished row is kept in FILE (JSON) and is not simulated again: a run that was
stopped goes on.

A simulated patient has a difficulty that all arms share (DSC with a standard deviation of 0.15 between patients); the
paired difference of two arms has a patient part, a part of the training draw that all test patients of a fold share,
and noise. HD95 is skewed and grows as DSC falls, lesion recall is a fraction of a few lesions with many ties, AVD is
folded noise; some predictions are empty, so HD95 is undefined there.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas
from scipy import stats

from labelgan.core.files import write_json_atomic
from labelgan.core.provenance import measured_at
from labelgan.core.rng import generator_for
from labelgan.scoring.metrics import METRICS
from labelgan.study.verdict.statistics import Resamples, bootstrap_interval
from labelgan.study.verdict.verdict import make_verdict

REFERENCE, ARM = "classical", "classical+synthetic"


@dataclass(frozen=True)
class World:
    """What a simulated study is like.

    Attributes:
        patients: test patients.
        sites: they are divided among these.
        folds: of cross-validation; 0 for a learning curve at one number of training patients.
        repeats: draws of the learning curve, or repeats of cross-validation.
        sizes: numbers of training patients of the learning curve.
        gain: true mean difference in DSC; lesion recall, F1, HD95 and AVD follow it.
        spread: standard deviation of the paired difference of a patient in one draw, in DSC.
        draw_spread: standard deviation of what all test patients of a fold share.
    """

    patients: int
    sites: int = 3
    folds: int = 0
    repeats: int = 1
    sizes: tuple[int, ...] = (9,)
    gain: float = 0.0
    spread: float = 0.04
    draw_spread: float = 0.0


def simulate(world: World, rng: np.random.Generator) -> pandas.DataFrame:
    """Gives the scores of one study."""
    parts = [_simulate_size(world, rng).assign(n_train=size) for size in world.sizes]
    return pandas.concat([part.assign(fold=part["fold"] + f"-n{part['n_train'].iloc[0]}") for part in parts])


def _simulate_size(world: World, rng: np.random.Generator) -> pandas.DataFrame:
    count, repeats = world.patients, world.repeats
    patient = np.tile(np.arange(count), repeats)
    repeat = np.repeat(np.arange(repeats), count)
    if world.folds == count:
        fold = patient
    elif world.folds:
        fold = np.concatenate([rng.permutation(count) % world.folds for _ in range(repeats)])
    else:
        fold = np.zeros_like(patient)
    fold = fold + repeat * max(1, world.folds)
    # Difficulty as a normal number, DSC by the logistic curve: bounded, mean 0.7, standard deviation 0.15.
    difficulty = rng.normal(0.95, 0.80, count)[patient]
    lesions = 1 + rng.poisson(7, count)[patient]
    large = np.exp(rng.normal(7, 1, count))[patient]
    luck, half = rng.random(len(patient)), np.sqrt(0.5)
    frames = []
    for arm, gain in ((REFERENCE, 0.0), (ARM, world.gain)):
        # Each arm gets half of the variance of the difference; half of that belongs to the patient, half is noise.
        shift = rng.normal(0, world.spread * 0.5, count)[patient] + rng.normal(0, world.spread * 0.5, len(patient))
        shift = shift + rng.normal(0, world.draw_spread * half, int(fold.max()) + 1)[fold]
        dsc = np.clip(1 / (1 + np.exp(-difficulty)) + shift + gain, 0, 1)
        recall = rng.binomial(lesions, np.clip(0.15 + 0.9 * dsc, 0.02, 0.98)) / lesions
        precision = np.clip(0.1 + 0.85 * dsc + rng.normal(0, 0.06, len(patient)), 0.01, 1)
        hd95 = np.exp(3.2 - 2.2 * dsc + rng.normal(0, 0.35, len(patient)))
        avd = 100 * np.abs((1 - dsc) * 0.9 * rng.standard_normal(len(patient)))
        empty = luck < np.clip(0.5 - dsc, 0, 0.5)
        frames.append(
            pandas.DataFrame(
                {
                    "fold": [f"fold-{name:03d}" for name in fold],
                    "repeat": repeat,
                    "arm": arm,
                    "site": [f"site{number % world.sites}" for number in patient],
                    "patient": [f"p{number:03d}" for number in patient],
                    "case": [f"p{number:03d}" for number in patient],
                    "dsc": np.where(empty, 0.0, dsc),
                    "hd95_mm": np.where(empty, np.nan, hd95),
                    "avd_percent": np.where(empty, 100.0, avd),
                    "lesion_recall": np.where(empty, 0.0, recall),
                    "lesion_f1": np.where(empty, 0.0, 2 * recall * precision / (recall + precision)),
                    "lesion_voxels": np.ceil(large),
                    "predicted_voxels": np.where(empty, 0.0, np.ceil(large * dsc)),
                }
            )
        )
    return pandas.concat(frames, ignore_index=True)


class Kept:
    """Rows that were simulated before, in a JSON file; nothing is kept without one."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.rows: dict[str, dict[str, int]] = {}
        if path is not None and path.is_file():
            self.rows = json.loads(path.read_text(encoding="utf-8"))

    def row(self, name: str, studies: int, simulate: Callable[[], Counter[str]]) -> Counter[str]:
        """Gives the counts of a row, simulated where there are none of so many studies; ``studies`` is one of them."""
        if self.rows.get(name, {}).get("studies", 0) < studies:
            self.rows[name] = {**simulate(), "studies": studies}
            if self.path is not None:
                write_json_atomic(self.path, self.rows)
        return Counter(self.rows[name])


def judge(world: World, studies: int, resamples: int, seed: int = 0) -> Counter[str]:
    """Judges many studies; counts the studies with a verdict, an interval beside zero, or a small p."""
    found: Counter[str] = Counter()
    for number in range(studies):
        frame = simulate(world, generator_for(seed, "study", str(world), number))
        verdict = make_verdict(frame, references=(REFERENCE,), seed=number, resamples=resamples)
        said = set()
        for row in verdict["comparisons"]:
            low, high = row["interval"]
            said |= {f"{row['verdict']} {row['metric']}", f"{row['verdict']} any"}
            signs = {"above": low > 0, "below": high < 0, "test": row["p"] < 0.05}
            said |= {f"{sign} {row['metric']}" for sign, true in signs.items() if true}
        found.update(said)
        line = verdict["headline"].split(" Taken alone")[0].split(" In the one draw")[0]
        found.update(f"headline {word}" for word in ("helps", "harms") if f" {word} " in line)
    return found


def percent(number: float, of: int) -> str:
    """A share, in percent."""
    return f"{100 * number / of:.1f}"


CURVE = (3, 5, 10, 20)
WITHOUT_EFFECT = {
    "leave one out, 10 patients": World(10, folds=10),
    "leave one out, 10 patients, 3 repeats": World(10, folds=10, repeats=3),
    "leave one out, 20 patients": World(20, folds=20),
    "leave one out, 60 patients": World(60, folds=60),
    "3 folds, 60 patients, luck 0.05": World(60, folds=3, draw_spread=0.05),
    "5 folds, 60 patients, luck 0.01": World(60, folds=5, draw_spread=0.01),
    "5 folds, 60 patients, luck 0.05": World(60, folds=5, draw_spread=0.05),
    "learning curve, 60 patients, R = 3, luck 0": World(60, repeats=3),
    "learning curve, 60 patients, R = 3, luck 0.01": World(60, repeats=3, draw_spread=0.01),
    "learning curve, 60 patients, R = 3, luck 0.02": World(60, repeats=3, draw_spread=0.02),
    "learning curve of 4 sizes, 60 patients, R = 3, luck 0.01": World(60, repeats=3, sizes=CURVE, draw_spread=0.01),
} | {
    f"learning curve of 4 sizes, 40 patients, R = {repeats}, luck {luck:.2f}": World(
        40, repeats=repeats, sizes=CURVE, draw_spread=luck
    )
    for repeats in (1, 3, 5, 10)
    for luck in (0.05, 0.10)
}


def errors(studies: int, resamples: int, kept: Kept, only: str = "") -> None:
    """Prints how often studies without an effect are given a verdict; ``only`` those whose name has this in it."""
    heads = " | ".join(metric.title for metric in METRICS.values())
    print("\n### Studies without an effect: % that say helps / harms\n")
    print(
        f"| study | studies | headline | any comparison | {heads} | DSC interval above / below zero |"
        " DSC ranks alone p < 0.05 |"
    )
    print("|" + "---|" * (len(METRICS) + 6))
    for name, world in WITHOUT_EFFECT.items():
        if only not in name:
            continue
        found = kept.row(name, studies, lambda world=world: judge(world, studies, resamples))
        count = found["studies"]
        cells = [
            f"{percent(found[f'helps {key}'], count)} / {percent(found[f'harms {key}'], count)}"
            for key in ("any", *METRICS)
        ]
        said = f"{percent(found['headline helps'], count)} / {percent(found['headline harms'], count)}"
        sides = f"{percent(found['above dsc'], count)} / {percent(found['below dsc'], count)}"
        print(
            f"| {name} | {count:,} | {said} | {' | '.join(cells)} | {sides} | {percent(found['test dsc'], count)} |",
            flush=True,
        )


def power(studies: int, resamples: int, kept: Kept) -> None:
    """Prints how often a gain of two DSC points is found."""
    print("\n### A gain of 2 DSC points, leave one out: % that say helps\n")
    print("| sd of the paired difference | patients | studies | DSC | any metric | harms, any metric |")
    print("|---|---|---|---|---|---|")
    for spread in (0.02, 0.04, 0.06):
        for patients in (10, 20, 60):
            world = World(patients, folds=patients, gain=0.02, spread=spread)
            name = f"power {spread} {patients}"
            found = kept.row(name, studies, lambda world=world: judge(world, studies, resamples))
            count = found["studies"]
            shares = [percent(found[key], count) for key in ("helps dsc", "helps any", "harms any")]
            print(f"| {spread} | {patients} | {count} | {' | '.join(shares)} |", flush=True)


def draws(studies: int, resamples: int, kept: Kept) -> None:
    """Prints how often learning curves find a gain, by how many training draws they have."""
    print("\n### Learning curves, 40 patients, luck 0.05: % that say helps\n")
    print("| gain, DSC | R | studies | one size: DSC | headline | four sizes: DSC at any of them | headline |")
    print("|---|---|---|---|---|---|---|")
    for gain in (0.05, 0.10, 0.20):
        for repeats in (3, 5, 10):
            cells = []
            for sizes in ((9,), CURVE):
                world = World(40, repeats=repeats, sizes=sizes, gain=gain, draw_spread=0.05)
                name = f"draws {gain} {repeats} {len(sizes)}"
                found = kept.row(name, studies, lambda world=world: judge(world, studies, resamples))
                cells += [percent(found[key], found["studies"]) for key in ("helps dsc", "headline helps")]
            print(f"| {gain} | {repeats} | {found['studies']} | {' | '.join(cells)} |", flush=True)


# Intervals beside each other


def _classic(values: np.ndarray, means: np.ndarray, rng: np.random.Generator) -> dict[str, tuple[float, float]]:
    """Percentile, BCa and bootstrap-t intervals of a mean, 95 %."""
    bca = stats.bootstrap((values,), np.mean, n_resamples=len(means), method="BCa", rng=rng, vectorized=True)
    drawn = values[rng.integers(len(values), size=(len(means), len(values)))]
    error = np.maximum(drawn.std(axis=1, ddof=1), 1e-9)
    low, high = np.quantile((drawn.mean(axis=1) - values.mean()) / error, [0.025, 0.975]) * values.std(ddof=1)
    return {
        "percentile": (float(np.quantile(means, 0.025)), float(np.quantile(means, 0.975))),
        "BCa": (float(bca.confidence_interval.low), float(bca.confidence_interval.high)),
        "bootstrap-t": (float(values.mean() - high), float(values.mean() - low)),
    }


def intervals(studies: int, resamples: int) -> None:
    """Prints how often 95 % intervals of a mean miss a true zero, on either side, and how wide they are."""
    shapes: dict[str, Callable[[np.random.Generator, int], np.ndarray]] = {
        "normal": lambda rng, n: rng.normal(0, 0.04, n),
        "heavy tails (t, 3)": lambda rng, n: 0.03 * rng.standard_t(3, n),
        "ties (steps of 1/12)": lambda rng, n: np.round(12 * rng.normal(0, 0.04, n)) / 12,
        "skewed (lognormal)": lambda rng, n: 0.04 * (rng.lognormal(0, 0.8, n) - np.exp(0.32)),
    }
    print(f"\n### 95 % intervals: % above / below the true zero, and mean width over Student's ({studies} each)\n")
    print("| differences | patients | percentile | BCa | bootstrap-t | ours |")
    print("|---|---|---|---|---|---|")
    for shape, draw in shapes.items():
        for patients in (10, 20, 60):
            missed: dict[str, np.ndarray] = {}
            student = 0.0
            for number in range(studies):
                rng = generator_for(0, "intervals", shape, patients, number)
                values = draw(rng, patients)
                if not values.std():
                    continue
                drawn = Resamples(number, resamples)
                folds = np.arange(patients)[:, None]
                ours = bootstrap_interval(values[:, None], np.zeros(patients), folds, drawn, 0.95)
                assert ours is not None
                means = drawn.means(values, (patients,))
                found = {**_classic(values, means, rng), "ours": ours}
                for name, (low, high) in found.items():
                    missed[name] = missed.get(name, 0) + np.array([low > 1e-9, high < -1e-9, high - low])
                half = float(stats.t.ppf(0.975, patients - 1) * values.std(ddof=1) / np.sqrt(patients))
                student += 2 * half
            cells = []
            for low, high, width in missed.values():
                ratio = f"{width / student:.2f}" if width < 100 * student else "over 100"  # ties: no error to divide by
                cells.append(f"{percent(low, studies)} / {percent(high, studies)}, {ratio}")
            print(f"| {shape} | {patients} | {' | '.join(cells)} |", flush=True)


def main() -> None:
    """Prints the tables as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=1000)
    parser.add_argument("--resamples", type=int, default=2000)
    parser.add_argument("--part", choices=("intervals", "errors", "power", "draws", "all"), default="all")
    parser.add_argument("--only", default="", help="of the studies without an effect those with this in their name")
    parser.add_argument("--out", type=Path, help="JSON file of finished rows")
    given = parser.parse_args()
    kept = Kept(given.out)
    print(measured_at())
    if given.part in ("intervals", "all"):
        intervals(given.studies, given.resamples)
    if given.part in ("errors", "all"):
        errors(given.studies, given.resamples, kept, given.only)
    if given.part in ("power", "all"):
        power(given.studies, given.resamples, kept)
    if given.part in ("draws", "all"):
        draws(given.studies, given.resamples, kept)


if __name__ == "__main__":
    main()
