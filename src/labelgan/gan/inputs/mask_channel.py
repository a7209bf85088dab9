"""The lesion mask as a channel of the generated image.

A hard ±1 mask gives the critic a trivial tell: real pixels sit exactly on two values, and no smooth
network ever does. The generator is then punished for its pixel statistics instead of its shapes. The
default is therefore the signed Euclidean distance to the lesion's edge, cut off at ``reach_px`` pixels
and scaled to [-1, 1]: continuous, informative around every edge, and turned back into the very same
mask by its sign.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from labelgan.config.gan import MaskChannelConfig


def _distance_to(inside_NHW: Tensor, reach: int) -> Tensor:
    """Distance of each pixel to the nearest True pixel, in pixels; ``reach + 0.5`` where there is none within reach."""
    far = (reach + 1) ** 2
    squared = torch.where(inside_NHW, 0, far).to(torch.int16)
    for axis in (-2, -1):  # squared distances add up: first the nearest along each column, then the nearest column
        squared = _nearest_along(squared, axis, reach, far)
    return torch.where(squared <= reach**2, squared.to(torch.float32).sqrt(), reach + 0.5)


def _nearest_along(squared_NHW: Tensor, axis: int, reach: int, far: int) -> Tensor:
    """The smallest of d² + Δ² over the pixels that lie Δ up to ``reach`` away along one axis."""
    length = squared_NHW.shape[axis]
    edges = (0, 0, reach, reach) if axis == -2 else (reach, reach)
    padded = F.pad(squared_NHW, edges, value=far)
    nearest = squared_NHW
    for offset in range(1, reach + 1):
        for start in (reach - offset, reach + offset):
            nearest = torch.minimum(nearest, padded.narrow(axis, start, length) + offset**2)
    return nearest


def _encode_distance(lesion_NHW: Tensor, config: MaskChannelConfig, noise_NHW: Tensor | None) -> Tensor:
    # Half a pixel is taken off because the edge runs between pixels: the smallest magnitude is 0.5 on both sides.
    outside = _distance_to(lesion_NHW, config.reach_px) - 0.5
    inside = _distance_to(~lesion_NHW, config.reach_px) - 0.5
    return torch.where(lesion_NHW, inside, -outside) / config.reach_px


def _encode_hard(lesion_NHW: Tensor, config: MaskChannelConfig, noise_NHW: Tensor | None) -> Tensor:
    return torch.where(lesion_NHW, 1.0, -1.0)


def _encode_gaussian(lesion_NHW: Tensor, config: MaskChannelConfig, noise_NHW: Tensor | None) -> Tensor:
    assert noise_NHW is not None
    magnitude = (0.5 + 0.1 * noise_NHW).clamp(0.01, 1.0)
    return torch.where(lesion_NHW, magnitude, -magnitude)


@dataclass(frozen=True)
class Encoding:
    """One encoding: ``encode(lesion_NHW, config, noise_NHW)``, and the fields of `MaskChannelConfig` that it reads."""

    encode: Callable[[Tensor, MaskChannelConfig, Tensor | None], Tensor]
    settings: Collection[str] = ()


ENCODINGS: dict[str, Encoding] = {
    "distance": Encoding(_encode_distance, settings=("reach_px",)),
    "hard": Encoding(_encode_hard),
    "gaussian": Encoding(_encode_gaussian),
}


def encode_mask(lesion_NHW: Tensor, config: MaskChannelConfig, noise_NHW: Tensor | None = None) -> Tensor:
    """Turns lesion masks into the generator's mask channel.

    Args:
        lesion_NHW: (N, H, W) bool.
        config: which encoding, and its reach.
        noise_NHW: (N, H, W) standard normal noise, for the ``gaussian`` encoding only.

    Returns:
        (N, 1, H, W) float32 in [-1, 1], positive exactly where the mask is.
    """
    return ENCODINGS[config.encoding].encode(lesion_NHW, config, noise_NHW).unsqueeze(1)


def decode_mask(channel_NHW: Tensor) -> Tensor:
    """Gives the (N, H, W) bool mask of a mask channel, of whatever encoding: where it is positive."""
    return channel_NHW > 0
