"""What ``labelgan audit`` prints as tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from labelgan.audit.run import AuditReport

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
        numbers = (_number(value) for value in (finding.value, finding.good, finding.bad))
        figures.add_row(f"{escape(finding.title)} {MARKS[finding.better]}", *numbers)
    console.print(figures)
    console.print("good: held-out real slices against training slices; bad: spoilt real slices")
    gates = Table("gate", "", "why")
    for gate in report.gates:
        gates.add_row(gate.name, WORDS[gate.passed], escape(gate.reason))
    console.print(gates)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"
