"""Describes a set of masks: number of lesions, their sizes, share of the brain, and places."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

DEEP = 0.35
"""Ventricles lie further from the brain's edge than this share of the slice's greatest such distance."""

DARK = 1.5
"""Fluid is darker in every channel than the brain's median by so many standard deviations, of the middle half."""

FEWEST_PX = 3
"""Fewer pixels than these, in one piece, are no ventricle."""

_QUARTILES_SD = 1.349  # between the quartiles of a normal distribution lie so many standard deviations


def ventricles_of(image_CHW: np.ndarray, edge_px_HW: np.ndarray) -> np.ndarray:
    """Finds the ventricles of one slice.

    Fluid is dark on T1 and on FLAIR; what is dark on one of them alone (a lesion on T1, iron on FLAIR) is not taken.

    Args:
        image_CHW: (C, H, W) z-scores of FLAIR, T1 or both.
        edge_px_HW: (H, W) distance to the outside of the brain, pixels; 0 outside.

    Returns:
        (H, W) bool.
    """
    from scipy.ndimage import label

    brain_HW = edge_px_HW > 0
    if not brain_HW.any():
        return np.zeros(brain_HW.shape, bool)
    low, middle, high = np.percentile(image_CHW[:, brain_HW].astype(np.float32), (25, 50, 75), axis=1)
    limit_C = middle - DARK * (high - low) / _QUARTILES_SD
    fluid_HW = (image_CHW < limit_C[:, None, None]).all(0) & (edge_px_HW > DEEP * edge_px_HW.max())
    found, _ = label(fluid_HW, np.ones((3, 3)))  # pyright: ignore[reportGeneralTypeIssues]
    pieces_HW: np.ndarray = np.asarray(found)
    large = np.bincount(pieces_HW.ravel()) >= FEWEST_PX
    large[0] = False
    return large[pieces_HW]


@dataclass(frozen=True, eq=False)
class LesionTable:
    """N slices and L lesions, the 8-connected components of label 1.

    Attributes:
        load: (N,) lesion pixels over brain pixels; nan where a slice shows no brain.
        count: (N,) lesions.
        outside: (N,) share of the lesion pixels that lie outside the brain; nan where there is no lesion.
        slice: (L,) the slice of every lesion.
        size: (L,) its pixels.
        depth: (L,) mean distance of its pixels to the brain's edge over the largest such distance of the slice: 0 at
            the edge, 1 in the middle; nan where the slice shows no brain.
        ventricle_px: (L,) least distance to a ventricle, pixels; nan where the slice shows none, or was not searched.
    """

    load: np.ndarray
    count: np.ndarray
    outside: np.ndarray
    slice: np.ndarray
    size: np.ndarray
    depth: np.ndarray
    ventricle_px: np.ndarray

    @property
    def empty_rate(self) -> float:
        """Share of the slices without lesion."""
        return float((self.count == 0).mean())


def components(lesion_HW: np.ndarray) -> tuple[np.ndarray, int]:
    """Numbers the 8-connected components of a mask from 1; gives (H, W) numbers and how many there are."""
    from scipy.ndimage import label

    parts_HW, count = label(lesion_HW, np.ones((3, 3)))  # pyright: ignore[reportGeneralTypeIssues]
    return np.asarray(parts_HW), int(count)


def measure_lesions(
    masks_NHW: np.ndarray, brains_NHW: np.ndarray, images_NCHW: np.ndarray | None = None
) -> LesionTable:
    """Measures every lesion of every slice.

    Args:
        masks_NHW: (N, H, W), 0 background, 1 lesion, 2 other pathology.
        brains_NHW: (N, H, W), 0 or 1.
        images_NCHW: (N, C, H, W) z-scores to look for ventricles in, or None; see `audit.ventricles`.
    """
    from scipy.ndimage import distance_transform_edt

    total, brain = (masks_NHW == 1).sum((1, 2)), (brains_NHW > 0).sum((1, 2))
    count = np.zeros(len(masks_NHW), int)
    outside = np.full(len(masks_NHW), np.nan)
    rows, sizes, depths, gaps = [], [], [], []
    for number in np.flatnonzero(total):
        lesion, inside = masks_NHW[number] == 1, brains_NHW[number] > 0
        outside[number] = (lesion & ~inside).sum() / total[number]
        parts, found = components(lesion)
        count[number] = found
        index = parts.ravel()
        size = np.bincount(index, minlength=found + 1)[1:]
        edge_px = np.asarray(distance_transform_edt(np.pad(inside, 1)))[1:-1, 1:-1]
        depth = np.bincount(index, edge_px.ravel(), found + 1)[1:] / size
        deepest = edge_px.max()
        rows.append(np.full(found, number))
        sizes.append(size)
        depths.append(depth / deepest if deepest else np.full(found, np.nan))
        gap = np.full(found, np.nan)
        ventricles = None if images_NCHW is None else ventricles_of(images_NCHW[number], edge_px)
        if ventricles is not None and ventricles.any():
            away_px = np.asarray(distance_transform_edt(~ventricles))
            gap = np.array([away_px[parts == lesion].min() for lesion in range(1, found + 1)])
        gaps.append(gap)
    load = np.where(brain > 0, total / np.maximum(brain, 1), np.nan)
    joined = (np.concatenate(parts) if parts else np.zeros(0) for parts in (rows, sizes, depths, gaps))
    slice_, size, depth, gap = joined
    return LesionTable(load, count, outside, slice_.astype(int), size.astype(int), depth, gap)
