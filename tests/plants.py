"""What audits must find: slices that are copies in disguise, and masks that do not belong to their images."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path

import numpy as np

from labelgan.audit.slices import AuditSlices
from labelgan.core.rng import generator_for
from labelgan.data.export.write import CohortFacts, LabelledSlice, export_cohort
from labelgan.data.store import SliceStore


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
        np.repeat(brain[None], len(images), axis=0),
        patients=names,
        cases=names,
        heights_N=np.full(len(images), 0.5, np.float32),
        names=np.array([f"{name}/{row}" for row in range(len(images))]),
    )


def shifted(images_NCHW: np.ndarray) -> np.ndarray:
    """Every slice moved by up to 3 pixels each way, not by whole ones."""
    from scipy.ndimage import shift

    generator = generator_for(0, "plants", "shift")
    moves = generator.uniform(-3, 3, (len(images_NCHW), 2))
    return np.stack(
        [
            shift(image.astype(np.float32), (0, *move), order=1, mode="nearest")
            for image, move in zip(images_NCHW, moves, strict=True)
        ]
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


def shuffled(masks_NHW: np.ndarray) -> np.ndarray:
    """The masks in another order."""
    return masks_NHW[generator_for(0, "plants", "shuffled").permutation(len(masks_NHW))]


def moved(masks_NHW: np.ndarray) -> np.ndarray:
    """The masks eight pixels further down."""
    return np.roll(masks_NHW, 8, 1)


def dilated(masks_NHW: np.ndarray) -> np.ndarray:
    """The lesions three pixels larger on every side."""
    from scipy.ndimage import binary_dilation

    grown = [binary_dilation(mask == 1, iterations=3) for mask in masks_NHW]
    return np.where(np.stack(grown), 1, masks_NHW).astype(np.uint8)


MASK_FAULTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "shuffled": shuffled,
    "moved by 8 pixels": moved,
    "dilated by 3": dilated,
}


def with_masks(slices: AuditSlices, fault: Callable[[np.ndarray], np.ndarray]) -> AuditSlices:
    """The slices with spoilt masks."""
    return replace(slices, masks_NHW=fault(slices.masks_NHW))


def with_images(slices: AuditSlices, disguise: Callable[[np.ndarray], np.ndarray]) -> AuditSlices:
    """The slices in disguise."""
    return replace(slices, images_NCHW=np.ascontiguousarray(disguise(slices.z_scores()), np.float32))


def present_as_samples(slices: AuditSlices, folder: Path, store: SliceStore, learned: Collection[str]) -> Path:
    """Writes slices as ``labelgan sample --format npz`` would, of a generator that saw some patients of a store."""
    row_mm, column_mm = store.cases[0].pixel_mm
    facts = CohortFacts(store.channels, store.size, (store.cases[0].slice_mm, row_mm, column_mm))
    seen = [{"id": c.id, "patient": c.patient, "hashes": c.hashes} for c in store.cases if c.patient in learned]
    written = (
        LabelledSlice(f"syn{row:06d}", image, image, (mask == 1).astype(np.uint8))
        for row, (image, mask) in enumerate(zip(slices.z_scores(), slices.masks_NHW, strict=True))
    )
    told = {"kind": "synthetic-slices", "generator": {"training_cases": seen}}
    export_cohort("npz", written, folder, facts, lambda: told)
    return folder
