"""The league's rows, its patients, and its jobs in the form of `labelgan.study.plan`.

Everything in a fold is made from its training patients alone; jobs with equal settings and inputs are one job, so that
the arms without synthetic slices are made once for all rows.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from pydantic import Field

from bench.league.ddpm import DdpmConfig
from labelgan import api
from labelgan.config.audit import AuditConfig
from labelgan.config.base import Config, PrepareConfig
from labelgan.config.seg import SegConfig
from labelgan.config.study import StudyConfig
from labelgan.core.errors import ConfigError
from labelgan.core.files import sha256_file
from labelgan.gan.run_folder import RunFolder
from labelgan.study.arms import arm_settings
from labelgan.study.cohort import KnownCohort
from labelgan.study.engine.ledger import Job
from labelgan.study.folds import Fold
from labelgan.study.plan import AUDIT, MEMBER, PREDICT, PREPARE, REPEAT_SEEDS, SCORE

TRAIN, SAMPLE = "train by the clock", "sample"
RUNNER = "bench.league.jobs:run"
BASELINES = ("real", "classical", "classical+copypaste")
REFERENCES = ("classical", "classical+copypaste")
WITH_SAMPLES = ("classical+synthetic", "classical+copypaste+synthetic")
SPLIT_SEED, DRAW_SEEDS = 77, 1000
_HERE = {"device": "auto", "threads": 0}  # where a job runs is no part of what it makes


@dataclass(frozen=True)
class Row:
    """A generator of the league.

    Attributes:
        model: key of ``config_gan.MODELS``, or ``ddpm``.
        about: what was tuned for it, for the table.
        preset: key of ``config_gan.PRESETS``.
        settings: ``"a.b=value"``, on top of these.
        from_phantom: it is tuned from the generator in the package, whose settings then hold, and ``model`` and
            ``preset`` name them.
        most_steps: after which it stops, though there be time left; None: it takes all the time.
        filtered: what `sample --audited` leaves out is left out of its samples.
        real_anatomy: its samples hold parts of real slices, so that those of a real cohort are never pictured.
    """

    model: str
    about: str
    preset: str | None = "laptop"
    settings: tuple[str, ...] = ()
    from_phantom: bool = False
    most_steps: int | None = None
    real_anatomy: bool = False
    filtered: bool = False

    def config(self) -> dict[str, Any]:
        """Every setting of its training, in plain values."""
        if self.model == "ddpm":
            return DdpmConfig().with_settings(list(self.settings)).model_dump(mode="json")
        parent = api.phantom_generator() if self.from_phantom else None
        config = api.training_config(model=self.model, preset=self.preset, settings=self.settings, start_from=parent)
        return config.model_dump(mode="json")


_NARROW = (
    "network narrowed to 24–192 channels and batch cut to 16 (preset laptop); rates, steps and penalty as published"
)

# A generator joins the league by a line here.
ROWS: dict[str, Row] = {
    "gan": Row("gan", "rates 0.02 and 0.002 (0.1 of its authors explodes), 512 units, batch 32 (preset laptop)"),
    "dcgan": Row("dcgan", _NARROW),
    "wgan": Row("wgan", _NARROW),
    "wgan-gp": Row("wgan-gp", _NARROW),
    "uned2019": Row("wgan-gp", "nothing: the report's settings, its network cut to the slice's grid", "uned2019"),
    "r3gan": Row("r3gan", "width, patch, rates, β2 and lazy penalty (preset laptop)"),
    "refiner": Row(
        "refiner", "nearly all, by the development patients left over from these draws (below)", real_anatomy=True
    ),
    "refiner-phantoms": Row(
        "refiner",
        "as refiner; anatomies of phantoms alone, so that no patient's head is shown",
        settings=("content.phantoms=1.0",),
        real_anatomy=True,
    ),
    "refiner-audited": Row(
        "refiner", "as refiner; copies and misfits left out of its samples", real_anatomy=True, filtered=True
    ),
    "ddpm": Row(
        "ddpm", "nothing: MONAI's network at 16–64 channels, sized for one core; Adam 1e-3, flips, 50 DDIM steps", None
    ),
}


class LeagueConfig(Config):
    """Everything that a league needs besides the data."""

    rows: tuple[str, ...] = Field(default=tuple(ROWS), description="keys of ROWS")
    sizes: tuple[int, ...] = Field(default=(5, 10), min_length=1, description="training patients")
    curve: tuple[int, ...] = Field(
        default=(20, 40), description="more numbers, for the references alone: the curve that multipliers are read off"
    )
    draws: int = Field(default=3, ge=1, description="draws of training patients")
    seconds: float = Field(
        default=180.0, gt=0, description="of every generator's training, by bench.league.clock.Clock"
    )
    samples: int = Field(default=600, ge=2, description="synthetic slices of every generator")
    share: float = Field(default=1 / 3, gt=0, lt=1, description="synthetic share of a segmenter's batch")
    members: int = Field(default=1, ge=1, description="networks averaged in every arm")
    prepare: PrepareConfig = PrepareConfig(size=(64, 64))
    segmenter: SegConfig = SegConfig.for_segmenter(preset="laptop")
    audit: AuditConfig = AuditConfig().with_settings(["data.max_held_out=1000"])

    @property
    def all_sizes(self) -> tuple[int, ...]:
        """Of both kinds, rising."""
        return tuple(sorted({*self.sizes, *self.curve}))


def split_patients(patients: Sequence[str]) -> tuple[list[str], list[str]]:
    """Gives development patients and test patients: halves of a seeded permutation of the sorted ids."""
    ids = sorted(patients)
    order = [ids[int(place)] for place in np.random.default_rng(SPLIT_SEED).permutation(len(ids))]
    return order[: len(order) // 2], order[len(order) // 2 :]


def draw_patients(development: Sequence[str], count: int, draw: int) -> list[str]:
    """Gives the training patients of a draw; larger ones hold the smaller.

    Raises:
        ConfigError: there are not so many.
    """
    if count > len(development):
        raise ConfigError(f"--sizes {count}", f"there are {len(development)} development patients")
    order = np.random.default_rng(DRAW_SEEDS + draw).permutation(len(development))
    return [development[int(place)] for place in order[:count]]


def arm_of(arm: str, row: str) -> str:
    """The name in the scores of an arm with a row's samples."""
    return f"{arm}: {row}"


@dataclass
class LeaguePlan:
    """The jobs, and which of them answers what: by fold's name and row, or fold's name and arm."""

    folds: list[Fold]
    jobs: dict[str, Job] = field(default_factory=dict)
    training: dict[tuple[str, str], Job] = field(default_factory=dict)
    samples: dict[tuple[str, str], Job] = field(default_factory=dict)
    audits: dict[tuple[str, str], Job] = field(default_factory=dict)
    members: dict[tuple[str, str], list[Job]] = field(default_factory=dict)
    scores: dict[tuple[str, str], Job] = field(default_factory=dict)

    def add(self, job: Job) -> Job:
        """Adds a job, or gives the equal one that is there."""
        return self.jobs.setdefault(job.key, job)


def make_folds(config: LeagueConfig, patients: Sequence[str]) -> list[Fold]:
    """A fold for every number of training patients and draw, all with the same test patients."""
    development, test = split_patients(patients)
    return [
        Fold(
            f"n{size:03d}-draw{draw}", draw, tuple(sorted(draw_patients(development, size, draw))), tuple(sorted(test))
        )
        for size in config.all_sizes
        for draw in range(config.draws)
    ]


def plan_league(config: LeagueConfig, cohort: KnownCohort, gpus: int = 0) -> LeaguePlan:
    """Plans every job.

    Raises:
        ConfigError: a row is unknown, or there are too few patients.
    """
    if unknown := [name for name in config.rows if name not in ROWS]:
        raise ConfigError(f"--rows {unknown[0]}", f"unknown; of {', '.join(ROWS)}")
    return _Planner(config, cohort, gpus).plan()


class _Planner:
    def __init__(self, config: LeagueConfig, cohort: KnownCohort, gpus: int) -> None:
        self.config, self.cohort, self.gpus = config, cohort, gpus
        self.arms = StudyConfig(segmenter=config.segmenter, share=config.share)
        self.made = LeaguePlan(make_folds(config, cohort.patients))

    def plan(self) -> LeaguePlan:
        digest = hashlib.sha256(json.dumps(self.cohort.fingerprint(), sort_keys=True).encode()).hexdigest()
        params = {"cohort": digest, "config": self.config.prepare.model_dump(mode="json")}
        self.store = self.made.add(Job(PREPARE, "slices of the whole cohort", params))
        for fold in self.made.folds:
            whole = len(fold.train) in self.config.sizes
            for arm in BASELINES if whole else REFERENCES:
                self._arm(fold, arm, arm, None)
            for row in self.config.rows if whole else ():
                samples = self._samples(fold, row)
                for arm in WITH_SAMPLES:
                    self._arm(fold, arm, arm_of(arm, row), samples)
        return self.made

    def _samples(self, fold: Fold, name: str) -> Job:
        row, key, label = ROWS[name], (fold.name, name), f"{fold.name}, {name}"
        settings, seed = row.config(), REPEAT_SEEDS * fold.repeat
        inner = settings if row.model == "ddpm" else settings["train"]
        inner |= {"seed": seed} | ({} if row.model == "ddpm" else _HERE)
        params = {"train": list(fold.train), "model": row.model, "config": settings, "seconds": self.config.seconds}
        params |= {} if row.most_steps is None else {"most_steps": row.most_steps}
        params |= {"parent": sha256_file(RunFolder(api.phantom_generator()).generator) if row.from_phantom else None}
        made = self.made.training[key] = self._job(TRAIN, label, params, {"store": self.store}, RUNNER)
        params = {"model": row.model, "num": self.config.samples, "seed": seed}
        inputs = {"generator": made} | ({"store": self.store} if row.filtered else {})
        params |= {"filtered": True} if row.filtered else {}
        samples = self.made.samples[key] = self._job(SAMPLE, label, params, inputs, RUNNER)
        audit = self.config.audit.model_dump(mode="json")
        # Nothing is chosen by an audit, so that everybody who was not trained on may serve as its yardstick.
        held_out = [patient for patient in self.cohort.patients if patient not in fold.train]
        params = {"train": list(fold.train), "held_out": held_out, "config": audit}
        self.made.audits[key] = self._job(AUDIT, label, params, {"store": self.store, "samples": samples})
        return samples

    def _arm(self, fold: Fold, arm: str, name: str, samples: Job | None) -> None:
        settings = arm_settings(arm, self.arms, self.config.share).model_dump(mode="json")
        settings["train"] = {key: value for key, value in settings["train"].items() if key != "devices"} | _HERE
        predict, label = settings.pop("predict"), f"{fold.name}, {name}"
        del settings["preset"]  # the name of settings that are all spelt out
        inputs = {"store": self.store} | ({} if samples is None else {"samples": samples})
        members = [
            self._job(
                MEMBER,
                f"{label}, network {number + 1}",
                {"train": list(fold.train), "config": settings, "seed": REPEAT_SEEDS * fold.repeat + number},
                inputs,
            )
            for number in range(self.config.members)
        ]
        cases = {"cohort": "data", "cases": {case.id: case.files for case in self.cohort.of(fold.test)}}
        networks = {f"member-{number}": member for number, member in enumerate(members)}
        predicted = self._job(PREDICT, label, {**cases, "predict": predict}, networks)
        self.made.members[fold.name, name] = members
        self.made.scores[fold.name, name] = self.made.add(Job(SCORE, label, cases, {"predictions": predicted}))

    def _job(
        self, kind: str, label: str, params: dict[str, Any], inputs: dict[str, Job], runner: str | None = None
    ) -> Job:
        own = {} if runner is None else {"runner": runner}
        return self.made.add(Job(kind, label, params, inputs, gpus=self.gpus, **own))
