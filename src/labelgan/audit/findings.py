"""What an audit finds: figures that stand between two anchors."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal

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
        bad: anchor: the same figure of noise, of blurred or of otherwise spoilt real slices.
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
        """Where the value stands: 0 at the bad anchor, 1 at the good one; None where the bad one is not worse."""
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
