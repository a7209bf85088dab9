from __future__ import annotations

import pytest

from labelgan.study.cost.work import UNITS, Sizes, recipe, work
from labelgan.study.engine.ledger import Job
from labelgan.study.plan import AUDIT, CHOOSE, GENERATOR, MEMBER, PREDICT, PREPARE, SAMPLE, SCORE, plan_study
from study_cohorts import cohort_of, patients
from tiny import tiny_study_config

# Two patients, the first scanned twice.
SIZES = Sizes(
    voxels={"data": {"a1": 1000, "a2": 3000, "b1": 500}},
    slices={"data": {"a1": 10.0, "a2": 30.0, "b1": 5.0}},
    cases={"a": ("a1", "a2"), "b": ("b1",)},
)
TRAIN = {"seed": 0, "batch_size": 4, "epochs": 3, "steps": None}


def job(kind: str, inputs: dict[str, Job] | None = None, **params) -> Job:
    return Job(kind, "", params, inputs or {})


AUDITED = {"data": {"max_slices": 30, "max_held_out": 4}}
DRAWN = {"samples": job(SAMPLE, num=12)}
MEMBERS = {f"member-{number}": job(MEMBER, seed=number) for number in range(3)}


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (job(PREPARE), 4500),
        (job(GENERATOR, config={"train": {"steps": 70}}), 70),
        (job(SAMPLE, num=12), 12),
        (job(MEMBER, config={"train": {**TRAIN, "steps": 9}}, train=["a"]), 9),
        (job(MEMBER, config={"train": TRAIN}, train=["a", "b"]), 3 * 45 / 4),
        (job(MEMBER, config={"train": {**TRAIN, "batch_size": 90}}, train=["b"]), 3),  # a step an epoch at least
        (job(AUDIT, DRAWN, config=AUDITED, train=["a"], held_out=["b"]), 12 + 30 + 4),
        (job(PREDICT, MEMBERS, cohort="data", cases={"a2": {}, "b1": {}}), 3 * 35),
        (job(SCORE, cohort="data", cases={"a2": {}, "b1": {}}), 3500),
        (job(CHOOSE), 1),
        (job("something else"), 1),
    ],
)
def test_work_is_counted(asked, expected):
    assert work(asked, SIZES) == expected


def test_scans_without_a_mask_are_prepared_as_well():
    assert work(job(PREPARE), Sizes(SIZES.voxels, SIZES.slices, SIZES.cases, unlabelled=6)) == 3 * 4500


def test_voxels_a_slice():
    assert SIZES.voxels_a_slice == 100


def test_every_kind_of_a_plan_has_a_unit():
    plan = plan_study(tiny_study_config("share=auto", "shares=[0.2, 0.4]"), cohort_of(patients(5)))
    assert set(plan.counts()) == set(UNITS)


def test_a_recipe_is_of_all_folds_and_seeds_and_of_one_arm():
    arms = '["real", "classical", "classical+copypaste", "classical+synthetic"]'
    plan = plan_study(tiny_study_config(f"arms={arms}", "members=2", "repeats=2"), cohort_of(patients(4)))
    by_arm = {
        arm: {recipe(job) for (_, name), jobs in plan.members.items() if name == arm for job in jobs}
        for arm in plan.arms
    }
    assert all(len(recipes) == 1 for recipes in by_arm.values())
    assert len(set.union(*by_arm.values())) == 4
    assert len({recipe(job) for job in plan.generators.values()}) == 1
    assert len({recipe(job) for job in plan.predictions.values()}) == 1
