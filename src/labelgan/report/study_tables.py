"""The tables of a study's page, as plain values for the template."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from labelgan.core.words import counted, duration, some
from labelgan.report.study_files import (
    HARMS,
    HELPS,
    NO_EVIDENCE,
    AuditFacts,
    Comparison,
    Cost,
    Row,
    StudyFiles,
    Summary,
    VerdictFile,
)
from labelgan.scoring.metrics import METRICS, Metric


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


# Shape and word carry the verdict; colour only repeats them.
SHAPES = {HELPS: "▲", HARMS: "▼", NO_EVIDENCE: "○"}
CLASSES = {HELPS: "helps", HARMS: "harms", NO_EVIDENCE: "none"}

# What the parts of an arm's name mean, where a study does not describe its arms.
PARTS = {
    "real": "real slices as they are",
    "classical": "real slices, flipped, rotated, sheared and zoomed",
    "synthetic": "synthetic slices with their synthetic masks",
    "copypaste": "lesions of training patients pasted into other slices",
    "shuffled": "synthetic slices with each other's masks: a control that must not help",
}

WHAT_METRICS_SAY = {
    "dsc": "overlap of predicted and reference lesion voxels, 0 to 1",
    "hd95_mm": "how far apart the two outlines lie, largest 5 % left out",
    "avd_percent": "error of the total lesion volume",
    "lesion_recall": "share of reference lesions that were touched, 0 to 1",
    "lesion_f1": "recall of lesions and precision of found ones together, 0 to 1",
}


def heading(metric: Metric) -> str:
    """Title, unit, and an arrow, kept on their line, that points to where values are better: ``HD95, mm ↓``."""
    unit = f", {metric.unit}" if metric.unit else ""
    return f"{metric.title}{unit}\u00a0{'↑' if metric.better == 'higher' else '↓'}"


def number(value: float | None, metric: Metric, *, signed: bool = False) -> str:
    """A value with the digits that its unit deserves; a dash where it is undefined."""
    if value is None:
        return "–"
    digits = {"": 3, "mm": 2, "%": 1}.get(metric.unit, 3)
    if abs(value) >= 1e5:
        text = f"{value:+.3g}" if signed else f"{value:.3g}"
    else:
        text = f"{value:+.{digits}f}" if signed else f"{value:.{digits}f}"
    return text.replace("-", "−")


def interval(entry: Comparison) -> str:
    """``−0.012 to +0.034``, or a dash."""
    if entry.interval is None:
        return "–"
    low, high = (number(bound, METRICS[entry.metric], signed=True) for bound in entry.interval)
    return f"{low} to {high}"


def p_value(p: float | None) -> str:
    """Three digits, never 0; a dash where there is none."""
    if p is None:
        return "–"
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def span(values: Sequence[int]) -> str:
    """``9``, or ``8 to 9``."""
    low, high = min(values), max(values)
    return str(low) if low == high else f"{low} to {high}"


def arm_text(arm: str, descriptions: dict[str, str]) -> str:
    """The study's own description of an arm, or what the parts of its name mean."""
    if arm in descriptions:
        return descriptions[arm]
    parts = [PARTS.get(part) for part in arm.split("+")]
    return "; with ".join(part for part in parts if part) if all(parts) else "not described by the study"


def protocol_text(files: StudyFiles) -> str:
    """Describes the protocol in a sentence or two."""
    folds = files.study.folds
    if not folds:
        return "No folds are recorded."
    sizes = f"{span([fold.n_train for fold in folds])} training patients"
    repeats = len({fold.repeat for fold in folds})
    if files.study.protocol == "learning-curve":
        numbers = sorted({fold.n_train for fold in folds})
        draws = counted(repeats, "draw")
        return (
            f"Learning curve: {draws} of {', '.join(map(str, numbers))} training patients each. Every draw trains its "
            "own generator and segmenters; they are tested on patients whom they never saw."
        )
    alone = all(len(fold.test) == 1 for fold in folds)
    kind = "leave one patient out" if alone else f"{math.ceil(len(folds) / repeats)} folds"
    again = f", {repeats} times over" if repeats > 1 else ""
    return (
        f"Cross-validation ({kind}{again}): every patient is held out once{' each time' if repeats > 1 else ''} and "
        f"tested with networks of {sizes}. The generator of a fold never sees the patients held out there."
    )


def tally(comparisons: Sequence[Comparison]) -> list[tuple[str, int]]:
    """Counts the comparisons that say helps, harms and no evidence, in this order."""
    return [(verdict, sum(entry.verdict == verdict for entry in comparisons)) for verdict in SHAPES]


MOST_FOLDS = 60


@dataclass(frozen=True)
class Group:
    """The comparisons with one reference at one number of training patients.

    Attributes:
        reference: the arm compared with.
        n_train: training patients.
        main: it is the study's reference, that the headline is about.
        several: whether the study has more than one such number.
        comparisons: in the order of the verdict.
        glance: per arm and metric the verdict and the difference with its unit, or None.
        lines: per comparison what its row of the table shows.
    """

    reference: str
    n_train: int | None
    main: bool
    several: bool
    comparisons: list[Comparison]
    glance: list[tuple[str, list[tuple[str, str] | None]]]
    lines: list[dict[str, Any]]

    @property
    def title(self) -> str:
        """Title: ``compared with classical, 5 training patients``."""
        among = f", {counted(self.n_train, 'training patient')}" if self.several and self.n_train is not None else ""
        return f"compared with {self.reference}{'' if self.main else ' (secondary)'}{among}"


def comparison_groups(verdict: VerdictFile) -> list[Group]:
    """Groups comparisons by reference, the verdict's own first, then by number of training patients."""
    references = dict.fromkeys(entry.reference for entry in verdict.comparisons)
    ordered = sorted(references, key=lambda reference: reference != verdict.reference)
    groups = []
    for reference in ordered:
        found = [entry for entry in verdict.comparisons if entry.reference == reference]
        numbers = sorted({entry.n_train for entry in found}, key=lambda n: -1 if n is None else n)
        groups += [
            _group(
                reference,
                n,
                reference == verdict.reference,
                len(numbers) > 1,
                [entry for entry in found if entry.n_train == n],
            )
            for n in numbers
        ]
    return groups


def _group(reference: str, n_train: int | None, main: bool, several: bool, comparisons: list[Comparison]) -> Group:
    by_key = {(entry.arm, entry.metric): (entry.verdict, _signed(entry)) for entry in comparisons}
    arms = dict.fromkeys(entry.arm for entry in comparisons)
    glance = [(arm, [by_key.get((arm, name)) for name in METRICS]) for arm in arms]
    return Group(reference, n_train, main, several, comparisons, glance, [_line(entry) for entry in comparisons])


def _line(entry: Comparison) -> dict[str, Any]:
    metric = METRICS[entry.metric]
    return {
        "arm": entry.arm,
        "metric": heading(metric),
        "difference": number(entry.difference, metric, signed=True),
        "interval": interval(entry),
        "p": p_value(entry.p_holm if entry.p_draws_holm is None else entry.p_draws_holm),
        "p_family": p_value(entry.p_family) if entry.primary else None,
        "n": entry.n,
        "undefined": entry.undefined,
        "verdict": entry.verdict,
        "sentence": entry.sentence,
    }


def _signed(entry: Comparison) -> str:
    metric = METRICS[entry.metric]
    return f"{number(entry.difference, metric, signed=True)} {metric.unit}".strip()


def multiplier_rows(verdict: VerdictFile) -> list[dict[str, Any]]:
    """A row an arm, reference and number of training patients; an end beyond the curve is said so."""
    return [
        {
            "arm": entry.arm,
            "reference": entry.reference,
            "n_train": entry.n_train,
            "score": "–" if entry.score is None else f"{entry.score:.3f}",
            "needed": "–" if entry.needed is None else f"{entry.needed:.1f}",
            "multiplier": "cannot be read off" if entry.multiplier is None else f"×{entry.multiplier:.2f}",
            "interval": _multiplier_interval(entry.interval),
            "note": entry.note or "",
        }
        for entry in verdict.multipliers
    ]


def _multiplier_interval(interval: tuple[float | None, float | None] | None) -> str:
    if interval is None:
        return "–"
    low, high = interval
    return f"{'before the curve' if low is None else f'{low:.2f}'} to {'beyond it' if high is None else f'{high:.2f}'}"


def summary_groups(verdict: VerdictFile, arms: Sequence[str]) -> list[dict[str, Any]]:
    """Per number of training patients a row an arm and a cell a metric."""
    numbers = sorted({entry.n_train for entry in verdict.summary}, key=lambda n: -1 if n is None else n)
    groups = []
    for n_train in numbers:
        cells = {(s.arm, s.metric): _summary_cell(s) for s in verdict.summary if s.n_train == n_train}
        rows = [(arm, [cells.get((arm, name)) for name in METRICS]) for arm in arms]
        rows = [(arm, row) for arm, row in rows if any(row)]
        title = "all patients" if n_train is None else counted(n_train, "training patient")
        groups.append({"title": title, "rows": rows})
    return groups


def _summary_cell(summary: Summary) -> dict[str, str]:
    metric = METRICS[summary.metric]
    return {
        "mean": number(summary.mean, metric),
        "sd": number(summary.sd, metric),
        "median": number(summary.median, metric),
        "n": str(summary.n),
        "undefined": str(summary.undefined),
    }


def facts(files: StudyFiles) -> list[tuple[str, str]]:
    """Gives the numbers of what was run."""
    study, tested = files.study, files.tested
    sites = sorted({row.site for row in files.rows if row.site})
    numbers = [fold.n_train for fold in study.folds]
    seconds = sum(cost.seconds for cost in study.cost)
    shown = [
        ("data", study.data),
        ("tested on", study.test_data or "held-out patients of the same data"),
        ("patients", f"{len(files.patients)}, of whom {len(tested)} were tested" if files.patients else "none"),
        ("sites", some(sites) if sites else "not told apart"),
        ("folds", f"{len(study.folds)}, each with {span(numbers)} training patients" if numbers else "none"),
        ("arms", some(study.arms, 30)),
        ("reference", _reference(files)),
        ("scores", counted(len(files.rows), "row of fold, arm and case", "rows of fold, arm and case")),
        ("cost", f"{duration(seconds)} in {counted(sum(cost.jobs for cost in study.cost), 'job')}"),
        ("status", study.status + (f", {counted(len(study.failed), 'failed job')}" if study.failed else "")),
    ]
    return [(name, value) for name, value in shown if value]


def _reference(files: StudyFiles) -> str:
    """Names the reference of arms with synthetic slices; empty where a study of an earlier version does not say."""
    main, config = files.study.reference, files.study.config
    if main is None:
        return ""
    chosen = "named" if config.get("reference") else "the strongest of these arms without synthetic slices"
    others = [arm for arm in files.study.references if arm != main]
    return f"{main}: {chosen}" + (f"; comparisons with {some(others)} are secondary" if others else "")


def cost_rows(costs: Sequence[Cost]) -> list[dict[str, str]]:
    """A row a job kind, and the sum."""
    total = sum(cost.seconds for cost in costs)
    rows = [
        {
            "kind": cost.kind,
            "jobs": f"{cost.jobs:,}",
            "time": duration(cost.seconds),
            "each": duration(cost.seconds / cost.jobs) if cost.jobs else "–",
            "share": f"{100 * cost.seconds / total:.0f} %" if total else "–",
        }
        for cost in costs
    ]
    jobs = sum(cost.jobs for cost in costs)
    return rows and [*rows, {"kind": "together", "jobs": f"{jobs:,}", "time": duration(total), "each": "", "share": ""}]


def fold_rows(files: StudyFiles) -> dict[str, Any]:
    """Folds with their generators, how many more there are than shown, and whether each chose its synthetic share."""
    made = {entry.fold: entry for entry in files.study.generators}
    audits = {entry.fold: entry for entry in files.study.audits}
    rows = []
    for fold in files.study.folds[:MOST_FOLDS]:
        generator = made.get(fold.name)
        diversity = generator.diversity if generator else None
        lesion_rate = generator.lesion_rate if generator else None
        share = files.study.shares.get(fold.name)
        rows.append(
            {
                "name": fold.name,
                "n_train": fold.n_train,
                "tested": some(fold.test, 4) if fold.test else "–",
                "steps": f"{generator.steps:,}" if generator and generator.steps is not None else "–",
                "diversity": "–" if diversity is None else f"{diversity:.2f}",
                "lesion_rate": "–" if lesion_rate is None else f"{100 * lesion_rate:.0f} %",
                "share": "–" if share is None else f"{100 * share:.0f} %",
                "audit": _audited(audits.get(fold.name)),
            }
        )
    more = len(files.study.folds) - len(rows)
    return {"rows": rows, "more": more, "chosen": bool(files.study.shares), "audited": bool(audits)}


def _audited(audit: AuditFacts | None) -> str:
    if audit is None:
        return "–"
    failed = [gate for gate in audit.gates if gate.passed is False]
    return "; ".join(f"{gate.name} fails: {gate.reason}" for gate in failed) or "every gate passed"


def undefined_rows(files: StudyFiles) -> list[tuple[str, int, list[int]]]:
    """Per arm its rows of scores.csv and how many of them are undefined, by metric."""
    arms = files.study.arms
    counts, rows = undefined_counts(files.rows, arms), row_counts(files.rows, arms)
    return [(arm, rows[arm], [counts[arm][name] for name in METRICS]) for arm in arms]


def worst_tables(files: StudyFiles) -> dict[str, Any]:
    """The lowest scores, and the largest losses against the reference arm."""
    verdict = files.verdict
    reference = verdict.reference if verdict and verdict.reference else "classical"
    return {
        "worst": [_worst(row) for row in worst_rows(files.rows)],
        "lost": [
            _worst(row) | {"loss": number(-loss, METRICS["dsc"], signed=True), "before": number(base, METRICS["dsc"])}
            for row, loss, base in lost_to(files.rows, reference)
        ],
        "lost_to": reference,
    }


def _worst(row: Row) -> dict[str, Any]:
    return {
        "patient": row.patient if row.case == row.patient else f"{row.patient}, {row.case}",
        "arm": row.arm,
        "fold": row.fold,
        "scores": [number(row.scores[name], metric) for name, metric in METRICS.items()],
        "lesion": "–" if row.lesion_voxels is None else f"{row.lesion_voxels:,}",
        "predicted": "–" if row.predicted_voxels is None else f"{row.predicted_voxels:,}",
    }


def configuration(config: dict[str, Any]) -> str:
    """The configuration as TOML, which has no null: what is none is left out."""
    import tomli_w

    try:
        return tomli_w.dumps(_without_none(config))
    except (TypeError, ValueError):
        return json.dumps(config, indent=1)


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_none(inner) for key, inner in value.items() if inner is not None}
    if isinstance(value, list):
        return [_without_none(inner) for inner in value if inner is not None]
    return value
