"""Simulates learning curves of known truth: how often the annotation multiplier's interval misses it.

Run: python bench/experiments/multiplier_coverage.py [--studies 1000] [--resamples 1000] [--out FILE] [--part NAME]

Prints the tables of docs/results/verdict.md. With ``--out`` every finished row is kept in FILE (JSON), and is not
simulated again: a run that was stopped goes on. One core and some 20 milliseconds of it a study; ``--draws 3`` or
``--part`` take a part of it.

The reference scores .50 DSC with 5 training patients and .08 more with each doubling, to 40. A patient's difficulty is
shared by arms and sizes; what an arm makes of a patient at one size differs (sd .02 for good, and .02 a draw). Training
draws: luck that all arms share at a size, and luck of an arm's own, so that the difference of two arms at one size has
the stated standard deviation of luck. The arm in question has 10 training patients, and scores what the reference
scores with ``multiplier`` times as many.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from labelgan.core.files import write_json_atomic
from labelgan.core.provenance import measured_at
from labelgan.core.rng import generator_for
from labelgan.scoring.metrics import METRICS
from labelgan.study.verdict.multiplier import METRIC, multipliers_of, patients_needed
from labelgan.study.verdict.score_table import ScoreTable
from labelgan.study.verdict.statistics import Resamples

SIZES = (5, 10, 20, 40)
N_TRAIN, PATIENTS = 10, 40
FIRST, SLOPE = 0.50, 0.08  # DSC at 5 patients, and for each doubling
REFERENCE, ARM = "classical", "classical+synthetic"


def curve(patients: float, shape: str = "log") -> float:
    """The reference's true mean DSC: rising by as much for each doubling, or saturating as a power of the number."""
    if shape == "log":
        return FIRST + SLOPE * float(np.log2(patients / SIZES[0]))
    return 0.80 - 0.30 * (patients / SIZES[0]) ** -0.6


def study(multiplier: float, luck: float, draws: int, rng: np.random.Generator, shape: str = "log") -> list[ScoreTable]:
    """Gives the scores of one study: tables of the reference at every size, and of the arm at ``N_TRAIN``."""
    difficulty = rng.normal(0, 0.15, (PATIENTS, 1))
    tables = []
    for size in SIZES:
        shared = rng.normal(0, 0.03, (1, draws))
        truths = {REFERENCE: curve(size, shape)}
        if size == N_TRAIN:
            truths[ARM] = curve(multiplier * N_TRAIN, shape)
        values = {}
        for arm, truth in truths.items():
            own = rng.normal(0, luck / 2**0.5, (1, draws)) + rng.normal(0, 0.02, (PATIENTS, 1))
            laid = truth + difficulty + shared + own + rng.normal(0, 0.02, (PATIENTS, draws))
            values[arm] = {METRIC: laid.ravel()}
        tables.append(_table(size, values, draws))
    return tables


def _table(size: int, values: dict[str, dict[str, np.ndarray]], draws: int) -> ScoreTable:
    count = PATIENTS * draws
    column = np.tile(np.arange(draws), PATIENTS)
    return ScoreTable(
        n_train=size,
        patients=np.array([f"p{number:02d}" for number in range(PATIENTS)]),
        sites=np.full(PATIENTS, ""),
        repeats=np.arange(draws),
        folds=column.reshape(PATIENTS, draws),
        draws=draws,
        owner=np.repeat(np.arange(PATIENTS), draws),
        column=column,
        values=values,
        nothing={arm: np.zeros(count, bool) for arm in values},
        scored={arm: np.ones(count, bool) for arm in values},
    )


def percentiles(tables: list[ScoreTable], rng: np.random.Generator, count: int) -> tuple[float | None, float | None]:
    """The interval that stood here before: raw percentiles of the multiplier over resampled patients and draws."""
    assert METRICS[METRIC].better == "higher"
    own = next(table for table in tables if ARM in table.values)
    laid = [table.by_patient(table.values[REFERENCE][METRIC]) for table in tables]
    laid.append(own.by_patient(own.values[ARM][METRIC]))
    draws = laid[0].shape[1]
    patients = rng.multinomial(PATIENTS, np.full(PATIENTS, 1 / PATIENTS), count) / PATIENTS
    repeats = rng.multinomial(draws, np.full(draws, 1 / draws), count) / draws
    means = np.stack([((patients @ table) * repeats).sum(axis=1) for table in laid], axis=1)
    ratios = patients_needed(np.array(SIZES, float), means[:, :-1], means[:, -1]) / N_TRAIN
    ends = np.quantile(ratios, [0.025, 0.975], method="nearest").tolist()
    low, high = (end if 0 < end < np.inf else None for end in ends)
    return low, high


def cover(
    multiplier: float, luck: float, draws: int, studies: int, resamples: int, shape: str = "log"
) -> dict[str, float]:
    """Simulates studies; gives the shares of each kind of miss, and of open ends."""
    found = dict.fromkeys(("above", "below", "old above", "old below", "open", "told from 1"), 0)
    truth = _read_off(multiplier, shape)
    for number in range(studies):
        rng = generator_for(0, "multiplier", str(multiplier), str(luck), draws, shape, number)
        tables = study(multiplier, luck, draws, rng, shape)
        (row,) = [
            one
            for one in multipliers_of(tables, [REFERENCE], Resamples(number, resamples), 0.95)
            if one["n_train"] == N_TRAIN
        ]
        low, high = row["interval"] or (None, None)
        old = percentiles(tables, rng, resamples)
        found["above"] += low is not None and low >= truth
        found["below"] += high is not None and high <= truth
        found["old above"] += old[0] is not None and old[0] > truth
        found["old below"] += old[1] is not None and old[1] < truth
        found["open"] += low is None or high is None
        found["told from 1"] += (low is not None and low > 1) or (high is not None and high < 1)
    return {name: count / studies for name, count in found.items()} | {"studies": studies}


def _read_off(multiplier: float, shape: str) -> float:
    """The multiplier on the true curve as it is interpolated between the sizes that a study measures."""
    truths = np.array([[curve(size, shape) for size in SIZES]])
    score = np.array([curve(multiplier * N_TRAIN, shape)])
    return float(patients_needed(np.array(SIZES, float), truths, score)[0]) / N_TRAIN


def rows_of(part: str, draws: list[int]) -> dict[str, dict[str, Any]]:
    """The rows of a table, by name."""
    if part == "coverage":
        return {
            f"{count} draws, luck {luck:g}, multiplier {multiplier}": {
                "multiplier": float(multiplier),
                "luck": luck,
                "draws": count,
            }
            for count in draws
            for luck in (0.03, 0.06, 0.10)
            for multiplier in (1, 2, 3)
        }
    return {
        f"saturating curve, {count} draws, luck 0.06, multiplier {multiplier}": {
            "multiplier": float(multiplier),
            "luck": 0.06,
            "draws": count,
            "shape": "saturating",
        }
        for count in draws
        for multiplier in (1, 2, 3)
    }


def main() -> None:
    """Prints the tables as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=1000)
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--draws", default="3,5,10")
    parser.add_argument("--part", choices=("coverage", "saturating", "all"), default="all")
    parser.add_argument("--out", type=Path, help="JSON file of finished rows")
    given = parser.parse_args()
    kept: dict[str, dict[str, float]] = {}
    if given.out is not None and given.out.is_file():
        kept = json.loads(given.out.read_text(encoding="utf-8"))
    draws = [int(count) for count in given.draws.split(",")]
    print(measured_at())
    for part in ("coverage", "saturating") if given.part == "all" else (given.part,):
        print(f"\n### {part}: % of 95 % intervals that miss the truth\n")
        print("| study | studies | above / below | covered | percentiles (before): covered | open at an end |")
        print("|---|---|---|---|---|---|")
        for name, world in rows_of(part, draws).items():
            found = kept.get(name)
            if found is None or found["studies"] < given.studies:
                found = kept[name] = cover(studies=given.studies, resamples=given.resamples, **world)
                if given.out is not None:
                    write_json_atomic(given.out, kept)
            covered, before = (1 - found[f"{old}above"] - found[f"{old}below"] for old in ("", "old "))
            print(
                f"| {name} | {given.studies:,} | {100 * found['above']:.1f} / {100 * found['below']:.1f} |"
                f" {100 * covered:.1f} | {100 * before:.1f} | {100 * found['open']:.0f} % |",
                flush=True,
            )


if __name__ == "__main__":
    main()
