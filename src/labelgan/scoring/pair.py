"""A reference and a prediction as two boolean masks, cropped to their lesions, and what metrics are computed from.

Thresholds, surfaces and lesions are those of the WMH Segmentation Challenge's public scorer: Kuijf et al., IEEE TMI 38
(2019) 2556-2568.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import permutations
from typing import Self

import numpy as np

# Values of a float mask; integers leave only 1 and 2 of the first two ranges. Both ends belong to a range.
REFERENCE_LESION = (0.5, 1.5)
REFERENCE_OTHER = (1.5, 2.5)
PREDICTED_LESION_FLOAT = (0.5, 1000)
PREDICTED_LESION_INTEGER = (1, 1000)


def predicted_lesion(prediction: np.ndarray) -> np.ndarray:
    """Tells where a prediction says lesion: 1 to 1000 for integer types, 0.5 to 1000 for floats; NaN is background."""
    return _within(prediction, _predicted_range(prediction))


def axial_axis(affine: np.ndarray) -> int:
    """The array axis that runs most nearly from foot to head; of a tie, the order as stored.

    Each array axis goes to the anatomical axis it is closest to, all three together.

    Args:
        affine: (4, 4) or (3, 3), voxel index to millimetres, with the third coordinate towards the head.
    """
    cosines = np.abs(affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0))
    orders = permutations(range(3))
    return max(orders, key=lambda order: sum(cosines[world, axis] for world, axis in enumerate(order)))[2]


@dataclass(frozen=True)
class MaskPair:
    """Two masks on one grid, cropped to their lesions with a margin of one voxel where the image goes on.

    Attributes:
        reference: boolean, the expert's lesions; axes in the order in which they lay in memory.
        prediction: boolean, the predicted lesions, empty where the reference has other pathology.
        axes_mm: (3, 3), column k is the step in mm from a voxel to the next along array axis k.
        slice_axis: the array axis across which slices are stacked.
    """

    reference: np.ndarray
    prediction: np.ndarray
    axes_mm: np.ndarray
    slice_axis: int

    @classmethod
    def of(cls, reference: np.ndarray, prediction: np.ndarray, axes_mm: np.ndarray, slice_axis: int) -> Self:
        """Thresholds and crops two masks of the same shape, any type. The voxels given are not changed."""
        reference, prediction = _without_bool(reference), _without_bool(prediction)
        # Axes in the order in which they lie in memory, the slowest first: every pass then runs along memory.
        order = sorted(range(3), key=lambda axis: -abs(reference.strides[axis]))
        reference, prediction = reference.transpose(order), prediction.transpose(order)
        axes_mm, slice_axis = axes_mm[:, order], order.index(slice_axis)
        with np.errstate(invalid="ignore"):  # NaN compares as False
            lowest = 1 if reference.dtype.kind in "iu" else REFERENCE_LESION[0]
            box = _box_of((reference >= lowest) | (prediction >= _predicted_range(prediction)[0]))
            reference, prediction = reference[box], prediction[box]
            other = _within(reference, REFERENCE_OTHER)
            return cls(_within(reference, REFERENCE_LESION), predicted_lesion(prediction) & ~other, axes_mm, slice_axis)

    @cached_property
    def reference_voxels(self) -> int:
        """Number of lesion voxels of the reference."""
        return int(np.count_nonzero(self.reference))

    @cached_property
    def predicted_voxels(self) -> int:
        """Number of lesion voxels of the prediction."""
        return int(np.count_nonzero(self.prediction))

    @cached_property
    def overlap(self) -> np.ndarray:
        """Lesion in both."""
        return self.reference & self.prediction

    @cached_property
    def overlap_voxels(self) -> int:
        """Number of voxels that are lesion in both."""
        return int(np.count_nonzero(self.overlap))

    @cached_property
    def recall(self) -> float:
        """Part of the reference's lesions that the prediction touches; 1 where there are none."""
        return _touched(self.reference, self.overlap)

    @cached_property
    def precision(self) -> float:
        """Part of the predicted lesions that touch the reference; 1 where there are none."""
        return _touched(self.prediction, self.overlap)

    @cached_property
    def surfaces(self) -> tuple[np.ndarray, np.ndarray]:
        """Boundary voxels of reference and prediction; none where a mask is empty or fills all the slices it is in."""
        return surface(self.reference, self.slice_axis), surface(self.prediction, self.slice_axis)

    @cached_property
    def distances_mm(self) -> tuple[np.ndarray, np.ndarray]:
        """From every surface voxel of one mask to the nearest of the other's: (reference to prediction, and back).

        Both masks must have a surface.
        """
        reference, prediction = self.surfaces
        return _nearest_mm(reference, prediction, self.axes_mm), _nearest_mm(prediction, reference, self.axes_mm)


def surface(mask: np.ndarray, slice_axis: int) -> np.ndarray:
    """The mask less its erosion by a 3×3 box in every slice; outside the array counts as lesion.

    Args:
        mask: boolean, of three axes.
        slice_axis: the axis across which slices are stacked; nothing is eroded along it.
    """
    inner = mask
    for axis in {0, 1, 2} - {slice_axis}:
        lines = np.moveaxis(inner, axis, 0)
        eroded = lines.copy(order="K")
        eroded[1:] &= lines[:-1]
        eroded[:-1] &= lines[1:]
        inner = np.moveaxis(eroded, 0, axis)
    return mask & ~inner


def _nearest_mm(start: np.ndarray, target: np.ndarray, axes_mm: np.ndarray) -> np.ndarray:
    from scipy.spatial import KDTree

    shared = np.zeros(np.count_nonzero(start & target))  # a voxel of both surfaces is at distance zero
    apart = _points_mm(start & ~target, axes_mm)
    if not len(apart):
        return shared
    # On points of a grid, median splits and tight boxes cost more than they save.
    tree = KDTree(_points_mm(target, axes_mm), leafsize=32, balanced_tree=False, compact_nodes=False)
    return np.concatenate([shared, tree.query(apart)[0]])


def _points_mm(mask: np.ndarray, axes_mm: np.ndarray) -> np.ndarray:
    """(n, 3) places of the voxels of a mask, counted from its first voxel."""
    return np.stack(np.unravel_index(np.flatnonzero(mask), mask.shape), axis=1) @ axes_mm.T


def _touched(lesions: np.ndarray, overlap: np.ndarray) -> float:
    """Part of the 26-connected components that hold a voxel of ``overlap``."""
    from scipy.ndimage import label

    labels, count = label(lesions, np.ones((3, 3, 3)), output=np.int32)  # type: ignore[misc]
    return len(np.unique(labels[overlap])) / count if count else 1.0


def _within(values: np.ndarray, limits: tuple[float, float]) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        return (values >= limits[0]) & (values <= limits[1])


def _predicted_range(prediction: np.ndarray) -> tuple[float, float]:
    return PREDICTED_LESION_FLOAT if prediction.dtype.kind == "f" else PREDICTED_LESION_INTEGER


def _without_bool(mask: np.ndarray) -> np.ndarray:
    return mask.view(np.uint8) if mask.dtype == np.bool_ else mask


def _box_of(found: np.ndarray) -> tuple[slice, ...]:
    """The smallest box that holds what was found, one voxel wider where it can be; one voxel where nothing was."""
    box = [slice(None)] * found.ndim
    for axis in range(found.ndim):  # the slowest axis first: what is left is small
        others = tuple(other for other in range(found.ndim) if other != axis)
        where = np.flatnonzero(found[tuple(box)].any(axis=others))
        if not len(where):
            return (slice(0, 1),) * found.ndim
        box[axis] = slice(max(0, int(where[0]) - 1), int(where[-1]) + 2)
    return tuple(box)
