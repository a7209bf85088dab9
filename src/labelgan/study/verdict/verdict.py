"""Does it help? The verdict on a study, from its scores alone.

For each metric, arm and number of training patients the paired difference to the reference arms, its interval,
its test, and ``helps``, ``harms`` or ``no evidence``. How often it is wrong, and what it can see, was measured on
simulated studies: docs/results/verdict.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from labelgan.core.errors import ConfigError
from labelgan.scoring.metrics import METRICS
from labelgan.scoring.scores_csv import check_scores, read_scores
from labelgan.study.arms import references_of
from labelgan.study.verdict.multiplier import multipliers_of
from labelgan.study.verdict.score_table import ScoreTable, tables_of
from labelgan.study.verdict.statistics import (
    DECIMALS,
    Resamples,
    bootstrap_interval,
    holm,
    mean_of,
    merge_strata,
    signed_rank_p,
    smallest_p,
    spread_of,
    student_p,
)
from labelgan.study.verdict.wording import Finding, Verdict, headline_of, is_synthetic, policy_of, sentence_of

if TYPE_CHECKING:
    from pandas import DataFrame

__all__ = ["make_verdict", "read_scores"]

FORMAT = 1


@dataclass(frozen=True)
class Compared:
    """A comparison with its p values.

    Attributes:
        finding: what is said of it.
        p: of the signed-rank test, None where there is none.
        p_holm: corrected over the metrics of these two arms at this number of training patients.
        p_draws: the larger of ``p`` and Student's with the variance between training draws, where there is one.
        p_draws_holm: likewise corrected; the verdict goes by it.
    """

    finding: Finding
    p: float | None
    p_holm: float | None
    p_draws: float | None
    p_draws_holm: float | None


def make_verdict(
    scores: DataFrame,
    *,
    references: Sequence[str] | None = None,
    seed: int = 0,
    resamples: int = 10_000,
    confidence: float = 0.95,
) -> dict[str, Any]:
    """Judges a study.

    Args:
        scores: rows of ``scores.csv``, as `read_scores` gives them.
        references: arms that the others are compared with, where they were run; the headline is about the first.
            None: those without synthetic slices, the strongest first (`study.arms.STRENGTH`).
        seed: of the bootstrap.
        resamples: of the bootstrap, at least 100.
        confidence: of the intervals; 1 - confidence is the level of the tests.

    Returns:
        ``verdict.json`` in plain JSON types, None where something is undefined.

    Raises:
        DataError: the scores are not those of a study.
        ConfigError: ``resamples`` or ``confidence`` is out of range.
    """
    if resamples < 100:
        raise ConfigError("resamples", f"{resamples} is too few: at least 100")
    if not 0.5 <= confidence < 1:
        raise ConfigError("confidence", f"{confidence} lies outside 0.5 to 1")
    tables = tables_of(check_scores(scores))
    run = {arm: None for table in tables for arm in table.values}
    wanted = references_of(tuple(run)) if references is None else references
    present = [name for name in dict.fromkeys(wanted) if name in run]
    main = present[0] if present else None
    drawn = Resamples(seed, resamples)
    compared = [
        one
        for table in tables
        for reference in present
        if reference in table.values
        for arm in table.values
        if arm != reference
        for one in _compare(table, arm, reference, drawn, confidence)
    ]
    asked = [one.finding.reference == main and is_synthetic(one.finding.arm) for one in compared]
    family = holm([one.p_draws if primary else None for one, primary in zip(compared, asked, strict=True)])
    with_main = [(one.finding, p) for one, p in zip(compared, family, strict=True) if one.finding.reference == main]
    return {
        "format": FORMAT,
        "headline": headline_of([one for one, _ in with_main], [p for _, p in with_main], 1 - confidence),
        "reference": main,
        "references": present,
        "summary": [row for table in tables for row in _summary(table)],
        "comparisons": [_row(*parts) for parts in zip(compared, asked, family, strict=True)],
        "multipliers": multipliers_of(tables, present, drawn, confidence),
        "policy": policy_of(confidence, resamples, any(one.finding.draws == 1 for one in compared)),
        "resamples": resamples,
        "seed": seed,
    }


def _summary(table: ScoreTable) -> list[dict[str, Any]]:
    """Mean, sd and median over patients, for each arm and metric; ``undefined`` counts scans."""
    rows = []
    for arm, values in table.values.items():
        for name in METRICS:
            laid = table.by_patient(values[name])
            laid = laid[~np.isnan(laid).all(axis=1)]
            means = np.nanmean(laid, axis=1) if len(laid) else np.zeros(0)
            rows.append(
                {
                    "arm": arm,
                    "n_train": table.n_train,
                    "metric": name,
                    "mean": float(means.mean()) if len(means) else None,
                    "sd": float(means.std(ddof=1)) if len(means) > 1 else None,
                    "median": float(np.median(means)) if len(means) else None,
                    "n": len(means),
                    "undefined": int(np.isnan(values[name]).sum()),
                }
            )
    return rows


def _compare(table: ScoreTable, arm: str, reference: str, resamples: Resamples, confidence: float) -> list[Compared]:
    """Compares two arms in every metric."""
    measured = {name: _difference(table, arm, reference, name) for name in METRICS}
    p_values = [signed_rank_p(np.nanmean(laid, axis=1)) if len(laid) else None for _, laid in measured.values()]
    p_draws = [
        None if p is None else max(p, _p_of_draws(table, rows, laid))
        for (rows, laid), p in zip(measured.values(), p_values, strict=True)
    ]
    alpha = 1 - confidence
    most = max(len(laid) for _, laid in measured.values())
    # Holm's first step multiplies the smallest p by the number of tests; nothing passes where it cannot.
    hopeless = smallest_p(most) * sum(p is not None for p in p_values) >= alpha
    corrected = zip(p_values, holm(p_values), p_draws, holm(p_draws), strict=True)
    found = []
    for (name, (rows, laid)), (p, p_holm, drawn, drawn_holm) in zip(measured.items(), corrected, strict=True):
        own, other = np.isnan(table.values[arm][name]), np.isnan(table.values[reference][name])
        finding = Finding(
            arm=arm,
            reference=reference,
            n_train=table.n_train,
            metric=name,
            difference=round(mean_of(laid), DECIMALS) if len(laid) else None,
            interval=_interval(table, rows, laid, METRICS[name].largest, resamples, confidence),
            p_corrected=drawn_holm,
            n=len(laid),
            undefined=(int(own.sum()), int(other.sum()), int((own | other).sum())),
            verdict="no evidence",
            too_few=hopeless or smallest_p(len(laid)) >= alpha,
            draws=table.draws,
            bound=None,
            overruled=None,
            confidence=confidence,
        )
        judged = _judge(finding, _bound(table, arm, reference, name), alpha)
        found.append(Compared(judged, p, p_holm, drawn, drawn_holm))
    return found


def _p_of_draws(table: ScoreTable, rows: np.ndarray, laid: np.ndarray) -> float:
    """Student's p with the variance between training draws; 0 where no such variance is known."""
    spread = spread_of(laid, merge_strata(table.sites[rows]), table.folds[rows])
    return student_p(mean_of(laid), spread) if spread is not None and spread.draws is not None else 0.0


def _interval(
    table: ScoreTable, rows: np.ndarray, laid: np.ndarray, largest: float, resamples: Resamples, confidence: float
) -> tuple[float, float] | None:
    """The interval of a difference, cut to what a difference of two values from 0 to ``largest`` can be."""
    if not len(laid):
        return None
    ends = bootstrap_interval(laid, table.sites[rows], table.folds[rows], resamples, confidence)
    return None if ends is None else (max(ends[0], -largest), min(ends[1], largest))


def _difference(table: ScoreTable, arm: str, reference: str, metric: str) -> tuple[np.ndarray, np.ndarray]:
    """Gives the rows of patients with a pair, and their differences (P, R)."""
    laid = table.by_patient(table.values[arm][metric] - table.values[reference][metric])
    rows = np.flatnonzero(~np.isnan(laid).all(axis=1))
    return rows, laid[rows]


def _bound(table: ScoreTable, arm: str, reference: str, metric: str) -> float | None:
    """The mean difference if values that only one arm has were not left out; None where there are none.

    An arm without a value gets the best there is where it rightly predicted nothing, else the worst: of ratios 0, of
    distances and errors the largest that either arm has.
    """
    own, other = table.values[arm][metric], table.values[reference][metric]
    both = table.scored[arm] & table.scored[reference]
    if not (both & (np.isnan(own) != np.isnan(other))).any():
        return None
    ratio = METRICS[metric].better == "higher"
    best, worst = (1.0, 0.0) if ratio else (0.0, float(np.nanmax(np.concatenate([own, other]))))
    full = []
    for name, values, others in ((arm, own, other), (reference, other, own)):
        alone = np.isnan(values) & ~np.isnan(others) & both
        full.append(np.where(alone, np.where(table.nothing[name], best, worst), values))
    laid = table.by_patient(full[0] - full[1])
    return round(mean_of(laid[~np.isnan(laid).all(axis=1)]), DECIMALS)


def _judge(finding: Finding, bound: float | None, alpha: float) -> Finding:
    """Gives the verdict: an interval on one side of zero, a corrected p below ``alpha``, and nothing hidden."""
    finding = replace(finding, bound=bound)
    if finding.interval is None or finding.p_corrected is None or finding.too_few or not finding.p_corrected < alpha:
        return finding
    low, high = finding.interval
    if low <= 0 <= high:
        return finding
    up = low > 0
    verdict: Verdict = "helps" if up == (METRICS[finding.metric].better == "higher") else "harms"
    if bound is not None and (bound <= 0 if up else bound >= 0):
        return replace(finding, overruled=verdict)
    return replace(finding, verdict=verdict)


def _row(compared: Compared, primary: bool, p_family: float | None) -> dict[str, Any]:
    finding = compared.finding
    return {
        "arm": finding.arm,
        "reference": finding.reference,
        "n_train": finding.n_train,
        "metric": finding.metric,
        "difference": finding.difference,
        "interval": list(finding.interval) if finding.interval is not None else None,
        "p": compared.p,
        "p_holm": compared.p_holm,
        "p_draws": compared.p_draws,
        "p_draws_holm": compared.p_draws_holm,
        "p_family": p_family,
        "primary": primary,
        "n": finding.n,
        "undefined": finding.undefined[2],
        "verdict": finding.verdict,
        "sentence": sentence_of(finding),
    }
