"""Does it help? The verdict on a study, from its scores alone.

For each metric, arm and number of training patients the paired difference to the reference arms, its interval,
its test, and ``helps``, ``harms`` or ``no evidence``. How often it is wrong, and what it can see, was measured on
simulated studies: docs/results/verdict.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from labelgan.core.errors import ConfigError
from labelgan.scoring.metrics import METRICS
from labelgan.study.verdict.multiplier import multipliers_of
from labelgan.study.verdict.score_table import ScoreTable, check_scores, read_scores, tables_of
from labelgan.study.verdict.statistics import (
    DECIMALS,
    Resamples,
    bootstrap_interval,
    holm,
    mean_of,
    signed_rank_p,
    smallest_p,
    student_p,
)
from labelgan.study.verdict.wording import Finding, Verdict, headline_of, is_synthetic, policy_of, sentence_of

if TYPE_CHECKING:
    from pandas import DataFrame

__all__ = ["make_verdict", "read_scores"]

FORMAT = 1


def make_verdict(
    scores: DataFrame,
    *,
    references: Sequence[str] = ("classical", "real"),
    seed: int = 0,
    resamples: int = 10_000,
    confidence: float = 0.95,
) -> dict[str, Any]:
    """Judges a study.

    Args:
        scores: rows of ``scores.csv``, as `read_scores` gives them.
        references: arms that the others are compared with, where they were run; the first is the main one.
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
    run = {arm for table in tables for arm in table.values}
    present = [name for name in dict.fromkeys(references) if name in run]
    drawn = Resamples(seed, resamples)
    compared = [
        pair
        for table in tables
        for reference in present
        if reference in table.values
        for arm in table.values
        if arm != reference
        for pair in _compare(table, arm, reference, drawn, confidence)
    ]
    findings = [finding for finding, *_ in compared]
    main = [one for one in compared if present and one[0].reference == present[0]]
    together = holm([stricter if is_synthetic(finding.arm) else None for finding, _, stricter in main])
    return {
        "format": FORMAT,
        "headline": headline_of([finding for finding, *_ in main], together, 1 - confidence),
        "reference": present[0] if present else None,
        "summary": [row for table in tables for row in _summary(table)],
        "comparisons": [_row(finding, p) for finding, p, _ in compared],
        "multipliers": multipliers_of(tables, present, drawn, confidence),
        "policy": policy_of(confidence, resamples, any(finding.draws == 1 for finding in findings)),
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


def _compare(
    table: ScoreTable, arm: str, reference: str, resamples: Resamples, confidence: float
) -> list[tuple[Finding, float | None, float | None]]:
    """Compares two arms in every metric.

    Returns:
        Each finding, its uncorrected p, and the larger of this and the p that knows of training draws: the headline
        corrects the latter, for what ranks let through would add up over a learning curve.
    """
    measured = {name: _difference(table, arm, reference, name) for name in METRICS}
    p_values = [signed_rank_p(np.nanmean(laid, axis=1)) if len(laid) else None for _, laid in measured.values()]
    adjusted = holm(p_values)
    alpha = 1 - confidence
    most = max(len(laid) for _, laid in measured.values())
    # Holm's first step multiplies the smallest p by the number of tests; nothing passes where it cannot.
    hopeless = smallest_p(most) * sum(p is not None for p in p_values) >= alpha
    found = []
    for (name, (rows, laid)), p, p_holm in zip(measured.items(), p_values, adjusted, strict=True):
        folds = table.folds[rows]
        interval = bootstrap_interval(laid, table.sites[rows], folds, resamples, confidence) if len(laid) else None
        own, other = np.isnan(table.values[arm][name]), np.isnan(table.values[reference][name])
        finding = Finding(
            arm=arm,
            reference=reference,
            n_train=table.n_train,
            metric=name,
            difference=round(mean_of(laid), DECIMALS) if len(laid) else None,
            interval=interval,
            p_holm=p_holm,
            n=len(laid),
            undefined=(int(own.sum()), int(other.sum()), int((own | other).sum())),
            verdict="no evidence",
            too_few=hopeless or smallest_p(len(laid)) >= alpha,
            draws=table.draws,
            bound=None,
            overruled=None,
            confidence=confidence,
        )
        drawn_p = student_p(laid, table.sites[rows], folds) if len(laid) else None
        stricter = None if p is None else max(p, drawn_p or 0.0)
        found.append((_judge(finding, _bound(table, arm, reference, name), alpha), p, stricter))
    return found


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
    if finding.interval is None or finding.p_holm is None or finding.too_few or not finding.p_holm < alpha:
        return finding
    low, high = finding.interval
    if low <= 0 <= high:
        return finding
    up = low > 0
    verdict: Verdict = "helps" if up == (METRICS[finding.metric].better == "higher") else "harms"
    if bound is not None and (bound <= 0 if up else bound >= 0):
        return replace(finding, overruled=verdict)
    return replace(finding, verdict=verdict)


def _row(finding: Finding, p: float | None) -> dict[str, Any]:
    return {
        "arm": finding.arm,
        "reference": finding.reference,
        "n_train": finding.n_train,
        "metric": finding.metric,
        "difference": finding.difference,
        "interval": list(finding.interval) if finding.interval is not None else None,
        "p": p,
        "p_holm": finding.p_holm,
        "n": finding.n,
        "undefined": finding.undefined[2],
        "verdict": finding.verdict,
        "sentence": sentence_of(finding),
    }
