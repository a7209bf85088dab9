"""How much work a job is, counted from its settings and the size of its cases; nothing is measured here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from labelgan.study.engine.ledger import Job


@dataclass(frozen=True)
class Sizes:
    """Sizes of the cases of a study.

    Attributes:
        voxels: ``data`` or ``test``, then case id, to the voxels of the scan.
        slices: likewise to slices with brain, the ones that are trained on and predicted.
        cases: patient id to case ids, of ``data``.
        unlabelled: cases of ``data`` without a mask; they are prepared, and used no further.
    """

    voxels: Mapping[str, Mapping[str, int]]
    slices: Mapping[str, Mapping[str, float]]
    cases: Mapping[str, tuple[str, ...]]
    unlabelled: int = 0

    def slices_of(self, patients: list[str]) -> float:
        """Slices that a training on these patients sees."""
        slices = self.slices["data"]
        return sum(slices[case] for patient in patients for case in self.cases[patient])

    @property
    def voxels_a_slice(self) -> float:
        """Voxels of the scans for every slice with brain, over all cases of ``data``."""
        return sum(self.voxels["data"].values()) / max(1.0, sum(self.slices["data"].values()))


def all_voxels(job: Job, sizes: Sizes) -> float:
    """Voxels of the whole cohort, cases without a mask included."""
    voxels = sizes.voxels["data"]
    return sum(voxels.values()) * (1 + sizes.unlabelled / len(voxels))


def voxels(job: Job, sizes: Sizes) -> float:
    """Voxels of a job's cases."""
    known = sizes.voxels[job.params["cohort"]]
    return sum(known[case] for case in job.params["cases"])


def steps(job: Job, sizes: Sizes) -> float:
    """Steps of a generator's training."""
    return job.params["config"]["train"]["steps"]


def member_steps(job: Job, sizes: Sizes) -> float:
    """Steps of a segmenter's training."""
    # Not rounded up as `seg.batches.steps_of` does: slices may be an estimate, and torch stays out of the planner.
    train, slices = job.params["config"]["train"], sizes.slices_of(job.params["train"])
    if train["steps"] is not None:
        return train["steps"]
    return train["epochs"] * max(1.0, train.get("showings", 1) * slices / train["batch_size"])


def drawn(job: Job, sizes: Sizes) -> float:
    """Slices that are sampled."""
    return job.params["num"]


def audited(job: Job, sizes: Sizes) -> float:
    """Slices that an audit looks at: samples, training and held-out slices."""
    data = job.params["config"]["data"]
    made = job.inputs["samples"].params["num"]
    trained, held_out = (sizes.slices_of(job.params[part]) for part in ("train", "held_out"))
    return min(made, data["max_slices"]) + min(trained, data["max_slices"]) + min(held_out, data["max_held_out"])


def predicted(job: Job, sizes: Sizes) -> float:
    """Slices that are predicted, once by each network."""
    slices = sizes.slices[job.params["cohort"]]
    return sum(slices[case] for case in job.params["cases"]) * len(job.inputs)


def training_recipe(job: Job) -> str:
    """Settings of a training but for its seed, and whether it has synthetic slices."""
    config = dict(job.params["config"])
    config["train"] = {key: value for key, value in config["train"].items() if key != "seed"}
    return as_text({"config": config, "synthetic": "samples" in job.inputs})


def audit_recipe(job: Job) -> str:
    """Settings of an audit."""
    return as_text(job.params["config"])


def predict_recipe(job: Job) -> str:
    """Settings of a prediction, and how many networks make it."""
    return as_text({"predict": job.params["predict"], "networks": len(job.inputs)})


def as_text(value: Mapping[str, Any]) -> str:
    """Gives a value as text that is equal where the value is."""
    return json.dumps(value, sort_keys=True, default=dict)
