"""What audits must find: slices that are copies in disguise, and masks that do not belong to their images."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from labelgan.audit.slices import AuditSlices
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


def labelled(name: str, count: int, slices: int = 14, side: int = 64) -> AuditSlices:
    """Slices of patients with round brains, textured inside, and up to three lesions, bright on FLAIR, dark on T1.

    Every patient has a contrast and a load of its own.
    """
    from scipy.ndimage import gaussian_filter

    axis = np.arange(side)
    images = np.full((count * slices, 2, side, side), -3.0, np.float32)
    masks = np.zeros((count * slices, side, side), np.uint8)
    brain = (axis[:, None] - side / 2) ** 2 + (axis - side / 2) ** 2 <= (side / 2.4) ** 2
    for patient in range(count):
        generator = generator_for(0, "labels", name, patient)
        contrast, often = generator.uniform(1, 2), generator.uniform(0.5, 2)
        for row in range(patient * slices, (patient + 1) * slices):
            for _ in range(min(3, generator.poisson(often))):
                angle, away, radius = generator.uniform(0, 6.3), generator.uniform(3, 20), generator.uniform(1, 4)
                centre = side / 2 + away * np.array([np.sin(angle), np.cos(angle)])
                masks[row][(axis[:, None] - centre[0]) ** 2 + (axis - centre[1]) ** 2 <= radius**2] = 1
            noise = gaussian_filter(generator.standard_normal((2, side, side)), (0, 1.5, 1.5))
            noise *= 0.4 / noise.std()
            scale = np.array([contrast, -0.3]).reshape(2, 1, 1)
            images[row] = np.where(brain, noise + scale * (masks[row] == 1), -3)
    names = np.repeat([f"{name}{number}" for number in range(count)], slices)
    return AuditSlices(
        images,
        masks,
        np.repeat(brain[None].astype(np.uint8), len(images), axis=0),
        patients=names,
        cases=names,
        z_fraction=np.full(len(images), 0.5, np.float32),
        names=np.array([f"{name}/{row}" for row in range(len(images))]),
    )


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
