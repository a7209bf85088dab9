"""Folds: every patient held out once, groups of patients, or all but a drawn few. Grouped by patient, always.

Groups of annotated patients are stratified by site and lesion load: patients of a site are ordered by load, and
neighbours in that order go to different groups. A learning curve asks what n patients are worth that somebody is about
to annotate, whose loads nobody knows: its draws are stratified by site alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from labelgan.config.study import StudyConfig
from labelgan.core.errors import ConfigError
from labelgan.core.rng import generator_for
from labelgan.study.cohort import KnownCohort

LOAD_STRATA = 3  # low, middle and high lesion load


@dataclass(frozen=True)
class Fold:
    """Training patients and the patients they are tested on; ids, sorted. ``repeat`` counts draws or splits."""

    name: str
    repeat: int
    train: tuple[str, ...]
    test: tuple[str, ...]


def make_folds(config: StudyConfig, cohort: KnownCohort, test: KnownCohort | None = None) -> tuple[Fold, ...]:
    """Gives the folds of a study.

    Args:
        config: protocol, numbers and seed.
        cohort: whose patients are trained on.
        test: a second cohort that is tested on instead of the patients left over.

    Raises:
        ConfigError: there are too few patients for what is asked.
    """
    if config.patients:
        return _learning_curve(config, cohort, test)
    if test is not None:
        raise ConfigError("--test", "belongs to a learning curve: give --patients as well")
    return _cross_validation(config, cohort)


def _cross_validation(config: StudyConfig, cohort: KnownCohort) -> tuple[Fold, ...]:
    patients = sorted(cohort.patients)
    if len(patients) < 3:
        are = "patient is" if len(patients) == 1 else "patients are"
        raise ConfigError("--folds", f"{len(patients)} annotated {are} too few: three are needed")
    if config.folds != "lopo" and config.folds > len(patients):
        raise ConfigError(
            f"--folds {config.folds}", f"there are only {len(patients)} annotated patients; name fewer folds"
        )
    folds = []
    for repeat in range(config.draws):
        if config.folds == "lopo":
            groups = [[patient] for patient in patients]
        else:
            groups = split_evenly(cohort, patients, config.folds, config.seed, repeat)
        for group in groups:
            rest = [patient for patient in patients if patient not in group]
            folds.append(Fold(f"fold-{len(folds):02d}", repeat, tuple(rest), tuple(sorted(group))))
    return tuple(folds)


def split_evenly(cohort: KnownCohort, patients: Sequence[str], count: int, seed: int, repeat: int) -> list[list[str]]:
    """Deals patients to ``count`` groups, so that every group has its share of each site and of each lesion load."""
    rng = generator_for(seed, "folds", repeat)
    ordered = sorted(rng.permutation(sorted(patients)).tolist(), key=lambda p: (cohort.site(p), cohort.load_ml(p)))
    groups: list[list[str]] = [[] for _ in range(count)]
    for start in range(0, len(ordered), count):
        block = ordered[start : start + count]
        # A last, short block goes to groups drawn anew, as the whole ones do.
        for group, patient in zip(rng.permutation(count), block, strict=False):
            groups[int(group)].append(patient)
    return [group for group in groups if group]


def _learning_curve(config: StudyConfig, cohort: KnownCohort, test: KnownCohort | None) -> tuple[Fold, ...]:
    patients = sorted(cohort.patients)
    left = 0 if test is not None else 1
    most = len(patients) - left
    if config.patients[-1] > most:
        raise ConfigError(
            f"--patients {config.patients[-1]}",
            f"{len(patients)} annotated patients leave at most {most} to train on"
            + ("" if test is not None else " and one to test on"),
        )
    folds = []
    for repeat in range(config.draws):
        order = draw_order(cohort, patients, config.seed, repeat, config.strata)
        for count in config.patients:
            train = tuple(sorted(order[:count]))
            tested = test.patients if test is not None else [p for p in patients if p not in train]
            folds.append(Fold(f"n{count:03d}-draw{repeat}", repeat, train, tuple(sorted(tested))))
    return tuple(folds)


def draw_order(
    cohort: KnownCohort, patients: Sequence[str], seed: int, repeat: int, by: Literal["site", "site+load"]
) -> list[str]:
    """Orders patients so that the first n are a stratified draw for every n: larger draws hold the smaller ones.

    Args:
        cohort: of the patients.
        patients: their ids.
        seed: of the study.
        repeat: number of the draw.
        by: ``site``, which is known of a patient without a mask, or ``site+load``.
    """
    rng = generator_for(seed, "draw", repeat)
    strata: defaultdict[tuple[str, int], list[str]] = defaultdict(list)
    by_site: defaultdict[str, list[str]] = defaultdict(list)
    with_load = by == "site+load"
    for patient in sorted(patients, key=lambda p: (cohort.load_ml(p) if with_load else 0.0, p)):
        by_site[cohort.site(patient)].append(patient)
    for site, members in by_site.items():
        for rank, patient in enumerate(members):
            strata[site, rank * LOAD_STRATA // len(members) if with_load else 0].append(patient)
    # A patient's place inside its stratum, spread over 0 to 1 at a random offset: strata take turns by their size.
    places = {}
    for members in strata.values():
        offset = rng.random()
        for rank, member in enumerate(rng.permutation(len(members))):
            places[members[int(member)]] = (rank + offset) / len(members)
    return sorted(patients, key=lambda p: (places[p], p))


def inner_split(cohort: KnownCohort, fold: Fold, seed: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Splits a fold's training patients into those that an inner run trains on and about a quarter that judge it.

    All of them are annotated, so that their loads may be used.

    Raises:
        ConfigError: there are fewer than three of them.
    """
    if len(fold.train) < 3:
        raise ConfigError("share=auto", f"{fold.name} has {len(fold.train)} training patients; three are needed")
    order = draw_order(cohort, fold.train, seed, fold.repeat, "site+load")
    count = max(1, round(len(order) / 4))
    return tuple(sorted(order[count:])), tuple(sorted(order[:count]))
