"""The words of a verdict: a sentence for each comparison that a clinician understands, and one line for all."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from labelgan.scoring.metrics import METRICS, Metric

Verdict = Literal["helps", "harms", "no evidence"]

# What a metric measures, where its title alone does not say it.
_MEASURES = {
    "dsc": "overlap with the expert's mask (DSC)",
    "hd95_mm": "distance from the expert's outline (HD95)",
    "avd_percent": "volume error (AVD)",
}
_ADDITIONS = {
    "synthetic": "synthetic slices",
    "shuffled": "synthetic slices with each other's masks (a control)",
    "copypaste": "pasted lesions",
}
_DECIMALS = {"": 3, "mm": 2, "%": 1}
_MOST_DECIMALS = 8


@dataclass(frozen=True)
class Finding:
    """A comparison of two arms in one metric, as far as words need it.

    Attributes:
        arm: the arm in question.
        reference: the arm that it is compared with.
        n_train: training patients.
        metric: key of ``METRICS``.
        difference: arm minus reference; None where no patient has both.
        interval: its bounds, None where patients are too few.
        p_corrected: the p that decides, corrected over the metrics.
        n: patients.
        undefined: for the arm, the reference, and in all: scans left out of the difference.
        verdict: helps, harms or no evidence.
        too_few: whether no scores of this many patients could give another verdict.
        draws: how many draws of training patients stand behind the difference.
        bound: the difference if each undefined value counted as the best or worst there is; None where this changes
            nothing.
        overruled: what the verdict would be without ``bound``.
        confidence: of the interval.
    """

    arm: str
    reference: str
    n_train: int
    metric: str
    difference: float | None
    interval: tuple[float, float] | None
    p_corrected: float | None
    n: int
    undefined: tuple[int, int, int]
    verdict: Verdict
    too_few: bool
    draws: int
    bound: float | None
    overruled: Verdict | None
    confidence: float


def sentence_of(finding: Finding) -> str:
    """Gives the sentence of one comparison."""
    metric = METRICS[finding.metric]
    measure = _MEASURES.get(metric.name, metric.title)
    people = _count(finding.n, "patient")
    extra = _undefined_note(finding, metric)
    if finding.difference is None:
        return f"{_change(finding)} could not be judged by {measure}: no patient has a value in both arms{extra}."
    figures = [finding.difference, *(finding.interval or ())]
    decimals = _decimals(figures, metric)
    unit = {"%": " percentage points"}.get(metric.unit, f" {metric.unit}" if metric.unit else "")
    changed = f"{_change(finding)} changed {measure} by {signed(finding.difference, decimals)}{unit}"
    if finding.interval is not None:
        low, high = (signed(bound, decimals) for bound in finding.interval)
        changed += f" ({100 * finding.confidence:.4g} % interval {low} to {high})"
    changed += f" in {people}, with {_count(finding.n_train, 'training patient')}"
    return f"{changed}: {_judgement(finding, metric)}{extra}."


def _change(finding: Finding) -> str:
    prefix = f"{finding.reference}+"
    if finding.arm.startswith(prefix):
        name, _, label = finding.arm[len(prefix) :].partition(":")
        added = " and ".join(_ADDITIONS.get(part, part) for part in name.split("+"))
        return f"Adding {added}{f' ({label.strip()})' if label else ''} to {finding.reference} training"
    return f"Training on {finding.arm} instead of {finding.reference}"


def _judgement(finding: Finding, metric: Metric) -> str:
    once = "" if finding.draws > 1 else ", for this one draw of training patients (another draw may differ)"
    if finding.verdict != "no evidence":
        return f"it {finding.verdict}{once}"
    nothing = "no evidence that it helps or harms"
    if finding.too_few:
        return f"{nothing}; so few patients can never show it, whatever their scores"
    if finding.overruled is not None:
        return f"{nothing}, because the values that are undefined could turn it around"
    if finding.interval is not None and (finding.interval[0] > 0 or finding.interval[1] < 0):
        return (
            f"{nothing}; the interval leaves out zero, but the test does not bear it out over all metrics"
            f" (p = {finding.p_corrected:.2g})"
        )
    return nothing


def _undefined_note(finding: Finding, metric: Metric) -> str:
    arm, reference, total = finding.undefined
    if not total:
        return ""
    note = f"; {_count(total, 'scan')} left out without a value ({arm} of {finding.arm}, {reference} of"
    note += f" {finding.reference})"
    if finding.bound is not None and arm != reference:
        decimals = _decimals([finding.bound], metric)
        unit = f" {metric.unit}" if metric.unit else ""
        note += f", and counting each of these at its best or worst gives {signed(finding.bound, decimals)}{unit}"
    return note


def signed(value: float, decimals: int) -> str:
    """Writes a number with its sign; what rounds to zero has none."""
    text = f"{abs(value):.{decimals}f}"
    if float(text) == 0:
        return text
    return ("−" if value < 0 else "+") + text


def _decimals(figures: Sequence[float], metric: Metric) -> int:
    """As many as the unit has, and more where a figure that is not zero would look like it."""
    smallest = min((abs(figure) for figure in figures if figure), default=1.0)
    return min(_MOST_DECIMALS, max(_DECIMALS.get(metric.unit, 3), math.ceil(-math.log10(smallest))))


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def is_synthetic(arm: str) -> bool:
    """Tells whether an arm has synthetic slices with their own masks; ``arm: label`` is an arm, too."""
    parts = arm.partition(":")[0].split("+")
    return "synthetic" in parts and "shuffled" not in parts


def headline_of(findings: Sequence[Finding], adjusted: Sequence[float | None], alpha: float) -> str:
    """Gives the verdict in one line, over all synthetic arms, metrics and numbers of training patients.

    Args:
        findings: all comparisons with the main reference.
        adjusted: for each finding its p, corrected over all findings of synthetic arms; None for the others.
        alpha: level of the correction.
    """
    judged = [(one, p) for one, p in zip(findings, adjusted, strict=True) if is_synthetic(one.arm)]
    if not judged:
        return "No arm with synthetic slices was compared with a reference arm: there is nothing to say about them."
    reference = judged[0][0].reference
    arms = ", ".join(dict.fromkeys(one.arm for one, _ in judged))
    people = sorted({one.n for one, _ in judged})
    range_ = _count(people[0], "patient") if len(people) == 1 else f"{people[0]} to {people[-1]} patients"
    over = f"{_count(len(judged), 'comparison')} with {reference} in {range_}"
    told = [(one, p) for one, p in judged if one.verdict != "no evidence"]
    once = [one for one, _ in told if one.draws == 1]
    sure = [one for one, p in told if one.draws > 1 and p is not None and p < alpha]
    alone = [one for one, _ in told if one not in (*once, *sure)]
    if sure:
        line = f"{_listed(sure)} (corrected over {over})."
    elif all(one.too_few for one, _ in judged):
        line = f"Too few patients to say whether synthetic slices help or harm ({arms}: {over})."
    else:
        line = f"No evidence that synthetic slices help or harm ({arms}: {over})."
    if alone:
        line += f" Taken alone, {_listed(alone)}; this does not outlast the correction over all of them."
    control = [one for one in findings if "shuffled" in re.split("[+:]", one.arm) and one.verdict == "helps"]
    if any(one.verdict == "helps" for one, _ in judged) and control:
        line += f" Beware: {_listed(control)}, though its masks belong to other slices."
    if once:
        line += f" In the one draw of training patients that there is, {_listed(once)}: another draw may differ."
    return line


def _listed(findings: Sequence[Finding]) -> str:
    """Groups findings: 'A helps DSC and lesion F1; A harms HD95'."""
    several = len({one.n_train for one in findings}) > 1
    groups: dict[tuple[str, str, int], list[str]] = {}
    for one in findings:
        groups.setdefault((one.arm, one.verdict, one.n_train), []).append(METRICS[one.metric].title)
    parts = []
    for (arm, verdict, n_train), titles in groups.items():
        names = " and ".join([", ".join(titles[:-1]), titles[-1]]) if len(titles) > 1 else titles[0]
        parts.append(f"{arm} {verdict} {names}" + (f" with {_count(n_train, 'training patient')}" if several else ""))
    return "; ".join(parts)


def policy_of(confidence: float, resamples: int, one_draw: bool) -> str:
    """Says how the figures were made and what they can not tell."""
    text = (
        "Patients are the units: scans and repeats of a patient are averaged before anything else. Differences are "
        "paired, arm minus reference, over scans where both arms have a value; the others are counted as undefined, "
        "and a verdict is withheld where counting each of them at its best or worst (nothing predicted where nothing "
        "is: best; no value otherwise: worst) would turn the difference around. "
        f"Intervals: {100 * confidence:.4g} %, bootstrap of {resamples:,} resamples of patients within their sites, "
        "widened for small numbers by Student's t; the half-width of the training draws, Student's with one degree of "
        "freedom less than draws, is added in squares; ends lie where the metric can lie. "
        "p: Wilcoxon's signed-rank test over patients (exact, zeros after Pratt), or Student's with the variance "
        "between training draws where that is larger, with Holm's correction over the metrics of a comparison. "
        f"'helps' and 'harms' need the interval on one side of zero and the corrected p below {1 - confidence:.3g}; "
        "the headline is about the reference alone, and corrects over all arms with synthetic slices, metrics and "
        "numbers of training patients together. Comparisons with other arms are secondary: they are corrected over "
        "their metrics only."
    )
    if one_draw:
        text += (
            " Some comparisons rest on one draw of training patients: they hold for that draw, and how much another "
            "draw would change cannot be known from them."
        )
    return text
