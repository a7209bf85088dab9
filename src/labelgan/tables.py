"""What commands print as tables."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from labelgan.data.problems import CheckReport


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
        f"{'×'.join(map(str, facts.shape))} at {'×'.join(f'{size:.3g}' for size in facts.spacing_mm)} mm"
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
