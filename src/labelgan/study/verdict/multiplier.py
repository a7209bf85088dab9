"""The annotation multiplier: how many annotated patients an arm is worth, read off the reference arm's learning curve.

The reference's mean score is made monotone in the number of training patients (isotonic regression) and interpolated
linearly between the measured numbers, in their logarithm: scores of segmenters grow about so.

The interval inverts a test, as Fieller did for a ratio of means (Journal of the Royal Statistical Society B 16, 1954,
175-185): it holds every number n at which the difference between the arm and the reference's curve at n is not told
from zero by the interval of that difference, the same that stands beside a study's differences, with its variance of
patients and of training draws. A ratio's own resamples would be too close together: a bootstrap of three draws knows
nothing of how badly three draws know their spread.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from labelgan.scoring.metrics import METRICS
from labelgan.study.verdict.score_table import ScoreTable
from labelgan.study.verdict.statistics import Resamples, bootstrap_intervals, mean_of

METRIC = "dsc"
FEWEST_DRAWS = 3  # of training patients: fewer do not know their spread
BETWEEN = 16  # candidates between two measured numbers of patients
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
        tables: K tables (P, R) of scores, larger is better; NaN where there is none.
    """

    sizes: np.ndarray
    tables: list[np.ndarray]

    def means(self) -> np.ndarray:
        """Mean over patients at each size, (1, K)."""
        return np.array([[mean_of(table[~np.isnan(table).all(axis=1)]) for table in self.tables]])


@dataclass(frozen=True)
class Candidates:
    """Numbers of the reference's patients that an arm may be worth, and the interval of the difference at each.

    Attributes:
        numbers: (C,) rising.
        low: (C,) lower end of the interval of arm - reference; above zero, the arm is worth more.
        high: (C,) upper end; below zero, the arm is worth fewer.
    """

    numbers: np.ndarray
    low: np.ndarray
    high: np.ndarray

    def confidence_set(self, n_train: float) -> tuple[float, float]:
        """Gives the ends of what is not rejected; 0 and inf lie beyond the curve.

        The search goes out from the arm's own number of patients, where scores are paired by draw, to the nearest
        candidates that are not rejected, and ends at the next that are: scores grow with patients, so that what is not
        rejected beyond those is noise. The range holds ``n_train`` exactly where the difference there holds zero.
        """
        own = int(np.argmin(np.abs(np.log(self.numbers / n_train))))
        more, fewer = self.low > 0, self.high < 0
        start = own
        if more[own]:
            start = own + _first(~more[own:])
        elif fewer[own]:
            start = _last(~fewer[:own])
        first = start if more[own] else _last(more[: start + 1]) + 1
        last = start if fewer[own] else start + _first(fewer[start:]) - 1
        if first > len(self.numbers) - 1:
            return float(self.numbers[-1]), np.inf
        if last < 0:
            return 0.0, float(self.numbers[0])
        low = self._crossing(self.low, first - 1) if first else 0.0
        high = self._crossing(self.high, last) if last < len(self.numbers) - 1 else np.inf
        return low, high

    def _crossing(self, ends: np.ndarray, before: int) -> float:
        """The number at which ends of intervals fall through zero, between candidate ``before`` and the next."""
        first, then = float(ends[before]), float(ends[before + 1])
        part = first / (first - then) if first > then else 0.5
        return float(self.numbers[before] ** (1 - part) * self.numbers[before + 1] ** part)


def _first(true: np.ndarray) -> int:
    """Place of the first true value; the length where there is none."""
    return int(np.argmax(true)) if true.any() else len(true)


def _last(true: np.ndarray) -> int:
    """Place of the last true value; -1 where there is none."""
    return len(true) - 1 - _first(true[::-1])


def multipliers_of(
    tables: list[ScoreTable], references: Sequence[str], resamples: Resamples, confidence: float
) -> list[dict[str, Any]]:
    """Gives the multiplier of every arm at every number of training patients, for DSC.

    Args:
        tables: of a learning curve, in rising order.
        references: arms whose curves are read.
        resamples: bootstrap counts.
        confidence: of the interval, between 0 and 1.

    Returns:
        Rows of ``verdict.json``'s ``multipliers``; an end of an interval that lies beyond the curve is None, and so is
        the interval where fewer than ``FEWEST_DRAWS`` training draws stand behind it.
    """
    if len(tables) < 2:
        return []
    site_of = {p: s for table in tables for p, s in zip(table.patients.tolist(), table.sites.tolist(), strict=True)}
    patients = sorted(site_of, key=lambda patient: (site_of[patient], patient))
    sites = np.array([site_of[patient] for patient in patients])
    repeats = sorted({int(repeat) for table in tables for repeat in table.repeats})
    arms = list(dict.fromkeys(arm for table in tables for arm in table.values))
    curves = {arm: _curve(tables, arm, patients, repeats) for arm in arms}
    found = []
    for reference in references:
        base = curves[reference]
        if len(base.sizes) < 2:
            continue
        for arm in (name for name in arms if name != reference):
            own = curves[arm].means()
            for place, n_train in enumerate(curves[arm].sizes.tolist()):
                needed = float(patients_needed(base.sizes, base.means(), own[:, place])[0])
                table = curves[arm].tables[place]
                draws = _draws(table, base)
                ends = None
                if draws >= FEWEST_DRAWS:
                    ends = _interval(table, base, n_train, needed, sites, resamples, confidence)
                row = _row(base.sizes, float(own[0, place]), needed, int(n_train), ends, draws)
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


def _draws(table: np.ndarray, base: Curve) -> int:
    """Counts the training draws that an arm's table shares with every point of the reference's curve."""
    return int(np.all([~np.isnan(one).all(axis=0) for one in (table, *base.tables)], axis=0).sum())


def _interval(
    table: np.ndarray,
    base: Curve,
    n_train: float,
    needed: float,
    sites: np.ndarray,
    resamples: Resamples,
    confidence: float,
) -> tuple[float, float] | None:
    """Ends of the confidence set of the number of patients; None where the differences have no interval."""
    found = _candidates(table, base, sites, resamples, confidence)
    if found is None:
        return None
    low, high = found.confidence_set(n_train)
    # The estimate is read off a curve without dips, the tests are of the curve as it is.
    return (min(low, needed) if low < n_train else low), (max(high, needed) if high > n_train else high)


def _candidates(
    table: np.ndarray, base: Curve, sites: np.ndarray, resamples: Resamples, confidence: float
) -> Candidates | None:
    """Tests the measured numbers of patients, and ``BETWEEN`` more between each two, apart in their logarithm."""
    inner = np.linspace(0, 1, BETWEEN + 2)[1:-1]
    logs = np.log(base.sizes)
    numbers: list[float] = []
    ends: list[np.ndarray] = []
    for place, size in enumerate(base.sizes.tolist()):
        own = base.tables[place]
        parts = [(np.array([size]), (table - own)[None])]
        if place + 1 < len(base.sizes):
            between = np.exp(logs[place] + inner * (logs[place + 1] - logs[place]))
            part = inner[:, None, None]
            parts.append((between, table - (1 - part) * own - part * base.tables[place + 1]))
        for at, differences in parts:
            rows = ~np.isnan(differences[0]).all(axis=1)
            if not rows.any():
                return None
            kept = differences[:, rows]
            draws = np.broadcast_to(np.arange(table.shape[1]), kept[0].shape)
            found = bootstrap_intervals(kept, sites[rows], draws, resamples, confidence)
            if found is None:
                return None
            numbers += at.tolist()
            ends.append(found)
    low, high = np.concatenate(ends).T
    return Candidates(np.array(numbers), low, high)


def _row(
    sizes: np.ndarray, score: float, needed: float, n_train: int, ends: tuple[float, float] | None, draws: int
) -> dict[str, Any]:
    first, last = int(sizes[0]), int(sizes[-1])
    interval = None if ends is None else [end / n_train if 0 < end < np.inf else None for end in ends]
    inside = 0 < needed < np.inf
    if not inside:
        note = (
            f"more than {last} patients: beyond the curve"
            if needed
            else f"fewer than {first} patients: before the curve"
        )
    elif interval is None:
        few = f"{draws} training draw{'' if draws == 1 else 's'}, and {FEWEST_DRAWS} are needed"
        note = f"no interval: {few if draws < FEWEST_DRAWS else 'too few patients'}"
    elif None in interval:
        note = "the interval reaches beyond the measured curve"
    else:
        note = ""
    return {
        "score": score if METRICS[METRIC].better == "higher" else -score,
        "needed": needed if inside else None,
        "multiplier": needed / n_train if inside else None,
        "interval": interval,
        "note": note,
    }
