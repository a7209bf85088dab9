"""The annotation multiplier: how many annotated patients an arm is worth, read off the reference arm's learning curve.

The reference's mean score is made monotone in the number of training patients (isotonic regression) and interpolated
linearly between the measured numbers, in their logarithm: scores of segmenters grow about so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from labelgan.scoring.metrics import METRICS
from labelgan.study.verdict.score_table import ScoreTable
from labelgan.study.verdict.statistics import Resamples, mean_of, merge_strata

METRIC = "dsc"
ROUNDING = 1e-12  # means of equal scores differ by less


def isotonic(curves: np.ndarray) -> np.ndarray:
    """Gives the nearest non-decreasing curves, (B, K) to (B, K), by least squares.

    Uses the min-max formula of isotonic regression, max over a ≤ k of min over b ≥ k of the mean from a to b (Barlow
    et al., Statistical Inference under Order Restrictions, 1972), which needs no loop over curves.
    """
    points = curves.shape[1]
    sums = np.concatenate([np.zeros((len(curves), 1)), np.cumsum(curves, axis=1)], axis=1)
    fitted = np.empty_like(curves)
    for k in range(points):
        lows = [
            np.min([(sums[:, b + 1] - sums[:, a]) / (b + 1 - a) for b in range(k, points)], axis=0)
            for a in range(k + 1)
        ]
        fitted[:, k] = np.max(lows, axis=0)
    return fitted


def patients_needed(sizes: np.ndarray, curves: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Gives how many patients each curve needs to reach its score, (B,).

    Args:
        sizes: (K,) measured numbers of training patients, rising.
        curves: (B, K) mean scores, larger is better; made monotone here.
        scores: (B,) the score to reach.

    Returns:
        The smallest such number; 0 where the score lies below the whole curve, inf where it lies above.
    """
    fitted = isotonic(curves)
    scores = scores - ROUNDING
    above = np.minimum((fitted < scores[:, None]).sum(axis=1), len(sizes) - 1)  # first point that reaches the score
    below = np.maximum(above - 1, 0)
    rows = np.arange(len(fitted))
    low, high = fitted[rows, below], fitted[rows, above]
    part = np.where(high > low, (scores - low) / np.where(high > low, high - low, 1.0), 0.0)
    logs = np.log(sizes)
    needed = np.exp(logs[below] + (logs[above] - logs[below]) * np.clip(part, 0.0, 1.0))
    needed = np.where(scores > fitted[:, -1], np.inf, needed)
    return np.where(scores < fitted[:, 0] - 2 * ROUNDING, 0.0, needed)


@dataclass(frozen=True)
class Curve:
    """An arm's scores at every number of training patients, on one list of patients.

    Attributes:
        sizes: (K,) training patients, rising.
        tables: K tables (P, R) of scores, larger is better.
    """

    sizes: np.ndarray
    tables: list[np.ndarray]

    def means(self) -> np.ndarray:
        """Mean over patients at each size, (1, K)."""
        return np.array([[mean_of(table[~np.isnan(table).all(axis=1)]) for table in self.tables]])

    def resampled(self, resamples: Resamples, strata: tuple[int, ...]) -> np.ndarray:
        """Means of every resample, (B, K); ``strata`` are the sizes of runs of patients that are drawn apart."""
        return np.stack([resamples.means(table, strata) for table in self.tables], axis=1)


def multipliers_of(
    tables: list[ScoreTable], references: list[str], resamples: Resamples, confidence: float
) -> list[dict[str, Any]]:
    """Gives the multiplier of every arm at every number of training patients, for DSC.

    Args:
        tables: of a learning curve, in rising order.
        references: arms whose curves are read.
        resamples: bootstrap counts; patients and repeats are drawn as wholes, over the whole curve.
        confidence: of the interval, between 0 and 1.

    Returns:
        Rows of ``verdict.json``'s ``multipliers``; an end of an interval that lies beyond the curve is None.
    """
    if len(tables) < 2:
        return []
    site_of = {p: s for table in tables for p, s in zip(table.patients.tolist(), table.sites.tolist(), strict=True)}
    patients = sorted(site_of, key=lambda patient: (site_of[patient], patient))
    strata = merge_strata(np.array([site_of[patient] for patient in patients]))
    patients = [patients[row] for row in np.argsort(strata, kind="stable")]
    repeats = sorted({int(repeat) for table in tables for repeat in table.repeats})
    drawn = resamples, tuple(np.bincount(strata).tolist())
    arms = list(dict.fromkeys(arm for table in tables for arm in table.values))
    curves = {arm: _curve(tables, arm, patients, repeats) for arm in arms}
    found = []
    for reference in references:
        base = curves[reference]
        if len(base.sizes) < 2:
            continue
        means, spread = base.means(), base.resampled(*drawn)
        for arm in (name for name in arms if name != reference):
            own, own_spread = curves[arm].means(), curves[arm].resampled(*drawn)
            for place, n_train in enumerate(curves[arm].sizes.tolist()):
                needed = patients_needed(base.sizes, means, own[:, place])
                usable = ~(np.isnan(spread).any(axis=1) | np.isnan(own_spread[:, place]))
                ratios = patients_needed(base.sizes, spread[usable], own_spread[usable, place]) / n_train
                row = _row(base.sizes, float(own[0, place]), float(needed[0]), int(n_train), ratios, confidence)
                found.append({"arm": arm, "reference": reference, "n_train": int(n_train), "metric": METRIC, **row})
    return found


def _curve(tables: list[ScoreTable], arm: str, patients: list[str], repeats: list[int]) -> Curve:
    """Lays an arm's scores out on common patients and repeats, at the sizes where it has any."""
    sign = 1.0 if METRICS[METRIC].better == "higher" else -1.0
    sizes, laid = [], []
    for table in tables:
        if arm not in table.values or np.isnan(table.values[arm][METRIC]).all():
            continue
        whole = np.full((len(patients), len(repeats)), np.nan)
        rows = [patients.index(patient) for patient in table.patients.tolist()]
        whole[np.ix_(rows, [repeats.index(int(repeat)) for repeat in table.repeats])] = sign * table.by_patient(
            table.values[arm][METRIC]
        )
        sizes.append(table.n_train)
        laid.append(whole)
    return Curve(np.array(sizes, dtype=np.float64), laid)


def _row(
    sizes: np.ndarray, score: float, needed: float, n_train: int, ratios: np.ndarray, confidence: float
) -> dict[str, Any]:
    first, last = int(sizes[0]), int(sizes[-1])
    tails = [(1 - confidence) / 2, (1 + confidence) / 2]
    # Neighbours are not averaged: one of them may lie beyond the curve.
    low, high = np.quantile(ratios, tails, method="nearest").tolist() if len(ratios) else (0.0, np.inf)
    ends = [float(end) if 0 < end < np.inf else None for end in (low, high)]
    inside = 0 < needed < np.inf
    if not inside:
        note = (
            f"more than {last} patients: beyond the curve"
            if needed
            else f"fewer than {first} patients: before the curve"
        )
    elif None in ends:
        note = "the interval reaches beyond the measured curve"
    else:
        note = ""
    return {
        "score": score if METRICS[METRIC].better == "higher" else -score,
        "needed": needed if inside else None,
        "multiplier": needed / n_train if inside else None,
        "interval": ends,
        "note": note,
    }
