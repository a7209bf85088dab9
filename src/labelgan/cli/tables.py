"""Tables that commands print."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING

from labelgan.core.words import duration, times

if TYPE_CHECKING:
    from rich.table import Table

    from labelgan.audit.run import AuditReport
    from labelgan.data.check.problems import CheckReport
    from labelgan.scoring.metrics import Metric
    from labelgan.scoring.report import ScoreReport
    from labelgan.study.cost.estimate import Estimate
    from labelgan.study.plan import Plan


def print_check(report: CheckReport) -> None:
    """Prints what a check understood and every problem it found."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console(highlight=False)
    cohort = report.cohort
    annotated = sum(case.mask is not None for case in cohort.cases)
    console.print(
        f"layout [bold]{cohort.layout}[/bold]: {len(cohort.cases)} cases of {len(cohort.patients)} patients, "
        f"{annotated} annotated; channels {escape(', '.join(cohort.channels))}"
    )
    sites = Counter(case.site for case in cohort.cases if case.site is not None)
    if sites:
        console.print("sites: " + escape(", ".join(f"{site} ({count})" for site, count in sorted(sites.items()))))
    grids = Counter(
        f"{times(facts.shape)} at {'×'.join(f'{size:.3g}' for size in facts.spacing_mm)} mm"
        for facts in report.facts
        if facts.shape is not None and facts.spacing_mm is not None
    )
    shown = [f"{grid} ({count})" for grid, count in grids.most_common(4)]
    if len(grids) > 4:
        shown.append(f"and {len(grids) - 4} more")
    if shown:
        console.print("grids: " + escape(", ".join(shown)))
    if not report.problems:
        console.print("no problems")
        return
    table = Table("severity", "case", "file", "reason", title=f"{len(report.problems)} problems", title_justify="left")
    for entry in report.to_json()["problems"]:
        style = "red" if entry["severity"] == "error" else "yellow"
        row = [entry["severity"], entry["case"] or "-", entry["file"] or "-", entry["reason"]]
        table.add_row(*(escape(str(cell)) for cell in row), style=style)
    console.print(table)


def print_scores(report: ScoreReport) -> None:
    """Prints the scores of two files, or of every case with the summaries overall and by site."""
    from rich.console import Console

    from labelgan.scoring.report import UNDEFINED_POLICY

    console = Console(highlight=False)
    console.print(_case_table(report))
    if not report.single:
        console.print(_summary_table(report))
    if any(summary.undefined for summary in report.summary().values()):
        console.print("- is undefined, as a mask is empty" if report.single else f"- is undefined: {UNDEFINED_POLICY}")


def _case_table(report: ScoreReport) -> Table:
    from rich.markup import escape
    from rich.table import Table

    from labelgan.scoring.metrics import METRICS

    table = Table()
    if not report.single:
        table.add_column("case")
        table.add_column("site")
    for metric in METRICS.values():
        table.add_column(_heading(metric), justify="right")
    for row in report.rows:
        who = [] if report.single else [escape(row.case), escape(row.site or "-")]
        table.add_row(*who, *(_number(row.scores[name]) for name in METRICS))
    return table


def _summary_table(report: ScoreReport) -> Table:
    from rich.markup import escape
    from rich.table import Table

    from labelgan.scoring.metrics import METRICS

    table = Table("cases", "metric")
    for heading in ("mean", "sd", "median", "undefined"):
        table.add_column(heading, justify="right")
    sites = report.sites if {row.site for row in report.rows} != set(report.sites[:1]) else ()
    groups: list[tuple[str, str | None]] = [("all", None), *((site, site) for site in sites)]
    for title, site in groups:
        summary = report.summary(site)
        count = sum(site in (None, row.site) for row in report.rows)
        for number, (name, one) in enumerate(summary.items()):
            group = escape(f"{title} ({count})") if number == 0 else ""
            values = [_number(value) for value in (one.mean, one.sd, one.median)]
            table.add_row(group, _heading(METRICS[name]), *values, str(one.undefined))
        table.add_section()
    return table


def _heading(metric: Metric) -> str:
    arrow = "↑" if metric.better == "higher" else "↓"
    return f"{metric.title}, {metric.unit} {arrow}" if metric.unit else f"{metric.title} {arrow}"


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"


def print_plan(plan: Plan, estimate: Estimate) -> None:
    """Prints what a study will do: folds, jobs of each kind, what they cost, and how long all of it takes."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console(highlight=False)
    trained, tested = ([len(getattr(fold, part)) for fold in plan.folds] for part in ("train", "test"))
    console.print(
        f"{_count(len(plan.folds), 'fold')}, each trained on {_range(trained)} and tested on {_range(tested)} patients"
        f"; arms {escape(', '.join(plan.arms))}"
    )
    console.print(escape(_references(plan)))
    table = Table("jobs of kind")
    for heading in ("jobs", "done", "left takes", "a unit", "disk"):
        table.add_column(heading, justify="right")
    table.add_column("estimated from")
    for kind in estimate.kinds:
        left = kind.jobs > kind.done
        known = left and not math.isnan(kind.seconds)
        table.add_row(
            kind.kind,
            str(kind.jobs),
            str(kind.done) if kind.done else "-",
            duration(kind.seconds) if known else "?" if left else "-",
            f"{_small(kind.unit_s)} a {kind.unit}" if known and kind.unit_s else "-",
            _bytes(kind.bytes) if known and kind.bytes else "-",
            escape(kind.source) or "-",
        )
    console.print(table)
    hours = {"core": estimate.core_hours, "GPU": estimate.gpu_hours}
    sums = [f"{value:.3g} {name}-hours" for name, value in hours.items() if value]
    passing = f", and up to {_bytes(estimate.passing_bytes)} of checkpoints meanwhile" if estimate.passing_bytes else ""
    if sums:
        console.print(f"{' and '.join(sums)}; {_bytes(estimate.bytes)} of disk{passing}")
    for note in estimate.notes:
        console.print(escape(note))
    console.print(estimate.line)


def _references(plan: Plan) -> str:
    if not plan.references:
        return "no reference: every arm has synthetic slices, so that nothing is compared"
    main, *others = plan.references
    return f"reference {main}" + (f"; secondary: {', '.join(others)}" if others else "")


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _range(values: list[int]) -> str:
    return str(min(values)) if min(values) == max(values) else f"{min(values)} to {max(values)}"


def _small(seconds: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1e9:.2g} ns"


def _bytes(size: float) -> str:
    for unit, scale in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if size >= scale:
            return f"{size / scale:.3g} {unit}"
    return f"{size / 1e3:.3g} kB"


MARKS = {"lower": "↓", "higher": "↑", "near": "≈"}
WORDS = {True: "passed", False: "FAILED", None: "not judged"}


def print_audit(report: AuditReport) -> None:
    """Prints every figure between its anchors, and every gate's decision."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console(highlight=False)
    figures = Table("figure")
    for heading in ("samples", "good", "bad"):
        figures.add_column(heading, justify="right")
    for finding in report.findings:
        numbers = (_short(value) for value in (finding.value, finding.good, finding.bad))
        figures.add_row(f"{escape(finding.title)} {MARKS[finding.better]}", *numbers)
    console.print(figures)
    console.print("good: held-out real slices against training slices; bad: degraded real slices")
    gates = Table("gate", "", "why")
    for gate in report.gates:
        gates.add_row(gate.name, WORDS[gate.passed], escape(gate.reason))
    console.print(gates)


def _short(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"
