"""Paired statistics in which patients are the units: interval, signed-rank test, Holm's correction.

A comparison is a table of differences (P, R): P patients, R repeats, NaN where a patient was not tested or a metric is
undefined. Its estimate is the mean over patients of each patient's mean over repeats.

The interval is the percentile bootstrap's, moved away from the estimate by a factor that mends its two faults in small
samples: it takes the spread of n patients for that of a population (short by sqrt((n - 1) / n), worse in small strata),
and it has normal tails where Student's are due (Hesterberg, The American Statistician 69, 2015, 371-386, widens it for
the same reason). Percentile, BCa and bootstrap-t intervals were measured beside it: docs/results/verdict.md.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from labelgan.core.rng import generator_for

EXACT_TO = 200  # patients; beyond, the signed-rank statistic is as good as normal
SMALLEST_STRATUM = 3  # patients; a stratum of one would count as known without error
BLOCK = 2_000_000  # counts of a block of resamples, 16 MB
KEPT = 8  # blocks that are kept for the next comparison
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
    _made: dict[tuple[str, tuple[int, ...], int], np.ndarray] = field(default_factory=dict, repr=False)

    def means(self, table: np.ndarray, sizes: tuple[int, ...]) -> np.ndarray:
        """Gives the mean of every resample (B,), NaN for one that holds no value.

        Args:
            table: (P, R) values, NaN where there is none, patients of a stratum side by side.
            sizes: patients of each stratum, in this order; they are drawn apart. Repeats are drawn as wholes.
        """
        rows = max(1, BLOCK // len(table))
        found = []
        for start in range(0, self.count, rows):
            size = min(rows, self.count - start)
            patients = self._counts("patients", sizes, start, size)
            repeats = self._counts("repeats", (table.shape[1],), start, size)
            found.append(resampled_means(table, patients, repeats))
        return np.concatenate(found)

    def _counts(self, of: str, sizes: tuple[int, ...], start: int, rows: int) -> np.ndarray:
        """How often each was drawn, (rows, sum of sizes), from resample ``start`` on."""
        key = (of, sizes, start)
        if key not in self._made:
            rng = generator_for(self.seed, "bootstrap", of, *sizes, *(("from", start) if start else ()))
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
class Spread:
    """How sure a mean is: its variance and the degrees of freedom of that variance."""

    variance: float
    freedom: float


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
    """Estimates how far the mean could lie with other patients and other training draws.

    Patients add the stratified variance of their means, Σ n_s s_s² / n². A fold is one draw of training patients (and
    of everything random in training), which all its test patients share. Where patients were tested by several folds,
    the variance between folds is added; where folds divide the patients, the larger of both counts; where every fold
    tests one patient, they are the same thing. Degrees of freedom are Satterthwaite's.

    Args:
        table: (P, R) differences; every patient has at least one.
        strata: (P,) stratum of each patient.
        folds: (P, R) fold behind each difference.

    Returns:
        None below two patients.
    """
    patients = len(table)
    freedom = patients - len(np.unique(strata))
    if freedom < 1:
        return None
    means = np.nanmean(table, axis=1)
    variance = sum(
        float(means[strata == s].var(ddof=1)) * int((strata == s).sum()) / patients**2 for s in np.unique(strata)
    )
    known = ~np.isnan(table)
    weights = known / known.sum(axis=1, keepdims=True) / patients
    _, fold = np.unique(folds[known], return_inverse=True)
    count = int(fold.max()) + 1
    owner = np.nonzero(known)[0]
    pairs = len(np.unique(np.stack([owner, fold]), axis=1).T)
    if count < 2 or pairs == count:  # one draw tells nothing about others; one patient a draw is told by patients
        return Spread(variance, freedom)
    share = np.bincount(fold, weights[known])
    fold_means = np.bincount(fold, weights[known] * table[known]) / share
    between = float((share**2 * (fold_means - means.mean()) ** 2).sum()) * count / (count - 1)
    total = variance + between if pairs > patients else max(variance, between)
    noise = variance**2 / freedom + between**2 / (count - 1)
    return Spread(total, min(total**2 / noise, freedom) if noise else freedom)


def resampled_means(table: np.ndarray, patients: np.ndarray, repeats: np.ndarray) -> np.ndarray:
    """Gives the mean of every resample (B,).

    Args:
        table: (P, R) values, NaN where there is none.
        patients: (B, P) counts.
        repeats: (B, R) counts.

    Returns:
        NaN for a resample that holds no value.
    """
    known = ~np.isnan(table)
    if known.all():
        return ((patients @ table) * repeats).sum(axis=1) / (patients.sum(axis=1) * repeats.sum(axis=1))
    values = repeats @ np.where(known, table, 0.0).T
    counts = repeats @ known.T.astype(np.float64)
    weights = patients * (counts > 0)
    total = weights.sum(axis=1)
    sums = (weights * values / np.maximum(counts, 1)).sum(axis=1)
    return np.where(total > 0, sums / np.maximum(total, 1), np.nan)


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
    from scipy import stats

    strata = merge_strata(sites)
    spread = spread_of(table, strata, folds)
    if spread is None:
        return None
    order = np.argsort(strata, kind="stable")
    sizes = tuple(np.bincount(strata).tolist())
    middle = mean_of(table)
    means = resamples.means(table[order], sizes)
    means = means[~np.isnan(means)]
    tails = np.array([(1 - confidence) / 2, (1 + confidence) / 2])
    bounds = np.array([middle, middle])
    if means.std() > 10.0**-DECIMALS:
        widen = float(stats.t.ppf(tails[1], spread.freedom) / stats.norm.ppf(tails[1]))
        widen *= spread.variance**0.5 / float(means.std())
        bounds = middle + widen * (np.quantile(means, tails) - middle)
    low, high = np.round(bounds, DECIMALS).tolist()
    return low, high


def student_p(table: np.ndarray, sites: np.ndarray, folds: np.ndarray) -> float | None:
    """Two-sided p of a zero mean by the spread behind `bootstrap_interval`: unlike ranks, it knows of training draws.

    Args:
        table: (P, R) differences; every patient has at least one.
        sites: (P,) site of each patient.
        folds: (P, R) fold behind each difference.

    Returns:
        None where patients are too few for any spread.
    """
    from scipy import stats

    spread = spread_of(table, merge_strata(sites), folds)
    if spread is None:
        return None
    middle = abs(round(mean_of(table), DECIMALS))
    error = spread.variance**0.5
    if error <= 10.0**-DECIMALS:
        return float(middle == 0)
    return float(2 * stats.t.sf(middle / error, spread.freedom))


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
