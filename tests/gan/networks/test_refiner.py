from __future__ import annotations

import pytest
import torch

from labelgan.config.gan import NetworkConfig
from labelgan.core.rng import reseed_torch
from labelgan.gan.networks.refiner import PatchCritic, Refiner

SMALL = NetworkConfig(family="refiner", width=8, latent_dim=4, critic_width=4)


def refiner(size: tuple[int, int] = (32, 32)) -> Refiner:
    reseed_torch(0, "test")
    return Refiner(SMALL, 3, size)


def arguments(count: int = 2, size: tuple[int, int] = (32, 32)):
    generator = torch.Generator().manual_seed(1)
    slices = torch.rand(count, 3, *size, generator=generator) * 2 - 1
    return slices, torch.randn(count, 2, *size, generator=generator), torch.randn(count, 4, generator=generator)


def test_a_fresh_refiner_changes_nothing():
    slices_NCHW, noise_NKHW, z_NZ = arguments()
    assert torch.equal(refiner()(slices_NCHW, noise_NKHW, z_NZ), slices_NCHW)


def test_the_mask_passes_through_and_images_stay_in_range():
    network = refiner()
    torch.nn.init.normal_(network.paint.weight, 0, 1)
    slices_NCHW, noise_NKHW, z_NZ = arguments()
    refined = network(slices_NCHW, noise_NKHW, z_NZ)
    assert torch.equal(refined[:, -1], slices_NCHW[:, -1])
    assert refined.abs().max() <= 1
    assert not torch.equal(refined, slices_NCHW)


def test_noise_and_style_change_the_picture():
    network = refiner()
    torch.nn.init.normal_(network.paint.weight, 0, 0.1)
    slices_NCHW, noise_NKHW, z_NZ = arguments()
    plain = network(slices_NCHW, noise_NKHW, z_NZ)
    assert not torch.equal(plain, network(slices_NCHW, noise_NKHW + 1, z_NZ))
    assert not torch.equal(plain, network(slices_NCHW, noise_NKHW, z_NZ + 1))


@pytest.mark.parametrize("size", [(32, 32), (40, 56), (200, 200)])
def test_works_on_every_grid_of_whole_eights(size):
    network, critic = refiner(size), PatchCritic(SMALL, 3, size)
    refined = network(*arguments(1, size))
    assert refined.shape == (1, 3, *size)
    assert critic(refined).shape == (1,)


def test_the_critic_judges_patches():
    critic = PatchCritic(SMALL, 3, (128, 128))
    slices_NCHW = torch.zeros(1, 3, 128, 128, requires_grad=True)
    maps = critic.judge(slices_NCHW)
    (gradient,) = torch.autograd.grad(maps[0, 0, 8, 8], slices_NCHW)
    weights = gradient[0].abs().sum(dim=(0, 2))
    rows = (weights > 1e-3 * weights.max()).nonzero().flatten()  # the edges weigh 8 % of the middle and more
    assert (
        int(rows.max() - rows.min()) + 1 == 40
    )  # 3×3 at strides 1 and 8, three 4×4 at 1, 2 and 4: 2 + 3 + 6 + 12 + 16 + 1
