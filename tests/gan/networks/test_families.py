"""The contract of every generator family."""

from __future__ import annotations

import copy

import pytest
import torch

from labelgan.config.gan import NetworkConfig
from labelgan.gan.networks.families import NETWORKS, parameter_count

SMALL = NetworkConfig(latent_dim=6, width=4, max_width=8, group_width=4, hidden=16)
CHANNELS = (2, 3, 4, 5)  # one to four images and the mask
SIZES = ((32, 32), (40, 56), (64, 64), (200, 200))

# Its widths are fixed: 50 million weights take a while to draw, and shapes need none.
HEAVY = {"uned2019"}


def build(family: str, channels: int, size: tuple[int, int], device: str = "cpu", config: NetworkConfig = SMALL):
    torch.manual_seed(0)
    with torch.device(device):
        return NETWORKS[family].generator(config, channels, size), NETWORKS[family].critic(config, channels, size)


def inputs_of(
    family: str, z_NZ: torch.Tensor, channels: int, size: tuple[int, int], device: str = "cpu"
) -> tuple[torch.Tensor, ...]:
    """What a generator of the family is given with z: nothing else, or a composed slice and noise."""
    if NETWORKS[family].inputs == "z":
        return (z_NZ,)
    count = len(z_NZ)
    composed_NCHW = torch.randn(count, channels, *size, device=device).tanh()
    return composed_NCHW, torch.randn(count, SMALL.noise_maps, *size, device=device), z_NZ


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize("family", NETWORKS)
def test_shapes(family, channels, size):
    device = "meta" if family in HEAVY else "cpu"
    generator, critic = build(family, channels, size, device)
    images_NCHW = generator(*inputs_of(family, torch.randn(2, 6, device=device), channels, size, device))
    assert images_NCHW.shape == (2, channels, *size)
    assert images_NCHW.dtype == torch.float32
    assert critic(images_NCHW).shape == (2,)
    if device == "cpu":
        assert float(images_NCHW.detach().abs().max()) < 1


@pytest.mark.parametrize("family", NETWORKS)
def test_slices_lie_within_one_and_judgements_are_finite(family):
    generator, critic = build(family, 3, (32, 32))
    with torch.no_grad():
        z_NZ = torch.full((2, 6), 3.0) * torch.tensor([[1.0], [-1.0]])
        images_NCHW = generator(*inputs_of(family, z_NZ, 3, (32, 32)))
        assert float(images_NCHW.abs().max()) < 1
        assert float(images_NCHW.std()) > 0
        assert bool(critic(images_NCHW).isfinite().all())


@pytest.mark.parametrize("family", [name for name in NETWORKS if name not in HEAVY])
def test_extreme_latents_cannot_leave_the_range(family):
    generator, _ = build(family, 3, (32, 32))
    with torch.no_grad():
        inputs = inputs_of(family, 1e4 * torch.randn(4, 6), 3, (32, 32))
        assert float(generator(*inputs).abs().max()) <= 1


# Which networks never mix the slices of a batch, not even while they train.
WITHOUT_BATCH_NORM = {
    "r3gan": ("generator", "critic"),
    "refiner": ("generator", "critic"),
    "fully-connected": ("generator",),  # its critic drops units out
    "dcgan": (),
    "dcgan-nonorm": ("critic",),
}


def judge_alone_and_together(module: torch.nn.Module, *inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    with torch.no_grad():
        # A copy each, so that the running means of batch norm start alike.
        alone = copy.deepcopy(module)(*(tensor[:2] for tensor in inputs))
        together = copy.deepcopy(module)(*inputs)[:2]
    return alone, together


@pytest.mark.parametrize("training", [True, False], ids=["training", "sampling"])
@pytest.mark.parametrize("family", WITHOUT_BATCH_NORM)
def test_a_slice_does_not_depend_on_its_batch(family, training):
    generator, critic = (module.train(training) for module in build(family, 3, (32, 32)))
    given, images = inputs_of(family, torch.randn(5, 6), 3, (32, 32)), (torch.randn(5, 3, 32, 32).tanh(),)
    for role, module, inputs in (("generator", generator, given), ("critic", critic, images)):
        if not training or role in WITHOUT_BATCH_NORM[family]:
            alone, together = judge_alone_and_together(module, *inputs)
            torch.testing.assert_close(alone, together, rtol=1e-4, atol=1e-5)


def test_batch_norm_does_mix_slices_while_it_trains():
    """What the test above would find in a network that mixes them."""
    generator, critic = build("dcgan", 3, (32, 32))
    for module, inputs in ((generator, torch.randn(5, 6)), (critic, torch.randn(5, 3, 32, 32))):
        alone, together = judge_alone_and_together(module, inputs)
        assert not torch.allclose(alone, together, rtol=1e-3, atol=1e-4)


def test_parameters_are_counted():
    assert parameter_count(torch.nn.Linear(3, 4)) == 16
