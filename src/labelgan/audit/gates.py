"""Gates: limits that findings must keep, or the samples are refused.

To add one, write a function of findings by name and limits, and enter it in `GATES`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from labelgan.config.audit import GateConfig

Better = Literal["lower", "higher", "near"]


@dataclass(frozen=True)
class Finding:
    """One figure of an audit.

    Attributes:
        name: dotted and unique in an audit, such as ``image.swd``; the first part groups figures.
        title: the same in words, for the page.
        value: of the samples; None where it is undefined, and then `note` says why.
        unit: such as ``mm`` or ``%``; empty for ratios and plain numbers.
        better: ``lower`` or ``higher`` is better; ``near``: best close to `good`, bad on either side.
        good: anchor: the same figure of held-out real slices against training ones, as good as it gets.
        bad: anchor: the same figure of noise, of blurred or of otherwise degraded real slices.
        note: what a reader must know, in a sentence.
        extra: whatever else belongs to the figure; plain JSON values.
    """

    name: str
    title: str
    value: float | None
    unit: str = ""
    better: Better = "lower"
    good: float | None = None
    bad: float | None = None
    note: str = ""
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def standing(self) -> float | None:
        """Standing of the value: 0 at the bad anchor, 1 at the good one; None where the bad one is not worse."""
        if self.value is None or self.good is None or self.bad is None or self.good == self.bad:
            return None
        if self.better != "near" and (self.bad < self.good) != (self.better == "higher"):
            return None
        return (self.value - self.bad) / (self.good - self.bad)

    def to_json(self) -> dict[str, Any]:
        """Gives plain JSON values; a number that is not finite becomes null."""
        return {
            "name": self.name,
            "title": self.title,
            "value": finite(self.value),
            "unit": self.unit,
            "better": self.better,
            "anchors": {"good": finite(self.good), "bad": finite(self.bad)},
            "standing": finite(self.standing),
            "note": self.note,
            "extra": plain(self.extra),
        }


def finite(value: float | None) -> float | None:
    """A number as JSON can hold it: None where it is not finite."""
    return None if value is None or not math.isfinite(value) else float(value)


def plain(value: Any) -> Any:
    """Nested values as JSON can hold them: NumPy's numbers and arrays become Python's, non-finite ones null."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    return finite(value) if isinstance(value, float) else value


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
    """A gate's decision: passed, failed, or not judged (None) where nothing of it could be measured.

    ``caveat`` is what makes the decision weak.
    """

    name: str
    checks: tuple[Check, ...]
    caveat: str = ""

    @property
    def passed(self) -> bool | None:
        """False as soon as one limit is broken; None where there was nothing to measure."""
        kept = [check.kept for check in self.checks if check.kept is not None]
        return all(kept) if kept else None

    @property
    def reason(self) -> str:
        """The limits that decide: the broken ones, or all, and what makes the decision weak."""
        broken = [check for check in self.checks if check.kept is False]
        said = "; ".join(map(str, broken or self.checks)) or "nothing to measure"
        return f"{said}; {self.caveat}" if self.caveat else said

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


def _range(found: Findings, limits: GateConfig) -> list[Check]:
    """Held-out slices may lie outside too, where training patients are few: the samples may as often as they."""
    finding = found.get("image.outside")
    samples, held_out = ({} if finding is None else finding.extra.get(name, {}) for name in ("samples", "held_out"))
    return [
        Check(
            f"share of pixels {side} the range of training slices",
            samples.get(side),
            max(limits.max_outside, held_out.get(side, 0.0)),
        )
        for side in ("above", "below")
    ]


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
    "range": _range,
    "copies": _copies,
    "fidelity": _fidelity,
}


ONE_HELD_OUT = "judged by one held-out patient, who may be unlike all others: hold out three or more"


def judge(findings: list[Finding], limits: GateConfig, *, held_out_patients: int | None = None) -> list[Gate]:
    """Decides every gate that has a limit; each says so where one patient alone is held out."""
    by_name = {finding.name: finding for finding in findings}
    caveat = ONE_HELD_OUT if held_out_patients == 1 else ""
    gates = [Gate(name, tuple(gate(by_name, limits)), caveat) for name, gate in GATES.items()]
    return [gate for gate in gates if gate.checks]
