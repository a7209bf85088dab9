"""Power spectra: up-sampling in a generator leaves patterns of few pixels that hardly show in patches or features."""

from __future__ import annotations

import numpy as np
import torch

from labelgan.audit.fidelity.features import BLOCK, unit_images
from labelgan.audit.slices import AuditSlices

FLOOR = 1e-12  # of the largest power; below it is rounding


def mean_power(slices: AuditSlices) -> np.ndarray:
    """Mean power of every frequency over slices: (C, H, W // 2 + 1), float64.

    Slices are on the scale of -1 to 1, each less its mean, and fade out towards the edges (Hann window), so that the
    jump from one edge to the opposite one does not count.
    """
    height, width = slices.size
    window_HW = torch.outer(*(torch.hann_window(side, periodic=False) for side in (height, width)))
    total = torch.zeros(slices.images_NCHW.shape[1], height, width // 2 + 1, dtype=torch.float64)
    for rows in slices.blocks(BLOCK):
        images = unit_images(slices.select(rows))
        images = (images - images.mean(dim=(2, 3), keepdim=True)) * window_HW
        total += torch.fft.rfft2(images).abs().double().square().sum(dim=0)
    return (total / len(slices)).numpy()


def spectral_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Root mean squared difference of two mean powers over all frequencies, in dB (10 log10)."""
    floor = FLOOR * max(a.max(), b.max())
    if floor == 0:
        return 0.0
    ratio = 10 * np.log10(np.maximum(a, floor) / np.maximum(b, floor))
    return float(np.sqrt((ratio**2).mean()))
