"""A refiner: makes composed slices look like the cohort's, and leaves their mask alone (after Shrivastava et al. 2017).

Theirs refines renderings of eyes and hands; ours has noise to draw textures from, a style for the whole slice, and a
critic that sees image and mask together and judges patches. Shape suffixes as in `labelgan.gan.networks.families`.
"""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from labelgan.config.gan import NetworkConfig
from labelgan.gan.networks.limit import hold

SLOPE = 0.2


class _Residual(nn.Module):
    """x + Conv3×3(φ(Conv3×3(φ(x)))) / 2."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Keeps the shape (N, C, H, W)."""
        return x + 0.5 * self.second(F.leaky_relu(self.first(F.leaky_relu(x, SLOPE)), SLOPE))


class Refiner(nn.Module):
    """Adds to the images what makes them real; a fresh one adds nothing."""

    def __init__(self, config: NetworkConfig, channels: int, size: tuple[int, int]) -> None:
        super().__init__()
        width = config.width
        self.look = nn.Conv2d(channels + config.noise_maps, width, 3, padding=1)
        self.shrink = nn.Conv2d(width, 2 * width, 4, stride=2, padding=1)
        self.style = nn.Linear(config.latent_dim, 2 * width)
        self.coarse = nn.Sequential(*(_Residual(2 * width) for _ in range(config.blocks)))
        self.grow = nn.Conv2d(2 * width, width, 3, padding=1)
        self.fine = _Residual(width)
        self.paint = nn.Conv2d(width, channels - 1, 3, padding=1)
        nn.init.zeros_(self.paint.weight)
        assert self.paint.bias is not None
        nn.init.zeros_(self.paint.bias)

    def forward(self, slices_NCHW: Tensor, noise_NKHW: Tensor, z_NZ: Tensor) -> Tensor:
        """Maps composed slices (N, C, H, W) in [-1, 1] to refined ones; the last channel, the mask, is as it came."""
        fine = self.look(torch.cat([slices_NCHW, noise_NKHW], dim=1))
        coarse = self.shrink(F.leaky_relu(fine, SLOPE)) + self.style(z_NZ)[:, :, None, None]
        back = self.grow(F.interpolate(F.leaky_relu(self.coarse(coarse), SLOPE), scale_factor=2))
        change = self.paint(F.leaky_relu(self.fine(fine + back), SLOPE))
        return torch.cat([hold(slices_NCHW[:, :-1] + change, -1.0, 1.0), slices_NCHW[:, -1:]], dim=1)


class PatchCritic(nn.Module):
    """Judges overlapping patches of about 36 pixels a side and gives their mean (Isola et al. 2017)."""

    def __init__(self, config: NetworkConfig, channels: int, size: tuple[int, int]) -> None:
        super().__init__()
        widths = [config.critic_width * factor for factor in (1, 2, 4, 4)]
        layers: list[nn.Module] = [nn.Conv2d(channels, widths[0], 3, padding=1), nn.LeakyReLU(SLOPE)]
        for narrow, wide in itertools.pairwise(widths):
            layers += [nn.Conv2d(narrow, wide, 4, stride=2, padding=1), nn.LeakyReLU(SLOPE)]
        self.judge = nn.Sequential(*layers, nn.Conv2d(widths[-1], 1, 3, padding=1))

    def forward(self, slices_NCHW: Tensor) -> Tensor:
        """Maps (N, C, H, W) to one number each, (N,)."""
        return self.judge(slices_NCHW).mean(dim=(1, 2, 3))
