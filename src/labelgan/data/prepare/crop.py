"""Shares of brains and lesions outside slices of a given size, and a pixel size that leaves out nothing."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from labelgan.core.errors import DataError
from labelgan.data.geometry import SliceGeometry

STEP_MM = 0.05  # chosen pixel sizes are multiples of this
MARGIN = 2  # pixels around the brain, both sides together
CURE = "use a larger --size, a larger --spacing, or --spacing auto"


class Counted(Protocol):
    """Native voxels of one case, inside and outside of its slices."""

    @property
    def brain_voxels(self) -> int: ...
    @property
    def brain_voxels_cropped(self) -> int: ...
    @property
    def lesion_voxels(self) -> int: ...
    @property
    def lesion_voxels_cropped(self) -> int: ...


@dataclass(frozen=True)
class Reach:
    """Gives the extent that slices must cover, mm: the reach of a brain from the centre of its field of view.

    Attributes:
        extent_mm: along rows and columns, twice the distance from the centre to the brain's furthest border.
        pixel_mm: size of a native pixel along rows and columns.
    """

    extent_mm: tuple[float, float]
    pixel_mm: tuple[float, float]

    @classmethod
    def of(cls, brain_ZYX: np.ndarray, geometry: SliceGeometry) -> Reach:
        """Measures a brain on its native grid; ``geometry`` gives the size of pixels."""
        affine = np.asarray(geometry.native_affine)[:3, :3]
        lengths = np.linalg.norm(affine, axis=0)
        pixel = (float(lengths[geometry.y.native_axis]), float(lengths[geometry.x.native_axis]))
        extents = []
        for along, length in zip((1, 2), pixel, strict=True):
            hits = np.flatnonzero(brain_ZYX.any(axis=tuple({0, 1, 2} - {along})))
            centre = (brain_ZYX.shape[along] - 1) / 2
            extents.append(float(2 * (max(centre - hits[0], hits[-1] - centre) + 0.5) * length))
        return cls((extents[0], extents[1]), pixel)


def fitting_spacing(reaches: Sequence[Reach], size: tuple[int, int]) -> float | None:
    """The pixel size, mm, at which slices of ``size`` pixels hold every brain; None where native pixels do."""
    needed = [
        (extent / (length - MARGIN), pixel)
        for reach in reaches
        for extent, pixel, length in zip(reach.extent_mm, reach.pixel_mm, size, strict=True)
    ]
    if all(least <= pixel for least, pixel in needed):
        return None
    return math.ceil(max(least for least, _ in needed) / STEP_MM - 1e-9) * STEP_MM


def crop_warning(cases: Iterable[Counted]) -> str | None:
    """One line on what lies outside the slices, or None where nothing does."""
    cases = list(cases)
    count = sum(case.lesion_voxels_cropped > 0 or case.brain_voxels_cropped > 0 for case in cases)
    if not count:
        return None
    brain = _share(sum(case.brain_voxels_cropped for case in cases), sum(case.brain_voxels for case in cases))
    lesion = _share(sum(case.lesion_voxels_cropped for case in cases), sum(case.lesion_voxels for case in cases))
    return f"{brain} of the brains and {lesion} of the lesion voxels lie outside the slices ({count} cases); {CURE}"


def require_lesions_inside(cropped: int, lesions: int, most: float, subject: object) -> None:
    """Raises DataError where more than a share ``most`` of all lesion voxels lies outside the slices."""
    if cropped > most * lesions:
        raise DataError(
            str(subject),
            f"{_share(cropped, lesions)} of the lesion voxels lie outside the slices; {CURE}, "
            f"or accept it with --set max_cropped=1 (in a study: prepare.max_cropped=1)",
        )


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.2g} %" if part and whole else "none"
