"""Settings of a study: who is held out, what is compared, and the settings of every stage in it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from labelgan.config import gan, seg
from labelgan.config.audit import AuditConfig
from labelgan.config.base import Config, Layer, PrepareConfig, Settings, merge
from labelgan.config.gan import GanConfig
from labelgan.config.seg import SegConfig

Share = Annotated[float, Field(gt=0, lt=1)]
Folds = Literal["lopo"] | Annotated[int, Field(ge=2)]
Count = Annotated[int, Field(ge=1)]
Repeats = Annotated[int, Field(ge=1, le=1000)]

DEFAULT_ARMS = ("real", "classical", "classical+copypaste", "classical+synthetic", "classical+shuffled")
AUTO = "auto"
DRAWS = 5  # of a learning curve: with three, Student's t is 4.3 and shows little but what is plain

# What ``--preset`` sets besides the presets of that name of generator and segmenter: slices that a CPU can train on.
STUDY_PRESETS: dict[str, dict[str, Any]] = {
    "laptop": {
        "prepare": {"size": (64, 64), "spacing_mm": "auto"},
        "members": 1,
        "samples": 200,
        "generator": {"train": {"steps": 1000}},
    },
}


class StudyConfig(Config):
    """Everything that ``labelgan study`` needs besides the data."""

    arms: tuple[str, ...] = Field(default=DEFAULT_ARMS, min_length=1, description="keys of study.arms.ARMS")
    folds: Folds = Field(
        default="lopo", description="lopo: every patient is held out once; K: so many groups of patients"
    )
    patients: tuple[Count, ...] = Field(
        default=(), description="learning curve: numbers of training patients; empty: cross-validation"
    )
    reference: str | None = Field(
        default=None,
        description="arm without synthetic slices that the others are compared with; None: the strongest of the arms",
    )
    repeats: Repeats | None = Field(
        default=None,
        description="draws of training patients, or splits into folds; None: 5 in a learning curve, else 1",
    )
    strata: Literal["site", "site+load"] = Field(
        default="site",
        description="what a learning curve's draws are balanced by; a lesion load is known of annotated patients alone",
    )
    members: int = Field(default=3, ge=1, le=64, description="networks averaged in every arm")
    share: Literal["auto"] | Share = Field(
        default=1 / 3, description="synthetic share of a batch; auto: chosen by inner validation in each fold"
    )
    shares: tuple[Share, ...] = Field(
        default=(1 / 12, 1 / 6, 1 / 3), min_length=1, description="what auto chooses from; more has harmed elsewhere"
    )
    samples: int = Field(default=500, ge=2, description="synthetic slices that each fold's generator makes")
    copypaste: float = Field(
        default=0.5,
        gt=0,
        le=1,
        description="share of real slices that another patient's lesions are pasted into",
        json_schema_extra={"source": "Zhang et al. 2021"},
    )
    start_from: str | None = Field(
        default=None, description="run that every fold's generator is tuned from; phantom: the one in the package"
    )
    audited: bool = Field(
        default=True, description="audit each fold's synthetic slices against its training and held-out patients"
    )
    filtered: bool = Field(
        default=False,
        description="leave out copies of a fold's training patients and masks that do not fit, as `sample --audited`",
    )
    seed: int = Field(default=0, ge=0, description="of folds, generators, samples and segmenters")
    prepare: PrepareConfig = PrepareConfig()
    generator: GanConfig = GanConfig()
    segmenter: SegConfig = SegConfig()
    audit: AuditConfig = AuditConfig()

    @classmethod
    def from_toml(cls, path: Path) -> Self:
        """Reads a TOML file with every setting; one of before ``strata`` drew patients by site and load."""
        config = super().from_toml(path)
        return config if "strata" in config.model_fields_set else config.model_copy(update={"strata": "site+load"})

    @field_validator("patients")
    @classmethod
    def _rising(cls, patients: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(sorted(set(patients)))

    @model_validator(mode="after")
    def _arms_differ(self) -> Self:
        if len(set(self.arms)) != len(self.arms):
            raise ValueError("an arm is named twice")
        return self

    @property
    def protocol(self) -> str:
        """``learning-curve`` or ``cross-validation``."""
        return "learning-curve" if self.patients else "cross-validation"

    @property
    def draws(self) -> int:
        """Number of draws of training patients, or of splits into folds: ``repeats``, or what its None means."""
        return self.repeats or (DRAWS if self.patients else 1)

    @classmethod
    def for_names(
        cls,
        generator: GanConfig,
        network: str = "li2018",
        preset: str | None = None,
        settings: Settings = (),
    ) -> Self:
        """Puts a study's settings together from a generator's, a segmenter's name, a preset's and single ones.

        Raises:
            ConfigError: a name or setting is unknown.
        """
        parts = {"generator": generator, "segmenter": SegConfig.for_segmenter(network, preset=preset)}
        dumped = {name: part.model_dump() for name, part in parts.items()}
        return cls.build(merge(dumped, STUDY_PRESETS.get(preset or "", {})), "study").with_settings(settings)


def layers(model: str, network: str = "li2018", preset: str | None = None) -> list[Layer]:
    """Gives what names change in a study's defaults, in order; a preset need not be known to all of its parts.

    Raises:
        ConfigError: a name is unknown.
    """
    of_segmenter = preset if preset in seg.PRESETS else None
    of_generator = None if of_segmenter and preset not in gan.PRESETS else preset
    return [
        *((origin, {"generator": changes}) for origin, changes in gan.layers(model, of_generator)),
        *((origin, {"segmenter": changes}) for origin, changes in seg.layers(network, of_segmenter)),
        *((f"preset {name}", changes) for name, changes in STUDY_PRESETS.items() if name == preset),
    ]


class EngineConfig(Config):
    """Settings of the engines of `labelgan.study.engine.engines`; each reads those that concern it."""

    workers: int | None = Field(
        default=None, ge=1, le=4096, description="jobs at a time; None: one per GPU, or one per core, or the cluster's"
    )
    threads: int | None = Field(
        default=None, ge=1, le=1024, description="cores of a job; None: 1 where there are several workers, else all"
    )
    gpus: int | None = Field(default=None, ge=0, le=1024, description="GPUs of this machine to use; None: all")
    grace_s: float = Field(
        default=60.0,
        ge=0,
        description="how long an interrupted job may take to save its state, seconds",
        json_schema_extra={"unit": "seconds"},
    )
    silence_s: float | None = Field(
        default=1800.0,
        gt=0,
        description="local: a worker that gives no sign of life for so long, seconds, is ended; None: never",
        json_schema_extra={"unit": "seconds"},
    )
    job_minutes: float | None = Field(
        default=None,
        gt=0,
        description="local: how long an attempt at a job may take; it then saves its state and is tried again",
        json_schema_extra={"unit": "minutes"},
    )
    address: str | None = Field(
        default=None, description="ray: HOST:PORT of a running cluster, or auto; None: one is started on this machine"
    )
    partition: str | None = Field(default=None, description="slurm: partition")
    account: str | None = Field(default=None, description="slurm: account")
    minutes: int = Field(
        default=24 * 60,
        ge=1,
        description="slurm: time limit of a job; it goes on after it",
        json_schema_extra={"unit": "minutes"},
    )
    memory_gb: int = Field(default=16, ge=1, description="slurm: memory of a job, GB", json_schema_extra={"unit": "GB"})
    array_size: int = Field(default=1000, ge=1, description="slurm: most jobs submitted and not yet ended")
    setup: tuple[str, ...] = Field(default=(), description="slurm: shell lines before the job, such as module load")
    cluster: Literal["slurm", "local"] = Field(
        default="slurm", description="slurm: where submitit submits; local: processes of this machine, to try it out"
    )
    poll_s: float = Field(
        default=5.0,
        gt=0,
        description="slurm: seconds between two readings of the job folders",
        json_schema_extra={"unit": "seconds"},
    )

    @classmethod
    def of(cls, workers: int | None = None, settings: Settings = ()) -> EngineConfig:
        """Gives the defaults with a number of workers, where one is named, and changed settings."""
        return cls().replace({} if workers is None else {"workers": workers}).with_settings(settings)
