"""A study as a graph of jobs: every one depends on nothing but its settings, its inputs and the files of its cases.

    prepare -> train generator -> sample -> train member (arm, k) -> predict (arm) -> score (arm)
                                     +-> audit

In each fold everything is made from the training patients alone. Jobs with equal settings and inputs are one job, so
that arms share what they have in common, and a larger study finds the work of a smaller one done.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import reduce
from operator import getitem
from typing import Any

from labelgan.config.audit import AuditConfig
from labelgan.config.base import Config, PrepareConfig
from labelgan.config.choices import Choice
from labelgan.config.seg import SegConfig
from labelgan.config.study import AUTO, StudyConfig
from labelgan.core.errors import ConfigError
from labelgan.study.arms import ARMS, arm_settings, references_of, require_arms
from labelgan.study.cohort import KnownCase, KnownCohort
from labelgan.study.engine.ledger import Job
from labelgan.study.folds import Fold, inner_split, make_folds

PREPARE, GENERATOR, SAMPLE, AUDIT, MEMBER = "prepare", "train generator", "sample", "audit", "train member"
PREDICT, SCORE, CHOOSE = "predict", "score", "choose share"
JUDGE_ARM = "classical+synthetic"  # the arm that an inner validation of the share looks at
REPEAT_SEEDS = 1000  # apart between repeats, so that members' seeds do not meet

# Where a job runs is no part of what it makes.
_ANYWHERE = {"device": "auto", "threads": 0}

# Settings of the parts that a study settles itself, whatever is given.
SETTLED = tuple(
    Choice("a study", key, (), f"settles it by {by}")
    for key, by in {
        "generator.train.seed": "seed",
        "segmenter.train.seed": "seed",
        "segmenter.train.members": "members",
        "segmenter.train.synthetic_share": "share and arms",
        "segmenter.train.shuffle_synthetic_masks": "arms",
        "segmenter.train.copypaste": "copypaste and arms",
    }.items()
)


@dataclass(frozen=True)
class ExternalSamples:
    """A labelled cohort that stands in for the folds' generators, and the hash of what is in it."""

    name: str
    sha256: str


@dataclass
class Plan:
    """The jobs of a study, and which of them answers what.

    Attributes:
        folds: who is held out.
        arms: what is compared.
        references: the arms that others are compared with, the study's reference first.
        jobs: all of them, inputs before what needs them.
        scores: (fold, arm) to the job that has the scores.
        members: (fold, arm) to the jobs of its networks; likewise ``predictions``, one job.
        generators: fold to its generator's job; likewise ``samples``, ``audits`` and ``shares``.
    """

    folds: tuple[Fold, ...]
    arms: tuple[str, ...]
    references: tuple[str, ...] = ()
    jobs: list[Job] = field(default_factory=list)
    scores: dict[tuple[str, str], Job] = field(default_factory=dict)
    members: dict[tuple[str, str], tuple[Job, ...]] = field(default_factory=dict)
    predictions: dict[tuple[str, str], Job] = field(default_factory=dict)
    generators: dict[str, Job] = field(default_factory=dict)
    samples: dict[str, Job] = field(default_factory=dict)
    audits: dict[str, Job] = field(default_factory=dict)
    shares: dict[str, Job] = field(default_factory=dict)
    _seen: dict[str, Job] = field(default_factory=dict, repr=False)

    def add(self, job: Job) -> Job:
        """Adds a job, or gives the equal one that is there."""
        known = self._seen.get(job.key)
        if known is None:
            self._seen[job.key] = known = job
            self.jobs.append(job)
        return known

    def counts(self) -> dict[str, int]:
        """Jobs of each kind, in the order in which they come."""
        counts: dict[str, int] = {}
        for job in self.jobs:
            counts[job.kind] = counts.get(job.kind, 0) + 1
        return counts


def plan_study(
    config: StudyConfig,
    cohort: KnownCohort,
    test: KnownCohort | None = None,
    *,
    start_from: str | None = None,
    external: ExternalSamples | None = None,
    gpus: int = 0,
) -> Plan:
    """Plans every job of a study.

    Args:
        config: every setting.
        cohort: whose patients are trained on.
        test: a second cohort to test on.
        start_from: hash of the weights that generators are tuned from.
        external: synthetic slices to use instead of generators of the folds.
        gpus: of each job that computes on one.

    Raises:
        ConfigError: an arm is unknown, the reference is none of them, or there are too few patients.
    """
    require_arms(config.arms)
    return _Planner(config, cohort, test, start_from, external, gpus).plan()


class _Planner:
    def __init__(
        self,
        config: StudyConfig,
        cohort: KnownCohort,
        test: KnownCohort | None,
        start_from: str | None,
        external: ExternalSamples | None,
        gpus: int,
    ) -> None:
        self.config, self.cohort, self.test = config, cohort, test
        self.start_from, self.external, self.gpus = start_from, external, gpus
        references = references_of(config.arms, config.reference)
        self.made = Plan(make_folds(config, cohort, test), config.arms, references)

    def plan(self) -> Plan:
        for part in ("generator", "segmenter"):
            if getattr(self.config, part).train.devices > 1:
                raise ConfigError(f"{part}.train.devices", "a study's jobs have a device each; give it more --workers")
        digest = _digest(self.cohort.fingerprint())
        self.store = self.made.add(
            Job(PREPARE, "slices of the whole cohort", {"cohort": digest, "config": _settings(self.config.prepare)}, {})
        )
        synthetic = [arm for arm in self.config.arms if ARMS[arm].synthetic]
        for fold in self.made.folds:
            samples = share = None
            if synthetic and self.external is None:
                generator, samples = self._samples(fold, fold.train, fold.name)
                self.made.generators[fold.name], self.made.samples[fold.name] = generator, samples
                self._audit(fold, samples)
            if synthetic and self.config.share == AUTO:
                share = self.made.shares[fold.name] = self._choice(fold)
            for arm in self.config.arms:
                self._arm(fold, arm, samples, share)
        return self.made

    def _arm(self, fold: Fold, arm: str, samples: Job | None, share: Job | None) -> None:
        cases = (self.test or self.cohort).of(fold.test)
        where = "data" if self.test is None else "test"
        given = self.config.share if self.config.share != AUTO else max(self.config.shares)
        label = f"{fold.name}, {arm}"
        members, predict, score = self._trial(
            label, arm, fold, fold.train, cases, where, float(given), self.config.members, samples, share
        )
        self.made.members[fold.name, arm] = members
        self.made.predictions[fold.name, arm] = predict
        self.made.scores[fold.name, arm] = score

    def _trial(
        self,
        label: str,
        arm: str,
        fold: Fold,
        train: tuple[str, ...],
        cases: tuple[KnownCase, ...],
        where: str,
        share: float,
        count: int,
        samples: Job | None,
        choice: Job | None,
    ) -> tuple[tuple[Job, ...], Job, Job]:
        """The jobs that train an ensemble, predict cases with it, and score them."""
        settings = _settings(arm_settings(arm, self.config, share))
        settings["train"] = _anywhere(settings["train"])
        predict = settings.pop("predict")
        settings.pop("preset")  # the name of settings that are all spelt out
        inputs = {"store": self.store}
        external: dict[str, Any] = {}
        if ARMS[arm].synthetic:
            if samples is not None:
                inputs["samples"] = samples
            if self.external is not None:
                external = {"external": self.external.sha256}
            if choice is not None:
                inputs["share"] = choice
        members = []
        for number in range(count):
            params = {"train": list(train), "config": settings, "seed": self._seed(fold) + number, **external}
            members.append(
                self.made.add(Job(MEMBER, f"{label}, network {number + 1}", params, dict(inputs), gpus=self.gpus))
            )
        files = {case.id: case.files for case in cases}
        predicted = self.made.add(
            Job(
                PREDICT,
                label,
                {"cohort": where, "cases": files, "predict": predict},
                {f"member-{number}": member for number, member in enumerate(members)},
                gpus=self.gpus,
            )
        )
        score = self.made.add(Job(SCORE, label, {"cohort": where, "cases": files}, {"predictions": predicted}))
        return tuple(members), predicted, score

    def _samples(self, fold: Fold, train: tuple[str, ...], label: str) -> tuple[Job, Job]:
        settings = _plain(self.config.generator)
        settings["train"] = {**_anywhere(settings["train"]), "seed": self._seed(fold)}
        params = {"train": list(train), "config": settings, "start_from": self.start_from}
        generator = self.made.add(Job(GENERATOR, label, params, {"store": self.store}, gpus=self.gpus))
        drawn: dict[str, Any] = {"num": self.config.samples, "seed": self._seed(fold)}
        inputs = {"generator": generator}
        if self.config.filtered:
            drawn["filtered"] = True
            inputs["store"] = self.store
        return generator, self.made.add(Job(SAMPLE, label, drawn, inputs, gpus=self.gpus))

    def _audit(self, fold: Fold, samples: Job) -> None:
        """Audits a fold's slices. Nothing is trained on what it finds, so that held-out patients may take part."""
        held_out = [patient for patient in self.cohort.patients if patient not in fold.train]
        if self.config.audited and held_out:
            settings = _settings(self.config.audit)
            settings["data"] |= _ANYWHERE
            params = {"train": list(fold.train), "held_out": held_out, "config": settings}
            inputs = {"store": self.store, "samples": samples}
            self.made.audits[fold.name] = self.made.add(Job(AUDIT, fold.name, params, inputs, gpus=self.gpus))

    def _choice(self, fold: Fold) -> Job:
        """Chooses the synthetic share inside a fold, by an inner generator and inner networks.

        They are judged by patients that neither has seen; all of them are training patients of the fold.
        """
        train, judges = inner_split(self.cohort, fold, self.config.seed)
        label = f"{fold.name}, inner"
        samples = None if self.external is not None else self._samples(fold, train, label)[1]
        cases = self.cohort.of(judges)
        scores = {}
        for share in self.config.shares:
            scores[f"share-{share:.6g}"] = self._trial(
                f"{label}, share {share:.3g}", JUDGE_ARM, fold, train, cases, "data", share, 1, samples, None
            )[2]
        return self.made.add(Job(CHOOSE, fold.name, {"shares": list(self.config.shares)}, scores))

    def _seed(self, fold: Fold) -> int:
        return self.config.seed + REPEAT_SEEDS * fold.repeat


def _anywhere(train: dict[str, Any]) -> dict[str, Any]:
    """A training's settings without where it runs."""
    return {key: value for key, value in train.items() if key != "devices"} | _ANYWHERE


# Settings that came after the first studies: a job names them only where they are not the default, under which it does
# as before. So jobs that were done earlier keep their names, and stand.
_LATER: dict[type[Config], tuple[str, ...]] = {
    PrepareConfig: ("max_cropped", "fingerprints"),
    SegConfig: ("augment.moved", "augment.zoom_apart", "train.showings"),
    AuditConfig: ("gates.max_outside",),
}


def _settings(config: Config) -> dict[str, Any]:
    """A stage's settings as its jobs name them."""
    settings, defaults = _plain(config), _plain(type(config)())
    for key in _LATER[type(config)]:
        *parts, name = key.split(".")
        part = reduce(getitem, parts, settings)
        if part[name] == reduce(getitem, parts, defaults)[name]:
            del part[name]
    return settings


def _plain(config: Config) -> dict[str, Any]:
    return config.model_dump(mode="json")


def _digest(value: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
