from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path

import pytest

from labelgan.study.cohort import KnownCohort, know_cohort
from labelgan.study.cost import probe as cost_probe
from labelgan.study.cost.probe import (
    ENOUGH_VOXELS,
    MOST_CASES,
    PROCESSOR,
    WALL,
    Probe,
    chosen_cases,
    measure,
    request_of,
)
from labelgan.study.cost.work import Rate
from labelgan.study.plan import GENERATOR, MEMBER, PREDICT, SAMPLE, SCORE, plan_study
from study_cohorts import cohort_of, patients
from tiny import tiny_study_config


def sized(loads: dict[str, float], voxels: dict[str, int], cases: int = 1) -> KnownCohort:
    cohort = cohort_of(loads, cases=cases)
    known = tuple(case.model_copy(update={"voxels": voxels[case.patient]}) for case in cohort.cases)
    return dataclasses.replace(cohort, cases=known)


def test_the_smallest_scans_of_two_patients_with_lesions_are_timed():
    loads = {"a": 0.0, "b": 1.0, "c": 2.0, "d": 3.0}
    cohort = sized(loads, {"a": 10**6, "b": 4 * 10**6, "c": 2 * 10**6, "d": 3 * 10**6}, cases=2)
    assert [case.id for case in chosen_cases(cohort)] == ["c-0", "d-0"]


def test_pictures_are_timed_by_the_dozen():
    loads = dict.fromkeys(patients(60), 1.0)
    one_patient_each = chosen_cases(sized(loads, dict.fromkeys(loads, 4096)))
    assert len({case.patient for case in one_patient_each}) == MOST_CASES
    few = chosen_cases(sized(loads, dict.fromkeys(loads, ENOUGH_VOXELS // 4)))
    assert len(few) == 4


def test_a_request_names_every_recipe_once():
    config = tiny_study_config('arms=["real", "classical", "classical+synthetic"]', "members=2", "samples=9")
    cohort = cohort_of(patients(4))
    plan = plan_study(config, cohort)
    request = request_of(plan.jobs, {SAMPLE, MEMBER}, config, cohort, None, "cpu", Path("place"))
    assert request["kinds"] == sorted([GENERATOR, SAMPLE, MEMBER])  # drawing needs a generator
    assert len(request["generators"]) == 1
    assert sorted(member["samples"] for member in request["members"].values()) == [0, 0, 9]
    assert [given["networks"] for given in request["predictions"].values()] == [2]
    assert request["test"] is None


def test_lines_are_taken_in_by_either_clock():
    lines = [
        {"device": "cpu", "start": [3.0, 2.0]},
        {"slices": {"data": {"a": 1.5}}},
        {"kind": SCORE, "recipe": "", "fixed": [1, 0.5], "unit": [0.2, 0.1], "unit_bytes": 7},
        {"kind": MEMBER, "failed": "no"},
    ]
    wall = Probe()
    for line in lines:
        wall.add(line)
    processor = wall.by(PROCESSOR)
    assert wall.rates == {SCORE: {"": Rate(1, 0.2, unit_bytes=7)}}
    assert processor.rates == {SCORE: {"": Rate(0.5, 0.1, unit_bytes=7)}}
    assert (wall.start_s, processor.start_s, wall.device) == (3, 2, "cpu")
    assert (wall.slices, wall.failed) == ({"data": {"a": 1.5}}, {MEMBER: "no"})
    assert wall.busy == processor.busy == 2
    assert processor.by(WALL).rates == wall.rates
    assert Probe().busy == 1


@pytest.mark.slow
def test_a_child_measures_and_leaves_nothing(phantom_cohort, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    known = know_cohort(phantom_cohort, tmp_path / "cohort.json")
    monkeypatch.setattr(cost_probe, "DEADLINE_S", 300.0)
    config = tiny_study_config('arms=["real"]')
    plan = plan_study(config, known)
    probe = measure(plan.jobs, {PREDICT, SCORE}, config, known, device="cpu", threads=1)
    assert probe.failed == {}
    assert {PREDICT, SCORE} <= set(probe.rates)
    assert probe.device == "cpu"
    assert 0 < probe.start_s < probe.seconds
    assert list((tmp_path / "temporary").iterdir()) == []


def test_a_child_past_its_deadline_is_ended_and_named(phantom_cohort, tmp_path, monkeypatch):
    monkeypatch.setattr(cost_probe, "DEADLINE_S", 0.01)
    known = know_cohort(phantom_cohort, tmp_path / "cohort.json")
    config = tiny_study_config('arms=["real"]')
    probe = measure(plan_study(config, known).jobs, {SCORE}, config, known, device="cpu")
    assert "that a probe may take" in probe.failed[SCORE]
    assert probe.rates == {}


def test_a_child_that_fails_gives_its_last_words(tmp_path, monkeypatch):
    monkeypatch.setattr(cost_probe, "DEADLINE_S", 300.0)
    config, cohort = tiny_study_config('arms=["real"]'), dataclasses.replace(cohort_of(patients(4)), root=tmp_path)
    probe = measure(plan_study(config, cohort).jobs, {SCORE}, config, cohort, device="nowhere")
    assert "there is no such device" in probe.failed[SCORE]
