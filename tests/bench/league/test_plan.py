"""Who plays in the league: splits, draws and jobs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bench.league.plan import (
    BASELINES,
    REFERENCES,
    ROWS,
    TRAIN,
    WITH_SAMPLES,
    LeagueConfig,
    arm_of,
    draw_patients,
    make_folds,
    plan_league,
    split_patients,
)
from labelgan.config.gan import MODELS
from labelgan.core.errors import ConfigError
from labelgan.study.engine.ledger import Job
from study_cohorts import cohort_of, patients

COHORT = cohort_of(patients(12))
SMALL = LeagueConfig(rows=("dcgan", "ddpm"), sizes=(2, 3), curve=(5,), draws=2)


def test_the_split_is_the_one_that_choices_were_made_on():
    ids = [f"P{number:02d}" for number in range(9)]
    order = [ids[place] for place in np.random.default_rng(77).permutation(9)]
    assert split_patients(ids[::-1]) == (order[:4], order[4:])


def test_larger_draws_hold_smaller_ones_and_draws_differ():
    development = [f"P{number:02d}" for number in range(20)]
    first = draw_patients(development, 3, 0)
    assert first == [development[place] for place in np.random.default_rng(1000).permutation(20)[:3]]
    assert draw_patients(development, 10, 0)[:3] == first
    assert draw_patients(development, 3, 1) != first
    with pytest.raises(ConfigError, match="there are 20 development patients"):
        draw_patients(development, 21, 0)


def test_no_fold_trains_on_a_test_patient_and_all_test_on_the_same():
    folds = make_folds(SMALL, COHORT.patients)
    assert [(len(fold.train), fold.repeat) for fold in folds] == [(2, 0), (2, 1), (3, 0), (3, 1), (5, 0), (5, 1)]
    development, test = split_patients(COHORT.patients)
    assert {fold.test for fold in folds} == {tuple(sorted(test))}
    assert set().union(*(fold.train for fold in folds)) <= set(development)


def test_baselines_are_made_once_and_the_curve_has_the_references_alone():
    plan = plan_league(SMALL, COHORT)
    alone = plan_league(SMALL.model_copy(update={"rows": ("dcgan",)}), COHORT)
    assert alone.jobs.keys() < plan.jobs.keys()
    arms = {name: {arm for fold, arm in plan.scores if fold == name} for name in ("n002-draw0", "n005-draw0")}
    assert arms["n005-draw0"] == set(REFERENCES)
    assert arms["n002-draw0"] == {*BASELINES, *(arm_of(arm, row) for arm in WITH_SAMPLES for row in SMALL.rows)}


def test_everything_behind_a_score_has_the_folds_training_patients_alone():
    plan = plan_league(SMALL, COHORT)
    train = {fold.name: list(fold.train) for fold in plan.folds}
    for (fold, _), score in plan.scores.items():
        behind = list(_behind(score))
        assert any("train" in job.params for job in behind)
        assert all(job.params["train"] == train[fold] for job in behind if "train" in job.params)
        assert set(score.params["cases"]) == {f"{patient}-0" for patient in split_patients(COHORT.patients)[1]}


def test_arms_of_a_fold_differ_in_samples_and_pasting_alone():
    plan = plan_league(SMALL, COHORT)

    def settings(arm: str) -> dict[str, Any]:
        return dict(plan.members["n002-draw1", arm][0].params)

    plain, mixed = settings("classical"), settings("classical+synthetic: ddpm")
    assert plain["seed"] == mixed["seed"] == settings("classical+copypaste+synthetic: dcgan")["seed"] == 1000
    one, other = plain["config"]["train"], mixed["config"]["train"]
    changed = {key for key in one if one[key] != other[key]}
    assert changed == {"synthetic_share"}
    assert plan.members["n002-draw1", "classical+synthetic: ddpm"][0].inputs["samples"].params["model"] == "ddpm"


@pytest.mark.parametrize("name", ROWS)
def test_every_row_is_given_the_same_time_and_its_own_seed(name):
    plan = plan_league(LeagueConfig(rows=(name,), sizes=(2,), curve=(), draws=2, seconds=7), COHORT)
    assert ROWS[name].model in {*MODELS, "ddpm"}
    jobs = [job for job in plan.jobs.values() if job.kind == TRAIN]
    assert [job.params["seconds"] for job in jobs] == [7, 7]
    seeds = [job.params["config"].get("train", job.params["config"])["seed"] for job in jobs]
    assert seeds == [0, 1000]


def test_unknown_rows_are_refused():
    with pytest.raises(ConfigError, match="nonesuch"):
        plan_league(LeagueConfig(rows=("nonesuch",)), COHORT)


def _behind(job: Job) -> list[Job]:
    return [job, *(before for given in job.inputs.values() for before in _behind(given))]
