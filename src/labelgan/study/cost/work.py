"""How much work a job is, counted from its settings and the size of its cases; nothing is measured here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from labelgan.study.engine.ledger import Job
from labelgan.study.plan import AUDIT, CHOOSE, GENERATOR, MEMBER, PREDICT, PREPARE, SAMPLE, SCORE

# What a kind's work is counted in.
UNITS: dict[str, str] = {
    PREPARE: "voxel",
    GENERATOR: "step",
    SAMPLE: "slice",
    AUDIT: "slice",
    MEMBER: "step",
    PREDICT: "slice and network",
    SCORE: "voxel",
    CHOOSE: "job",
}


@dataclass(frozen=True)
class Sizes:
    """How large the cases of a study are.

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


def work(job: Job, sizes: Sizes) -> float:
    """Gives a job's work in the units of its kind; a kind that is not in ``UNITS`` counts by the job."""
    params = job.params
    if job.kind == PREPARE:
        voxels = sizes.voxels["data"]
        return sum(voxels.values()) * (1 + sizes.unlabelled / len(voxels))
    if job.kind == GENERATOR:
        return params["config"]["train"]["steps"]
    if job.kind == SAMPLE:
        return params["num"]
    if job.kind == AUDIT:
        return _audited(job, sizes)
    if job.kind == MEMBER:
        return _member_steps(params["config"]["train"], sizes.slices_of(params["train"]))
    if job.kind == PREDICT:
        slices = sizes.slices[params["cohort"]]
        return sum(slices[case] for case in params["cases"]) * len(job.inputs)
    if job.kind == SCORE:
        voxels = sizes.voxels[params["cohort"]]
        return sum(voxels[case] for case in params["cases"])
    return 1.0


def _audited(job: Job, sizes: Sizes) -> float:
    data = job.params["config"]["data"]
    drawn = job.inputs["samples"].params["num"]
    trained, held_out = (sizes.slices_of(job.params[part]) for part in ("train", "held_out"))
    return min(drawn, data["max_slices"]) + min(trained, data["max_slices"]) + min(held_out, data["max_held_out"])


def _member_steps(train: Mapping[str, Any], slices: float) -> float:
    # Not rounded up as `seg.batches.steps_of` does: slices may be an estimate, and torch stays out of the planner.
    if train["steps"] is not None:
        return train["steps"]
    return train["epochs"] * max(1.0, slices / train["batch_size"])


def recipe(job: Job) -> str:
    """Names what a unit of a job's work costs: jobs of one kind and recipe differ in the amount of work alone."""
    params = job.params
    if job.kind == GENERATOR:
        return _text(_unseeded(params["config"]))
    if job.kind == MEMBER:
        return _text({"config": _unseeded(params["config"]), "synthetic": "samples" in job.inputs})
    if job.kind == AUDIT:
        return _text(params["config"])
    if job.kind == PREDICT:
        return _text({"predict": params["predict"], "networks": len(job.inputs)})
    return ""


def _unseeded(config: Mapping[str, Any]) -> dict[str, Any]:
    train = {key: value for key, value in config["train"].items() if key != "seed"}
    return {**config, "train": train}


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=dict)
