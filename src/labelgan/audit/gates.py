"""Gates: limits that findings must keep, or the samples are refused.

To add one, write a function of findings by name and limits, and enter it in `GATES`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from labelgan.audit.findings import Finding, finite
from labelgan.config.audit import GateConfig


@dataclass(frozen=True)
class Check:
    """One limit: ``value`` must be at least, or at most, ``limit``. None: it could not be measured."""

    words: str
    value: float | None
    limit: float
    at_least: bool = False

    @property
    def kept(self) -> bool | None:
        """Whether the limit is kept; None where there is no value."""
        if self.value is None:
            return None
        return self.value >= self.limit if self.at_least else self.value <= self.limit

    def __str__(self) -> str:
        side = "at least" if self.at_least else "at most"
        shown = "not measured" if self.value is None else f"{self.value:.3g}"
        return f"{self.words} {shown} ({side} {self.limit:.3g})"


@dataclass(frozen=True)
class Gate:
    """A gate's decision: passed, failed, or not judged (None) where nothing of it could be measured."""

    name: str
    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool | None:
        """False as soon as one limit is broken; None where there was nothing to measure."""
        kept = [check.kept for check in self.checks if check.kept is not None]
        return all(kept) if kept else None

    @property
    def reason(self) -> str:
        """The limits that decide: the broken ones, or all."""
        broken = [check for check in self.checks if check.kept is False]
        return "; ".join(map(str, broken or self.checks)) or "nothing to measure"

    def to_json(self) -> dict[str, Any]:
        """Gives plain JSON values."""
        checks = [
            {
                "what": check.words,
                "value": finite(check.value),
                "limit": check.limit,
                "must_be": "at least" if check.at_least else "at most",
                "kept": check.kept,
            }
            for check in self.checks
        ]
        return {"name": self.name, "passed": self.passed, "reason": self.reason, "checks": checks}


Findings = Mapping[str, Finding]


def _value(found: Findings, name: str) -> float | None:
    return found[name].value if name in found else None


def _diversity(found: Findings, limits: GateConfig) -> list[Check]:
    spread = found.get("diversity.spread")
    ratio = spread.value / spread.good if spread and spread.value is not None and spread.good else None
    repeats = _value(found, "diversity.repeats")
    return [
        Check("spread of samples over that of held-out slices", ratio, limits.min_spread, at_least=True),
        Check("share of samples that are another over again", repeats, limits.max_duplicates),
    ]


def _fidelity(found: Findings, limits: GateConfig) -> list[Check]:
    if limits.min_standing is None:
        return []
    standings = [
        Check(f"standing of {name}", found[name].standing, limits.min_standing, at_least=True)
        for name in found
        if name.endswith((".swd", ".w1", ".kid"))
    ]
    return [check for check in standings if check.value is not None]


def _labels(found: Findings, limits: GateConfig) -> list[Check]:
    places = {"ring": "the contrast against a ring", "edge": "the contrast across the edge"}
    return [
        Check(
            f"fit of masks by {words}", _value(found, f"label.agreement.{place}"), limits.min_agreement, at_least=True
        )
        for place, words in places.items()
    ]


def _load(found: Findings, limits: GateConfig) -> list[Check]:
    checks = []
    for name, words in (("label.load", "shift of lesion load"), ("label.empty", "shift of the share of empty masks")):
        finding = found.get(name)
        unit = None if finding is None else finding.extra.get("limit")
        shift = finding.value / unit if finding is not None and finding.value is not None and unit else None
        checks.append(Check(f"{words}, over what patients differ by,", shift, limits.max_load_shift))
    return checks


def _copies(found: Findings, limits: GateConfig) -> list[Check]:
    return [
        Check("share of samples that count as copies", _value(found, "copies.share"), limits.max_copies),
        Check(
            "share of samples that are all but a training slice",
            _value(found, "copies.certain"),
            limits.max_certain_copies,
        ),
    ]


GATES: dict[str, Callable[[Findings, GateConfig], list[Check]]] = {
    "diversity": _diversity,
    "labels": _labels,
    "load": _load,
    "copies": _copies,
    "fidelity": _fidelity,
}


def judge(findings: list[Finding], limits: GateConfig) -> list[Gate]:
    """Decides every gate that has a limit."""
    by_name = {finding.name: finding for finding in findings}
    gates = [Gate(name, tuple(gate(by_name, limits))) for name, gate in GATES.items()]
    return [gate for gate in gates if gate.checks]
