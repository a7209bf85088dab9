from __future__ import annotations

from labelgan.audit.findings import Finding
from labelgan.audit.gates import Check, Gate
from labelgan.audit.run import AuditReport
from labelgan.tables_audit import print_audit


def test_figures_and_gates_are_printed(capsys):
    findings = [Finding("a", "a [distance]", 0.12345, good=0.1, bad=2.0), Finding("b", "b", None, better="near")]
    gates = [
        Gate("first", (Check("share", 0.5, 0.1),)),
        Gate("second", (Check("share", 0.0, 0.1),)),
        Gate("third", (Check("share", None, 0.1),)),
    ]
    print_audit(AuditReport(findings, gates, {}))
    shown = capsys.readouterr().out
    for words in ("a [distance] ↓", "0.123", "b ≈", "FAILED", "passed", "not judged", "share 0.5 (at most 0.1)"):
        assert words in shown
