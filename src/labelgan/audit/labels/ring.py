"""Fit of a mask to its image: the contrast of the inside against a ring around it, and across its edge."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

RING_PX = (2.0, 4.0)
"""Distance of the ring from the mask, pixels."""

EDGE_PX = 2.0
"""Depth, to either side of the mask's edge, of the contrast across the edge, pixels."""

LEAST_EFFECT = 0.3
"""Real masks must stand out from others' by so many standard deviations between slices, or nothing is told."""


def contrasts(
    images_NCHW: np.ndarray,
    masks_NHW: np.ndarray,
    brains_NHW: np.ndarray,
    ring_px: tuple[float, float] = RING_PX,
    edge_px: float = EDGE_PX,
) -> tuple[np.ndarray, np.ndarray]:
    """Measures every slice's lesion contrast: mean inside less mean outside, per channel.

    Outside are pixels of the brain in no pathology. Distances are Euclidean, in pixels, between centres of pixels.

    Args:
        images_NCHW: (N, C, H, W) z-scores, of any precision.
        masks_NHW: (N, H, W), 0 background, 1 lesion, 2 other pathology.
        brains_NHW: (N, H, W), 0 or 1.
        ring_px: least and largest distance of the ring from the lesion.
        edge_px: how far the two bands along the edge reach.

    Returns:
        ring_NC: whole lesion against the ring, z-scores.
        edge_NC: the lesion's outermost pixels against those just outside it, z-scores. Unlike the ring's, it vanishes
            where the mask is too large, or a little out of place.
        Both nan where a slice has no lesion, or nothing outside it.
    """
    from scipy.ndimage import distance_transform_edt

    count, channels = images_NCHW.shape[:2]
    ring_NC = np.full((count, channels), np.nan)
    edge_NC = np.full((count, channels), np.nan)
    for number in np.flatnonzero((masks_NHW == 1).any((1, 2))):
        image, lesion = np.asarray(images_NCHW[number], np.float64), masks_NHW[number] == 1
        healthy = (brains_NHW[number] > 0) & (masks_NHW[number] == 0)
        outside_px = np.asarray(distance_transform_edt(~lesion))
        inside_px = np.asarray(distance_transform_edt(np.pad(lesion, 1)))[1:-1, 1:-1]
        ring = healthy & (outside_px >= ring_px[0]) & (outside_px <= ring_px[1])
        if ring.any():
            ring_NC[number] = image[:, lesion].mean(1) - image[:, ring].mean(1)
        outer = healthy & (outside_px <= edge_px)
        if outer.any():
            edge_NC[number] = image[:, lesion & (inside_px <= edge_px)].mean(1) - image[:, outer].mean(1)
    return ring_NC, edge_NC


@dataclass(frozen=True, eq=False)
class ContrastFit:
    """Real slices' mean contrast, and that of the same slices with each other's masks.

    Attributes:
        own_C: mean contrast of the slices with their own masks.
        others_C: with the masks of others.
        weights_C: what a channel counts: the difference of the two over the variance between slices.
    """

    own_C: np.ndarray
    others_C: np.ndarray
    weights_C: np.ndarray

    @classmethod
    def of(cls, own_NC: np.ndarray, others_NC: np.ndarray) -> Self | None:
        """Fits to the contrasts of slices; None where masks of others do as well, so that nothing can be told."""
        own_NC, others_NC = (values[np.isfinite(values).all(1)] for values in (own_NC, others_NC))
        if len(own_NC) < 2 or len(others_NC) < 2:
            return None
        own_C, others_C = own_NC.mean(0), others_NC.mean(0)
        variance_C = (own_NC.var(0) + others_NC.var(0)) / 2
        apart_C = own_C - others_C
        weights_C = np.divide(apart_C, variance_C, out=np.zeros_like(apart_C), where=variance_C > 0)
        return cls(own_C, others_C, weights_C) if apart_C @ weights_C > LEAST_EFFECT**2 else None

    def agreement(self, contrasts_NC: np.ndarray) -> np.ndarray:
        """(N,) 1 as with the slices' own masks, 0 as with others', on the line between; nan where not defined."""
        return (contrasts_NC - self.others_C) @ self.weights_C / ((self.own_C - self.others_C) @ self.weights_C)
