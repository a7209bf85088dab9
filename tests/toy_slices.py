"""Slices for tests of audits: smooth textures inside an ellipse, each patient's own, with bright lesions or none."""

from __future__ import annotations

import numpy as np

from labelgan.audit.slices import AuditSlices
from labelgan.core.rng import generator_for

AIR = -4.0


def toy_slices(count: int, seed: int, *, side: int = 32, patients: int = 6, synthetic: bool = False) -> AuditSlices:
    """Draws slices of patients of two channels; each third slice has no lesion."""
    from scipy.ndimage import gaussian_filter

    rows, columns = np.mgrid[:side, :side] / (side - 1) - 0.5
    images = np.empty((count, 2, side, side), np.float32)
    masks = np.zeros((count, side, side), np.uint8)
    brains = np.zeros((count, side, side), bool)
    heights = np.empty(count, np.float32)
    own = [generator_for(seed, "patient", number).normal(0, 0.5, (2, side, side)) for number in range(patients)]
    for row in range(count):
        draw, patient = generator_for(seed, "slice", row), row % patients
        heights[row] = draw.random()
        reach = 0.25 + 0.2 * np.sin(np.pi * heights[row])
        brain = (rows / (1.1 * reach)) ** 2 + (columns / reach) ** 2 < 1
        texture = gaussian_filter(own[patient] + draw.normal(0, 0.7, (2, side, side)), (0, 1.5, 1.5)) * 4
        if row % 3:
            down, right = draw.uniform(-0.5, 0.5, 2) * reach
            radius = draw.uniform(0.05, 0.1)
            lesion = ((rows - down) ** 2 + (columns - right) ** 2 < radius**2) & brain
            masks[row] = lesion
            texture = texture + np.array([3.0, -1.0])[:, None, None] * lesion
        images[row] = np.where(brain, texture, AIR) + draw.normal(0, 0.05, (2, side, side))
        brains[row] = brain
    who = np.array([f"p{seed}_{row % patients}" for row in range(count)])
    names = np.array([f"s{seed}_{row}" for row in range(count)])
    if synthetic:
        return AuditSlices(images, masks, brains, names=names)
    names = np.array([f"{patient}/z{row}" for row, patient in enumerate(who)])
    return AuditSlices(images, masks, brains, heights, cases=who, patients=who, names=names)
