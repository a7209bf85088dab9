"""Networks that find lesions in a slice: one place to add another (a builder, and a line in SEGMENTERS).

Every network takes z-scores (N, C, H, W) and gives logits (N, 1, H, W); the sigmoid belongs to the loss and to the
prediction.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from labelgan.config.choices import Choice
from labelgan.config.seg import SegConfig, SegNetworkConfig
from labelgan.core.errors import ConfigError
from labelgan.seg.networks_li2018 import Li2018
from labelgan.training.device import channels_last


@dataclass(frozen=True)
class SegmenterKind:
    """One kind of network: what it is, how to build it for a number of channels, and which settings that reads.

    ``settings`` are fields of `SegNetworkConfig`; others are refused where they are given. All networks read ``prior``.
    """

    description: str
    build: Callable[[SegNetworkConfig, int], nn.Module]
    settings: Collection[str] = ()


class _Padded(nn.Module):
    """Pads slices to a multiple of ``multiple`` pixels by repeating the edge, and crops what comes out."""

    def __init__(self, network: nn.Module, multiple: int) -> None:
        super().__init__()
        self.network, self.multiple = network, multiple

    def forward(self, images_NCHW: Tensor) -> Tensor:
        height, width = images_NCHW.shape[2:]
        bottom, right = -height % self.multiple, -width % self.multiple
        if bottom or right:
            images_NCHW = F.pad(images_NCHW, (0, right, 0, bottom), mode="replicate")
        return self.network(images_NCHW)[:, :, :height, :width]


def _li2018(config: SegNetworkConfig, channels: int) -> nn.Module:
    return Li2018(channels, config.width, config.norm)


def _dynunet(config: SegNetworkConfig, channels: int) -> nn.Module:
    from monai.networks.nets.dynunet import DynUNet

    network = DynUNet(
        spatial_dims=2,
        in_channels=channels,
        out_channels=1,
        kernel_size=[3] * 5,
        strides=[1, 2, 2, 2, 2],
        upsample_kernel_size=[2] * 4,
        filters=[min(config.width * 2**level, max(512, config.width)) for level in range(5)],
        norm_name=_monai_norm(config),
    )
    # The network lists most of its layers twice; weight files want every tensor once.
    return _Padded(nn.Sequential(network.skip_layers, network.output_block), 16)


def _segresnet(config: SegNetworkConfig, channels: int) -> nn.Module:
    from monai.networks.nets.segresnet import SegResNet

    network = SegResNet(
        spatial_dims=2,
        init_filters=config.width,
        in_channels=channels,
        out_channels=1,
        norm=_monai_norm(config),
        blocks_down=(1, 2, 2, 4),
        blocks_up=(1, 1, 1),
    )
    return _Padded(network, 8)


def _monai_norm(config: SegNetworkConfig) -> str:
    return config.norm or ""


WIDTH_AND_NORM = ("width", "norm")

SEGMENTERS: dict[str, SegmenterKind] = {
    "li2018": SegmenterKind("the U-Net that won the WMH challenge of 2017 (Li et al. 2018)", _li2018, WIDTH_AND_NORM),
    "dynunet": SegmenterKind("MONAI's DynUNet, five stages (Isensee et al. 2021)", _dynunet, WIDTH_AND_NORM),
    "segresnet": SegmenterKind("MONAI's SegResNet, four stages (Myronenko 2018)", _segresnet, WIDTH_AND_NORM),
}


def kind_of(config: SegNetworkConfig) -> SegmenterKind:
    """Gives the kind that the settings name; raises ConfigError for an unknown one."""
    if config.name not in SEGMENTERS:
        raise ConfigError("network.name", f"unknown '{config.name}'; one of {', '.join(SEGMENTERS)}")
    return SEGMENTERS[config.name]


def build_segmenter(config: SegNetworkConfig, channels: int) -> nn.Module:
    """Builds a network; its weights come from torch's own random generator.

    Outside the head a network soon gives the bias of its last convolution alone. From 0, a probability of one half,
    that bias needs thousands of steps of a low learning rate to say "no lesion"; ``prior`` begins it there, at
    log(prior / (1 - prior)) (Lin et al., ICCV 2017, section 3.3). The convolution's weights are then centred: features
    after a ReLU are never negative, and where chance gives all weights one sign, the network begins far from its prior,
    and one with eight features or so can stay there.

    Args:
        config: which, how wide, how normalised, where it begins.
        channels: images of a slice.

    Raises:
        ConfigError: there is no network of that name.
    """
    network = kind_of(config).build(config, channels)
    if config.prior is not None:
        last = [module for module in network.modules() if isinstance(module, nn.Conv2d)][-1]
        assert last.out_channels == 1
        assert last.bias is not None
        nn.init.constant_(last.bias, math.log(config.prior / (1 - config.prior)))
        with torch.no_grad():
            last.weight -= last.weight.mean()
    return channels_last(network)


def choices(config: SegConfig, *, synthetic: bool) -> list[Choice]:
    """Gives the choices that a configuration makes, and which settings each of them reads.

    Args:
        config: of a training.
        synthetic: whether synthetic slices are mixed in.

    Raises:
        ConfigError: there is no network of that name.
    """
    kind, network = kind_of(config.network), f"network.name={config.network.name}"
    made = [Choice(network, "network", [f"network.{field}" for field in ("name", "prior", *kind.settings)])]
    if config.train.steps is not None:
        steps = f"train.steps={config.train.steps}"
        made.append(Choice(steps, "train.epochs", (), "settles how long the training is"))
    if not synthetic:
        made += [
            Choice("a training", f"train.{key}", (), "without synthetic slices does not read it")
            for key in ("synthetic_share", "shuffle_synthetic_masks")
        ]
    return made


def parameter_count(module: torch.nn.Module) -> int:
    """Number of trained values."""
    return sum(parameter.numel() for parameter in module.parameters())
