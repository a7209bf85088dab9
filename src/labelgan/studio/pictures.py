"""Pictures of single slices for the page: grey, in true proportion, with the lesion's outline."""

from __future__ import annotations

from typing import Literal

import numpy as np

from labelgan.data.pictures import OUTLINE_RGB, encode_png, outline, to_grey
from labelgan.data.volume import LESION, OTHER_PATHOLOGY

OTHER_RGB = (86, 180, 233)  # sky blue of the same palette
LEAST_SIDE, MOST_SIDE = 16, 1024

Marking = Literal["none", "outline", "fill"]


def draw_slice(
    plane_HW: np.ndarray,
    mask_HW: np.ndarray | None,
    window: tuple[float, float],
    pixel_mm: tuple[float, float],
    side: int,
    marking: Marking = "outline",
) -> bytes:
    """Draws one slice.

    Args:
        plane_HW: values.
        mask_HW: 0, 1 and 2, or None.
        window: values shown black and white.
        pixel_mm: size of a pixel along rows and columns: what is not square is drawn in true proportion.
        side: pixels of the longer side, held to `LEAST_SIDE` and `MOST_SIDE`.
        marking: how the mask is shown.

    Returns:
        A PNG without metadata.
    """
    from PIL import Image

    side = min(max(side, LEAST_SIDE), MOST_SIDE)
    height, width = plane_HW.shape
    scale = side / max(height * pixel_mm[0], width * pixel_mm[1])
    size = max(1, round(width * pixel_mm[1] * scale)), max(1, round(height * pixel_mm[0] * scale))
    smooth = Image.Resampling.BICUBIC if size[0] >= width else Image.Resampling.LANCZOS
    grey = np.asarray(Image.fromarray(to_grey(plane_HW, window)).resize(size, smooth))
    if mask_HW is None or marking == "none" or not mask_HW.any():
        return encode_png(grey)
    # of all that a target pixel covers the lesion is kept: a small one must not vanish from a small picture
    labels = _resized_labels(mask_HW, size)
    pixels = np.stack([grey] * 3, axis=-1)
    for value, colour in ((OTHER_PATHOLOGY, OTHER_RGB), (LESION, OUTLINE_RGB)):
        if marking == "fill":
            inside = labels == value
            pixels[inside] = (pixels[inside] * 0.55 + np.array(colour) * 0.45).astype(np.uint8)
        pixels[outline(labels == value)] = colour
    return encode_png(pixels)


def draw_mask(mask_HW: np.ndarray, side: int) -> bytes:
    """Draws a mask alone, white on black, without smoothing."""
    grey = np.where(np.asarray(mask_HW) == LESION, 255, 0).astype(np.uint8)
    times = max(1, side // max(grey.shape))
    return encode_png(np.kron(grey, np.ones((times, times), np.uint8)))


def _resized_labels(mask_HW: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(rows, columns) of ``size`` = (columns, rows): enlarged by the nearest pixel, made smaller by the largest."""
    for axis, target in ((0, size[1]), (1, size[0])):
        length = mask_HW.shape[axis]
        edges = np.arange(target) * length // target
        if target >= length:
            mask_HW = np.take(mask_HW, edges, axis=axis)
        else:
            mask_HW = np.maximum.reduceat(mask_HW, edges, axis=axis)
    return mask_HW
