"""Order, failures, retries and resuming, on an engine that does what it is told."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from labelgan.core.errors import ConfigError
from labelgan.study.engine.base import Ended, EngineBase
from labelgan.study.engine.engines import InlineEngine
from labelgan.study.engine.ledger import Job, JobFolder, Ledger
from labelgan.study.engine.scheduler import Event, JobGraph, run_jobs
from toy_jobs import number, toy


class ScriptedEngine(EngineBase):
    """Ends jobs in a drawn order, as ``fate`` of the job and its attempt says: done, failed, lost, silent."""

    def __init__(self, slots: int = 1, fate: Callable[[str, int], str] = lambda name, attempt: "done", seed: int = 0):
        self.slots, self.fate = slots, fate
        self.draw = random.Random(seed)
        self.running: list[tuple[Job, Path]] = []
        self.order: list[str] = []
        self.closed: list[bool] = []

    def room(self, gpus: int) -> int:
        return self.slots - len(self.running) if gpus <= 1 else 0

    def submit(self, job: Job, folder: Path) -> None:
        for source in job.inputs.values():
            assert JobFolder(folder.parent / source.key).read_done() is not None
        assert len(self.running) < self.slots
        self.order.append(job.label)
        self.running.append((job, folder))

    def wait(self) -> list[Ended]:
        job, folder = self.running.pop(self.draw.randrange(len(self.running)))
        at = JobFolder(folder)
        fate = self.fate(job.label, at.read_job()["attempt"])
        if fate == "interrupt":
            raise KeyboardInterrupt
        if fate == "done":
            at.write_done(0.0, {}, {})
        if fate == "failed":
            at.write_failed("ValueError: no", 1)
        return [Ended(job.key, "the node burned" if fate == "lost" else None)]

    def close(self, *, now: bool = False) -> None:
        self.closed.append(now)


def node(name: str, *inputs: Job, gpus: int = 0) -> Job:
    return Job("toy", name, {"name": name}, {str(place): job for place, job in enumerate(inputs)}, gpus=gpus)


def run(jobs: list[Job], root: Path, engine: ScriptedEngine, **options):
    events: list[Event] = []
    summary = run_jobs(jobs, Ledger(root), engine, tell=events.append, **options)
    return summary, [(event.what, event.job.label) for event in events if event.what not in ("started", "done")]


def test_the_longest_chain_goes_first_then_what_unlocks_most(tmp_path: Path):
    alone, wide = node("alone"), node("wide")
    one = node("one")
    chain = [two := node("two", one), node("three", two)]
    fans = [node(f"fan {number}", wide) for number in range(3)]
    lone = node("lone")
    pair = node("pair", lone)
    engine = ScriptedEngine()
    run([alone, *fans, *chain, pair], tmp_path, engine)
    # heights: one 2; wide and lone 1 (wide has more readers), two 1; the rest 0, as given
    assert engine.order == ["one", "wide", "two", "lone", "alone", "fan 0", "fan 1", "fan 2", "three", "pair"]


@given(st.integers(0, 10_000))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_graph_runs_once_and_inputs_first(tmp_path: Path, seed: int):
    draw = random.Random(seed)
    jobs: list[Job] = []
    for place in range(draw.randrange(1, 25)):
        inputs = draw.sample(jobs, min(len(jobs), draw.randrange(4)))
        jobs.append(node(f"{seed}-{place}", *inputs, gpus=draw.randrange(2)))
    shuffled = draw.sample(jobs, len(jobs)) + jobs[:2]
    engine = ScriptedEngine(slots=draw.randrange(1, 5), seed=seed)
    root = tmp_path / str(seed)
    summary, _ = run(shuffled, root, engine)
    assert (summary.done, summary.reused, summary.complete) == (len(jobs), 0, True)
    assert sorted(engine.order) == sorted(job.label for job in jobs)
    again = ScriptedEngine()
    summary, _ = run(shuffled, root, again)
    assert (summary.done, summary.reused, again.order) == (0, len(jobs), [])


def test_the_order_is_the_same_every_time(tmp_path: Path):
    first, second = ScriptedEngine(slots=2), ScriptedEngine(slots=2)
    jobs = [node(f"{place}") for place in range(20)]
    jobs += [node(f"reader {place}", jobs[place], jobs[19 - place]) for place in range(10)]
    run(jobs, tmp_path / "a", first)
    run(jobs, tmp_path / "b", second)
    assert first.order == second.order


def test_inputs_join_by_themselves_and_a_long_chain_is_no_recursion():
    job = number(0)
    for value in range(5000):
        job = number(value, before=job)
    graph = JobGraph([job])
    assert len(graph.jobs) == 5001
    assert graph.height[0] == 5000
    assert graph.height[graph.position[job.key]] == 0


def test_a_job_that_is_read_twice_is_waited_for_once(tmp_path: Path):
    a = node("a")
    summary, _ = run([node("b", a, a)], tmp_path, ScriptedEngine())
    assert summary.done == 2


def test_a_failure_blocks_what_depends_on_it_and_nothing_else(tmp_path: Path):
    bad, good = node("bad"), node("good")
    child = node("child", bad, good)
    jobs = [node("grandchild", child), child, node("other", good), bad, node("niece", good, bad)]
    engine = ScriptedEngine(fate=lambda name, attempt: "failed" if name == "bad" else "done")
    summary, events = run(jobs, tmp_path, engine)
    assert sorted(engine.order) == ["bad", "good", "other"]
    assert summary.done == 2
    assert not summary.complete
    assert [job.label for job in summary.blocked] == [label for what, label in events if what == "blocked"]
    assert sorted(job.label for job in summary.blocked) == ["child", "grandchild", "niece"]
    (failure,) = summary.failed
    assert failure.record() == {
        "job": bad.key,
        "label": "bad",
        "reason": "ValueError: no",
        "log": f"jobs/{bad.key}/log.txt",
    }
    assert (failure.attempts, failure.exit_code) == (1, 1)
    # mended, the next run takes up where this one ended
    engine = ScriptedEngine()
    summary, _ = run(jobs, tmp_path, engine)
    assert (summary.done, summary.reused, summary.complete) == (4, 2, True)


@pytest.mark.parametrize("fate", ["lost", "silent"])
@pytest.mark.parametrize(("retries", "deaths", "ends_well"), [(1, 1, True), (1, 2, False), (0, 1, False), (3, 3, True)])
def test_a_dead_worker_is_tried_again(tmp_path: Path, fate: str, retries: int, deaths: int, ends_well: bool):
    engine = ScriptedEngine(fate=lambda name, attempt: fate if attempt <= deaths else "done")
    summary, events = run([node("a")], tmp_path, engine, retries=retries)
    assert len(engine.order) == min(deaths, retries) + 1
    assert summary.complete == ends_well
    assert events.count(("retried", "a")) == min(deaths, retries)
    if not ends_well:
        reason = "the node burned" if fate == "lost" else "its worker ended without a word"
        assert summary.failed[0].reason == reason
        assert summary.failed[0].attempts == retries + 1


def test_an_exception_is_not_tried_again(tmp_path: Path):
    engine = ScriptedEngine(fate=lambda name, attempt: "failed")
    summary, _ = run([node("a")], tmp_path, engine, retries=5)
    assert engine.order == ["a"]
    assert summary.failed[0].attempts == 1


def test_work_that_was_finished_before_its_worker_died_counts(tmp_path: Path):
    class Dying(ScriptedEngine):
        def wait(self) -> list[Ended]:
            return [Ended(end.key, "died on its way out") for end in super().wait()]

    summary, _ = run([node("a")], tmp_path, Dying())
    assert summary.done == 1


@pytest.mark.parametrize("content", ["{", '{"key": "other", "result": {}}'])
def test_a_damaged_done_file_is_told_and_run_again(tmp_path: Path, content: str):
    job = node("a")
    run([job, node("b", job)], tmp_path, ScriptedEngine())
    path = Ledger(tmp_path).folder(job) / "done.json"
    path.write_text(content)
    engine = ScriptedEngine()
    summary, events = run([job, node("b", job)], tmp_path, engine)
    assert engine.order == ["a"]
    assert events == [("damaged", "a")]
    assert str(path) in summary.damaged[0]
    assert (summary.done, summary.reused) == (1, 1)


def test_an_interrupt_closes_the_engine_and_leaves_all_resumable(tmp_path: Path):
    jobs = [node("a"), node("b"), node("c")]
    engine = ScriptedEngine(fate=lambda name, attempt: "interrupt" if name == "b" else "done")
    with pytest.raises(KeyboardInterrupt):
        run(jobs, tmp_path, engine)
    assert engine.closed == [True]
    engine = ScriptedEngine()
    summary, _ = run(jobs, tmp_path, engine)
    assert engine.order == ["b", "c"]
    assert summary.reused == 1


def test_a_job_that_never_has_room_is_told(tmp_path: Path):
    with pytest.raises(ConfigError, match="job big: asks for 8 GPUs, which the engine never has"):
        run([node("small"), node("big", gpus=8)], tmp_path, ScriptedEngine())
    assert Ledger(tmp_path).is_done(node("small"))


def test_progress_counts_what_was_done_before(tmp_path: Path):
    a, b, c = node("a"), node("b"), node("c")
    run([a], tmp_path, ScriptedEngine())
    seen = []
    run_jobs([a, b, c], Ledger(tmp_path), ScriptedEngine(), report=lambda *values: seen.append(values))
    assert seen == [(1, 3, ""), (2, 3, "b"), (3, 3, "c")]


def test_results_flow_through_real_folders(tmp_path: Path):
    a, b = number(1), number(10)
    total = number(100, a=a, b=number(1000, b=b))
    with InlineEngine() as engine:
        summary = run_jobs([total, toy("fault")], Ledger(tmp_path), engine)
    assert Ledger(tmp_path).result(total) == {"value": 1111}
    assert [failure.reason for failure in summary.failed] == ["ValueError: three channels were expected"]
