"""R3GAN's networks: residual, without any normalisation (Huang et al. 2024, "The GAN is dead; long live the GAN!").

Their "config E": grouped 3×3 convolutions inside an inverted bottleneck, bilinear resampling, fix-up
initialisation (Zhang et al. 2019), the same plan for generator and critic. Ours adds a grid for slices of
any size, and ``patch``: the finest stage may handle 2×2 or 4×4 pixels at once, at a quarter or a sixteenth of its cost.
Shape suffixes as in `labelgan.gan.networks.families`.
"""

from __future__ import annotations

import itertools
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from labelgan.config.gan import NetworkConfig
from labelgan.gan.networks.grid import plan_grid, stage_widths

SLOPE = 0.2
LRELU_GAIN = math.sqrt(2.0 / (1.0 + SLOPE**2))


def _conv(
    inputs: int, outputs: int, kernel: int = 1, groups: int = 1, gain: float = 1.0, bias: bool = True
) -> nn.Conv2d:
    layer = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, groups=groups, bias=bias)
    nn.init.normal_(layer.weight, 0.0, gain / math.sqrt(inputs // groups * kernel**2))
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


class ResidualBlock(nn.Module):
    """x + Conv1×1(φ(GroupConv3×3(φ(Conv1×1(x))))), the last convolution starting at zero."""

    def __init__(self, channels: int, config: NetworkConfig, total_blocks: int) -> None:
        super().__init__()
        groups = max(1, round(channels * config.expansion / config.group_width))
        inner = groups * config.group_width
        # Fix-up: with m = 3 layers a branch, the first m - 1 are scaled by L^(-1/(2m-2)).
        gain = LRELU_GAIN * total_blocks ** (-1.0 / 4.0)
        self.widen = _conv(channels, inner, gain=gain)
        self.mix = _conv(inner, inner, 3, groups=groups, gain=gain)
        self.narrow = _conv(inner, channels, gain=0.0, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Keeps the shape (N, C, H, W)."""
        y = F.leaky_relu(self.widen(x), SLOPE)
        y = F.leaky_relu(self.mix(y), SLOPE)
        return x + self.narrow(y)


class R3ganGenerator(nn.Module):
    """z modulates a learned coarse basis; each stage doubles the grid and refines it."""

    def __init__(self, config: NetworkConfig, channels: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.grid = plan_grid(size, config.patch)
        widths = stage_widths(config, self.grid.stages)
        total = config.blocks * len(widths)
        self.basis = nn.Parameter(torch.randn(widths[0], *self.grid.coarse))
        self.modulate = nn.Linear(config.latent_dim, widths[0], bias=False)
        nn.init.normal_(self.modulate.weight, 0.0, 1.0 / math.sqrt(config.latent_dim))
        self.changes = nn.ModuleList(
            _conv(wide, narrow, bias=False) if wide != narrow else nn.Identity()
            for wide, narrow in itertools.pairwise(widths)
        )
        self.stages = nn.ModuleList(
            nn.Sequential(*(ResidualBlock(width, config, total) for _ in range(config.blocks))) for width in widths
        )
        self.paint = _conv(widths[-1], channels * config.patch**2)
        # The pixels of a patch start equal, or the first samples are a checkerboard (Aitken et al. 2017).
        with torch.no_grad():
            weights = self.paint.weight.unflatten(0, (channels, config.patch**2))
            weights.copy_(weights[:, :1].expand_as(weights).clone())

    def forward(self, z_NZ: Tensor) -> Tensor:
        """Maps (N, Z) to (N, C, H, W) in (-1, 1)."""
        x = self.stages[0](self.basis * self.modulate(z_NZ)[:, :, None, None])
        for change, stage in zip(self.changes, self.stages[1:], strict=False):
            # Channels change before the grid doubles: the same linear map at a quarter of the cost.
            x = stage(F.interpolate(change(x), scale_factor=2, mode="bilinear", align_corners=False))
        return self.grid.crop(torch.tanh(F.pixel_shuffle(self.paint(x), self.grid.patch)))


class R3ganCritic(nn.Module):
    """The generator's plan the other way round, then one number."""

    def __init__(self, config: NetworkConfig, channels: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.grid = plan_grid(size, config.patch)
        widths = stage_widths(config, self.grid.stages)[::-1]
        total = config.blocks * len(widths)
        self.look = _conv(channels * config.patch**2, widths[0])
        self.stages = nn.ModuleList(
            nn.Sequential(*(ResidualBlock(width, config, total) for _ in range(config.blocks))) for width in widths
        )
        self.changes = nn.ModuleList(
            _conv(narrow, wide, bias=False) if wide != narrow else nn.Identity()
            for narrow, wide in itertools.pairwise(widths)
        )
        # One filter per channel over the whole coarse grid, as the generator's basis has.
        self.gather = nn.Conv2d(widths[-1], widths[-1], self.grid.coarse, groups=widths[-1], bias=False)
        nn.init.normal_(self.gather.weight, 0.0, 1.0 / math.sqrt(self.grid.coarse[0] * self.grid.coarse[1]))
        self.judge = nn.Linear(widths[-1], 1, bias=False)
        nn.init.normal_(self.judge.weight, 0.0, 1.0 / math.sqrt(widths[-1]))

    def forward(self, images_NCHW: Tensor) -> Tensor:
        """Maps (N, C, H, W) to one number each, (N,)."""
        x = self.look(F.pixel_unshuffle(self.grid.pad(images_NCHW), self.grid.patch))
        for stage, change in zip(self.stages[:-1], self.changes, strict=False):
            x = change(F.avg_pool2d(stage(x), 2))
        x = self.gather(self.stages[-1](x))
        return self.judge(x.flatten(1)).squeeze(1)
