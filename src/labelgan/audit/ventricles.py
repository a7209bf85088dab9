"""Where a slice shows ventricles: fluid deep in the brain, found by its darkness. An estimate; no slice tells more."""

from __future__ import annotations

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
