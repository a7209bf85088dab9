"""The five metrics of the WMH Segmentation Challenge, with the values that its public scorer gives.

Kuijf et al., "Standardized assessment of automatic segmentation of white matter hyperintensities", IEEE TMI 38 (2019)
2556-2568. Other libraries' HD95 is another number: here the surface is found slice by slice, and the two directed
percentiles are not pooled.

A metric that an empty mask leaves undefined is None, never NaN and never a made-up number; so is HD95 where a mask has
no surface, as one that fills its slices. Where the public scorer stumbles over the type of a file, the definition
holds: it cuts its thresholds to the file's type, so that 255 of an 8-bit prediction is lost there, and counts here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import numpy as np

from labelgan.scoring.pair import MaskPair, axial_axis


@dataclass(frozen=True)
class Metric:
    """One way to judge a prediction.

    Attributes:
        name: key in ``METRICS``, in JSON and in CSV.
        title: as tables have it.
        unit: ``mm`` or ``%``; empty for a ratio.
        better: whether ``higher`` or ``lower`` values are better.
        compute: its value, or None where it is undefined.
    """

    name: str
    title: str
    unit: str
    better: Literal["higher", "lower"]
    compute: Callable[[MaskPair], float | None]

    @property
    def largest(self) -> float:
        """The largest value there can be: 1 of a ratio, inf of a distance or an error; the smallest is 0."""
        return math.inf if self.unit else 1.0


def _dsc(pair: MaskPair) -> float | None:
    """Dice similarity coefficient, 2 |R ∩ P| / (|R| + |P|)."""
    both = pair.reference_voxels + pair.predicted_voxels
    return 2 * pair.overlap_voxels / both if both else None


def _hd95(pair: MaskPair) -> float | None:
    """The larger of the two directed 95th percentiles of surface distance, mm."""
    if not all(edge.any() for edge in pair.surfaces):
        return None
    return max(float(np.percentile(distances, 95)) for distances in pair.distances_mm)


def _avd(pair: MaskPair) -> float | None:
    """Absolute volume difference, |R - P| / R × 100."""
    if not pair.reference_voxels:
        return None
    return abs(pair.reference_voxels - pair.predicted_voxels) / pair.reference_voxels * 100


def _lesion_f1(pair: MaskPair) -> float:
    """Harmonic mean of lesion recall and lesion precision; 0 where both are 0."""
    both = pair.recall + pair.precision
    return 2 * pair.recall * pair.precision / both if both else 0.0


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("dsc", "DSC", "", "higher", _dsc),
        Metric("hd95_mm", "HD95", "mm", "lower", _hd95),
        Metric("avd_percent", "AVD", "%", "lower", _avd),
        Metric("lesion_recall", "lesion recall", "", "higher", lambda pair: pair.recall),
        Metric("lesion_f1", "lesion F1", "", "higher", _lesion_f1),
    )
}


@dataclass(frozen=True)
class Scores:
    """The value of every metric for one case, or None where it is undefined; also as attributes: ``scores.dsc``."""

    values: Mapping[str, float | None]

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", MappingProxyType(dict(self.values)))

    def __getitem__(self, name: str) -> float | None:
        return self.values[name]

    def __getattr__(self, name: str) -> float | None:
        if name in METRICS:
            return self.values[name]
        raise AttributeError(f"{type(self).__name__!r} has no attribute {name!r}; metrics are {', '.join(METRICS)}")

    def __reduce__(self) -> tuple[type[Scores], tuple[dict[str, float | None]]]:
        return Scores, (dict(self.values),)  # a read-only view cannot be pickled, and workers send scores

    def to_json(self) -> dict[str, float | None]:
        """Plain values, in the order of ``METRICS``."""
        return dict(self.values)


def score_masks(
    reference: np.ndarray,
    prediction: np.ndarray,
    *,
    affine: np.ndarray | None = None,
    spacing: Sequence[float] | None = None,
    slice_axis: int | None = None,
) -> Scores:
    """Scores one prediction against its reference, on one grid.

    Args:
        reference: (X, Y, Z), values around 1 lesion, around 2 other pathology, which is left out of both masks.
        prediction: (X, Y, Z), lesion where 1 to 1000 for integer types, where 0.5 to 1000 for float types.
        affine: (4, 4) or (3, 3), voxel index to millimetres, third coordinate towards the head: RAS+ or LPS+. Slices
            are axial whatever the order in which the axes are stored.
        spacing: instead of ``affine``, voxel size along the three axes, mm; the third then runs across slices.
        slice_axis: the axis across which slices are stacked, where it is not to be found from the affine. The
            challenge's own scorer takes the third stored axis, 2, whatever it is.

    Raises:
        ValueError: shapes differ or are not of three axes, or the geometry is missing or singular.

    Example:
        >>> import numpy as np
        >>> reference = np.zeros((8, 8, 4), dtype=np.uint8)
        >>> reference[2:4, 2:4, 1:3] = 1
        >>> scores = score_masks(reference, np.roll(reference, 1, axis=0), spacing=(1, 1, 3))
        >>> scores.dsc, scores.hd95_mm, scores.lesion_f1
        (0.5, 1.0, 1.0)
    """
    reference, prediction = np.asarray(reference), np.asarray(prediction)
    if reference.ndim != 3 or reference.shape != prediction.shape or not reference.size:
        raise ValueError(f"a reference of shape {reference.shape} and a prediction of shape {prediction.shape}")
    for mask in (reference, prediction):
        if mask.dtype.kind not in "biuf":
            raise ValueError(f"a mask of {mask.dtype}: expected numbers")
    axes_mm = _axes_mm(affine, spacing)
    if slice_axis is None:
        slice_axis = axial_axis(axes_mm)
    elif slice_axis not in (0, 1, 2):
        raise ValueError(f"slice axis {slice_axis}: expected 0, 1 or 2")
    pair = MaskPair.of(reference, prediction, axes_mm, slice_axis)
    return Scores({name: metric.compute(pair) for name, metric in METRICS.items()})


def _axes_mm(affine: np.ndarray | None, spacing: Sequence[float] | None) -> np.ndarray:
    """(3, 3), the step along each array axis as a column."""
    if (affine is None) == (spacing is None):
        raise ValueError("give either affine or spacing: HD95 is in mm")
    if affine is None:
        sizes = np.asarray(spacing, dtype=np.float64)
        if sizes.shape != (3,) or not (np.isfinite(sizes) & (sizes > 0)).all():
            raise ValueError(f"spacing {spacing}: expected three positive numbers")
        return np.diag(sizes)
    matrix = np.asarray(affine, dtype=np.float64)
    if matrix.shape not in ((3, 3), (4, 4)) or not np.isfinite(matrix).all():
        raise ValueError("expected an affine of 4x4 or 3x3 finite numbers")
    axes = matrix[:3, :3]
    if not abs(np.linalg.det(axes)) > 1e-12:
        raise ValueError("the affine is singular: its axes do not span space")
    return axes
