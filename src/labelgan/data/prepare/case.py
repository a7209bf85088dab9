"""One case from voxels on disk to normalised axial slices.

The order is that of Li et al., NeuroImage 183 (2018) 650-665: brain mask, z-score inside it per volume, crop or pad.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, overload

import numpy as np

from labelgan.config.base import PrepareConfig
from labelgan.core.errors import DataError
from labelgan.data.case import Case
from labelgan.data.check.fingerprint import fingerprints
from labelgan.data.check.leaks import KnownScan, hash_of_mask
from labelgan.data.geometry import SliceGeometry
from labelgan.data.prepare.brain import BrainTask, brain_mask
from labelgan.data.prepare.crop import Reach
from labelgan.data.prepare.face import shows_face
from labelgan.data.reading.header import NEAR_GRID, apart_mm, voxels_apart
from labelgan.data.volume import LESION, Volume

if TYPE_CHECKING:
    import torch

UNIT_SOFTNESS = 4.0  # z-score that the map to [-1, 1] takes to tanh(1) = 0.76
UNIT_LIMIT = 1.0 - 1e-6
AIR_PERCENTILE = 1.0  # of the volume; low enough for air, high enough to pass over a few stray voxels
_RESAMPLE = "resample it onto that grid (a mask by nearest neighbour)"
Z_LIMIT = 1000.0  # z-scores are held to ±1000, which float16 can carry


@dataclass(frozen=True)
class PreparedCase:
    """The slices of one case, as the store keeps them.

    Attributes:
        case: what it was made from.
        images_ZCHW: float32 z-scores: (intensity - mean) / sd, both measured inside the brain of the whole volume. The
            head outside the brain is kept. Outside the native field of view stands what air has: the z-score of the
            volume's first percentile.
        masks_ZHW: uint8, 0 background, 1 lesion, 2 other pathology; all 0 for a case without a mask.
        brains_ZHW: bool.
        z: (Z,) which axial slice of `geometry` each slice is.
        z_fraction: (Z,) float32, 0 at the lowest slice with brain, 1 at the highest; 0.5 where only one has any.
        geometry: the way back to the native grid.
        intensity: per channel ``mean`` and ``sd``: intensity = z-score × sd + mean.
        known: by what the case is known, whatever its names; hashes are of voxels as they were read.
        brain_voxels: native voxels of the brain; ``brain_voxels_cropped`` of them lie outside the slices.
        lesion_voxels: native voxels of lesions; ``lesion_voxels_cropped`` of them lie outside the slices.
        face: whether an image looks as if it showed a face; see `face.shows_face`.
    """

    case: Case
    images_ZCHW: np.ndarray
    masks_ZHW: np.ndarray
    brains_ZHW: np.ndarray
    z: np.ndarray
    z_fraction: np.ndarray
    geometry: SliceGeometry
    intensity: Mapping[str, Mapping[str, float]]
    known: KnownScan
    brain_voxels: int
    brain_voxels_cropped: int
    lesion_voxels: int
    lesion_voxels_cropped: int
    face: bool = False

    @property
    def hashes(self) -> Mapping[str, str]:
        """Per channel the hash of the voxels."""
        return self.known.hashes


def prepare_case(
    case: Case, config: PrepareConfig, channels: Sequence[str] | None = None, brain: np.ndarray | None = None
) -> PreparedCase:
    """Reads one case and makes its slices.

    Args:
        case: the case; its voxels are read here and let go again.
        config: size, spacing (not ``auto``, which `prepare_store` resolves), brain mask and the rest.
        channels: which channels, in order; None takes the case's own.
        brain: (X, Y, Z) the brain on the native grid, where `measure_brain` has found it already.

    Raises:
        DataError: a channel is missing, a file cannot be read or holds NaN, Inf or one value only, or grids differ.
    """
    names, volumes, hashes, geometry = _read(case, config, channels)
    prints = fingerprints(volumes) if config.fingerprints else {}
    grid = volumes[names[0]]
    mask = _mask(case, grid)
    labels = np.zeros(grid.data.shape, np.uint8) if mask is None else mask.data.astype(np.uint8, copy=False)
    if brain is None:
        brain = _brain(case, volumes, geometry, config)
    if config.n4:
        from labelgan.data.prepare.itk import correct_bias_field

        volumes = {name: correct_bias_field(volume, brain) for name, volume in volumes.items()}

    brains_ZHW = geometry.to_store(brain, order="label", fill=0)
    masks_ZHW = geometry.to_store(labels, order="label", fill=0)
    z = _chosen_slices(brains_ZHW, masks_ZHW, geometry, config)
    images_ZCHW = np.empty((len(z), len(names), *config.size), dtype=np.float32)
    intensity = {}
    for index, (name, volume) in enumerate(volumes.items()):
        values = volume.data[brain]
        mean, sd = float(values.mean(dtype=np.float64)), float(values.std(dtype=np.float64))
        if sd <= 1e-6 * abs(mean):
            raise DataError(case.images[name].path, f"the {name} image holds one value only inside the brain mask")
        intensity[name] = {"mean": mean, "sd": sd}
        air = float(np.percentile(volume.data, AIR_PERCENTILE))
        stored = geometry.to_store(volume.data, order="image", fill=air)[z]
        images_ZCHW[:, index] = np.clip((stored - mean) / sd, -Z_LIMIT, Z_LIMIT)
    lesion = labels == LESION
    seen = geometry.to_native(np.ones((geometry.z.length, *geometry.size), dtype=bool), fill=False)
    return PreparedCase(
        case=case,
        images_ZCHW=images_ZCHW,
        masks_ZHW=masks_ZHW[z],
        brains_ZHW=brains_ZHW[z],
        z=z,
        z_fraction=_heights(geometry.to_axial(brain), z),
        geometry=geometry,
        intensity=intensity,
        known=KnownScan(case.id, case.patient, hashes, hash_of_mask(mask), prints),
        brain_voxels=int(np.count_nonzero(brain)),
        brain_voxels_cropped=int(np.count_nonzero(brain & ~seen)),
        lesion_voxels=int(np.count_nonzero(lesion)),
        lesion_voxels_cropped=int(np.count_nonzero(lesion & ~seen)),
        face=any(shows_face(volume) for volume in volumes.values()),
    )


def measure_brain(case: Case, config: PrepareConfig, channels: Sequence[str] | None = None) -> tuple[np.ndarray, Reach]:
    """Finds the brain of a case on its native grid (X, Y, Z), and how far it reaches.

    Raises:
        DataError: as `prepare_case`.
    """
    _, volumes, _, geometry = _read(case, config.model_copy(update={"spacing_mm": None}), channels)
    brain = _brain(case, volumes, geometry, config)
    return brain, Reach.of(geometry.to_axial(brain), geometry)


def _read(
    case: Case, config: PrepareConfig, channels: Sequence[str] | None
) -> tuple[tuple[str, ...], dict[str, Volume], dict[str, str], SliceGeometry]:
    """Reads the channels of a case, and registers them where that is asked for: names, volumes, hashes, geometry."""
    from labelgan.data.reading.read import voxel_hash

    assert config.spacing_mm != "auto"
    names = tuple(case.images if channels is None else channels)
    if missing := [name for name in names if name not in case.images]:
        raise DataError(case.id, f"has no {' and no '.join(missing)} image")
    volumes = {name: case.load_image(name) for name in names}
    hashes = {name: voxel_hash(volume) for name, volume in volumes.items()}
    for name, volume in volumes.items():
        if not np.isfinite(volume.data).all():
            raise DataError(
                case.images[name].path, "holds values that are not finite (NaN or Inf): make it again, or --exclude"
            )
    _require_different(case, volumes, hashes)
    grid = volumes[names[0]]
    try:
        geometry = SliceGeometry.of(grid.data.shape, grid.affine, config.size, config.spacing_mm)
    except ValueError as error:
        raise DataError(case.images[names[0]].path, str(error)) from None
    if config.register_t1:
        volumes = _registered(volumes)
    for name, volume in volumes.items():
        require_same_grid(volume, grid, case.images[name].path)
    return names, volumes, hashes, geometry


def _brain(case: Case, volumes: Mapping[str, Volume], geometry: SliceGeometry, config: PrepareConfig) -> np.ndarray:
    axial = {name: geometry.to_axial(volume.data) for name, volume in volumes.items()}
    return geometry.from_axial(brain_mask(BrainTask(case, axial, geometry, config)))


def _require_different(case: Case, volumes: Mapping[str, Volume], hashes: Mapping[str, str]) -> None:
    """Raises DataError where one channel is a copy of another; images of one value have errors of their own."""
    first: dict[str, str] = {}
    for name, digest in hashes.items():
        other = first.setdefault(digest, name)
        if other != name and np.ptp(volumes[name].data) > 0:
            raise DataError(case.images[name].path, f"{name} holds the same voxels as {other}: fetch the right file")


def _registered(volumes: dict[str, Volume]) -> dict[str, Volume]:
    from labelgan.data.prepare.itk import register_rigidly

    (first, fixed), *others = volumes.items()
    if fixed.data.shape[2] == 1:
        return volumes  # pictures lie in one plane: there is nothing to register in 3D
    return {first: fixed, **{name: register_rigidly(volume, fixed) for name, volume in others}}


def require_same_grid(volume: Volume, grid: Volume, path: Path) -> None:
    """Raises DataError unless the volumes have one shape and their corners lie within `NEAR_GRID` voxels."""
    if volume.data.shape != grid.data.shape:
        raise DataError(
            path, f"shape {volume.data.shape} differs from the first channel's {grid.data.shape}; {_RESAMPLE}"
        )
    if voxels_apart(grid.data.shape, grid.affine, volume.affine) <= NEAR_GRID:
        return
    distance = apart_mm(grid.data.shape, grid.affine, volume.affine)
    raise DataError(path, f"its grid lies {distance:.3g} mm from the first channel's; {_RESAMPLE}")


def _mask(case: Case, grid: Volume) -> Volume | None:
    mask = case.load_mask()
    if mask is not None and case.mask is not None:
        require_same_grid(mask, grid, case.mask.path)
    return mask


def _chosen_slices(
    brains_ZHW: np.ndarray, masks_ZHW: np.ndarray, geometry: SliceGeometry, config: PrepareConfig
) -> np.ndarray:
    """Every K-th slice that has brain or lesion; at least one."""
    count = len(brains_ZHW)
    candidates = np.arange(min(config.every // 2, (count - 1) // 2), count, config.every)
    if not config.drop_empty:
        return candidates
    brain_voxels = brains_ZHW[candidates].sum(axis=(1, 2))
    pixels_seen = len(geometry.y.inside) * len(geometry.x.inside)
    kept = brain_voxels >= max(1.0, config.min_brain_fraction * pixels_seen)
    kept |= (masks_ZHW[candidates] == LESION).any(axis=(1, 2))
    return candidates[kept] if kept.any() else candidates[[np.argmax(brain_voxels)]]


def _heights(brain_ZYX: np.ndarray, z: np.ndarray) -> np.ndarray:
    """(len(z),) height of each slice in the brain, 0 to 1."""
    low, high = np.flatnonzero(brain_ZYX.any(axis=(1, 2)))[[0, -1]]
    if low == high:
        return np.full(len(z), 0.5, dtype=np.float32)
    return np.clip((z - low) / (high - low), 0, 1).astype(np.float32)


@overload
def to_unit(z_scores: np.ndarray) -> np.ndarray: ...
@overload
def to_unit(z_scores: torch.Tensor) -> torch.Tensor: ...
def to_unit(z_scores: np.ndarray | torch.Tensor) -> np.ndarray | torch.Tensor:
    """Maps z-scores to (-1, 1) by tanh(z / 4), the same for every case; NumPy arrays or torch tensors."""
    if isinstance(z_scores, np.ndarray):
        return np.tanh(z_scores / UNIT_SOFTNESS)
    return (z_scores / UNIT_SOFTNESS).tanh()


@overload
def from_unit(unit: np.ndarray) -> np.ndarray: ...
@overload
def from_unit(unit: torch.Tensor) -> torch.Tensor: ...
def from_unit(unit: np.ndarray | torch.Tensor) -> np.ndarray | torch.Tensor:
    """The inverse of `to_unit`; values are first held within 1e-6 of ±1, so that z-scores end near ±29."""
    if isinstance(unit, np.ndarray):
        return UNIT_SOFTNESS * np.arctanh(np.clip(unit, -UNIT_LIMIT, UNIT_LIMIT))
    return UNIT_SOFTNESS * unit.clamp(-UNIT_LIMIT, UNIT_LIMIT).atanh()
