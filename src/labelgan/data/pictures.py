"""Pictures of slices: every image channel in grey, then the first one with the lesion's outline."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from labelgan.core.files import write_bytes_atomic

OUTLINE_RGB = (230, 159, 0)  # orange of Okabe and Ito's palette, told apart by colour-blind readers
GAP_PX = 2


def grey_window(images_NHW: np.ndarray) -> tuple[float, float]:
    """Gives the values shown black and white: the 1st and 99.8th percentile of everything shown together."""
    low, high = np.percentile(images_NHW, (1.0, 99.8))
    return float(low), float(max(high, low + 1e-6))


def to_grey(image_HW: np.ndarray, window: tuple[float, float]) -> np.ndarray:
    """Maps values to (H, W) uint8 within a window."""
    low, high = window
    return (np.clip((image_HW - low) / (high - low), 0.0, 1.0) * 255 + 0.5).astype(np.uint8)


def outline(mask_HW: np.ndarray) -> np.ndarray:
    """Gives the pixels just outside the lesion, (H, W) bool, so that the lesion itself stays visible."""
    mask = np.asarray(mask_HW, bool)
    padded = np.pad(mask, 1)
    near = padded[:-2, 1:-1] | padded[2:, 1:-1] | padded[1:-1, :-2] | padded[1:-1, 2:]
    return near & ~mask


def panel(
    images_CHW: np.ndarray, mask_HW: np.ndarray, windows: Sequence[tuple[float, float]], zoom: int = 1
) -> np.ndarray:
    """Lays out one slice: its channels side by side, then the first with the outline; (rows, columns, 3) uint8."""
    greys = [np.kron(to_grey(i, w), np.ones((zoom, zoom), np.uint8)) for i, w in zip(images_CHW, windows, strict=True)]
    big_mask = np.kron(np.asarray(mask_HW, np.uint8), np.ones((zoom, zoom), np.uint8)) > 0
    outlined = np.stack([greys[0]] * 3, axis=-1)
    outlined[outline(big_mask)] = OUTLINE_RGB
    gap = np.full((outlined.shape[0], GAP_PX, 3), 255, np.uint8)
    tiles = [tile for grey in greys for tile in (np.stack([grey] * 3, axis=-1), gap)]
    return np.concatenate([*tiles, outlined], axis=1)


def mosaic(
    images_NCHW: np.ndarray, masks_NHW: np.ndarray, columns: int | None = None, zoom: int | None = None
) -> np.ndarray:
    """Lays out slices in a grid of panels on white.

    Args:
        images_NCHW: (N, C, H, W) values of any scale; each channel gets one grey window for the whole grid.
        masks_NHW: (N, H, W), non-zero where there is a lesion.
        columns: panels a row; about a square picture by default.
        zoom: screen pixels a pixel; small slices are enlarged by default.

    Returns:
        (rows, columns, 3) uint8.
    """
    count, channels, height, width = images_NCHW.shape
    zoom = zoom or max(1, 128 // max(height, width))
    columns = columns or max(1, round(math.sqrt(count / (channels + 1))))
    windows = [grey_window(images_NCHW[:, channel]) for channel in range(channels)]
    panels = [panel(i, m, windows, zoom) for i, m in zip(images_NCHW, masks_NHW, strict=True)]
    gap = 4 * GAP_PX
    rows = math.ceil(count / columns)
    tile_height, tile_width = panels[0].shape[:2]
    canvas = np.full((rows * (tile_height + gap) - gap, columns * (tile_width + gap) - gap, 3), 255, np.uint8)
    for index, picture in enumerate(panels):
        top, left = (index // columns) * (tile_height + gap), (index % columns) * (tile_width + gap)
        canvas[top : top + tile_height, left : left + tile_width] = picture
    return canvas


def encode_png(pixels: np.ndarray) -> bytes:
    """Encodes (H, W) or (H, W, 3|4) uint8 as PNG, without any metadata."""
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format="PNG")
    return stream.getvalue()


def save_png(path: Path, pixels: np.ndarray) -> None:
    """Writes a PNG, atomically."""
    write_bytes_atomic(path, encode_png(pixels))
