from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from labelgan.study.cohort import know_cohort
from labelgan.study.cost import measure as cost_timing
from labelgan.study.cost.measure import SAMPLES, Marks, Measurer, folder_bytes, time_training
from labelgan.study.cost.probe import Probe, request_of
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


class Clock:
    """A clock that moves when it is told to; the processor works half of the time."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> np.ndarray:
        return np.array([self.seconds, self.seconds / 2])


class Training:
    """Takes 5 s before its steps, 1 s + 0.25 s a slice for a step, 3 s more for every ``every``-th, 4 s at its end."""

    def __init__(self, clock: Clock, every: int = 0) -> None:
        self.clock, self.every = clock, every
        self.runs: list[tuple[int, int]] = []

    def __call__(self, folder: Path, batch: int, steps: int | None, report) -> None:
        self.runs.append((batch, 0))
        self.clock.seconds += 5
        for step in range(steps or 1000):
            self.clock.seconds += 1 + 0.25 * batch + (3 if self.every and step % self.every == 0 else 0)
            if step + 1 == steps:
                self.clock.seconds += 0.5
                (folder / "checkpoints").mkdir(parents=True)
                (folder / "checkpoints" / "state").write_bytes(bytes(70))
                (folder / "weights").write_bytes(bytes(30))
            self.runs[-1] = (batch, step + 1)
            report(step + 1, steps, "")
        self.clock.seconds += 4


@pytest.fixture
def clock(monkeypatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(cost_timing, "now", made.now)
    monkeypatch.setattr(cost_timing.time, "perf_counter", lambda: made.seconds)
    return made


def test_with_time_enough_the_full_batch_is_timed_and_a_whole_training_played(clock, tmp_path):
    timed = time_training(training := Training(clock), tmp_path, 16, 1, 1000)
    assert timed.batch == 16
    assert timed.step == pytest.approx([5, 2.5])
    assert timed.around == pytest.approx([5 + 4, 4.5])
    assert timed.saving == pytest.approx([0.5, 0.25])
    assert (timed.bytes, timed.checkpoint_bytes) == (30, 140)
    assert training.runs[0] == (1, 2)
    assert training.runs[-1] == (1, 2)


def test_a_small_budget_draws_a_line_through_two_batches(clock, tmp_path):
    timed = time_training(Training(clock), tmp_path, 16, 1, 25)
    assert 1 < timed.batch < 16
    assert timed.step == pytest.approx([5, 2.5])


def test_without_time_one_slice_is_timed_and_scaled(clock, tmp_path):
    timed = time_training(training := Training(clock), tmp_path, 16, 1, 1)
    assert training.runs == [(1, 2)]
    assert timed.batch == 1
    assert timed.step == pytest.approx([16 * 1.25, 8 * 1.25])


def test_costly_steps_count_as_often_as_they_come(clock, tmp_path):
    timed = time_training(training := Training(clock, every=4), tmp_path, 16, 4, 1000)
    assert training.runs[0] == (1, 5)
    assert timed.step[0] == pytest.approx(5 + 3 / 4)


def test_the_line_that_goes_out(clock, tmp_path):
    line = time_training(Training(clock), tmp_path, 16, 1, 1000).line("train member", "r", 10)
    assert line["unit"] == pytest.approx([5.05, 2.525])
    assert line["fixed"] == pytest.approx([9, 4.5])
    assert (line["kind"], line["recipe"], line["batch"]) == ("train member", "r", 16)


def test_a_lone_step_is_all_there_is(clock):
    marks = Marks()
    clock.seconds = 7
    marks()
    assert marks.step(1) == pytest.approx([7, 3.5])


def test_folder_bytes(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "x").write_bytes(bytes(3))
    (tmp_path / "a" / "b" / "y").write_bytes(bytes(4))
    assert folder_bytes(tmp_path) == 7
