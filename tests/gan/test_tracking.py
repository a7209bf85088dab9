from __future__ import annotations

import json
import sys
from types import SimpleNamespace

import pytest

from labelgan.core.errors import ConfigError
from labelgan.gan import tracking
from labelgan.gan.recorder import Recorder
from labelgan.gan.tracking import EXPERIMENT, flattened, open_tracker, require_tracker


class FakeServer:
    """Keeps what an MLflow client is told; breaks down after ``budget`` calls."""

    def __init__(self, budget: int | None = None) -> None:
        self.budget = budget
        self.experiments: dict[str, str] = {}
        self.runs: dict[str, dict] = {}
        self.calls = 0

    def module(self) -> SimpleNamespace:
        entities = SimpleNamespace(
            Metric=lambda key, value, timestamp, step: (key, value, timestamp, step),
            Param=lambda key, value: (key, value),
        )
        return SimpleNamespace(MlflowClient=lambda: self, entities=entities)

    def _count(self) -> None:
        self.calls += 1
        if self.budget is not None and self.calls > self.budget:
            raise ConnectionError("the server\nis gone")

    def get_experiment_by_name(self, name):
        self._count()
        return SimpleNamespace(experiment_id=self.experiments[name]) if name in self.experiments else None

    def create_experiment(self, name):
        self._count()
        return self.experiments.setdefault(name, f"e{len(self.experiments)}")

    def create_run(self, experiment, run_name):
        self._count()
        run = f"r{len(self.runs)}"
        self.runs[run] = {"experiment": experiment, "name": run_name, "params": [], "metrics": [], "status": "RUNNING"}
        return SimpleNamespace(info=SimpleNamespace(run_id=run))

    def update_run(self, run, status):
        self._count()
        self.runs[run]["status"] = status

    def log_batch(self, run, metrics=(), params=()):
        self._count()
        assert len(params) <= 100
        self.runs[run]["metrics"] += metrics
        self.runs[run]["params"] += params

    def set_terminated(self, run, status):
        self._count()
        self.runs[run]["status"] = status


@pytest.fixture
def server(monkeypatch):
    server = FakeServer()
    monkeypatch.setitem(sys.modules, "mlflow", server.module())
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME", raising=False)
    return server


def test_a_recorder_tells_the_tracker_settings_and_means(tmp_path, server):
    recorder = Recorder(tmp_path, 2, "mlflow", {"model": "r3gan", "train": {"steps": 4, "seed": 0}})
    recorder.open(0)
    for step in range(1, 5):
        recorder.add({"critic_loss": float(step)})
        if step % 2 == 0:
            recorder.write(step)
    recorder.close(complete=True)
    (run,) = server.runs.values()
    assert run["params"] == [("model", "r3gan"), ("train.steps", "4"), ("train.seed", "0")]
    assert [(key, value, step) for key, value, _, step in run["metrics"]] == [
        ("critic_loss", 1.5, 2),
        ("critic_loss", 3.5, 4),
    ]
    assert run["name"] == tmp_path.name
    assert run["status"] == "FINISHED"
    assert list(server.experiments) == [EXPERIMENT]


def test_a_resumed_training_goes_on_in_its_run(tmp_path, server):
    tracker = open_tracker("mlflow", tmp_path, {"a": 1})
    assert tracker is not None
    tracker.close(complete=False)
    assert server.runs["r0"]["status"] == "KILLED"
    tracker = open_tracker("mlflow", tmp_path, {"a": 1})
    assert tracker is not None
    assert server.runs["r0"]["status"] == "RUNNING"
    tracker.metrics({"r1": 2.0}, 3)
    tracker.close(complete=True)
    (run,) = server.runs.values()
    assert run["params"] == [("a", "1")]
    assert run["status"] == "FINISHED"
    assert json.loads((tmp_path / "mlflow.json").read_text())["run_id"] == "r0"


def test_the_experiment_s_name_is_mlflow_s_own_variable(tmp_path, server, monkeypatch):
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "lesions")
    open_tracker("mlflow", tmp_path, {})
    assert list(server.experiments) == ["lesions"]


def test_many_and_long_settings_are_sent_in_parts_and_cut(tmp_path, server):
    open_tracker("mlflow", tmp_path, {f"k{number}": "v" * 900 for number in range(250)})
    params = server.runs["r0"]["params"]
    assert len(params) == 250
    assert {len(value) for _, value in params} == {500}


def record_five(run):
    recorder = Recorder(run, 2, "mlflow", {"a": 1})
    recorder.open(0)
    for step in range(1, 6):
        recorder.add({"critic_loss": 1.0})
        recorder.write(step)
    recorder.close(complete=True)


@pytest.mark.parametrize("budget", [0, 3, 5])
def test_a_server_that_is_lost_is_told_of_once_and_left_alone(tmp_path, server, budget):
    server.budget = budget
    said = r"MLflow is not told any more \(the server is gone\); metrics.csv"
    with pytest.warns(UserWarning, match=said) as warned:
        record_five(tmp_path)
    assert len(warned) == 1
    assert server.calls == budget + 1
    assert len((tmp_path / "metrics.csv").read_text().splitlines()) == 6


def test_nothing_is_asked_of_mlflow_unless_asked_for(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "mlflow", None)  # importing it would fail
    assert open_tracker(None, tmp_path, {}) is None


def test_a_tracker_that_is_missing_or_unknown_is_refused_before_anything_begins(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(ConfigError, match=r"--track mlflow: is not installed: pip install 'labelgan\[mlflow\]'"):
        require_tracker("mlflow")
    with pytest.raises(ConfigError, match="--track wandb: unknown tracker; one of mlflow"):
        open_tracker("wandb", tmp_path, {})
    assert list(tmp_path.iterdir()) == []


def test_settings_are_told_by_dotted_key():
    assert flattened({"a": {"b": {"c": 1}, "d": (2,)}, "e": None}) == {"a.b.c": 1, "a.d": (2,), "e": None}
    assert set(tracking.TRACKERS) == {"mlflow"}
