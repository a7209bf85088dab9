"""One image on disk, its voxels on their grid, and the values of a mask."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

BACKGROUND, LESION, OTHER_PATHOLOGY = 0, 1, 2


@dataclass(frozen=True)
class ImageRef:
    """One channel on disk: a file, and which component of it where a file holds several (RGB pictures).

    Attributes:
        path: the file.
        component: which colour component of a picture, or None where there is one.
        labels: of a mask, pairs (stored value, 0, 1 or 2); empty when the file stores 0, 1 and 2 themselves.
    """

    path: Path
    component: int | None = None
    labels: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class Volume:
    """Voxels on their grid.

    Attributes:
        data: (X, Y, Z) array in storage order; pictures are (W, H, 1).
        affine: (4, 4), voxel index to millimetres, RAS+ as nibabel has it.
    """

    data: np.ndarray
    affine: np.ndarray
