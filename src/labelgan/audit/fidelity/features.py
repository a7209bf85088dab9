"""Features that need no learning: slices on a bounded scale, and brought down to a few pixels."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from labelgan.audit.slices import AuditSlices
from labelgan.data.prepare.case import to_unit

BLOCK = 256


def unit_images(slices: AuditSlices) -> Tensor:
    """Image channels as tanh(z / 4), so that a bright scalp does not outweigh the brain: (N, C, H, W) float32."""
    return to_unit(torch.from_numpy(slices.z_scores()))


def lesion_masks(slices: AuditSlices) -> Tensor:
    """Lesion masks as a channel of 0 and 1: (N, 1, H, W) float32."""
    return torch.from_numpy(slices.lesions_NHW[:, None].astype(np.float32))


def coarse_images(slices: AuditSlices, side: int) -> np.ndarray:
    """Image channels averaged down to ``side`` × ``side`` pixels: (N, C · side²) float32."""
    return _coarse(slices, side, unit_images)


def coarse_masks(slices: AuditSlices, side: int) -> np.ndarray:
    """Share of lesion in each of ``side`` × ``side`` fields: (N, side²) float32."""
    return _coarse(slices, side, lesion_masks)


def _coarse(slices: AuditSlices, side: int, channels) -> np.ndarray:
    parts = [
        F.adaptive_avg_pool2d(channels(slices.select(block)), side).flatten(1).numpy() for block in slices.blocks(BLOCK)
    ]
    return np.concatenate(parts) if parts else np.empty((0, side * side), np.float32)


class Standardised:
    """Features brought to the training slices' scale: mean 0 each, and one factor for all, so that angles stay.

    With ``each``, every feature gets a factor of its own: for learned features, which have no common unit.
    """

    def __init__(self, train_NK: np.ndarray, each: bool = False) -> None:
        self.mean = train_NK.mean(axis=0, dtype=np.float64)
        sd = train_NK.std(axis=0, dtype=np.float64)
        whole = float(np.sqrt(np.mean(sd**2))) or 1.0
        self.scale = np.maximum(sd, 1e-3 * whole) if each else whole

    def __call__(self, features_NK: np.ndarray) -> np.ndarray:
        """Gives (N, K) float32."""
        return ((features_NK - self.mean) / self.scale).astype(np.float32)
