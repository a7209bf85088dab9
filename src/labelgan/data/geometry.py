"""The way from a scan's own voxel grid to the store's axial slices, and back."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import permutations
from typing import Any, Literal, Self

import numpy as np

Order = Literal["image", "label"]


@dataclass(frozen=True)
class AxisMap:
    """Sampling of one axis of the native grid by one axis of the store.

    The native axis is first turned to the store's direction (``flipped``), then resampled about its centre to ``zoom``
    times as many pixels, then cropped or padded: store pixel ``k`` is resampled pixel ``start + k``.

    Attributes:
        native_axis: 0, 1 or 2, the axis of the native array.
        flipped: whether the store runs against the native axis.
        count: native voxels along the axis.
        zoom: native voxel size / store pixel size along the axis.
        start: resampled pixel that store pixel 0 is; negative where the store pads.
        length: store pixels along the axis.
    """

    native_axis: int
    flipped: bool
    count: int
    zoom: float
    start: int
    length: int

    def __post_init__(self) -> None:
        if self.native_axis not in (0, 1, 2) or self.count < 1 or self.length < 1 or not 0 < self.zoom < 1e6:
            raise ValueError(f"not an axis of an image: {self!r}")

    @classmethod
    def centred(cls, native_axis: int, flipped: bool, count: int, zoom: float, length: int) -> Self:
        """Crops or pads both sides alike; an odd voxel is cropped from the far side or padded to the near one."""
        return cls(native_axis, flipped, count, zoom, (_resampled(count, zoom) - length) // 2, length)

    @property
    def scale(self) -> tuple[float, float]:
        """``(a, b)`` such that store pixel ``k`` lies at turned native voxel ``a k + b``."""
        centre = (_resampled(self.count, self.zoom) - 1) / 2
        return 1 / self.zoom, (self.start - centre) / self.zoom + (self.count - 1) / 2

    def to_store_positions(self) -> np.ndarray:
        """(length,) turned native coordinate of every store pixel."""
        slope, offset = self.scale
        return slope * np.arange(self.length) + offset

    def to_native_positions(self) -> np.ndarray:
        """(count,) store coordinate of every turned native voxel."""
        slope, offset = self.scale
        return (np.arange(self.count) - offset) / slope

    @property
    def inside(self) -> np.ndarray:
        """Store pixels that lie inside the native field of view, in order; never none."""
        return _nearest(self.to_store_positions(), self.count)[0]


def _resampled(count: int, zoom: float) -> int:
    return max(1, math.ceil(count * zoom - 1e-6))  # rounded up: every native voxel keeps a pixel nearest to it


def _nearest(positions: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Gives the targets that lie inside ``count`` source pixels, and the source pixel nearest to each."""
    nearest = np.floor(positions + 0.5).astype(np.int64)
    inside = np.flatnonzero((nearest >= 0) & (nearest < count))
    return inside, nearest[inside]


def _linear_weights(positions: np.ndarray, count: int, support: float) -> np.ndarray:
    """(targets, count) triangle filter: linear interpolation, widened to ``support`` source pixels against aliasing."""
    weights = np.maximum(0.0, 1.0 - np.abs(positions[:, None] - np.arange(count)) / max(1.0, support))
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


@dataclass(frozen=True)
class SliceGeometry:
    """Native grid to store grid, for one case.

    Store slices are axial and seen as radiologists see them: axis z runs to Superior, rows to Posterior, columns to the
    patient's Left, so that row 0 is anterior and column 0 the patient's right. An oblique grid is not rotated: each
    native axis goes to the anatomical axis it is closest to, and `store_affine` tells the true directions.

    Attributes:
        native_affine: four rows of four numbers, native voxel index to millimetres, RAS+ as nibabel has it.
        z: slices, never resampled or cropped.
        y: rows of a slice.
        x: columns of a slice.
    """

    native_affine: tuple[tuple[float, ...], ...]
    z: AxisMap
    y: AxisMap
    x: AxisMap

    def __post_init__(self) -> None:
        if np.shape(self.native_affine) != (4, 4) or not np.isfinite(self.native_affine).all():
            raise ValueError("the affine is not a 4x4 matrix of finite numbers")
        if sorted(axis.native_axis for axis in (self.z, self.y, self.x)) != [0, 1, 2]:
            raise ValueError("the axes of the store are not those of the native grid")

    @classmethod
    def of(
        cls,
        shape: Sequence[int],
        affine: np.ndarray,
        size: tuple[int, int],
        spacing_mm: float | None = None,
    ) -> Self:
        """Fits a native grid to store slices by a crop or pad about the centre.

        Args:
            shape: (X, Y, Z) of the native array; pictures are (W, H, 1).
            affine: (4, 4), voxel index to millimetres, RAS+.
            size: rows and columns of a store slice.
            spacing_mm: side of a store pixel, mm; None keeps the native pixels.

        Raises:
            ValueError: the affine is singular or not finite, or the shape is not that of a volume.
        """
        affine = np.asarray(affine, dtype=np.float64)
        if len(shape) != 3 or affine.shape != (4, 4) or not np.isfinite(affine).all():
            raise ValueError("expected a shape of three numbers and a finite 4x4 affine")
        if abs(np.linalg.det(affine[:3, :3])) < 1e-12:
            raise ValueError("the affine is singular: its axes do not span space")
        spacing = np.linalg.norm(affine[:3, :3], axis=0)
        cosines = affine[:3, :3] / spacing
        right, anterior, superior = max(
            permutations(range(3)), key=lambda order: sum(abs(cosines[world, axis]) for world, axis in enumerate(order))
        )
        zooms = np.ones(3) if spacing_mm is None else spacing / spacing_mm
        return cls(
            native_affine=tuple(tuple(float(value) for value in row) for row in affine),
            z=AxisMap(superior, bool(cosines[2, superior] < 0), int(shape[superior]), 1.0, 0, int(shape[superior])),
            y=AxisMap.centred(
                anterior, bool(cosines[1, anterior] > 0), int(shape[anterior]), float(zooms[anterior]), size[0]
            ),
            x=AxisMap.centred(right, bool(cosines[0, right] > 0), int(shape[right]), float(zooms[right]), size[1]),
        )

    @property
    def native_shape(self) -> tuple[int, int, int]:
        """(X, Y, Z) of the native array."""
        counts = {axis.native_axis: axis.count for axis in (self.z, self.y, self.x)}
        return counts[0], counts[1], counts[2]

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns of a store slice."""
        return self.y.length, self.x.length

    @property
    def resampled(self) -> bool:
        """Whether store pixels differ in size from the native ones."""
        return self.y.zoom != 1.0 or self.x.zoom != 1.0

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance between neighbours of the store grid along (z, rows, columns), mm."""
        column, row, slice_ = np.linalg.norm(self.store_affine()[:3, :3], axis=0)
        return float(slice_), float(row), float(column)

    def store_affine(self, z: int = 0) -> np.ndarray:
        """(4, 4) affine, RAS+, of the array indexed [column, row, slice], its slice 0 being store slice ``z``."""
        to_native = np.zeros((4, 4))
        to_native[3, 3] = 1.0
        for store_axis, axis in enumerate((self.x, self.y, self.z)):
            slope, offset = axis.scale
            to_native[axis.native_axis, store_axis] = -slope if axis.flipped else slope
            to_native[axis.native_axis, 3] = axis.count - 1 - offset if axis.flipped else offset
        shift = np.eye(4)
        shift[2, 3] = z
        return np.asarray(self.native_affine) @ to_native @ shift

    def to_axial(self, volume_XYZ: np.ndarray) -> np.ndarray:
        """Turns a native array to [z, y, x] without crop or resampling; a view where NumPy can give one."""
        if volume_XYZ.shape != self.native_shape:
            raise ValueError(f"volume of shape {volume_XYZ.shape} on a grid of {self.native_shape}")
        axes = (self.z, self.y, self.x)
        turned = volume_XYZ.transpose([axis.native_axis for axis in axes])
        return np.flip(turned, tuple(i for i, axis in enumerate(axes) if axis.flipped))

    def from_axial(self, volume_ZYX: np.ndarray) -> np.ndarray:
        """The inverse of `to_axial`."""
        axes = (self.z, self.y, self.x)
        turned = np.flip(volume_ZYX, tuple(i for i, axis in enumerate(axes) if axis.flipped))
        return turned.transpose(np.argsort([axis.native_axis for axis in axes]))

    def to_store(self, volume_XYZ: np.ndarray, *, order: Order, fill: float = 0) -> np.ndarray:
        """Brings a native volume to the store grid.

        Args:
            volume_XYZ: native array.
            order: ``image`` interpolates linearly, smoothing first where it makes pixels larger; ``label`` takes the
                nearest voxel. Without resampling both copy voxels.
            fill: value outside the native field of view.

        Returns:
            (Z, H, W) array: float32 when an image is resampled, else of the volume's type.
        """
        axial = self.to_axial(volume_XYZ)
        y, x = self.y.to_store_positions(), self.x.to_store_positions()
        return _resample(axial, y, x, (1 / self.y.zoom, 1 / self.x.zoom), order, fill, exact=not self.resampled)

    def to_native(
        self,
        slices_ZHW: np.ndarray,
        fill: float = 0,
        order: Order = "label",
        z: Sequence[int] | np.ndarray | None = None,
    ) -> np.ndarray:
        """Brings store slices back to the native grid: inside the crop the inverse of `to_store`.

        Args:
            slices_ZHW: store slices.
            fill: value of native voxels outside the crop and of slices that are not given.
            order: as in `to_store`.
            z: the store slice that each of ``slices_ZHW`` is; None when all are given, in order.

        Returns:
            (X, Y, Z) native array.
        """
        rows = np.arange(self.z.length) if z is None else np.asarray(z, dtype=np.int64)
        if slices_ZHW.shape != (len(rows), *self.size):
            raise ValueError(f"slices of shape {slices_ZHW.shape}, expected {(len(rows), *self.size)}")
        y, x = self.y.to_native_positions(), self.x.to_native_positions()
        if order == "image" and self.resampled:  # the padding must not bleed into the edge
            first_y, last_y = self.y.inside[[0, -1]]
            first_x, last_x = self.x.inside[[0, -1]]
            slices_ZHW = slices_ZHW[:, first_y : last_y + 1, first_x : last_x + 1]
            y, x = y - first_y, x - first_x
        planes = _resample(slices_ZHW, y, x, (self.y.zoom, self.x.zoom), order, fill, exact=not self.resampled)
        axial = np.full((self.z.length, *planes.shape[1:]), fill, dtype=planes.dtype)
        axial[rows] = planes
        return np.ascontiguousarray(self.from_axial(axial))

    def to_json(self) -> dict[str, Any]:
        """Plain values for a manifest."""
        return _adapter().dump_python(self, mode="json")

    @classmethod
    def from_json(cls, value: Any) -> SliceGeometry:
        """Reads what `to_json` wrote; raises ValueError when it is anything else."""
        return _adapter().validate_python(value)


@lru_cache(maxsize=1)
def _adapter() -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(SliceGeometry)


def _resample(
    planes: np.ndarray,
    y: np.ndarray,
    x: np.ndarray,
    support: tuple[float, float],
    order: Order,
    fill: float,
    exact: bool,
) -> np.ndarray:
    """Samples (Z, rows, columns) planes at coordinates ``y`` and ``x``; outside of the planes is ``fill``.

    Interpolated values are clipped to the range of their plane, which only rounding can take them out of: a constant
    plane stays exactly that constant, whatever the processor's matrix product.
    """
    inside_y, nearest_y = _nearest(y, planes.shape[1])
    inside_x, nearest_x = _nearest(x, planes.shape[2])
    if exact or order == "label":
        result = np.full((len(planes), len(y), len(x)), fill, dtype=planes.dtype)
        result[:, inside_y[:, None], inside_x] = planes[:, nearest_y[:, None], nearest_x]
        return result
    result = np.full((len(planes), len(y), len(x)), fill, dtype=np.float32)
    by_row = _linear_weights(y[inside_y], planes.shape[1], support[0])
    by_column = _linear_weights(x[inside_x], planes.shape[2], support[1]).T
    for plane, target in zip(planes, result, strict=True):
        values = plane.astype(np.float32)
        target[inside_y[:, None], inside_x] = np.clip(by_row @ values @ by_column, values.min(), values.max())
    return result
