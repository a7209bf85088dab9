from __future__ import annotations

import pytest

from labelgan.study import cost_timing
from labelgan.study.cohort import know_cohort
from labelgan.study.cost.measure import SAMPLES, Measurer
from labelgan.study.cost_probe import Probe, request_of
from labelgan.study.cost.work import recipe
from labelgan.study.plan import AUDIT, GENERATOR, MEMBER, PREDICT, PREPARE, SAMPLE, SCORE, plan_study
from tiny import tiny_study_config

CONFIG = tiny_study_config('arms=["real", "classical+copypaste", "classical+shuffled"]', "samples=40")


@pytest.fixture(scope="module")
def known(phantom_cohort, tmp_path_factory):
    return know_cohort(phantom_cohort, tmp_path_factory.mktemp("known") / "cohort.json")


def lines_of(known, config, folder, kinds=None, budget_s=0.0, **changes):
    plan = plan_study(config, known)
    wanted = set(plan.counts()) if kinds is None else kinds
    request = request_of(plan.jobs, wanted, config, known, None, "cpu", folder) | {"budget_s": budget_s}
    return plan, list(Measurer(request | changes).lines())


@pytest.mark.slow
def test_every_kind_of_a_study_is_measured(known, phantom_store, tmp_path, monkeypatch):
    monkeypatch.setattr(cost_timing, "MOST_STEPS", 3)
    plan, lines = lines_of(known, CONFIG, tmp_path, budget_s=1e6)  # however slow this machine is
    probe = Probe()
    for line in lines:
        probe.add(line)
    assert probe.failed == {}
    assert set(probe.rates) == {PREPARE, GENERATOR, SAMPLE, AUDIT, MEMBER, PREDICT, SCORE}
    for job in plan.jobs:
        rate = probe.rates[job.kind]["" if job.kind == SAMPLE else recipe(job)]
        assert rate.unit_s > 0
        assert rate.fixed_s >= 0
    (generator,) = probe.rates[GENERATOR].values()
    assert generator.batch == 4  # time enough for the whole batch
    assert generator.fixed_bytes > 1000
    assert generator.passing_bytes > generator.fixed_bytes / 2
    assert len(probe.rates[MEMBER]) == 3
    assert all(rate.fixed_bytes > 0 for rate in probe.rates[MEMBER].values())
    stored = {case.id: case.count for case in phantom_store.cases}
    assert probe.slices["data"].keys() == stored.keys()
    assert sum(probe.slices["data"].values()) == pytest.approx(sum(stored.values()), rel=0.2)
    assert probe.busy > 0
    drawn = next(path for path in tmp_path.iterdir() if path.name == "samples")
    assert len(list(drawn.rglob("*.npz"))) >= SAMPLES


def test_without_time_the_rest_is_still_measured_on_single_slices(known, tmp_path):
    _, lines = lines_of(known, CONFIG, tmp_path, budget_s=0.0)
    made = {line["kind"]: line for line in lines if "kind" in line}
    assert set(made) == {PREPARE, GENERATOR, SAMPLE, AUDIT, MEMBER, PREDICT, SCORE}
    assert "no time" in made[AUDIT]["failed"]
    assert made[GENERATOR]["batch"] == 1
    assert made[SAMPLE]["unit"][0] > 0  # drawn from first weights
    assert not (tmp_path / "samples").exists()


def test_a_kind_that_cannot_be_measured_is_told_and_the_rest_goes_on(known, tmp_path):
    broken = {"nobody": {"config": {"network": {"name": "nobody"}}, "samples": 0}}
    _, lines = lines_of(known, CONFIG, tmp_path, kinds={MEMBER, SCORE}, budget_s=0.0, members=broken)
    made = {line["kind"]: line for line in lines if "kind" in line}
    assert "unknown 'nobody'" in made[MEMBER]["failed"]
    assert made[SCORE]["unit"][0] > 0
    assert set(made) == {PREPARE, SCORE, MEMBER}


def test_a_second_cohort_is_counted(known, phantom_cohort, tmp_path):
    _, lines = lines_of(known, CONFIG, tmp_path, kinds=set(), test=str(phantom_cohort))
    (slices,) = [line["slices"] for line in lines if "slices" in line]
    assert slices["test"] == slices["data"]
