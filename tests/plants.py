"""What audits must find: slices that are copies in disguise, and masks that do not belong to their images."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from labelgan.rng import generator_for


def heads(count: int, seed: int = 0, side: int = 48, channels: int = 2) -> np.ndarray:
    """(N, C, side, side) round heads of one outline, each with its own smooth inside; float32."""
    from scipy.ndimage import gaussian_filter

    noise = generator_for(seed, "heads").standard_normal((count, channels, side, side))
    inside = gaussian_filter(noise, (0, 0, 1.5, 1.5))
    inside /= inside.std()
    axis = np.arange(side) - (side - 1) / 2
    head = np.hypot(axis[:, None], axis) < side / 3
    return np.where(head, inside, -3.0).astype(np.float32)


def shifted(images_NCHW: np.ndarray) -> np.ndarray:
    """Every slice moved by up to 3 pixels each way, not by whole ones."""
    from scipy.ndimage import shift

    generator = generator_for(0, "plants", "shift")
    moves = generator.uniform(-3, 3, (len(images_NCHW), 2))
    return np.stack(
        [shift(image, (0, *move), order=1, mode="nearest") for image, move in zip(images_NCHW, moves, strict=True)]
    )


def noisy(images_NCHW: np.ndarray) -> np.ndarray:
    """Noise with a standard deviation of 2 % of each channel's range."""
    extent = images_NCHW.max((2, 3), keepdims=True) - images_NCHW.min((2, 3), keepdims=True)
    noise = generator_for(0, "plants", "noise").standard_normal(images_NCHW.shape)
    return (images_NCHW + 0.02 * extent * noise).astype(np.float32)


def brightened(images_NCHW: np.ndarray) -> np.ndarray:
    """Brighter by a fifth, and by three tenths of a standard deviation."""
    return images_NCHW * 1.2 + 0.3


def flipped(images_NCHW: np.ndarray) -> np.ndarray:
    """Left to right."""
    return images_NCHW[..., ::-1].copy()


DISGUISES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "none": lambda images: images,
    "shifted": shifted,
    "flipped": flipped,
    "brightened": brightened,
    "noisy": noisy,
    "shifted, flipped, brightened, noisy": lambda images: noisy(brightened(flipped(shifted(images)))),
}
