"""Result of a scoring: a row per case, and summaries in which nothing undefined is lost."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from labelgan.core.errors import LabelganError
from labelgan.data.pseudonyms import masked
from labelgan.scoring.metrics import METRICS, Scores

UNDEFINED_POLICY = (
    "a metric that an empty mask leaves undefined is null: not part of mean, sd and median, and counted beside them"
)


@dataclass(frozen=True)
class CaseScores:
    """The scores of one case."""

    case: str
    patient: str
    site: str | None
    scores: Scores

    def to_json(self) -> dict[str, Any]:
        """Plain values: who it is, then the metrics."""
        return {"case": self.case, "patient": self.patient, "site": self.site, **self.scores.to_json()}


@dataclass(frozen=True)
class Summary:
    """One metric over some cases; None where too few values are defined.

    Attributes:
        mean: of the defined values.
        sd: of the defined values, with n - 1; None below two.
        median: of the defined values.
        defined: how many there are.
        undefined: how many cases have no value.
    """

    mean: float | None
    sd: float | None
    median: float | None
    defined: int
    undefined: int

    @classmethod
    def of(cls, values: Sequence[float | None]) -> Summary:
        """Summarises the values of some cases."""
        known = np.array([value for value in values if value is not None], dtype=np.float64)
        return cls(
            mean=float(known.mean()) if len(known) else None,
            sd=float(known.std(ddof=1)) if len(known) > 1 else None,
            median=float(np.median(known)) if len(known) else None,
            defined=len(known),
            undefined=len(values) - len(known),
        )

    def to_json(self) -> dict[str, float | int | None]:
        """Plain values."""
        return {
            "mean": self.mean,
            "sd": self.sd,
            "median": self.median,
            "defined": self.defined,
            "undefined": self.undefined,
        }


@dataclass(frozen=True)
class ScoreReport:
    """The outcome of a scoring.

    Attributes:
        rows: the scored cases, in the order of the cohort.
        failures: case id and error of every case that could not be scored.
        missing: ids of the annotated cases that have no prediction.
        extra: predictions that belong to no annotated case.
        notes: what a reader of the numbers should know, one line each.
        single: two files were given, not folders.
    """

    rows: tuple[CaseScores, ...]
    failures: tuple[tuple[str, LabelganError], ...] = ()
    missing: tuple[str, ...] = ()
    extra: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()
    single: bool = False

    @property
    def sites(self) -> tuple[str, ...]:
        """The sites of the scored cases, sorted."""
        return tuple(sorted({row.site for row in self.rows if row.site is not None}))

    def summary(self, site: str | None = None) -> dict[str, Summary]:
        """Every metric over the scored cases, all of them or those of one site."""
        rows = [row for row in self.rows if site is None or row.site == site]
        return {name: Summary.of([row.scores[name] for row in rows]) for name in METRICS}

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON: of two files the five metrics, of folders the cases and their summaries."""
        if self.single:
            return dict(self.rows[0].scores.to_json())
        return {
            "cases": [row.to_json() for row in self.rows],
            "summary": {
                "overall": _plain(self.summary()),
                "sites": {site: _plain(self.summary(site)) for site in self.sites},
            },
            "undefined_policy": UNDEFINED_POLICY,
            "failed": [
                {"case": case, "file": masked(error.subject), "reason": masked(error.reason)}
                for case, error in self.failures
            ],
            "missing": list(self.missing),
            "extra": [masked(path.as_posix()) for path in self.extra],
            "notes": [masked(note) for note in self.notes],
        }

    def to_csv(self) -> str:
        """A line per annotated case; undefined values are empty, and ``status`` tells who was not scored and why."""
        text = io.StringIO()
        writer = csv.DictWriter(text, ["case", "patient", "site", *METRICS, "status"], lineterminator="\n")
        writer.writeheader()
        for row in self.rows:
            writer.writerow({**row.to_json(), "status": "scored"})
        for case, error in self.failures:
            writer.writerow({"case": case, "status": f"failed: {masked(str(error))}"})
        for case in self.missing:
            writer.writerow({"case": case, "status": "no prediction"})
        return text.getvalue()


def _plain(summary: dict[str, Summary]) -> dict[str, dict[str, float | int | None]]:
    return {name: one.to_json() for name, one in summary.items()}
