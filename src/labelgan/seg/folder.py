"""A segmenter folder: what ``segment train`` leaves behind and ``segment predict`` reads."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from labelgan.config.base import PrepareConfig
from labelgan.config.seg import SegConfig
from labelgan.data.manifests import SegmenterManifest, StoredCase, TrainedFolder, read_trained
from labelgan.data.store import SliceStore


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
class SegmenterFolder(TrainedFolder):
    """Paths inside a segmenter folder."""

    model = SegmenterManifest

    @property
    def prepare(self) -> Path:
        """The settings of the store that was trained on, TOML: new scans are prepared alike."""
        return self.path / "prepare.toml"

    def member(self, number: int) -> MemberFolder:
        """The folder of a member, counted from 0."""
        return MemberFolder(self.path / "members" / str(number))

    def read_manifest(self) -> SegmenterManifest:
        """Reads and validates the manifest; raises CheckpointError naming it."""
        return read_trained(self.path, SegmenterManifest)

    def read_config(self) -> SegConfig:
        """Reads the settings; raises ConfigError naming the file."""
        return SegConfig.from_toml(self.config)

    def read_prepare(self) -> PrepareConfig:
        """Reads the settings of the preparation; raises ConfigError naming the file."""
        return PrepareConfig.from_toml(self.prepare)


def describe_training(
    store: SliceStore, rows: np.ndarray, held_out: Iterable[StoredCase], exclude: Collection[str]
) -> dict[str, Any]:
    """Gives the part of a manifest that tells what a segmenter was trained on, and what it was kept from.

    Both lists carry voxel hashes and fingerprints, so that a case is known under any name.
    """
    counts = np.bincount(store.index["case"][rows], minlength=len(store.cases))
    return {
        "channels": list(store.channels),
        "size": list(store.size),
        "training_cases": [
            store.identity(case, int(count)) for case, count in zip(store.cases, counts, strict=True) if count
        ],
        "excluded": sorted(exclude),
        "held_out_cases": [store.identity(case) for case in held_out],
    }
