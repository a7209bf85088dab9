"""The diversity watch: is the generator still making different slices?"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from labelgan.core.rng import generator_for
from labelgan.gan.inputs.batches import BatchSource
from labelgan.gan.inputs.inputs import Inputs
from labelgan.gan.inputs.mask_channel import decode_mask

WATCH_SIDE = 16
WATCHED = 32  # samples, and as many real slices
BLOCK = 8  # samples that the generator draws at a time


class Watch:
    """The same samples all through a training, and the real slices that their diversity is held against."""

    def __init__(self, inputs: Inputs, source: BatchSource, seed: int) -> None:
        self._inputs = inputs.samples(seed, range(WATCHED))
        draw = generator_for(seed, "watch")
        self._real_NCHW = source.load(source.draw(draw)[:WATCHED], draw)
        while len(self._real_NCHW) < WATCHED:
            more = source.load(source.draw(draw), draw)
            self._real_NCHW = torch.cat([self._real_NCHW, more])[:WATCHED]

    @torch.no_grad()
    def samples(self, generator: nn.Module, device: torch.device) -> tuple[Tensor, Tensor]:
        """Draws the fixed samples; gives their images, mask channel and all, and their masks."""
        generator.eval()
        blocks = zip(*(tensor.split(BLOCK) for tensor in self._inputs), strict=True)
        images_NCHW = torch.cat([generator(*(part.to(device) for part in block)) for block in blocks]).float()
        generator.train()
        return images_NCHW, decode_mask(images_NCHW[:, -1])

    def metrics(self, images_NCHW: Tensor, masks_NHW: Tensor) -> dict[str, float]:
        """Gives ``diversity`` and ``lesion_rate``."""
        return {"diversity": diversity_ratio(images_NCHW, self._real_NCHW), "lesion_rate": lesion_rate(masks_NHW)}


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
