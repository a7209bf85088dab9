"""How many tests were skipped, and why, before pytest's closing line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import pytest


def skip_lines(reports: Iterable[Any]) -> list[str]:
    """A line for each reason, those of most tests first. The reports are pytest's, of this process or of another."""
    reasons = Counter(str(report.longrepr[2]).removeprefix("Skipped: ") for report in reports)
    width = len(str(max(reasons.values(), default=0)))
    return [f"{count:>{width}}  {reason}" for reason, count in reasons.most_common()]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = terminalreporter.stats.get("skipped", [])
    if reports:
        terminalreporter.section(f"{len(reports)} skipped, by reason")
        for line in skip_lines(reports):
            terminalreporter.line(line)
