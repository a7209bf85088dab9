from __future__ import annotations

import pytest
import torch
from torch import nn

from labelgan.config.gan import NetworkConfig
from labelgan.gan.networks.r3gan import R3ganCritic, R3ganGenerator, ResidualBlock

SMALL = NetworkConfig(latent_dim=6, width=8, max_width=16, group_width=4, blocks=2)


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def test_a_fresh_residual_block_is_the_identity_and_still_learns():
    block, x = ResidualBlock(8, SMALL, 4), torch.randn(2, 8, 6, 6)
    assert torch.equal(block(x), x)
    block(x).square().sum().backward()
    assert block.narrow.weight.grad is not None
    assert float(block.narrow.weight.grad.abs().sum()) > 0


def test_the_3x3_convolutions_are_grouped_inside_an_inverted_bottleneck():
    block = ResidualBlock(32, NetworkConfig(group_width=16, expansion=2.0), 4)
    assert (block.widen.out_channels, block.mix.groups, block.mix.kernel_size) == (64, 4, (3, 3))
    # two narrow group counts: never fewer than one group
    assert ResidualBlock(4, NetworkConfig(group_width=16, expansion=2.0), 4).mix.groups == 1


@pytest.mark.parametrize("network", [R3ganGenerator, R3ganCritic])
def test_there_is_no_normalisation_and_as_many_blocks_as_asked(network):
    module = network(SMALL, 3, (32, 32))
    kinds = {type(layer).__name__ for layer in module.modules()}
    assert not [kind for kind in kinds if "Norm" in kind or "Dropout" in kind]
    assert sum(isinstance(layer, ResidualBlock) for layer in module.modules()) == 2 * 4


def test_fixup_scales_a_branch_by_the_number_of_blocks():
    def first_std(total: int) -> float:
        torch.manual_seed(0)
        return float(ResidualBlock(64, NetworkConfig(), total).widen.weight.detach().std())

    assert first_std(16) / first_std(1) == pytest.approx(16 ** (-1 / 4), rel=1e-3)


@pytest.mark.parametrize("patch", [1, 2, 4])
def test_patches_make_the_finest_stage_coarser(patch):
    config = SMALL.model_copy(update={"patch": patch})
    generator, critic = R3ganGenerator(config, 3, (64, 64)), R3ganCritic(config, 3, (64, 64))
    seen: list[int] = []
    generator.stages[-1].register_forward_hook(lambda module, inputs, output: seen.append(output.shape[-1]))
    images_NCHW = generator(torch.randn(2, 6))
    assert images_NCHW.shape == (2, 3, 64, 64)
    assert seen == [64 // patch]
    assert critic(images_NCHW).shape == (2,)


def test_every_parameter_takes_part():
    """After one step away from the zero start no parameter is idle."""
    generator, critic = R3ganGenerator(SMALL, 3, (32, 32)), R3ganCritic(SMALL, 3, (32, 32))
    for module in (*generator.modules(), *critic.modules()):
        if isinstance(module, ResidualBlock):
            nn.init.normal_(module.narrow.weight, 0, 0.1)
    critic(generator(torch.randn(4, 6))).square().sum().backward()
    idle = [
        name
        for network in (generator, critic)
        for name, parameter in network.named_parameters()
        if parameter.grad is None or not float(parameter.grad.abs().sum())
    ]
    assert not idle
