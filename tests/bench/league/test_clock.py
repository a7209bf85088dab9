"""Training by the clock."""

from __future__ import annotations

import signal

import pytest
import torch

from bench.league.clock import Alarm, Clock, train_for
from labelgan.gan.run_folder import RunFolder
from labelgan.gan.train import train_generator
from labelgan.training.checkpoint import load_tensors
from tiny import tiny_config

CPU = torch.device("cpu")


class HandClock(Clock):
    """A clock that is set by hand."""

    now = 0.0

    def seconds(self) -> float:
        return self.now


@pytest.fixture
def asked(monkeypatch):
    raised = []
    monkeypatch.setattr(signal, "raise_signal", raised.append)
    return raised


def test_it_rings_once_where_the_second_next_step_would_end_too_late(asked):
    clock = HandClock(CPU)
    alarm = Alarm(clock, 10.0)
    for step in range(1, 9):
        clock.now = 2.0 * step  # after the fourth step 8 s are gone: the fifth ends at 10, a sixth would be too late
        alarm(step, 0, "")
        assert alarm.rung == (step >= 4)
    assert asked == [signal.SIGINT]


def test_a_clock_of_a_cpu_does_not_count_sleep():
    import time

    clock = Clock(CPU)
    time.sleep(0.2)
    assert clock.seconds() < 0.15


def test_a_training_by_the_clock_is_one_of_its_steps(phantom_store, tmp_path, monkeypatch):
    """The same weights as a training that was told the number of steps, and a run that can be sampled."""
    clock_of = HandClock(CPU)
    monkeypatch.setattr("bench.league.clock.Clock", lambda device: clock_of)

    def tick(*_: object) -> None:
        clock_of.now += 1.0

    config = tiny_config("r3gan", "train.collapse_ratio=0")
    # Two ticks a step: the hook looks at the clock first, then reports.
    result, spent = train_for(phantom_store, tmp_path / "run", config, 4.5, exclude=["P001"], report=tick)
    assert (result.steps, spent) == (5, 5.0)
    told = train_generator(phantom_store, tmp_path / "told", tiny_config("r3gan", "train.steps=5"), exclude=["P001"])
    ours, theirs = (load_tensors(RunFolder(run).generator) for run in (result.run, told.run))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    manifest = RunFolder(result.run).read_manifest()
    assert manifest.status == "complete"
    assert {case.patient for case in manifest.training_cases}.isdisjoint({"P001"})


def test_what_a_killed_attempt_left_is_lost(phantom_store, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.toml").write_text("damaged")
    result, _ = train_for(phantom_store, tmp_path / "run", tiny_config("dcgan"), 0.0)
    assert result.steps == 2


def test_an_interruption_by_somebody_else_is_one(phantom_store, tmp_path):
    def interrupt(step: int, *_: object) -> None:
        if step == 2:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train_for(phantom_store, tmp_path / "run", tiny_config("dcgan"), 1e6, report=interrupt)


def test_a_training_may_end_before_its_time(phantom_store, tmp_path):
    result, _ = train_for(phantom_store, tmp_path / "run", tiny_config("dcgan"), 1e6, most_steps=3)
    assert result.steps == 3
    assert RunFolder(result.run).read_manifest().status == "complete"
