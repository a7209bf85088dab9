"""What a refining generator starts from: anatomies without a lesion's label, and lesions of the training patients.

Anatomies are slices of healthy phantoms, which belong to nobody, and slices of the training patients. A run keeps the
patients' slices that it uses in ``content.safetensors``; the phantoms come with the package.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch

from labelgan.checkpoint import load_tensors, save_tensors
from labelgan.config_gan import ContentConfig
from labelgan.data.case import LESION
from labelgan.data.phantom_slices import ASSET, PhantomSlices
from labelgan.data.store import SliceStore
from labelgan.errors import CheckpointError, DataError
from labelgan.files import sha256_file
from labelgan.rng import generator_for

HEIGHTS = (0.1, 0.95)  # of the brain; below are skull base and neck, above the vertex
SMALLEST_BRAIN = 0.25  # of the median brain's pixels
SMALLEST_LESION = 2  # pixels
TYPES = {"images": torch.float16, "lesions": torch.bool, "brains": torch.bool, "heights": torch.float32}


@dataclass(frozen=True, eq=False)
class Slices:
    """Labelled slices: float32 z-scores (N, C, H, W), bool lesions and brains (N, H, W), float32 heights (N,)."""

    images_NCHW: np.ndarray
    lesions_NHW: np.ndarray
    brains_NHW: np.ndarray
    heights_N: np.ndarray

    def __len__(self) -> int:
        return len(self.images_NCHW)


@dataclass(frozen=True, eq=False)
class Content:
    """The stock of a refining generator.

    Attributes:
        patients: slices of the training patients, with and without lesions.
        phantoms: healthy slices of phantoms on the same grid; none where phantoms lack a channel.
    """

    patients: Slices
    phantoms: Slices

    @classmethod
    def gather(cls, store: SliceStore, rows: np.ndarray, config: ContentConfig, seed: int) -> Self:
        """Takes a generator's training slices, at most ``config.keep`` of each kind, and phantoms to match.

        Raises:
            DataError: none of the slices has a lesion.
        """
        heights, pixels = store.index["z_fraction"][rows], store.index["brain_voxels"][rows]
        inner = (heights > HEIGHTS[0]) & (heights < HEIGHTS[1]) & (pixels > SMALLEST_BRAIN * np.median(pixels))
        lesion_pixels = store.index["lesion_voxels"][rows]
        with_lesion = lesion_pixels >= SMALLEST_LESION
        if not with_lesion.any():
            raise DataError(
                store.path, "none of the training slices has a lesion of two pixels or more; nothing to learn"
            )
        kept = [
            _some(rows[chosen], config.keep, generator_for(seed, "content", name))
            for name, chosen in (("lesions", with_lesion), ("anatomies", inner & (lesion_pixels == 0)))
        ]
        part = store.read(np.concatenate(kept))
        patients = Slices(
            part.images_NCHW,
            part.masks_NHW == LESION,
            part.brains_NHW > 0,
            store.index["z_fraction"][np.concatenate(kept)].astype(np.float32),
        )
        return cls(patients, _phantoms(store.channels, store.size, patients))

    def save(self, path: Path) -> None:
        """Writes the patients' part; the phantoms are named by the hash of the package's file."""
        patients = self.patients
        save_tensors(
            path,
            {
                "images": torch.from_numpy(patients.images_NCHW.astype(np.float16)),
                "lesions": torch.from_numpy(patients.lesions_NHW),
                "brains": torch.from_numpy(patients.brains_NHW),
                "heights": torch.from_numpy(patients.heights_N),
                "phantoms": torch.tensor(list(bytes.fromhex(sha256_file(ASSET))), dtype=torch.uint8),
            },
        )

    @classmethod
    def load(cls, path: Path, channels: tuple[str, ...], size: tuple[int, int], sha256: str | None = None) -> Self:
        """Reads what `save` wrote; raises CheckpointError where it is damaged, of other phantoms or another hash."""
        if not path.is_file():
            raise CheckpointError(path, "is missing; the generator paints on the slices in it")
        tensors = load_tensors(path, sha256=sha256)
        shapes = {"images": (len(channels), *size), "lesions": size, "brains": size, "heights": ()}
        count = len(tensors["images"]) if "images" in tensors else 0
        if not count or any(
            name not in tensors or tensors[name].shape != (count, *shape) or tensors[name].dtype != TYPES[name]
            for name, shape in shapes.items()
        ):
            raise CheckpointError(path, f"does not hold slices of {len(channels)} channels, {size[0]}×{size[1]}")
        phantoms = tensors.get("phantoms", torch.empty(0))
        if phantoms.dtype != torch.uint8 or bytes(phantoms.flatten().tolist()).hex() != sha256_file(ASSET):
            raise CheckpointError(path, "was made with other phantoms than this version's; train the generator again")
        patients = Slices(
            tensors["images"].float().numpy(),
            tensors["lesions"].numpy(),
            tensors["brains"].numpy(),
            tensors["heights"].numpy(),
        )
        return cls(patients, _phantoms(channels, size, patients))


def _phantoms(channels: tuple[str, ...], size: tuple[int, int], patients: Slices) -> Slices:
    slices = PhantomSlices.read().with_channels(channels)
    if slices is None:
        none = np.zeros((0, *size), bool)
        return Slices(np.zeros((0, len(channels), *size), np.float32), none, none, np.zeros(0, np.float32))
    slices = slices.on_grid(size, (patients.brains_NHW, patients.heights_N))
    # What the phantom's head has grown out of the picture carries no brain.
    whole = slices.brains_NHW.any(axis=(1, 2))
    images_NCHW, brains_NHW = slices.images_NCHW[whole], slices.brains_NHW[whole]
    return Slices(images_NCHW, np.zeros_like(brains_NHW), brains_NHW, slices.heights_N[whole])


def _some(rows: np.ndarray, most: int, rng: np.random.Generator) -> np.ndarray:
    return rows if len(rows) <= most else np.sort(rng.choice(rows, most, replace=False))
