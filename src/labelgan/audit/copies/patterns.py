"""Patterns by which slices are compared, without brightness, contrast and outline."""

from __future__ import annotations

import numpy as np

WORKING_SIDE = 64
"""Slices are averaged down by whole factors to about this many pixels a side."""

_BLOCK = 512


def patterns_of(images_NCHW: np.ndarray, side: int = WORKING_SIDE) -> np.ndarray:
    """Gives slices less their local mean and over their local contrast, a little smoothed.

    A pattern hardly changes with brightness, contrast or a smooth bias field, and the outline of the head weighs no
    more in it than what lies inside. It is the same whatever other slices are worked on.

    Args:
        images_NCHW: (N, C, H, W) of any scale, in memory or mapped.
        side: pixels to average down to, about.

    Returns:
        (N, C, h, w) float16, the shorter sides by a whole factor; 0 where an image is flat.

    Raises:
        ValueError: an image is not finite.
    """
    from scipy.ndimage import gaussian_filter, uniform_filter

    count, channels, height, width = images_NCHW.shape
    factor = max(1, round(max(height, width) / side))
    rows, columns = -(-height // factor), -(-width // factor)
    margin = ((0, 0), (0, 0), (0, rows * factor - height), (0, columns * factor - width))
    window = max(rows, columns) // 8 * 2 + 1  # odd, so that a flipped slice has the flipped pattern
    patterns = np.empty((count, channels, rows, columns), np.float16)
    for start in range(0, count, _BLOCK):
        images = np.asarray(images_NCHW[start : start + _BLOCK], np.float32)
        if not np.isfinite(images).all():
            raise ValueError(f"a slice among rows {start} to {start + len(images) - 1} is not finite")
        images = np.pad(images, margin, mode="edge")
        images = images.reshape(len(images), channels, rows, factor, columns, factor).mean((3, 5))
        images -= images.mean((2, 3), keepdims=True)
        images /= images.std((2, 3), keepdims=True) + 1e-6
        # about the sharpness that is left of a copy moved by half a pixel
        images = gaussian_filter(images, (0, 0, 0.7, 0.7), mode="nearest")
        images -= uniform_filter(images, window, axes=(2, 3), mode="nearest")
        power = uniform_filter(images**2, window, axes=(2, 3), mode="nearest")
        # the floor keeps the noise of an empty background small
        patterns[start : start + _BLOCK] = images / (np.sqrt(np.maximum(power, 0)) + 0.3)
    return patterns


def halved(patterns_NCHW: np.ndarray) -> np.ndarray:
    """Gives (N, C, h // 2, w // 2) float32: means over 2 × 2 pixels, smoothed so that half of them suffice."""
    from scipy.ndimage import gaussian_filter

    count, channels, height, width = patterns_NCHW.shape
    rows, columns = height // 2, width // 2
    halves_NCHW = np.empty((count, channels, rows, columns), np.float32)
    for start in range(0, count, _BLOCK):
        even = patterns_NCHW[start : start + _BLOCK, :, : 2 * rows, : 2 * columns].astype(np.float32)
        means = even.reshape(len(even), channels, rows, 2, columns, 2).mean((3, 5))
        halves_NCHW[start : start + _BLOCK] = gaussian_filter(means, (0, 0, 0.8, 0.8), mode="nearest")
    return halves_NCHW


def unit_vectors(halved_NCHW: np.ndarray, parts: int) -> np.ndarray:
    """Gives every second pixel of halved patterns as vectors of unit length, whole or in parts.

    Args:
        halved_NCHW: (N, C, h, w) float32.
        parts: 1 for whole slices, 2 for 2 × 2 quadrants; what is over at the lower right is left out.

    Returns:
        (parts², N, K); all channels that are not flat are equally long, so that a product is a mean correlation.
    """
    quarter = halved_NCHW[..., ::2, ::2]
    count, channels, height, width = quarter.shape
    rows, columns = height // parts, width // parts
    cut = quarter[:, :, : parts * rows, : parts * columns].reshape(count, channels, parts, rows, parts, columns)
    vectors = cut.transpose(2, 4, 0, 1, 3, 5).reshape(parts**2, count, channels, rows * columns)
    length = np.linalg.norm(vectors, axis=3, keepdims=True)
    share = np.maximum((length > 1e-4).sum(2, keepdims=True), 1)
    return (vectors / np.maximum(length, 1e-4) / np.sqrt(share)).reshape(parts**2, count, -1)
