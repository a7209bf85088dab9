"""Result of a check: problems, and the facts of each case."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from labelgan.data.case import Cohort
from labelgan.data.check.fingerprint import Prints
from labelgan.data.pseudonyms import masked, shown_path

Severity = Literal["error", "warning"]


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong; ``case`` and ``file`` are None where it concerns the whole cohort."""

    case: str | None
    file: Path | None
    reason: str
    severity: Severity = "error"


@dataclass(frozen=True)
class CaseFacts:
    """Facts of a case; None where its files could not be read."""

    shape: tuple[int, int, int] | None = None
    spacing_mm: tuple[float, float, float] | None = None
    lesion_voxels: int | None = None
    hashes: Mapping[str, str] = field(default_factory=dict)
    face: bool = False
    mask_hash: str | None = None
    prints: Prints = field(default_factory=dict)


@dataclass(frozen=True)
class CheckReport:
    """The outcome of a check.

    Attributes:
        cohort: what was understood.
        problems: everything that is wrong, in the order of the cases; cohort-wide problems last.
        facts: per case of ``cohort.cases``, in the same order, what was learned about it.
    """

    cohort: Cohort
    problems: tuple[Problem, ...]
    facts: tuple[CaseFacts, ...]

    @property
    def hashes(self) -> dict[str, dict[str, str]]:
        """Case id to channel to voxel hash; channels that could not be read are missing."""
        return {case.id: dict(facts.hashes) for case, facts in zip(self.cohort.cases, self.facts, strict=True)}

    @property
    def errors(self) -> tuple[Problem, ...]:
        """The problems that make a case unusable."""
        return tuple(problem for problem in self.problems if problem.severity == "error")

    @property
    def ok(self) -> bool:
        """True when no problem is an error."""
        return not self.errors

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON: layout, cases and problems, files relative to the cohort's root."""
        cases = [
            {
                "id": case.id,
                "patient": case.patient,
                "site": case.site,
                "session": case.session,
                "split": case.split,
                "channels": list(case.images),
                "shape": None if facts.shape is None else list(facts.shape),
                "spacing_mm": None if facts.spacing_mm is None else [round(size, 6) for size in facts.spacing_mm],
                "images": {channel: self._relative(ref.path) for channel, ref in case.images.items()},
                "mask": None if case.mask is None else self._relative(case.mask.path),
                "lesion_voxels": facts.lesion_voxels,
            }
            for case, facts in zip(self.cohort.cases, self.facts, strict=True)
        ]
        problems = [
            {
                "case": problem.case,
                "file": None if problem.file is None else self._relative(problem.file),
                "reason": masked(problem.reason),
                "severity": problem.severity,
            }
            for problem in self.problems
        ]
        return {"layout": self.cohort.layout, "cases": cases, "problems": problems}

    def _relative(self, path: Path) -> str:
        root = self.cohort.root
        if (told := shown_path(path)) is not None:
            return told
        return (path.relative_to(root) if path.is_relative_to(root) else path).as_posix()
