"""A run folder: what `train` leaves behind and `sample` reads."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from labelgan.config.gan import GanConfig
from labelgan.core.files import sha256_file
from labelgan.data.manifests import GeneratorManifest, StoredCase, TrainedFolder, read_trained
from labelgan.data.store import SliceStore
from labelgan.training.checkpoint import load_tensors

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class RunFolder(TrainedFolder):
    """Paths inside a run folder."""

    model = GeneratorManifest

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

    def read_manifest(self) -> GeneratorManifest:
        """Reads and validates the manifest; raises CheckpointError naming it."""
        return read_trained(self.path, GeneratorManifest)

    def read_config(self) -> GanConfig:
        """Reads the settings; raises ConfigError naming the file."""
        return GanConfig.from_toml(self.config)

    def hashes(self) -> dict[str, str]:
        """SHA-256 of the files of tensors that are there, for the manifest of a finished run."""
        files = (self.generator, self.critic, self.content)
        return {path.name: sha256_file(path) for path in files if path.is_file()}

    def load(self, path: Path, manifest: GeneratorManifest | None = None) -> dict[str, Tensor]:
        """Reads one of the run's files of tensors.

        Raises:
            CheckpointError: the file is missing or damaged, or its hash is not the manifest's.
        """
        return load_tensors(path, sha256=None if manifest is None else manifest.files_sha256.get(path.name))


def _mean_intensity(cases: Sequence[StoredCase], channels: Sequence[str]) -> dict[str, dict[str, float]]:
    return {
        name: {
            "mean": sum(case.intensity[name].mean for case in cases) / len(cases),
            "sd": sum(case.intensity[name].sd for case in cases) / len(cases),
        }
        for name in channels
    }


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
        "training_cases": [store.identity(case, rows_by_case[case.id]) for case in cases],
        "excluded": sorted(exclude),
    }
