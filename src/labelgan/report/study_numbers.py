"""What a study's page works out from scores.csv for its plots and tables; the verdict's figures are not made here."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from labelgan.scoring.metrics import METRICS
from labelgan.report.study_files import Row


def mean(values: Sequence[float]) -> float:
    """Arithmetic mean."""
    return math.fsum(values) / len(values)


@dataclass(frozen=True)
class Pair:
    """One patient's mean score by a reference arm and by another arm, over the cases in which both are defined."""

    patient: str
    reference: float
    arm: float


def patient_pairs(rows: Sequence[Row], reference: str, arm: str, metric: str) -> list[Pair]:
    """Pairs two arms by fold, patient and case, then averages over each patient's cases and repeats."""
    values: dict[str, dict[tuple[str, str, str], float]] = {reference: {}, arm: {}}
    for row in rows:
        score = row.scores[metric]
        if row.arm in values and score is not None:
            values[row.arm][row.fold, row.patient, row.case] = score
    by_patient: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for key in values[reference].keys() & values[arm].keys():
        by_patient[key[1]].append((values[reference][key], values[arm][key]))
    return [
        Pair(patient, mean([before for before, _ in both]), mean([after for _, after in both]))
        for patient, both in sorted(by_patient.items())
    ]


def draw_means(rows: Sequence[Row], arm: str, metric: str) -> dict[int, list[float]]:
    """Per number of training patients the mean score of every draw, over its test patients with a defined score."""
    scores: dict[tuple[int, str], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        score = row.scores[metric]
        if row.arm == arm and score is not None:
            scores[row.n_train, row.fold][row.patient].append(score)
    found: dict[int, list[float]] = defaultdict(list)
    for (n_train, _), by_patient in sorted(scores.items()):
        found[n_train].append(mean([mean(values) for values in by_patient.values()]))
    return dict(found)


def undefined_counts(rows: Sequence[Row], arms: Sequence[str]) -> dict[str, dict[str, int]]:
    """Per arm and metric, the rows of scores.csv whose score is undefined."""
    counts = {arm: dict.fromkeys(METRICS, 0) for arm in arms}
    for row in rows:
        for name, score in row.scores.items():
            counts[row.arm][name] += score is None
    return counts


def row_counts(rows: Sequence[Row], arms: Sequence[str]) -> dict[str, int]:
    """Per arm, the rows of scores.csv."""
    counts = dict.fromkeys(arms, 0)
    for row in rows:
        counts[row.arm] += 1
    return counts


def worst_rows(rows: Sequence[Row], most: int = 10) -> list[Row]:
    """The rows with the lowest DSC, the lowest first; rows without a DSC are left to the undefined counts."""
    scored = [(row.scores["dsc"], row.arm, row.patient, row.fold, row.case, row) for row in rows]
    defined = [entry for entry in scored if entry[0] is not None]
    return [entry[-1] for entry in sorted(defined, key=lambda entry: entry[:-1])[:most]]


def lost_to(rows: Sequence[Row], reference: str, most: int = 10) -> list[tuple[Row, float, float]]:
    """The rows that lose most DSC against the reference arm on the same case and fold: row, loss, reference's DSC."""
    before = {(row.fold, row.patient, row.case): row.scores["dsc"] for row in rows if row.arm == reference}
    losses = []
    for row in rows:
        base, own = before.get((row.fold, row.patient, row.case)), row.scores["dsc"]
        if row.arm != reference and base is not None and own is not None and own < base:
            losses.append((row, base - own, base))
    return sorted(losses, key=lambda entry: (-entry[1], entry[0].arm, entry[0].patient, entry[0].fold))[:most]
