from __future__ import annotations

import dataclasses
import signal
from pathlib import Path

import pytest
import torch

from labelgan.core.errors import CheckpointError, ConfigError, TrainingError
from labelgan.core.interrupts import Interrupts
from labelgan.training.checkpoint import checkpoint_folders, load_latest
from labelgan.training.loop import Training, require_same_cases, train_as_team
from labelgan.training.metrics_csv import MetricsCsv
from labelgan.training.team import Team

CPU = torch.device("cpu")


@dataclasses.dataclass(frozen=True)
class Settings:
    batch_size: int = 1
    log_every: int = 4
    checkpoint_every: int = 3
    device: str = "cpu"
    devices: int = 1
    threads: int = 0
    deterministic: bool = True


class Sum(Training):
    """Adds the number of every step; begins again at ``restart_at``, once. Notes which hooks ran in which order."""

    def __init__(
        self,
        folder: Path,
        steps: int,
        *,
        team: Team | None = None,
        settings: Settings | None = None,
        restart_at: int = 0,
        burst_at: int = 0,
    ) -> None:
        table = MetricsCsv(folder / "metrics.csv", ("step", "seconds", "starts", "value"), 1)
        super().__init__(team or Team(CPU), settings or Settings(), folder / "checkpoints", table, steps, "the sum")
        self.value, self.starts, self.restart_at, self.burst_at = torch.zeros(1), 0, restart_at, burst_at
        self.ran: list[str] = []

    def train_step(self):
        self.ran.append(f"step {self.step}")
        self.value += self.step
        if self.step + 1 == self.burst_at:
            return {"value": float("nan")}
        return {"value": float(self.value)}

    def evaluate(self):
        self.ran.append("evaluate")
        return {}

    def cells(self):
        return {"starts": self.starts}

    def end_step(self):
        if self.step == self.restart_at and not self.starts:
            self.step, self.starts, self.value = 0, 1, torch.zeros(1)

    def parts(self):
        self.ran.append("save")
        return {"value": {"value": self.value}}

    def state(self):
        return {"since": self.step, "starts": self.starts, "unwritten": self.table.unwritten}

    def restore(self, checkpoint):
        self.value = checkpoint.part("value")["value"]
        self.total, self.step, self.starts = checkpoint.step, checkpoint.state["since"], checkpoint.state["starts"]
        self.table.unwritten = checkpoint.state["unwritten"]

    def failure(self, bad):
        return TrainingError("sum", f"{bad} at step {self.step}, saved {self.last_saved()}")

    def finish(self):
        self.ran.append("finish")

    def train(self, interrupts: Interrupts) -> tuple[float, int] | None:
        self.resume()
        self.run(interrupts)
        return float(self.value), self.team.size


def run(training: Sum, stop_after: int | None = None) -> list[int]:
    told = []

    def report(step: int, steps: int, text: str) -> None:
        told.append(step)
        if len(told) == stop_after:
            signal.raise_signal(signal.SIGINT)

    with Interrupts() as interrupts:
        training.run(interrupts, report)
    return told


def steps_in(folder: Path) -> list[str]:
    return [line.split(",")[0] for line in (folder / "metrics.csv").read_text().splitlines()[1:]]


def saved(folder: Path) -> list[int]:
    return [int(path.name.removeprefix("step-")) for path in checkpoint_folders(folder / "checkpoints")]


def test_steps_rows_and_checkpoints_have_their_rhythm_and_the_last_step_has_all(tmp_path):
    training = Sum(tmp_path, 7)
    assert run(training) == [1, 2, 3, 4, 5, 6, 7]
    assert training.value == 0 + 1 + 2 + 3 + 4 + 5 + 6
    assert steps_in(tmp_path) == ["4", "7"]
    assert saved(tmp_path) == [6, 7]
    assert training.ran[:3] == ["step 0", "evaluate", "step 1"]
    assert training.ran[-4:] == ["step 6", "evaluate", "save", "finish"]


@pytest.mark.parametrize("stop", [1, 3, 5])
def test_an_interrupted_training_is_saved_and_goes_on_to_the_same(tmp_path, stop):
    straight, out = tmp_path / "straight", tmp_path / "stopped"
    whole = Sum(straight, 7)
    run(whole)
    with pytest.raises(KeyboardInterrupt):
        run(Sum(out, 7), stop)
    resumed = Sum(out, 7)
    resumed.resume()
    assert resumed.step == saved(out)[-1] == stop + 1  # the step in which it was asked is made
    run(resumed)
    assert resumed.value == whole.value
    text = [line.split(",")[2:] for line in (out / "metrics.csv").read_text().splitlines()]
    assert text == [line.split(",")[2:] for line in (straight / "metrics.csv").read_text().splitlines()]


def test_after_a_restart_steps_count_anew_and_rows_and_checkpoints_do_not(tmp_path):
    training = Sum(tmp_path, 5, restart_at=4)
    assert run(training) == [1, 2, 3, 0, 1, 2, 3, 4, 5]
    assert (training.step, training.total, float(training.value)) == (5, 9, 10.0)
    assert [line.split(",")[::2] for line in (tmp_path / "metrics.csv").read_text().splitlines()[1:]] == [
        ["4", "0"],
        ["8", "1"],
        ["9", "1"],
    ]
    assert saved(tmp_path) == [6, 9]


def test_the_other_processes_make_the_steps_and_write_nothing(tmp_path):
    training = Sum(tmp_path, 7, team=Team(CPU, rank=1))
    run(training)
    assert training.ran == [f"step {step}" for step in range(7)]
    assert list(tmp_path.iterdir()) == []


def test_a_metric_that_is_not_finite_stops_at_the_last_checkpoint(tmp_path):
    with pytest.raises(TrainingError, match=r"\['value'\] at step 5, saved 3"):
        run(Sum(tmp_path, 7, burst_at=5))
    assert saved(tmp_path) == [3]


def test_weights_that_are_not_finite_are_never_saved(tmp_path):
    training = Sum(tmp_path, 7)
    training.value = torch.tensor([float("inf")])
    training.train_step = lambda: {"value": 1.0}
    with pytest.raises(TrainingError, match=r"\['weights'\] at step 3, saved 0"):
        run(training)
    assert load_latest(tmp_path / "checkpoints") is None


def test_fewer_steps_than_were_made_are_refused(tmp_path):
    run(Sum(tmp_path, 3))
    with pytest.raises(ConfigError, match=r"^--steps: the sum has already made 3 steps$"):
        Sum(tmp_path, 2).resume()


def begin(team: Team, folder: Path, settings: Settings, more: int = 0) -> Sum:
    return Sum(folder, 3 + more, team=team, settings=settings)


def test_a_task_is_done_with_its_settings_and_the_first_process_has_more_arguments(tmp_path):
    threads = torch.get_num_threads()
    try:
        settings = Settings(threads=threads + 1)
        assert train_as_team(begin, tmp_path, settings, tmp_path, settings, more=2) == (10.0, 1)
        assert torch.get_num_threads() == threads + 1
    finally:
        torch.set_num_threads(threads)


def test_other_cases_are_refused(tmp_path):
    cases = [{"id": "P001"}]
    require_same_cases({"training_cases": cases}, {"training_cases": cases, "more": 2}, tmp_path)
    with pytest.raises(CheckpointError, match=r"was trained on other cases than these"):
        require_same_cases({"training_cases": cases}, {"training_cases": []}, tmp_path)
