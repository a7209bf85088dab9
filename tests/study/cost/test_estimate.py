from __future__ import annotations

import dataclasses
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelgan.study.cost import estimate as cost
from labelgan.study.cost.estimate import Estimate, KindCost, estimate, estimate_plan, makespan, sizes_of
from labelgan.study.cost.probe import Probe
from labelgan.study.cost.work import Rate, recipe, work
from labelgan.study.engine.ledger import Job, Ledger
from labelgan.study.engine.scheduler import JobGraph
from labelgan.study.plan import AUDIT, CHOOSE, GENERATOR, MEMBER, PREDICT, PREPARE, SAMPLE, SCORE, plan_study
from study_cohorts import cohort_of, patients
from tiny import tiny_study_config

COHORT = cohort_of(patients(4))
PLAN = plan_study(tiny_study_config('arms=["classical", "classical+synthetic"]', "members=2"), COHORT)
SLICES = {"data": {case.id: 10.0 for case in COHORT.cases}}
SIZES = sizes_of(COHORT, None, SLICES)
RATES = {
    PREPARE: {"": Rate(0, 2)},
    GENERATOR: {"": Rate(4, 1, fixed_bytes=50, passing_bytes=7)},
    SAMPLE: {"": Rate(0, 0.5, unit_bytes=2)},
    AUDIT: {"": Rate(9, 0)},
    MEMBER: {"": Rate(1, 2)},
    PREDICT: {"": Rate(1, 0.1)},
    SCORE: {"": Rate(0, 3)},
}


# The simulated schedule


def alone(*seconds: float) -> tuple[list[Job], dict[str, float]]:
    jobs = [Job("toy", f"{number}", {"number": number}) for number in range(len(seconds))]
    return jobs, {job.key: spent for job, spent in zip(jobs, seconds, strict=True)}


def test_jobs_without_inputs():
    jobs, seconds = alone(3, 3, 3, 3, 3)
    assert [makespan(jobs, seconds, workers) for workers in (1, 2, 4, 5, 9)] == [15, 9, 6, 3, 3]


def test_the_longest_chain_goes_first():
    jobs, seconds = alone(2, 2, 2)
    last = Job("toy", "last", {}, {"first": jobs[2]})
    seconds[last.key] = 4
    assert makespan([*jobs, last], seconds, 2) == 6  # given order would take 8


def test_what_is_done_costs_nothing_and_holds_nobody_up():
    jobs, _ = alone(5, 1)
    reader = Job("toy", "reader", {}, {"done": jobs[0], "left": jobs[1]})
    assert makespan([*jobs, reader], {jobs[1].key: 1, reader.key: 2}, 3) == 3
    assert makespan([*jobs, reader], {}, 3) == 0


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_schedule_lies_within_grahams_bounds(data):
    jobs: list[Job] = []
    for number in range(data.draw(st.integers(1, 14))):
        read = data.draw(st.sets(st.integers(0, number - 1), max_size=3)) if number else set()
        jobs.append(Job("toy", "", {"number": number}, {str(place): jobs[place] for place in read}))
    seconds = {job.key: data.draw(st.floats(0, 10)) for job in jobs}
    workers = data.draw(st.integers(1, 5))
    chain: dict[str, float] = {}
    for job in JobGraph(jobs).jobs:
        chain[job.key] = seconds[job.key] + max((chain[read.key] for read in job.inputs.values()), default=0)
    path, in_all = max(chain.values()), sum(seconds.values())
    took = makespan(jobs, seconds, workers)
    assert max(path, in_all / workers) - 1e-9 <= took <= path + in_all / workers + 1e-9
    assert makespan(jobs, seconds, 1) == pytest.approx(in_all)
    assert makespan(jobs, seconds, len(jobs)) == pytest.approx(path)


# The estimate


def test_an_estimate_adds_up():
    made = estimate(PLAN.jobs, RATES, SIZES, workers=1, start_s=2)
    by_kind = {kind.kind: kind for kind in made.kinds}
    # 4 folds × (6 generator steps, 8 samples; 2 arms × (2 members of 6 steps, a case of 10 slices, a voxel))
    expected = {
        PREPARE: 8,
        GENERATOR: 40,
        SAMPLE: 16,
        AUDIT: 36,
        MEMBER: 4 * 4 * 13,
        PREDICT: 4 * 2 * 3,
        SCORE: 4 * 2 * 3,
    }
    assert {kind: known.seconds for kind, known in by_kind.items()} == pytest.approx(expected)
    assert made.wall_s == pytest.approx(sum(expected.values()) + 2)
    assert made.core_hours == pytest.approx(sum(expected.values()) / 3600)
    assert made.gpu_hours == 0
    assert (by_kind[GENERATOR].bytes, by_kind[SAMPLE].bytes, made.bytes) == (200, 64, 264)
    assert made.passing_bytes == 7
    assert (made.jobs, made.done) == (len(PLAN.jobs), 0)
    several = estimate(PLAN.jobs, RATES, SIZES, workers=3, threads=2)
    assert several.core_hours == pytest.approx(2 * sum(expected.values()) / 3600)
    assert several.passing_bytes == 21
    assert sum(expected.values()) / 3 < several.wall_s < made.wall_s / 2


def test_jobs_on_gpus_count_there():
    plan = plan_study(tiny_study_config('arms=["real"]'), COHORT, gpus=1)
    made = estimate(plan.jobs, RATES, SIZES)
    seconds = {kind.kind: kind.seconds for kind in made.kinds}
    assert made.gpu_hours == pytest.approx((seconds[MEMBER] + seconds[PREDICT]) / 3600)
    assert made.core_hours == pytest.approx((seconds[PREPARE] + seconds[SCORE]) / 3600)


def test_done_jobs_are_not_counted_again():
    done = {job.key: 1.0 for job in PLAN.jobs if job.kind in (PREPARE, GENERATOR)}
    made = estimate(PLAN.jobs, RATES, SIZES, done=done)
    assert made.done == 5
    assert {kind.kind: kind.seconds for kind in made.kinds}[GENERATOR] == 0
    everything = estimate(PLAN.jobs, RATES, SIZES, done={job.key: 1.0 for job in PLAN.jobs}, start_s=9)
    assert everything.wall_s == 0
    assert everything.line == f"{len(PLAN.jobs)} jobs, {len(PLAN.jobs)} done; nothing is left on 1 worker"


def test_an_arm_has_its_own_rate_and_another_the_median():
    names = [recipe(PLAN.members["fold-00", arm][0]) for arm in PLAN.arms]
    one = estimate(PLAN.jobs, {**RATES, MEMBER: {names[0]: Rate(10, 0), names[1]: Rate(20, 0)}}, SIZES)
    assert {kind.kind: kind.seconds for kind in one.kinds}[MEMBER] == 8 * 10 + 8 * 20
    other = estimate(PLAN.jobs, {**RATES, MEMBER: {names[0]: Rate(10, 0), "third": Rate(30, 0)}}, SIZES)
    assert {kind.kind: kind.seconds for kind in other.kinds}[MEMBER] == 8 * 10 + 8 * 20


def test_what_is_not_known_is_said():
    made = estimate(PLAN.jobs, {kind: rate for kind, rate in RATES.items() if kind != MEMBER}, SIZES, workers=2)
    assert made.unknown == (MEMBER,)
    assert made.line.startswith(f"{len(PLAN.jobs)} jobs, 0 done; more than ")
    assert made.line.endswith("as nothing is known of train member on 2 workers")
    assert math.isfinite(made.wall_s)


def test_choosing_a_share_costs_next_to_nothing():
    plan = plan_study(tiny_study_config("share=auto", "shares=[0.2, 0.4]"), cohort_of(patients(5)))
    sizes = sizes_of(cohort_of(patients(5)), None, {})
    made = {kind.kind: kind for kind in estimate(plan.jobs, RATES, sizes).kinds}
    assert (made[CHOOSE].seconds, made[CHOOSE].source) == (0, "next to nothing")


def test_sources_are_named():
    rates = {**RATES, SAMPLE: {"": Rate(0, 1, jobs=3)}, GENERATOR: {"": Rate(0, 1, batch=2)}, SCORE: {}}
    sources = {kind.kind: kind.source for kind in estimate(PLAN.jobs, rates, SIZES).kinds}
    assert sources[SAMPLE] == "3 finished jobs"
    assert sources[GENERATOR] == "probe, batch of 2"
    assert sources[PREPARE] == "probe"
    assert sources[SCORE] == "unknown"


def test_the_line():
    kinds = (KindCost(MEMBER, 205, 11, 12000.0, 0.0, "step", 1.0, "probe"),)
    assert Estimate(kinds, 2, 1, 6000.0, 1.0, 0.0).line == "205 jobs, 11 done; about 1 h 40 min on 2 workers"


def test_sizes_of_cases():
    sizes = sizes_of(cohort_of(patients(2), cases=2), cohort_of({"T": 1.0}), {"data": {"P000-0": 4.0}})
    assert sizes.cases == {"P000": ("P000-0", "P000-1"), "P001": ("P001-0", "P001-1")}
    assert sizes.slices["data"]["P000-0"] == 4
    assert sizes.slices["data"]["P001-1"] == 1 / 65536
    assert sizes.voxels["test"] == {"T-0": 1}


# From a folder


def finish(ledger: Ledger, jobs: list[Job]) -> None:
    for job in jobs:
        ledger.prepare(job).write_done(RATES[job.kind][""].seconds(work(job, SIZES)), {}, {})


def test_kinds_with_finished_jobs_are_not_probed(tmp_path, monkeypatch):
    asked = []

    def probe(jobs, kinds, *_, **options):
        asked.append((set(kinds), options["threads"]))
        return Probe(rates={SCORE: RATES[SCORE]}, slices=SLICES, start_s=1)

    monkeypatch.setattr(cost, "measure", probe)
    ledger, said = Ledger(tmp_path), []
    finish(ledger, [job for job in PLAN.jobs if (job.kind != SCORE and "fold-00" in job.label) or job.kind == PREPARE])
    made = estimate_plan(PLAN, ledger, tiny_study_config(), COHORT, workers=2, device="cpu", tell=said.append)
    assert asked == [({SCORE}, 1)]
    assert len(said) == 1
    assert made.workers == 2
    kinds = {kind.kind: kind for kind in made.kinds}
    assert kinds[MEMBER].done == 4
    assert kinds[MEMBER].seconds == pytest.approx(12 * 13)  # three folds are left
    assert kinds[MEMBER].source == "4 finished jobs"
    assert kinds[SCORE].source == "probe"


def test_a_finished_study_asks_for_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(cost, "measure", None)
    ledger = Ledger(tmp_path)
    finish(ledger, PLAN.jobs)
    made = estimate_plan(PLAN, ledger, tiny_study_config(), COHORT, device="cpu")
    assert (made.done, made.wall_s) == (len(PLAN.jobs), 0)


def test_a_busy_machine_and_what_failed_are_told(tmp_path, monkeypatch):
    probe = Probe(rates=RATES, slices=SLICES, device="cpu", clocks=[8.0, 2.0], failed={SAMPLE: "no"})
    monkeypatch.setattr(cost, "measure", lambda *_, **__: probe)
    made = estimate_plan(PLAN, Ledger(tmp_path / "none"), tiny_study_config(), COHORT, device="cpu")
    assert made.notes == (
        "sample could not be timed: no",
        "this machine is busy: what was timed waited 75% of the time for a core",
    )
    assert not (tmp_path / "none").exists()
    quiet = dataclasses.replace(probe, clocks=[2.2, 2.0], failed={})
    monkeypatch.setattr(cost, "measure", lambda *_, **__: quiet)
    assert estimate_plan(PLAN, Ledger(tmp_path), tiny_study_config(), COHORT, device="cpu").notes == ()
