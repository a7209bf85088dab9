"""Generator families: what turns z into slices, and what judges them.

Shape suffixes: N slices, C channels (images, then the mask), H rows, W columns, Z latent.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from torch import nn

from labelgan.config.gan import NetworkConfig
from labelgan.core.errors import ConfigError
from labelgan.gan.networks import classic, r3gan, refiner


@dataclass(frozen=True)
class Family:
    """A generator and a critic that belong together.

    ``generator(config, channels, size)`` maps its inputs, z (N, Z) for most, to slices (N, C, H, W) in [-1, 1];
    ``critic(config, channels, size)`` maps slices to one number each, (N,). ``inputs``, a key of `gan.inputs.INPUTS`,
    tells what the generator is given. ``settings`` are the fields of `NetworkConfig` that the networks read, besides
    those that the inputs read: others are refused where they are given.
    """

    generator: Callable[[NetworkConfig, int, tuple[int, int]], nn.Module]
    critic: Callable[[NetworkConfig, int, tuple[int, int]], nn.Module]
    description: str
    inputs: str = "z"
    settings: Collection[str] = ()


def family_of(config: NetworkConfig) -> Family:
    """The family that the settings name; raises ConfigError for an unknown one."""
    if config.family not in NETWORKS:
        raise ConfigError("network.family", f"unknown '{config.family}'; one of {', '.join(NETWORKS)}")
    return NETWORKS[config.family]


def parameter_count(module: nn.Module) -> int:
    """Number of trained parameters."""
    return sum(parameter.numel() for parameter in module.parameters())


_WIDTHS = ("width", "max_width")

NETWORKS: dict[str, Family] = {
    "r3gan": Family(
        r3gan.R3ganGenerator,
        r3gan.R3ganCritic,
        "residual, no normalisation (Huang et al. 2024)",
        settings=(*_WIDTHS, "blocks", "group_width", "expansion", "patch"),
    ),
    "refiner": Family(
        refiner.Refiner,
        refiner.PatchCritic,
        "refines composed slices (after Shrivastava et al. 2017)",
        inputs="composition",
        settings=("width", "critic_width", "blocks"),
    ),
    "fully-connected": Family(
        classic.DenseGenerator,
        classic.MaxoutCritic,
        "two hidden layers (Goodfellow et al. 2014)",
        settings=("hidden",),
    ),
    "dcgan": Family(
        classic.DcganGenerator,
        classic.DcganCritic,
        "batch-normalised convolutions (Radford et al. 2016)",
        settings=_WIDTHS,
    ),
    "dcgan-nonorm": Family(
        classic.DcganGenerator,
        classic.DcganCriticWithoutNorm,
        "as dcgan, critic without batch norm (Gulrajani et al. 2017)",
        settings=_WIDTHS,
    ),
    "uned2019": Family(classic.Uned2019Generator, classic.Uned2019Critic, "the 2019 report's own network"),
}
