"""Paired statistics in which patients are the units: interval, signed-rank test, Holm's correction.

A comparison is a table of differences (P, R): P patients, R repeats, NaN where a patient was not tested or a metric is
undefined. Its estimate is the mean over patients of each patient's mean over repeats.

Two things make it uncertain, and each has its own variance and its own Student's t: which patients are tested, and
which training draws (patients, seeds) stand behind the networks. Their half-widths join as the square root of the sum
of squares (Zou & Donner, Statistics in Medicine 27, 2008, 1693-1702): with two to ten draws one t of pooled degrees of
freedom is too short, because a variance of so few draws is often small by chance.

The patients' half-widths are the percentile bootstrap's, moved away from the estimate by a factor that mends its two
faults in small samples: it takes the spread of n patients for that of a population (short by sqrt((n - 1) / n), worse
in small strata), and it has normal tails where Student's are due (Hesterberg, The American Statistician 69, 2015,
371-386, widens it for the same reason). Percentile, BCa and bootstrap-t intervals were measured beside it:
docs/results/verdict.md.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from labelgan.core.rng import generator_for

EXACT_TO = 200  # patients; beyond, the signed-rank statistic is as good as normal
SMALLEST_STRATUM = 3  # patients; a stratum of one would count as known without error
BLOCK = 2_000_000  # counts of a block of resamples, 16 MB
KEPT = 8  # blocks that are kept for the next comparison
SMALLEST_P = 1e-300  # of Student's: what lies below is not told from it
DECIMALS = 10  # of a difference: what lies below is rounding, and must not break ties or make a zero non-zero


@dataclass
class Resamples:
    """Bootstrap counts, the same for everything that is compared: equal tables get equal resamples.

    Counts are made a block of resamples at a time, so that memory does not grow with the number of patients.

    Attributes:
        seed: of the streams.
        count: B, how many resamples.
    """

    seed: int
    count: int
    _made: dict[tuple[tuple[int, ...], int], np.ndarray] = field(default_factory=dict, repr=False)

    def means(self, values: np.ndarray, sizes: tuple[int, ...]) -> np.ndarray:
        """Gives the mean of every resample: (B,) for values (P,), (B, C) for C columns of values (P, C).

        Args:
            values: one a patient, patients of a stratum side by side.
            sizes: patients of each stratum, in this order; they are drawn apart.
        """
        rows = max(1, BLOCK // len(values))
        found = [
            self._counts(sizes, start, min(rows, self.count - start)) @ values / len(values)
            for start in range(0, self.count, rows)
        ]
        return np.concatenate(found)

    def _counts(self, sizes: tuple[int, ...], start: int, rows: int) -> np.ndarray:
        """Counts how often each patient was drawn, (rows, sum of sizes), from resample ``start`` on."""
        key = (sizes, start)
        if key not in self._made:
            rng = generator_for(self.seed, "bootstrap", "patients", *sizes, *(("from", start) if start else ()))
            offsets = np.arange(rows)[:, None]
            parts = []
            for size in sizes:
                drawn = rng.integers(size, size=(rows, size)) + offsets * size
                parts.append(np.bincount(drawn.ravel(), minlength=rows * size).reshape(rows, size))
            if len(self._made) >= KEPT:
                del self._made[next(iter(self._made))]
            self._made[key] = np.concatenate(parts, axis=1).astype(np.float64)
        return self._made[key]


@dataclass(frozen=True)
class Part:
    """A variance of the mean, and the degrees of freedom with which it is known."""

    variance: float
    freedom: int

    def half_width(self, alpha: float) -> float:
        """Half of Student's interval of confidence 1 - ``alpha``."""
        from scipy import special

        return -float(special.stdtrit(self.freedom, alpha / 2)) * self.variance**0.5

    def p(self, middle: float) -> float:
        """Student's two-sided p of a mean that lies ``middle`` from zero."""
        from scipy import special

        error = self.variance**0.5
        return (
            float(2 * special.stdtr(self.freedom, -middle / error)) if error > 10.0**-DECIMALS else float(middle == 0)
        )


@dataclass(frozen=True)
class Spread:
    """Uncertainty of a mean over other patients, and over other training draws.

    Attributes:
        patients: of the patients tested.
        draws: of the training draws; None where only one stands behind the mean, or each tests one patient.
        added: the two add up, for each patient is tested by several draws; else a draw's mean holds its patients' luck
            as well, and the wider of the two counts.
    """

    patients: Part
    draws: Part | None
    added: bool

    def join(self, of_patients: float, of_draws: float) -> float:
        """Joins half-widths."""
        return float(np.hypot(of_patients, of_draws)) if self.added else max(of_patients, of_draws)


def merge_strata(sites: np.ndarray) -> np.ndarray:
    """Gives each patient's stratum (P,), from 0: its site, where that has enough patients, or the small sites together.

    Small sites that stay too few together join the smallest of the others.
    """
    names, codes, sizes = np.unique(sites, return_inverse=True, return_counts=True)
    small = sizes < SMALLEST_STRATUM
    if small.any() and not small.all():
        rest = np.flatnonzero(~small)
        pool = len(names) if sizes[small].sum() >= SMALLEST_STRATUM else rest[np.argmin(sizes[rest])]
        codes = np.where(small[codes], pool, codes)
    elif small.all():
        codes = np.zeros_like(codes)
    return np.unique(codes, return_inverse=True)[1]


def mean_of(table: np.ndarray) -> float:
    """Mean over patients of their means over repeats; ``table`` is (P, R), and every patient has a value."""
    return float(np.nanmean(table, axis=1).mean())


def spread_of(table: np.ndarray, strata: np.ndarray, folds: np.ndarray) -> Spread | None:
    """Estimates how far the mean of a table could lie with other patients and other training draws.

    Patients give the stratified variance of their means, Σ n_s s_s² / n². A fold is one draw of training patients (and
    of everything random in training), which all its test patients share: F folds give Σ w_f² (m_f − m)² F / (F − 1)
    with w_f the weight of a fold in the mean m.

    Args:
        table: (P, R) differences; every patient has at least one.
        strata: (P,) stratum of each patient.
        folds: (P, R) fold behind each difference.

    Returns:
        None below two patients.
    """
    found = _spreads(table[None], strata, folds)
    return found[0] if found else None


def _spreads(tables: np.ndarray, strata: np.ndarray, folds: np.ndarray) -> list[Spread]:
    """The spread of each of several tables (C, P, R) that have their values in the same places; empty where unknown."""
    _, count, _ = tables.shape
    groups = [strata == stratum for stratum in np.unique(strata)]
    freedom = count - len(groups)
    if freedom < 1:
        return []
    means = np.nanmean(tables, axis=2)
    variances = sum(means[:, own].var(axis=1, ddof=1) * own.sum() / count**2 for own in groups)
    patients = [Part(float(variance), freedom) for variance in np.atleast_1d(variances)]
    known = ~np.isnan(tables[0])
    _, fold = np.unique(folds[known], return_inverse=True)
    draws = int(fold.max()) + 1
    pairs = len(np.unique(np.nonzero(known)[0] * draws + fold))
    if draws < 2 or pairs == draws:  # one draw tells nothing about others; of one patient a draw, patients tell
        return [Spread(part, None, added=False) for part in patients]
    weights = (known / known.sum(axis=1, keepdims=True) / count)[known]
    share = np.bincount(fold, weights)
    sums = np.stack([np.bincount(fold, weights * table[known]) for table in tables])
    away = sums / share - means.mean(axis=1, keepdims=True)
    between = (share**2 * away**2).sum(axis=1) * draws / (draws - 1)
    return [
        Spread(part, Part(float(variance), draws - 1), added=pairs > count)
        for part, variance in zip(patients, between, strict=True)
    ]


def bootstrap_interval(
    table: np.ndarray, sites: np.ndarray, folds: np.ndarray, resamples: Resamples, confidence: float
) -> tuple[float, float] | None:
    """Interval of the mean difference, for other patients of the same sites and, where R > 1, other training draws.

    Args:
        table: (P, R) differences; every patient has at least one.
        sites: (P,) site of each patient.
        folds: (P, R) fold behind each difference.
        resamples: bootstrap counts.
        confidence: between 0 and 1.

    Returns:
        None where patients are too few for any spread.
    """
    found = bootstrap_intervals(table[None], sites, folds, resamples, confidence)
    return None if found is None else (float(found[0, 0]), float(found[0, 1]))


def bootstrap_intervals(
    tables: np.ndarray, sites: np.ndarray, folds: np.ndarray, resamples: Resamples, confidence: float
) -> np.ndarray | None:
    """Gives the interval of each of several tables (C, P, R), as `bootstrap_interval` does: (C, 2).

    Tables have their values in the same places. None where patients are too few for any spread.
    """
    from scipy import special

    strata = merge_strata(sites)
    spreads = _spreads(tables, strata, folds)
    if not spreads:
        return None
    order = np.argsort(strata, kind="stable")
    values = np.nanmean(tables, axis=2)[:, order].T
    middles = values.mean(axis=0)
    means = resamples.means(values, tuple(np.bincount(strata).tolist()))
    errors = means.std(axis=0)
    alpha = 1 - confidence
    reach = np.abs(np.quantile(means, [alpha / 2, 1 - alpha / 2], axis=0) - middles)
    normal = -float(special.ndtri(alpha / 2))
    ends = []
    for spread, middle, error, sides in zip(spreads, middles, errors, reach.T, strict=True):
        widen = spread.patients.half_width(alpha) / (normal * error) if error > 10.0**-DECIMALS else 0.0
        of_draws = spread.draws.half_width(alpha) if spread.draws is not None else 0.0
        low, high = (spread.join(widen * side, of_draws) for side in sides)
        ends.append((middle - low, middle + high))
    return np.round(ends, DECIMALS)


def student_p(middle: float, spread: Spread) -> float:
    """Two-sided p of a zero mean by the spread behind `bootstrap_interval`: unlike ranks, it knows of training draws.

    It is the level at which the interval, without its skewness, ends at zero.

    Args:
        middle: the mean.
        spread: of the mean, as `spread_of` gives it.
    """
    from scipy import optimize

    middle = abs(round(middle, DECIMALS))
    parts = [part for part in (spread.patients, spread.draws) if part is not None]
    alone = max(part.p(middle) for part in parts)
    if not spread.added or middle == 0 or min(part.variance for part in parts) <= 10.0 ** (-2 * DECIMALS):
        return alone

    def beyond(log_p: float) -> float:
        of_patients, of_draws = (part.half_width(float(np.exp(log_p))) for part in parts)
        return spread.join(of_patients, of_draws) - middle

    # Each part alone leaves less doubt than both (but for rounding); at p = 1 the interval is a point.
    log_p: Any = optimize.brentq(beyond, np.log(max(alone, SMALLEST_P)) - 1e-3, 0.0)
    return float(np.exp(log_p))


def signed_rank_p(differences: np.ndarray) -> float:
    """Two-sided p of Wilcoxon's signed-rank test with Pratt's zeros: ranked with the rest, then left out.

    Up to ``EXACT_TO`` differences the distribution over all signs is exact, given the ranks, with ties too.

    Args:
        differences: (P,) one a patient.
    """
    from scipy import stats

    differences = np.round(differences, DECIMALS)
    # Twice the rank is whole where ties share a middle rank.
    ranks = np.rint(2 * stats.rankdata(np.abs(differences))).astype(int)[differences != 0]
    positive = int(ranks[differences[differences != 0] > 0].sum())
    total = int(ranks.sum())
    if not total:
        return 1.0
    if len(differences) > EXACT_TO:
        z = abs(positive - total / 2) / (0.5 * float(np.sqrt((ranks.astype(np.float64) ** 2).sum())))
        return float(min(1.0, 2 * stats.norm.sf(z)))
    chances = np.zeros(total + 1)
    chances[0] = 1.0
    for rank in ranks:
        moved = np.zeros_like(chances)
        moved[rank:] = chances[: total + 1 - rank]
        chances = (chances + moved) / 2
    return float(min(1.0, 2 * min(chances[: positive + 1].sum(), chances[positive:].sum())))


def smallest_p(patients: int) -> float:
    """The smallest two-sided p that the signed-rank test can give for this many patients."""
    return min(1.0, 2.0 ** (1 - patients))


def holm(p_values: list[float | None]) -> list[float | None]:
    """Holm's adjusted p values (Scandinavian Journal of Statistics 6, 1979, 65-70), None where there is no test."""
    known = sorted((p, place) for place, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    highest = 0.0
    for rank, (p, place) in enumerate(known):
        highest = max(highest, min(1.0, p * (len(known) - rank)))
        adjusted[place] = highest
    return adjusted
