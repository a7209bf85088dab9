"""A run folder: what `train` leaves behind and `sample` reads."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from labelgan.config.gan import GanConfig
from labelgan.core.errors import CheckpointError
from labelgan.core.files import sha256_file, write_json_atomic
from labelgan.core.provenance import provenance
from labelgan.data.store import SliceStore, StoredCase
from labelgan.training.checkpoint import load_tensors, read_model_manifest

if TYPE_CHECKING:
    from torch import Tensor

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
            raise CheckpointError(self.path, "there is no such run folder; `labelgan train --out` makes one")
        manifest = read_model_manifest(self.manifest, "generator", FORMAT_VERSION)
        _validate(manifest, self.manifest)
        return manifest

    def read_config(self) -> GanConfig:
        """Reads the settings; raises ConfigError naming the file."""
        return GanConfig.from_toml(self.config)

    def hashes(self) -> dict[str, str]:
        """SHA-256 of the files of tensors that are there, for the manifest of a finished run."""
        files = (self.generator, self.critic, self.content)
        return {path.name: sha256_file(path) for path in files if path.is_file()}

    def load(self, path: Path, manifest: Mapping[str, Any]) -> dict[str, Tensor]:
        """Reads one of the run's files of tensors.

        Raises:
            CheckpointError: the file is missing or damaged, or its hash is not the manifest's.
        """
        return load_tensors(path, sha256=told_hash(manifest, path))


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
        and all(_is_intensity(value) for value in manifest["intensity"].values())
        and _are_intensities(manifest.get("site_intensity", {}), channels)
        and isinstance(manifest.get("training_cases"), list)
        and isinstance(manifest.get("status"), str)
        and isinstance(manifest.get("files_sha256", {}), dict)
    )
    if not sound:
        raise CheckpointError(
            path,
            "is damaged: channels, size, spacing_mm, intensity or training_cases make no sense; copy the folder again",
        )


def told_hash(manifest: Mapping[str, Any], path: Path) -> str | None:
    """The SHA-256 that a manifest tells of a file; None in manifests of before there were hashes in them."""
    return manifest.get("files_sha256", {}).get(path.name)


def _is_intensity(value: Any) -> bool:
    """Mean and sd, both finite numbers."""
    numbers = [value.get("mean"), value.get("sd")] if isinstance(value, dict) else [None]
    return all(isinstance(number, int | float) and abs(number) < 1e30 for number in numbers)


def _mean_intensity(cases: Sequence[StoredCase], channels: Sequence[str]) -> dict[str, dict[str, float]]:
    return {
        name: {
            "mean": sum(case.intensity[name].mean for case in cases) / len(cases),
            "sd": sum(case.intensity[name].sd for case in cases) / len(cases),
        }
        for name in channels
    }


def _are_intensities(sites: Any, channels: list[str]) -> bool:
    """By site, all channels of each."""
    return isinstance(sites, dict) and all(
        isinstance(entry, dict) and set(entry) == set(channels) and all(map(_is_intensity, entry.values()))
        for entry in sites.values()
    )


def describe_training(store: SliceStore, rows_by_case: Mapping[str, int], exclude: Collection[str]) -> dict[str, Any]:
    """Gives the part of a manifest that tells what a generator was trained on.

    ``training_cases`` carries the voxel hashes of every case whose slices were seen: the leak guard compares them.
    ``intensity`` is the brain's mean and sd per channel, averaged over those cases: samples are written on that scale,
    and those that are asked for of a site on that of ``site_intensity``.
    """
    cases = [case for case in store.cases if rows_by_case.get(case.id)]
    spacings = [(case.slice_mm, *case.pixel_mm) for case in cases]
    return {
        "channels": list(store.channels),
        "size": list(store.size),
        "spacing_mm": [float(median(values)) for values in zip(*spacings, strict=True)],
        "intensity": _mean_intensity(cases, store.channels),
        "site_intensity": {
            site: _mean_intensity([case for case in cases if case.site == site], store.channels)
            for site in sorted({case.site for case in cases if case.site})
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
