"""The classic networks, as their papers give them, on slices of any size.

Shape suffixes as in `labelgan.gan.networks.families`.
"""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor, nn

from labelgan.config.gan import NetworkConfig
from labelgan.gan.networks.grid import plan_grid, stage_widths


class DenseGenerator(nn.Module):
    """Fully connected generator of Goodfellow et al. 2014: two rectified layers, tanh where they had a sigmoid."""

    def __init__(self, config: NetworkConfig, channels: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.shape = (channels, *size)
        paint = nn.Linear(config.hidden, math.prod(self.shape))
        self.layers = nn.Sequential(
            nn.Linear(config.latent_dim, config.hidden),
            nn.ReLU(),
            nn.Linear(config.hidden, config.hidden),
            nn.ReLU(),
            paint,
            nn.Tanh(),
        )
        for module in self.layers:
            if isinstance(module, nn.Linear):
                # He et al. 2015; the paper does not tell its own. Smaller weights make all first samples one picture.
                nn.init.kaiming_normal_(module.weight)
                nn.init.zeros_(module.bias)
        with torch.no_grad():
            paint.weight.mul_(0.25)  # the tanh must not begin saturated

    def forward(self, z_NZ: Tensor) -> Tensor:
        """Maps (N, Z) to (N, C, H, W) in (-1, 1)."""
        return self.layers(z_NZ).unflatten(1, self.shape)


class Maxout(nn.Module):
    """Maximum over ``pieces`` linear maps (Goodfellow et al. 2013)."""

    def __init__(self, inputs: int, units: int, pieces: int = 5) -> None:
        super().__init__()
        self.pieces = pieces
        self.linear = nn.Linear(inputs, units * pieces)
        nn.init.uniform_(self.linear.weight, -0.005, 0.005)
        nn.init.zeros_(self.linear.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, inputs) to (N, units)."""
        return self.linear(x).unflatten(1, (-1, self.pieces)).amax(dim=2)


class MaxoutCritic(nn.Module):
    """Discriminator of Goodfellow et al. 2014: maxout, dropout of a fifth of the inputs and half of the units."""

    def __init__(self, config: NetworkConfig, channels: int, size: tuple[int, int]) -> None:
        super().__init__()
        units = max(8, config.hidden // 5)  # 1200 linear maps make 240 maxout units of five pieces
        self.layers = nn.Sequential(
            nn.Flatten(),
            nn.Dropout(0.2),
            Maxout(channels * size[0] * size[1], units),
            nn.Dropout(0.5),
            Maxout(units, units),
            nn.Dropout(0.5),
            nn.Linear(units, 1),
        )

    def forward(self, images_NCHW: Tensor) -> Tensor:
        """Maps (N, C, H, W) to logits (N,)."""
        return self.layers(images_NCHW).squeeze(1)


def _init_dcgan(module: nn.Module) -> None:
    # Radford et al. 2016, section 4: weights from N(0, 0.02)
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
        nn.init.normal_(module.weight, 0.0, 0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
        nn.init.zeros_(module.bias)


class DcganGenerator(nn.Module):
    """Generator of Radford et al. 2016: 5×5 fractionally strided convolutions, batch norm and ReLU, tanh at the end."""

    def __init__(self, config: NetworkConfig, channels: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.grid = plan_grid(size)
        # The paper's 64×64 generator halves 1024 channels at 4×4 down to 128 at 32×32: the last stage is the image.
        widths = [*stage_widths(config, self.grid.stages - 1), channels]
        self.project = nn.Linear(config.latent_dim, widths[0] * self.grid.coarse[0] * self.grid.coarse[1], bias=False)
        layers: list[nn.Module] = [nn.BatchNorm2d(widths[0]), nn.ReLU()]
        for stage, (wide, narrow) in enumerate(itertools.pairwise(widths)):
            last = stage == self.grid.stages - 1
            layers.append(nn.ConvTranspose2d(wide, narrow, 5, 2, padding=2, output_padding=1, bias=last))
            layers += [nn.Tanh()] if last else [nn.BatchNorm2d(narrow), nn.ReLU()]
        self.layers = nn.Sequential(*layers)
        self.apply(_init_dcgan)

    def forward(self, z_NZ: Tensor) -> Tensor:
        """Maps (N, Z) to (N, C, H, W) in (-1, 1)."""
        return self.grid.crop(self.layers(self.project(z_NZ).unflatten(1, (-1, *self.grid.coarse))))


class DcganCritic(nn.Module):
    """Discriminator of Radford et al. 2016: 5×5 strided convolutions, LeakyReLU 0.2, batch norm but at first."""

    normalised = True

    def __init__(self, config: NetworkConfig, channels: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.grid = plan_grid(size)
        widths = [channels, *reversed(stage_widths(config, self.grid.stages - 1))]
        layers: list[nn.Module] = []
        for stage, (narrow, wide) in enumerate(itertools.pairwise(widths)):
            normalised = self.normalised and stage > 0
            layers.append(nn.Conv2d(narrow, wide, 5, 2, padding=2, bias=not normalised))
            layers += [nn.BatchNorm2d(wide)] if normalised else []
            layers.append(nn.LeakyReLU(0.2))
        self.layers = nn.Sequential(*layers, nn.Flatten())
        self.judge = nn.Linear(widths[-1] * self.grid.coarse[0] * self.grid.coarse[1], 1)
        self.apply(_init_dcgan)

    def forward(self, images_NCHW: Tensor) -> Tensor:
        """Maps (N, C, H, W) to one number each, (N,)."""
        return self.judge(self.layers(self.grid.pad(images_NCHW))).squeeze(1)


def _keep_variance(module: nn.Module) -> None:
    # He et al. 2015, for LeakyReLU 0.2
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
        inputs = (
            module.in_features if isinstance(module, nn.Linear) else module.in_channels * module.kernel_size[0] ** 2
        )
        if isinstance(module, nn.ConvTranspose2d):
            inputs //= module.stride[0] ** 2  # a pixel sees only every stride-th weight along both axes
        nn.init.normal_(module.weight, 0.0, math.sqrt(2.0 / (1 + 0.2**2) / inputs))
        if module.bias is not None:
            nn.init.zeros_(module.bias)


class DcganCriticWithoutNorm(DcganCritic):
    """Without batch norm, which the per-sample gradient penalty rules out (Gulrajani et al. 2017, section 4).

    It starts with the variance kept, as in their code: with deviations of 0.02 and nothing that normalises, a signal
    shrinks at every layer of a narrow critic, whose gradient is to have length one, to 0.014 at the start.
    """

    normalised = False

    def __init__(self, config: NetworkConfig, channels: int, size: tuple[int, int]) -> None:
        super().__init__(config, channels, size)
        self.apply(_keep_variance)


UNED2019_STAGES = 6


class Uned2019Generator(nn.Module):
    """The 2019 report's generator: dense to 4×4×2048, six 4×4 stride-2 transposed convolutions, LeakyReLU, tanh.

    On its own grid of 256×256 with two images and a mask it has 48,927,683 parameters. Smaller slices lie in
    the centre of a grid of the next multiple of 64. The report does not tell its initialisation; under torch's or
    Keras' own the signal shrinks several-fold a layer, and all first samples are one picture.
    """

    def __init__(self, config: NetworkConfig, channels: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.grid = plan_grid(size, stages=UNED2019_STAGES)
        widths = [2048, 1024, 512, 256, 128, 64, channels]
        self.project = nn.Linear(config.latent_dim, widths[0] * self.grid.coarse[0] * self.grid.coarse[1])
        layers: list[nn.Module] = [nn.LeakyReLU(0.2)]
        for wide, narrow in itertools.pairwise(widths):
            layers += [nn.ConvTranspose2d(wide, narrow, 4, 2, padding=1), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers[:-1], nn.Tanh())
        self.apply(_keep_variance)

    def forward(self, z_NZ: Tensor) -> Tensor:
        """Maps (N, Z) to (N, C, H, W) in (-1, 1)."""
        return self.grid.crop(self.layers(self.project(z_NZ).unflatten(1, (-1, *self.grid.coarse))))


class Uned2019Critic(nn.Module):
    """The 2019 report's critic: six 5×5 stride-2 convolutions of 32 to 1024 channels, one dense; 17,480,001 weights."""

    def __init__(self, config: NetworkConfig, channels: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.grid = plan_grid(size, stages=UNED2019_STAGES)
        widths = [channels, 32, 64, 128, 256, 512, 1024]
        layers: list[nn.Module] = []
        for narrow, wide in itertools.pairwise(widths):
            layers += [nn.Conv2d(narrow, wide, 5, 2, padding=2), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers, nn.Flatten())
        self.judge = nn.Linear(widths[-1] * self.grid.coarse[0] * self.grid.coarse[1], 1)
        self.apply(_keep_variance)

    def forward(self, images_NCHW: Tensor) -> Tensor:
        """Maps (N, C, H, W) to one number each, (N,)."""
        return self.judge(self.layers(self.grid.pad(images_NCHW))).squeeze(1)
