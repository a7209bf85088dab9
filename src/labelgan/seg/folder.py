"""A segmenter folder: what ``segment train`` leaves behind and ``segment predict`` reads."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from labelgan.config.base import PrepareConfig
from labelgan.config.seg import SegConfig
from labelgan.core.errors import CheckpointError
from labelgan.core.files import write_json_atomic
from labelgan.core.provenance import provenance
from labelgan.data.store import SliceStore, StoredCase
from labelgan.training.checkpoint import read_model_manifest

FORMAT_VERSION = 1


@dataclass(frozen=True)
class MemberFolder:
    """Paths of one member of the ensemble."""

    path: Path

    @property
    def checkpoints(self) -> Path:
        """Resumable state."""
        return self.path / "checkpoints"

    @property
    def metrics(self) -> Path:
        """The loss along the way, CSV."""
        return self.path / "metrics.csv"

    @property
    def weights(self) -> Path:
        """Final weights; there once the member is trained."""
        return self.path / "weights.safetensors"

    @property
    def early(self) -> Path:
        """Weights of the step ``train.early_step``, where it was reached."""
        return self.path / "early.safetensors"


@dataclass(frozen=True)
class SegmenterFolder:
    """Paths inside a segmenter folder."""

    path: Path

    @property
    def config(self) -> Path:
        """Every setting, TOML."""
        return self.path / "config.toml"

    @property
    def prepare(self) -> Path:
        """The settings of the store that was trained on, TOML: new scans are prepared alike."""
        return self.path / "prepare.toml"

    @property
    def manifest(self) -> Path:
        """What was trained on what: JSON."""
        return self.path / "manifest.json"

    def member(self, number: int) -> MemberFolder:
        """The folder of a member, counted from 0."""
        return MemberFolder(self.path / "members" / str(number))

    def read_manifest(self) -> dict[str, Any]:
        """Reads and validates the manifest; raises CheckpointError naming it."""
        if not self.path.is_dir():
            raise CheckpointError(
                self.path, "there is no such segmenter folder; `labelgan segment train --out` makes one"
            )
        manifest = read_model_manifest(self.manifest, "segmenter", FORMAT_VERSION)
        _validate(manifest, self.manifest)
        return manifest

    def read_config(self) -> SegConfig:
        """Reads the settings; raises ConfigError naming the file."""
        return SegConfig.from_toml(self.config)

    def read_prepare(self) -> PrepareConfig:
        """Reads the settings of the preparation; raises ConfigError naming the file."""
        return PrepareConfig.from_toml(self.prepare)


def _validate(manifest: Mapping[str, Any], path: Path) -> None:
    """Checks the entries that networks are built from; raises CheckpointError."""
    channels, size = manifest.get("channels"), manifest.get("size")
    sound = (
        isinstance(channels, list)
        and 1 <= len(channels) <= 4
        and all(isinstance(name, str) and re.fullmatch(r"[A-Za-z0-9._-]{1,64}", name) for name in channels)
        and isinstance(size, list)
        and len(size) == 2
        and all(isinstance(side, int) and 8 <= side <= 4096 for side in size)
        and isinstance(manifest.get("training_cases"), list)
        and isinstance(manifest.get("excluded"), list)
        and isinstance(manifest.get("status"), str)
        and isinstance(manifest.get("members", []), list)
        and all(isinstance(member, dict) for member in manifest.get("members", []))
    )
    if not sound:
        raise CheckpointError(path, "is damaged: channels, size or training_cases make no sense; copy the folder again")


def describe_training(
    store: SliceStore, rows: np.ndarray, held_out: Iterable[StoredCase], exclude: Collection[str]
) -> dict[str, Any]:
    """Gives the part of a manifest that tells what a segmenter was trained on, and what it was kept from.

    Both lists carry the voxel hashes, so that a case is known again under any name.
    """
    counts = np.bincount(store.index["case"][rows], minlength=len(store.cases))
    return {
        "channels": list(store.channels),
        "size": list(store.size),
        "training_cases": [
            {**_identity(case), "slices": int(count)} for case, count in zip(store.cases, counts, strict=True) if count
        ],
        "excluded": sorted(exclude),
        "held_out_cases": [_identity(case) for case in held_out],
    }


def _identity(case: StoredCase) -> dict[str, Any]:
    return {"id": case.id, "patient": case.patient, "site": case.site, "hashes": dict(case.hashes)}


def write_manifest(folder: SegmenterFolder, status: str, **facts: Any) -> dict[str, Any]:
    """Writes the manifest; ``status`` is training, complete or failed."""
    manifest = {"format": FORMAT_VERSION, "kind": "segmenter", "status": status, **facts, "made_with": provenance()}
    write_json_atomic(folder.manifest, manifest)
    return manifest
