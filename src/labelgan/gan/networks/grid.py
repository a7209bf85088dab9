"""Covers a slice of any size by a network: padding inside, never resampling."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from labelgan.config.gan import NetworkConfig


@dataclass(frozen=True)
class Grid:
    """Grid of a network: ``coarse`` pixels, doubled ``stages`` times, cropped to ``size``."""

    size: tuple[int, int]
    coarse: tuple[int, int]
    stages: int
    patch: int = 1

    @property
    def inner(self) -> tuple[int, int]:
        """Rows and columns inside the network, at least ``size``."""
        factor = 2**self.stages * self.patch
        return self.coarse[0] * factor, self.coarse[1] * factor

    def crop(self, images_NCHW: Tensor) -> Tensor:
        """Takes the centre of the network's grid."""
        (top, left), (height, width) = self._margins(), self.size
        return images_NCHW[..., top : top + height, left : left + width]

    def pad(self, images_NCHW: Tensor) -> Tensor:
        """Brings slices onto the network's grid, zeros around them."""
        (top, left), (height, width), (rows, columns) = self._margins(), self.size, self.inner
        if (rows, columns) == (height, width):
            return images_NCHW
        return F.pad(images_NCHW, (left, columns - width - left, top, rows - height - top))

    def _margins(self) -> tuple[int, int]:
        return (self.inner[0] - self.size[0]) // 2, (self.inner[1] - self.size[1]) // 2


def plan_grid(size: tuple[int, int], patch: int = 1, stages: int | None = None, coarsest: int = 4) -> Grid:
    """Chooses the number of doublings so that the coarsest side is at least ``coarsest`` pixels, nothing resampled."""
    rows, columns = (math.ceil(side / patch) for side in size)
    if stages is None:
        stages = max(0, int(math.log2(min(rows, columns) / coarsest)))
    coarse = math.ceil(rows / 2**stages), math.ceil(columns / 2**stages)
    return Grid(size, coarse, stages, patch)


def stage_widths(config: NetworkConfig, stages: int) -> list[int]:
    """Channels from the coarsest stage (index 0) to the finest (index ``stages``)."""
    return [min(config.max_width, config.width * 2 ** (stages - stage)) for stage in range(stages + 1)]
