"""Experiment trackers beside metrics.csv and TensorBoard, opened only where one is asked for.

A tracker is told settings and metrics, never pictures: a server may be anywhere, and pictures of a refiner's samples
show anatomies of its training patients. To add one, write a class with `Tracker`'s methods and enter it in `TRACKERS`.
"""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from labelgan.core.errors import ConfigError
from labelgan.core.files import read_json, write_json_atomic

EXPERIMENT = "labelgan"
_REMEMBERED = "mlflow.json"
_LONGEST_VALUE = 500  # characters of a parameter's value that every MLflow server takes
_MOST_PARAMETERS = 100  # of one request


class Tracker(Protocol):
    """Receives a training's metrics from its recorder."""

    def metrics(self, means: Mapping[str, float], step: int) -> None:
        """Takes the means of some metrics at a step."""

    def close(self, complete: bool) -> None:
        """Ends the tracked run; ``complete`` is False where it was interrupted or failed."""


class MlflowTracker:
    """One run of MLflow, gone on with when the training is resumed.

    Where it goes is MLflow's affair: ``MLFLOW_TRACKING_URI`` and ``MLFLOW_EXPERIMENT_NAME``. A server that cannot be
    reached is told of once and then left alone: the training goes on, and metrics.csv has every figure.
    """

    def __init__(self, run: Path, settings: Mapping[str, Any]) -> None:
        mlflow = _mlflow()
        self._client: Any = mlflow.MlflowClient()
        self._metric = mlflow.entities.Metric
        self._lost = False
        self._id = ""
        self._guarded(lambda: self._open(mlflow, run, settings))

    def _open(self, mlflow: Any, run: Path, settings: Mapping[str, Any]) -> None:
        remembered = run / _REMEMBERED
        if remembered.is_file():
            self._id = str(read_json(remembered)["run_id"])
            self._client.update_run(self._id, status="RUNNING")
            return
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", EXPERIMENT)
        experiment = self._client.get_experiment_by_name(name)
        identifier = self._client.create_experiment(name) if experiment is None else experiment.experiment_id
        self._id = self._client.create_run(identifier, run_name=run.name).info.run_id
        write_json_atomic(remembered, {"run_id": self._id, "experiment": name})
        parameters = [
            mlflow.entities.Param(key, str(value)[:_LONGEST_VALUE]) for key, value in flattened(settings).items()
        ]
        for first in range(0, len(parameters), _MOST_PARAMETERS):
            self._client.log_batch(self._id, params=parameters[first : first + _MOST_PARAMETERS])

    def metrics(self, means: Mapping[str, float], step: int) -> None:
        """Sends the means of some metrics."""
        now = int(1000 * time.time())  # MLflow counts in milliseconds
        metrics = [self._metric(name, value, now, step) for name, value in means.items()]
        self._guarded(lambda: self._client.log_batch(self._id, metrics=metrics))

    def close(self, complete: bool) -> None:
        """Marks the run as finished or killed."""
        self._guarded(lambda: self._client.set_terminated(self._id, status="FINISHED" if complete else "KILLED"))

    def _guarded(self, act: Callable[[], None]) -> None:
        if self._lost:
            return
        try:
            act()
        except Exception as error:  # whatever the network says
            self._lost = True
            reason = " ".join(str(error).split())[:200]
            warnings.warn(f"MLflow is not told any more ({reason}); metrics.csv has every figure", stacklevel=2)


def _mlflow() -> Any:
    try:
        import mlflow  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise ConfigError("--track mlflow", "is not installed: pip install 'labelgan[mlflow]'") from None
    return mlflow


TRACKERS: dict[str, Callable[[Path, Mapping[str, Any]], Tracker]] = {"mlflow": MlflowTracker}


def require_tracker(name: str | None) -> None:
    """Raises ConfigError where a tracker is unknown or its package missing, before anything has begun."""
    if name is not None and name not in TRACKERS:
        raise ConfigError(f"--track {name}", f"unknown tracker; one of {', '.join(TRACKERS)}")
    if name == "mlflow":
        _mlflow()


def open_tracker(name: str | None, run: Path, settings: Mapping[str, Any]) -> Tracker | None:
    """Opens a tracker by its key in ``TRACKERS``, or none.

    Args:
        name: key, or None.
        run: run folder, in which a tracker may remember its own run.
        settings: nested settings of the training, told once.

    Raises:
        ConfigError: the tracker is unknown or not installed.
    """
    require_tracker(name)
    return None if name is None else TRACKERS[name](run, settings)


def flattened(settings: Mapping[str, Any], parent: str = "") -> dict[str, Any]:
    """Gives nested settings by dotted key, as ``--set`` takes them."""
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        name = f"{parent}{key}"
        flat |= flattened(value, f"{name}.") if isinstance(value, Mapping) else {name: value}
    return flat
