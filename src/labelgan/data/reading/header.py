"""Facts of an image that are known before its voxels are read, and the limits that it must keep."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from labelgan.config.base import CheckConfig
from labelgan.core.errors import DataError
from labelgan.core.words import times

DEFAULT_LIMITS = CheckConfig.build({})
_GEOMETRY = "set its sform again, or export the image again"


@dataclass(frozen=True)
class Header:
    """The description of one stored image.

    Attributes:
        file: where it is stored.
        shape: voxels along the three stored axes; pictures are (columns, rows, 1).
        affine: (4, 4), voxel index to millimetres, RAS+.
        dtype: stored type, before any scaling.
        kind: ``nifti``, ``png``, ``tiff`` or ``npz``.
        components: colour components of a picture; 1 for a NIfTI.
        qform: of a NIfTI that stores two affines, the one that was not chosen; else None.
    """

    file: Path
    shape: tuple[int, int, int]
    affine: np.ndarray
    dtype: np.dtype
    kind: str = "nifti"
    components: int = 1
    qform: np.ndarray | None = None

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Voxel size along the three stored axes, mm."""
        x, y, z = np.sqrt((np.asarray(self.affine, dtype=np.float64)[:3, :3] ** 2).sum(axis=0))
        return float(x), float(y), float(z)

    @property
    def is_picture(self) -> bool:
        """True for what holds one slice: PNG and TIFF, which have no geometry, and NumPy archives."""
        return self.kind != "nifti"


SAME_GRID = 0.05  # voxels: two grids no further apart are one
NEAR_GRID = 0.25  # voxels: up to here it is a rounded header rather than another grid, and voxels stay as they are


def voxels_apart(shape: tuple[int, ...], affine: np.ndarray, other: np.ndarray) -> float:
    """Gives the largest distance of the corners of two grids of one shape, along an axis, in voxels of the first.

    Infinite where an affine is not finite or singular.
    """
    steps = grid_corners(shape, other) - grid_corners(shape, affine)
    try:
        found = float(np.abs(np.linalg.solve(affine[:3, :3], steps.T)).max())
    except np.linalg.LinAlgError:
        return float("inf")
    return found if np.isfinite(found) else float("inf")


def apart_mm(shape: tuple[int, ...], affine: np.ndarray, other: np.ndarray) -> float:
    """Gives the largest distance of the corners of two grids of one shape, mm; not finite where an affine is not."""
    with np.errstate(all="ignore"):
        return float(np.linalg.norm(grid_corners(shape, other) - grid_corners(shape, affine), axis=1).max())


def grid_corners(shape: tuple[int, ...], affine: np.ndarray) -> np.ndarray:
    """Millimetre positions of a grid's eight corner voxels, (8, 3)."""
    index = np.array(np.meshgrid(*[(0, size - 1) for size in shape], indexing="ij"), dtype=np.float64).reshape(3, 8)
    with np.errstate(all="ignore"):
        return (affine[:3, :3] @ index + affine[:3, 3:]).T


def check_size(path: Path, shape: tuple[int, ...], bytes_unfolded: int, limits: CheckConfig) -> None:
    """Refuses, before anything is allocated, what a header claims beyond the limits. Raises DataError."""
    if any(size < 1 for size in shape):
        raise DataError(
            path,
            f"the header claims the shape {times(shape)}: every axis needs at least one voxel; export the image again",
        )
    voxels = math.prod(shape)
    if voxels > limits.max_voxels:
        raise DataError(
            path,
            f"the header claims {times(shape)} = {voxels:.3g} voxels, more than the limit of {limits.max_voxels:.3g}; "
            "crop the image, or export it again where that is not its size",
        )
    if bytes_unfolded > limits.max_file_bytes:
        raise DataError(
            path, f"would unfold to {bytes_unfolded:.3g} bytes, more than the limit of {limits.max_file_bytes:.3g}"
        )


def check_affine(path: Path, affine: np.ndarray) -> None:
    """Refuses an affine that is not finite or maps the grid onto a plane, line or point. Raises DataError."""
    if not np.isfinite(affine).all():
        raise DataError(path, f"the header's affine holds NaN or infinity: {_GEOMETRY}")
    with np.errstate(all="ignore"):
        lengths = np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
        # The volume of the cell of unit axes: 1 for perpendicular axes, 0 for axes in one plane.
        volume = abs(np.linalg.det(affine[:3, :3] / np.where(lengths > 0, lengths, 1.0)))
    if not np.isfinite(lengths).all() or lengths.min() <= 0 or not volume > 1e-4:
        spacing = "×".join(f"{length:g}" for length in lengths)
        raise DataError(path, f"the header's affine is singular (voxel size {spacing} mm): {_GEOMETRY}")


@contextmanager
def untrusted(path: Path, what: str) -> Iterator[None]:
    """Turns whatever a parser raises on a malformed file into one DataError.

    Decoders of untrusted bytes raise many kinds of exception; none of them may end a check of a whole cohort.
    """
    try:
        with np.errstate(all="ignore"):
            yield
    except DataError:
        raise
    except PermissionError:
        raise DataError(path, f"{what}: permission denied; ask for the right to read it") from None
    except MemoryError:
        raise DataError(path, f"{what}: not enough memory for what the header claims") from None
    except Exception as error:
        raise DataError(path, f"{what}: {str(error)[:200] or type(error).__name__}") from error
