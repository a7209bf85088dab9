from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from labelgan.core.rng import reseed_torch
from labelgan.seg.networks import parameter_count
from labelgan.seg.networks_li2018 import Li2018, _Convolution, _cropped, _doubled


@pytest.mark.parametrize(("channels", "count"), [(2, 8_742_209), (1, 8_742_209 - 64 * 25)])
def test_the_published_number_of_parameters(channels, count):
    network = Li2018(channels)
    assert parameter_count(network) == count
    convolutions = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    assert len(convolutions) == 19
    assert sorted(convolution.kernel_size[0] for convolution in convolutions) == [1, *[3] * 15, 4, 5, 5]


@pytest.mark.parametrize("norm", [None, "batch", "instance"])
@pytest.mark.parametrize("size", [(32, 32), (200, 200), (50, 39), (33, 64), (181, 217)])
def test_any_size_comes_back(size, norm):
    network = Li2018(2, 4, norm)
    images = torch.randn(2, 2, *size)
    assert network(images).shape == (2, 1, *size)


def test_sixteen_pixels_are_enough():
    assert Li2018(1, 4)(torch.randn(1, 1, 16, 31)).shape == (1, 1, 16, 31)


def test_the_frame_that_cropping_loses_has_the_last_bias():
    """200 pixels come back as 192: four are lost on each side, and filled before the last convolution."""
    reseed_torch(0, "frame")
    network = Li2018(2, 16)
    nn.init.constant_(network.last.bias, 0.25)  # pyright: ignore[reportArgumentType]
    logits = network(torch.randn(1, 2, 200, 200)).detach()[0, 0]
    inside = torch.zeros(200, 200, dtype=torch.bool)
    inside[4:196, 4:196] = True
    assert (logits[~inside] == 0.25).all()
    assert (logits[inside] != 0.25).float().mean() > 0.9
    # an odd pixel is lost at the far end: 50 -> 25 -> 12 -> 6 -> 3, and 48 come back
    logits = network(torch.randn(1, 2, 50, 51)).detach()[0, 0]
    assert (logits[:, -2:] == 0.25).all()
    assert (logits[:, 0] == 0.25).all()
    assert not (logits[1:-1, 1] == 0.25).all()
    assert not (logits[1:-1, -3] == 0.25).all()


def test_up_sampling_repeats_pixels_and_its_gradient_is_their_sum():
    x = torch.randn(2, 3, 4, 5, requires_grad=True)
    doubled = _doubled(x)
    torch.testing.assert_close(doubled, F.interpolate(x, scale_factor=2, mode="nearest"), rtol=0, atol=0)
    weight = torch.randn_like(doubled)
    (doubled * weight).sum().backward()
    torch.testing.assert_close(x.grad, 4 * F.avg_pool2d(weight, 2))


def test_skips_are_cropped_about_their_centre():
    skip = torch.arange(25.0).reshape(1, 1, 5, 5)
    like = torch.zeros(1, 1, 2, 4)
    assert _cropped(skip, like)[0, 0].tolist() == [[5, 6, 7, 8], [10, 11, 12, 13]]


def test_an_even_kernel_looks_one_pixel_further_to_the_far_end():
    convolution = _Convolution(1, 1, 4, None)
    nn.init.ones_(convolution.convolution.weight)
    nn.init.zeros_(convolution.convolution.bias)  # pyright: ignore[reportArgumentType]
    dot = torch.zeros(1, 1, 9, 9)
    dot[0, 0, 4, 4] = 1
    rows = (convolution(dot)[0, 0].detach() > 0.5).any(1).nonzero().flatten().tolist()  # 1, or 0 but for rounding
    assert rows == [2, 3, 4, 5]  # output y sees input y - 1 to y + 2


def test_it_begins_as_keras_does():
    network = Li2018(2)
    first = network.down[0][0].convolution.weight.detach()  # pyright: ignore[reportIndexIssue]
    limit = math.sqrt(6 / (25 * (2 + 64)))
    assert limit * 0.98 < float(first.abs().max()) <= limit
    assert float(first.std()) == pytest.approx(limit / math.sqrt(3), rel=0.05)
    assert all(not value.any() for name, value in network.named_parameters() if name.endswith("bias"))
