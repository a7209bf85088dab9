"""A run folder: what `train` leaves behind and `sample` reads."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from labelgan.checkpoint import read_model_manifest
from labelgan.config_gan import GanConfig
from labelgan.data.store import SliceStore
from labelgan.errors import CheckpointError
from labelgan.files import write_json_atomic
from labelgan.provenance import provenance

FORMAT_VERSION = 1


@dataclass(frozen=True)
class RunFolder:
    """Paths inside a run folder."""

    path: Path

    @property
    def config(self) -> Path:
        """Every setting, TOML."""
        return self.path / "config.toml"

    @property
    def manifest(self) -> Path:
        """What was trained on what: JSON."""
        return self.path / "manifest.json"

    @property
    def checkpoints(self) -> Path:
        """Resumable state."""
        return self.path / "checkpoints"

    @property
    def generator(self) -> Path:
        """Weights of the copy that samples; there once training has ended."""
        return self.path / "generator.safetensors"

    @property
    def critic(self) -> Path:
        """Weights of the critic; there once training has ended."""
        return self.path / "critic.safetensors"

    @property
    def content(self) -> Path:
        """Slices of the training patients that a refining generator paints on; there from the start of its training."""
        return self.path / "content.safetensors"

    @property
    def card(self) -> Path:
        """Model card."""
        return self.path / "card.md"

    def read_manifest(self) -> dict[str, Any]:
        """Reads and validates the manifest; raises CheckpointError naming it."""
        if not self.path.is_dir():
            raise CheckpointError(self.path, "there is no such run folder")
        manifest = read_model_manifest(self.manifest, "generator", FORMAT_VERSION)
        _validate(manifest, self.manifest)
        return manifest

    def read_config(self) -> GanConfig:
        """Reads the settings; raises ConfigError naming the file."""
        return GanConfig.from_toml(self.config)


def _validate(manifest: Mapping[str, Any], path: Path) -> None:
    """Checks the entries that sizes and file names are made from; raises CheckpointError."""
    channels, size, spacing = manifest.get("channels"), manifest.get("size"), manifest.get("spacing_mm")
    sound = (
        isinstance(channels, list)
        and 1 <= len(channels) <= 4
        and all(isinstance(name, str) and re.fullmatch(r"[A-Za-z0-9._-]{1,64}", name) for name in channels)
        and isinstance(size, list)
        and len(size) == 2
        and all(isinstance(side, int) and 8 <= side <= 4096 for side in size)
        and isinstance(spacing, list)
        and len(spacing) == 3
        and all(isinstance(length, int | float) and 0 < length < 1e3 for length in spacing)
        and isinstance(manifest.get("intensity"), dict)
        and set(manifest["intensity"]) == set(channels)
        and isinstance(manifest.get("training_cases"), list)
        and isinstance(manifest.get("status"), str)
    )
    if not sound:
        raise CheckpointError(
            path, "is damaged: channels, size, spacing_mm, intensity or training_cases do not make sense"
        )


def describe_training(store: SliceStore, rows_by_case: Mapping[str, int], exclude: Collection[str]) -> dict[str, Any]:
    """Gives the part of a manifest that tells what a generator was trained on.

    ``training_cases`` carries the voxel hashes of every case whose slices were seen: the leak guard compares them.
    ``intensity`` is the brain's mean and sd per channel, averaged over those cases: samples are written on that scale.
    """
    cases = [case for case in store.cases if rows_by_case.get(case.id)]
    spacings = [(case.slice_mm, *case.pixel_mm) for case in cases]
    return {
        "channels": list(store.channels),
        "size": list(store.size),
        "spacing_mm": [float(median(values)) for values in zip(*spacings, strict=True)],
        "intensity": {
            name: {
                "mean": sum(case.intensity[name].mean for case in cases) / len(cases),
                "sd": sum(case.intensity[name].sd for case in cases) / len(cases),
            }
            for name in store.channels
        },
        "training_cases": [
            {
                "id": case.id,
                "patient": case.patient,
                "site": case.site,
                "slices": rows_by_case[case.id],
                "hashes": dict(case.hashes),
            }
            for case in cases
        ],
        "excluded": sorted(exclude),
    }


def write_manifest(run: RunFolder, status: str, **facts: Any) -> dict[str, Any]:
    """Writes the manifest; ``status`` is training, complete or failed."""
    manifest = {"format": FORMAT_VERSION, "kind": "generator", "status": status, **facts, "made_with": provenance()}
    write_json_atomic(run.manifest, manifest)
    return manifest
