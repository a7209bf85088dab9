from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelgan.study.amounts import Sizes
from labelgan.study.cost.work import Rate, finished, fit, ledger_rates, median_rate, recipe, work
from labelgan.study.engine.ledger import Job, Ledger
from labelgan.study.jobs import KINDS
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
        (job(MEMBER, config={"train": {**TRAIN, "showings": 4}}, train=["a", "b"]), 3 * 4 * 45 / 4),
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


def test_every_kind_is_planned():
    plan = plan_study(tiny_study_config("share=auto", "shares=[0.2, 0.4]"), cohort_of(patients(5)))
    assert set(plan.counts()) == set(KINDS)


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


TWO_PATIENTS = Sizes({"data": {"a": 100, "b": 400}}, {"data": {"a": 1.0, "b": 4.0}}, {"A": ("a",), "B": ("b",)})


@settings(deadline=None)
@given(st.floats(0, 50), st.floats(1e-3, 10), st.lists(st.floats(1, 1000), min_size=5, max_size=30, unique=True))
def test_a_line_is_found_again(fixed, rate, amounts):
    work = np.array([*amounts, 2 * max(amounts)])
    found = fit(work, fixed + rate * work)
    assert found == pytest.approx((fixed, rate), rel=1e-6, abs=1e-6 * (fixed + rate * work.max()))


def test_a_disturbed_job_does_not_matter():
    work = np.arange(10.0, 20.0)
    seconds = 3 + 2 * work
    seconds[4] = 1000
    assert fit(work, seconds) == pytest.approx((3, 2), abs=0.1)


def test_few_jobs_or_jobs_alike_give_seconds_a_unit():
    assert fit(np.array([10.0, 40.0]), np.array([20.0, 120.0])) == (0, 2.5)
    assert fit(np.full(9, 7.0), np.full(9, 14.0)) == (0, 2)


def test_a_line_that_falls_gives_seconds_a_unit():
    work = np.array([1.0, 2, 3, 4, 5])
    assert fit(work, 10 - work) == (0, pytest.approx(7 / 3))


def test_a_rate_gives_seconds_and_bytes():
    rate = Rate(2, 0.5, fixed_bytes=100, unit_bytes=3)
    assert (rate.seconds(10), rate.bytes(10)) == (7, 130)


def test_the_median_rate():
    rates = [Rate(1, 10, jobs=2), Rate(3, 30, jobs=1), Rate(2, 90, fixed_bytes=6)]
    assert median_rate(rates) == Rate(2, 30, jobs=3)


def run(ledger: Ledger, job: Job, seconds: float, size: int = 0) -> None:
    at = ledger.prepare(job)
    (at.path / "made").write_bytes(bytes(size))
    at.write_done(seconds, {}, {})


def test_rates_of_finished_jobs(tmp_path):
    ledger = Ledger(tmp_path)
    draws = [Job(SAMPLE, "", {"num": num}) for num in (10, 20, 30)]
    scores = [Job(SCORE, "", {"cohort": "data", "cases": {name: {}}}) for name in ("a", "b")]
    for job, seconds in zip((*draws[:2], *scores), (5, 10, 1, 4), strict=True):
        run(ledger, job, seconds, size=100_000)
    ledger.prepare(draws[2])
    seconds = finished([*draws, *scores], ledger)
    assert seconds == {draws[0].key: 5, draws[1].key: 10, scores[0].key: 1, scores[1].key: 4}
    rates = ledger_rates([*draws, *scores], ledger, seconds, TWO_PATIENTS)
    assert (rates[SAMPLE][""].unit_s, rates[SAMPLE][""].jobs) == (0.5, 2)
    assert rates[SAMPLE][""].unit_bytes == pytest.approx(7500, rel=0.1)  # the folders' JSON besides
    assert rates[SCORE][""].unit_s == 0.01
    assert rates[SCORE][""].seconds(300) == 3


def test_nothing_is_finished_where_there_is_no_folder(tmp_path):
    assert finished([Job(SAMPLE, "", {"num": 1})], Ledger(tmp_path / "none")) == {}
    assert not (tmp_path / "none").exists()
