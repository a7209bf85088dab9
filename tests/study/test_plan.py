from __future__ import annotations

from collections import Counter

import pytest

from labelgan.core.errors import ConfigError
from labelgan.study.arms import ARMS
from labelgan.study.engine.scheduler import JobGraph
from labelgan.study.folds import inner_split
from labelgan.study.plan import (
    AUDIT,
    CHOOSE,
    GENERATOR,
    MEMBER,
    PREDICT,
    PREPARE,
    SAMPLE,
    SCORE,
    ExternalSamples,
    plan_study,
)
from study_cohorts import cohort_of, patients
from tiny import tiny_study_config

SMALL = ('arms=["real", "classical", "classical+synthetic", "classical+shuffled"]', "members=2")


def keys(plan) -> set[str]:
    return {job.key for job in plan.jobs}


def test_the_jobs_of_leave_one_out():
    plan = plan_study(tiny_study_config(*SMALL), cohort_of(patients(5)))
    assert plan.counts() == {PREPARE: 1, GENERATOR: 5, SAMPLE: 5, AUDIT: 5, MEMBER: 40, PREDICT: 20, SCORE: 20}
    assert len(plan.scores) == 20
    assert len(JobGraph(plan.jobs).jobs) == len(plan.jobs)  # nothing is read that is not in the list


def test_a_plan_is_the_same_twice_and_anywhere():
    here = plan_study(tiny_study_config(*SMALL), cohort_of(patients(5)))
    config = tiny_study_config(*SMALL, "generator.train.threads=2", "segmenter.train.device=cuda")
    there = plan_study(config, cohort_of(patients(5)), gpus=1)
    assert [job.key for job in here.jobs] == [job.key for job in there.jobs]
    assert {job.gpus for job in here.jobs} == {0}
    assert {job.kind for job in there.jobs if job.gpus} == {GENERATOR, SAMPLE, AUDIT, MEMBER, PREDICT}


def test_a_fold_knows_its_training_patients_alone():
    plan = plan_study(tiny_study_config(*SMALL), cohort_of(patients(5)))
    for fold in plan.folds:
        assert plan.generators[fold.name].params["train"] == list(fold.train)
        for arm in plan.arms:
            for member in plan.members[fold.name, arm]:
                assert member.params["train"] == list(fold.train)
                if "samples" in member.inputs:
                    assert member.inputs["samples"].inputs["generator"].params["train"] == list(fold.train)
            tested = plan.scores[fold.name, arm].params["cases"]
            assert {case.rsplit("-", 1)[0] for case in tested} == set(fold.test)


def test_arms_differ_in_nothing_but_what_they_are_about():
    plan = plan_study(tiny_study_config(*SMALL), cohort_of(patients(5)))
    fold = plan.folds[0].name
    members = {arm: plan.members[fold, arm] for arm in plan.arms}
    for number in range(2):
        assert len({jobs[number].params["seed"] for jobs in members.values()}) == 1
        assert len({jobs[number].params["config"]["train"]["steps"] for jobs in members.values()}) == 1
    assert members["real"][0].params["seed"] != members["real"][1].params["seed"]
    both = [members[arm][0].inputs["samples"].key for arm in ("classical+synthetic", "classical+shuffled")]
    assert both[0] == both[1]


def test_more_arms_repeats_and_members_keep_what_is_done():
    cohort = cohort_of(patients(5))
    small = plan_study(tiny_study_config('arms=["classical"]', "members=1"), cohort)
    large = plan_study(
        tiny_study_config('arms=["classical", "classical+synthetic"]', "members=2", "folds=lopo"), cohort
    )
    members = {job.key for job in small.jobs if job.kind == MEMBER}
    assert members <= keys(large)
    curve = plan_study(tiny_study_config('arms=["classical"]', "patients=[2, 3]", "repeats=1"), cohort)
    longer = plan_study(tiny_study_config('arms=["classical"]', "patients=[2, 3, 4]", "repeats=2"), cohort)
    assert keys(curve) <= keys(longer)


def test_other_settings_seeds_files_or_parents_are_other_jobs():
    cohort = cohort_of(patients(4))
    base = plan_study(tiny_study_config(), cohort)

    def changed(*settings: str, cohort=cohort, **more) -> Counter[str]:
        plan = plan_study(tiny_study_config(*settings), cohort, **more)
        return Counter(job.kind for job in plan.jobs if job.key not in keys(base))

    assert set(changed("seed=1")) == {GENERATOR, SAMPLE, AUDIT, MEMBER, PREDICT, SCORE}
    assert set(changed("samples=9")) == {SAMPLE, AUDIT, MEMBER, PREDICT, SCORE}
    assert set(changed("audit.encoder.steps=9")) == {AUDIT}
    assert not changed("audited=false")
    assert set(changed("segmenter.predict.threshold=0.3")) == {PREDICT, SCORE}
    assert set(changed("share=0.2")) == {MEMBER, PREDICT, SCORE}
    assert set(changed(start_from="abc")) == {GENERATOR, SAMPLE, AUDIT, MEMBER, PREDICT, SCORE}
    other = cohort_of(dict.fromkeys(patients(4), 1.0), digest="1")
    assert set(changed(cohort=other)) == {PREPARE, GENERATOR, SAMPLE, AUDIT, MEMBER, PREDICT, SCORE}


def test_audits_look_at_training_and_held_out_patients_and_nothing_reads_them():
    plan = plan_study(tiny_study_config(*SMALL), cohort_of(patients(5)))
    for fold in plan.folds:
        audit = plan.audits[fold.name]
        assert audit.params["train"] == list(fold.train)
        assert audit.params["held_out"] == list(fold.test)
        assert audit.inputs["samples"].key == plan.samples[fold.name].key
    assert not [job for job in plan.jobs if any(given.kind == AUDIT for given in job.inputs.values())]
    curve = plan_study(tiny_study_config("patients=[2]"), cohort_of(patients(5)), cohort_of({"T": 1.0}))
    assert len(curve.audits["n002-draw0"].params["held_out"]) == 3  # patients of the cohort that were not drawn


def test_without_synthetic_arms_no_generator_is_trained():
    plan = plan_study(tiny_study_config('arms=["real", "classical"]'), cohort_of(patients(4)))
    assert set(plan.counts()) == {PREPARE, MEMBER, PREDICT, SCORE}


def test_slices_from_elsewhere_stand_in_for_generators():
    plan = plan_study(
        tiny_study_config('arms=["classical", "classical+synthetic"]'),
        cohort_of(patients(4)),
        external=ExternalSamples("theirs", "abc"),
    )
    assert set(plan.counts()) == {PREPARE, MEMBER, PREDICT, SCORE}
    members = [plan.members["fold-00", arm][0] for arm in plan.arms]
    assert [job.params.get("external") for job in members] == [None, "abc"]


def test_the_share_is_chosen_from_training_patients_alone():
    cohort = cohort_of(patients(6))
    plan = plan_study(tiny_study_config("share=auto", "shares=[0.1, 0.3]", *SMALL), cohort)
    counts = plan.counts()
    assert counts[CHOOSE] == 6
    inner = {inner_split(cohort, fold, 0)[0] for fold in plan.folds}
    assert counts[GENERATOR] == 6 + len(inner)  # one of each fold, and those inside, which folds may share
    for fold in plan.folds:
        choice = plan.shares[fold.name]
        for score in choice.inputs.values():
            judged = {case.rsplit("-", 1)[0] for case in score.params["cases"]}
            member = score.inputs["predictions"].inputs["member-0"]
            trained = set(member.params["train"])
            assert trained == set(member.inputs["samples"].inputs["generator"].params["train"])
            assert not judged & trained
            assert judged | trained == set(fold.train)
        for arm in plan.arms:
            chosen = [member.inputs.get("share") for member in plan.members[fold.name, arm]]
            assert chosen == [choice if ARMS[arm].synthetic else None] * 2


def test_a_second_cohort_is_predicted():
    plan = plan_study(
        tiny_study_config("patients=[2]", 'arms=["classical"]'), cohort_of(patients(4)), cohort_of({"T1": 1.0})
    )
    score = next(iter(plan.scores.values()))
    assert (score.params["cohort"], set(score.params["cases"])) == ("test", {"T1-0"})


def test_another_reference_is_the_same_work():
    plans = [
        plan_study(tiny_study_config(*SMALL, *more), cohort_of(patients(3)))
        for more in ([], ["reference=real"], ["reference=classical"])
    ]
    assert [plan.references[0] for plan in plans] == ["classical", "real", "classical"]
    assert len({tuple(job.key for job in plan.jobs) for plan in plans}) == 1
    with pytest.raises(ConfigError, match="--reference strong: is none"):
        plan_study(tiny_study_config(*SMALL, "reference=strong"), cohort_of(patients(3)))


def test_an_unknown_arm_is_refused():
    with pytest.raises(ConfigError, match="--arms magic"):
        plan_study(tiny_study_config('arms=["magic"]'), cohort_of(patients(4)))


def test_a_training_on_several_devices_is_refused_and_one_device_is_no_part_of_a_jobs_key():
    with pytest.raises(ConfigError, match=r"^segmenter\.train\.devices: a study's jobs have a device each"):
        plan_study(tiny_study_config("segmenter.train.devices=2"), cohort_of(patients(4)))
    plan = plan_study(tiny_study_config(), cohort_of(patients(4)))
    settings = [job.params["config"]["train"] for job in plan.jobs if job.kind in (GENERATOR, MEMBER)]
    assert settings
    assert not any("devices" in train for train in settings)


def test_filtered_samples_know_the_store_and_are_other_samples():
    plain, filtered = (
        plan_study(tiny_study_config(*SMALL, f"filtered={value}"), cohort_of(patients(3)))
        for value in ("false", "true")
    )
    assert all("store" not in job.inputs and "filtered" not in job.params for job in plain.samples.values())
    assert all(job.inputs["store"].kind == PREPARE and job.params["filtered"] for job in filtered.samples.values())
    assert {job.key for job in plain.generators.values()} == {job.key for job in filtered.generators.values()}
    assert not {job.key for job in plain.samples.values()} & {job.key for job in filtered.samples.values()}
