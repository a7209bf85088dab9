"""Reads and checks a study's files: study.json, scores.csv and verdict.json."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from labelgan.core.errors import DataError
from labelgan.core.files import read_json
from labelgan.scoring.metrics import METRICS
from labelgan.scoring.scores_csv import VOXELS, read_scores

HELPS, HARMS, NO_EVIDENCE = "helps", "harms", "no evidence"

Finite = Annotated[float, Field(allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0)]
Form = TypeVar("Form", bound="_Form")


class _Form(BaseModel):
    """Keys that a later version may add are passed over; what is used here has to be there, and finite."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Fold(_Form):
    """One split: who trains, who is tested."""

    name: str
    n_train: Count
    repeat: Count = 0
    train: tuple[str, ...] = ()
    test: tuple[str, ...] = ()


class Cost(_Form):
    """Time spent on one kind of job, in seconds of all its jobs together."""

    kind: str
    jobs: Count
    seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Failure(_Form):
    """A job that did not finish."""

    job: str = ""
    label: str
    reason: str
    log: str = ""


class GeneratorFacts(_Form):
    """Result of one fold's generator."""

    fold: str
    diversity: Finite | None = None
    lesion_rate: Finite | None = None
    steps: Count | None = None


class AuditGate(_Form):
    """One gate of an audit; None: it could not be judged."""

    name: str
    passed: bool | None = None
    reason: str = ""


class AuditFacts(_Form):
    """Result of the audit of one fold's synthetic slices."""

    fold: str
    passed: bool
    gates: tuple[AuditGate, ...] = ()


class StudyFile(_Form):
    """study.json."""

    format: Literal[1]
    kind: Literal["study"]
    status: Literal["complete", "incomplete"]
    protocol: Literal["cross-validation", "learning-curve"]
    data: str
    test_data: str | None = None
    arms: tuple[str, ...] = Field(min_length=1)
    arm_descriptions: dict[str, str] = {}
    reference: str | None = None
    references: tuple[str, ...] = ()
    folds: tuple[Fold, ...] = ()
    config: dict[str, Any] = {}
    cost: tuple[Cost, ...] = ()
    failed: tuple[Failure, ...] = ()
    generators: tuple[GeneratorFacts, ...] = ()
    audits: tuple[AuditFacts, ...] = ()
    shares: dict[str, Finite | None] = {}
    made_with: dict[str, Any] = {}
    command: str = ""


class Summary(_Form):
    """One arm's scores by one metric, over patients."""

    arm: str
    n_train: Count | None = None
    metric: str
    mean: Finite | None
    sd: Finite | None
    median: Finite | None
    n: Count
    undefined: Count


class Comparison(_Form):
    """One arm against a reference arm by one metric: differences are arm − reference, in the metric's unit."""

    arm: str
    reference: str
    n_train: Count | None = None
    metric: str
    difference: Finite | None
    interval: tuple[Finite, Finite] | None
    p: Finite | None = None
    p_holm: Finite | None = None
    p_draws_holm: Finite | None = None
    p_family: Finite | None = None
    primary: bool = False
    n: Count
    undefined: Count = 0
    verdict: Literal["helps", "harms", "no evidence"]
    sentence: str = ""

    @model_validator(mode="after")
    def _verdict_fits_interval(self) -> Comparison:
        if self.interval is not None and self.interval[0] > self.interval[1]:
            raise ValueError(f"the interval {list(self.interval)} is upside down")
        if self.verdict != NO_EVIDENCE and self.metric in METRICS:
            low, high = self.interval or (0.0, 0.0)
            better = high < 0 if METRICS[self.metric].better == "lower" else low > 0
            worse = low > 0 if METRICS[self.metric].better == "lower" else high < 0
            if not (better if self.verdict == HELPS else worse):
                raise ValueError(
                    f"'{self.arm}' {self.verdict} by {self.metric}, but the interval does not lie on that side of zero"
                )
        return self


class Multiplier(_Form):
    """Number of patients that the reference arm needs for an arm's score, over those the arm had."""

    arm: str
    reference: str
    n_train: Count
    metric: str = "dsc"
    score: Finite | None = None
    needed: Finite | None = None
    multiplier: Finite | None = None
    interval: tuple[Finite | None, Finite | None] | None = None
    note: str | None = ""


class VerdictFile(_Form):
    """verdict.json."""

    format: Literal[1]
    headline: str
    reference: str | None = None
    summary: tuple[Summary, ...] = ()
    comparisons: tuple[Comparison, ...] = ()
    multipliers: tuple[Multiplier, ...] = ()
    policy: str = ""
    resamples: Count | None = None
    seed: Count | None = None


@dataclass(frozen=True)
class Row:
    """One line of scores.csv: a test case of one fold, segmented by one arm's networks; None is undefined."""

    fold: str
    n_train: int
    repeat: int
    arm: str
    patient: str
    case: str
    scores: dict[str, float | None]
    site: str = ""
    lesion_voxels: int | None = None
    predicted_voxels: int | None = None


@dataclass(frozen=True)
class StudyFiles:
    """A study as it lies in its folder; ``verdict`` is None where an incomplete study has none yet."""

    folder: Path
    study: StudyFile
    rows: list[Row] = field(repr=False)
    verdict: VerdictFile | None

    @property
    def patients(self) -> list[str]:
        """Everybody who trained or was tested."""
        named = {patient for fold in self.study.folds for patient in (*fold.train, *fold.test)}
        return sorted(named | {row.patient for row in self.rows})

    @property
    def tested(self) -> list[str]:
        """Everybody who was tested."""
        return sorted({patient for fold in self.study.folds for patient in fold.test} or {r.patient for r in self.rows})


def read_study(folder: Path) -> StudyFiles:
    """Reads a study's three files and checks that they speak of the same arms and folds.

    Raises:
        DataError: a file is missing or damaged, or they contradict each other. Only a study whose status is
            ``incomplete`` may lack verdict.json.
    """
    if not folder.is_dir():
        raise DataError(folder, "is not a folder: expected that of a study")
    study = _read(folder / "study.json", StudyFile)
    if len(set(study.arms)) < len(study.arms):
        raise DataError(folder / "study.json", "names an arm twice")
    rows = _rows(folder / "scores.csv")
    path = folder / "verdict.json"
    verdict = None if study.status == "incomplete" and not path.exists() else _read(path, VerdictFile)
    folds = {fold.name for fold in study.folds}
    for row in rows:
        _require(folder / "scores.csv", "arm", row.arm, study.arms)
        if folds:
            _require(folder / "scores.csv", "fold", row.fold, folds)
    if verdict is not None:
        for entry in (*verdict.summary, *verdict.comparisons, *verdict.multipliers):
            _require(path, "metric", entry.metric, METRICS)
            _require(path, "arm", entry.arm, study.arms)
    return StudyFiles(folder, study, rows, verdict)


def _require(path: Path, what: str, name: str, known: Iterable[str]) -> None:
    if name not in known:
        raise DataError(path, f"{what} {name!r} is none of the study's")


def _read(path: Path, form: type[Form]) -> Form:
    try:
        return form.model_validate(read_json(path))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise DataError(path, f"{where}: {first['msg']}" if where else first["msg"]) from None


def _rows(path: Path) -> list[Row]:
    """Rows of scores.csv; a study that has just begun may have none."""
    frame: Any = read_scores(path, may_be_empty=True)
    return [_row(values) for values in frame.to_dict("records")]


def _row(values: dict[str, Any]) -> Row:
    known: dict[str, Any] = {
        key: None if isinstance(value, float) and math.isnan(value) else value for key, value in values.items()
    }
    scores = {name: known.pop(name) for name in METRICS}
    voxels = {name: None if known[name] is None else int(known[name]) for name in VOXELS}
    return Row(scores=scores, **{**known, **voxels})
