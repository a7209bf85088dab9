"""The diversity watch: is the generator still making different slices?"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

WATCH_SIDE = 16


def spread(images_NCHW: Tensor) -> float:
    """Mean pairwise root-mean-square difference of slices, image and mask channels alike, at 16×16 pixels.

    Coarse pixels, because noise that differs between two copies of one slice is no diversity.
    """
    coarse_NK = F.adaptive_avg_pool2d(images_NCHW.float(), WATCH_SIDE).flatten(1)
    return float(F.pdist(coarse_NK).mean() / coarse_NK.shape[1] ** 0.5)


def diversity_ratio(fake_NCHW: Tensor, real_NCHW: Tensor) -> float:
    """Spread of the samples over that of real slices: about 1 for a healthy generator, 0 for one slice repeated."""
    assert len(fake_NCHW) > 1
    assert len(real_NCHW) > 1
    real = spread(real_NCHW)
    return spread(fake_NCHW) / real if real > 0 else 1.0


def lesion_rate(masks_NHW: Tensor) -> float:
    """Share of slices whose mask is not empty."""
    return float((masks_NHW.flatten(1).any(dim=1)).to(torch.float32).mean())
