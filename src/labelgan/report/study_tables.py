"""The tables of a study's page, as plain values for the template."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from labelgan.scoring.metrics import METRICS
from labelgan.report.study_files import AuditFacts, Comparison, Cost, Row, StudyFiles, Summary, VerdictFile
from labelgan.report.study_numbers import lost_to, row_counts, undefined_counts, worst_rows
from labelgan.report.study_words import counted, duration, heading, interval, number, p_value, some, span

MOST_FOLDS = 60


@dataclass(frozen=True)
class Group:
    """The comparisons with one reference at one number of training patients.

    Attributes:
        reference: the arm compared with.
        n_train: training patients.
        several: whether the study has more than one such number.
        comparisons: in the order of the verdict.
        glance: per arm and metric the verdict and the difference with its unit, or None.
        lines: per comparison what its row of the table shows.
    """

    reference: str
    n_train: int | None
    several: bool
    comparisons: list[Comparison]
    glance: list[tuple[str, list[tuple[str, str] | None]]]
    lines: list[dict[str, Any]]

    @property
    def title(self) -> str:
        """What it is about: ``compared with classical, 5 training patients``."""
        among = f", {counted(self.n_train, 'training patient')}" if self.several and self.n_train is not None else ""
        return f"compared with {self.reference}{among}"


def comparison_groups(verdict: VerdictFile) -> list[Group]:
    """Groups comparisons by reference, the verdict's own first, then by number of training patients."""
    references = dict.fromkeys(entry.reference for entry in verdict.comparisons)
    ordered = sorted(references, key=lambda reference: reference != verdict.reference)
    groups = []
    for reference in ordered:
        found = [entry for entry in verdict.comparisons if entry.reference == reference]
        numbers = sorted({entry.n_train for entry in found}, key=lambda n: -1 if n is None else n)
        groups += [
            _group(reference, n, len(numbers) > 1, [entry for entry in found if entry.n_train == n]) for n in numbers
        ]
    return groups


def _group(reference: str, n_train: int | None, several: bool, comparisons: list[Comparison]) -> Group:
    by_key = {(entry.arm, entry.metric): (entry.verdict, _signed(entry)) for entry in comparisons}
    arms = dict.fromkeys(entry.arm for entry in comparisons)
    glance = [(arm, [by_key.get((arm, name)) for name in METRICS]) for arm in arms]
    return Group(reference, n_train, several, comparisons, glance, [_line(entry) for entry in comparisons])


def _line(entry: Comparison) -> dict[str, Any]:
    metric = METRICS[entry.metric]
    return {
        "arm": entry.arm,
        "metric": heading(metric),
        "difference": number(entry.difference, metric, signed=True),
        "interval": interval(entry),
        "p": p_value(entry.p_holm),
        "n": entry.n,
        "undefined": entry.undefined,
        "verdict": entry.verdict,
        "sentence": entry.sentence,
    }


def _signed(entry: Comparison) -> str:
    metric = METRICS[entry.metric]
    return f"{number(entry.difference, metric, signed=True)} {metric.unit}".strip()


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
    """What was run, in numbers."""
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
        ("scores", counted(len(files.rows), "row of fold, arm and case", "rows of fold, arm and case")),
        ("cost", f"{duration(seconds)} in {counted(sum(cost.jobs for cost in study.cost), 'job')}"),
        ("status", study.status + (f", {counted(len(study.failed), 'failed job')}" if study.failed else "")),
    ]
    return [(name, value) for name, value in shown if value]


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
