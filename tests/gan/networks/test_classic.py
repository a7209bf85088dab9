from __future__ import annotations

import pytest
import torch
from torch import nn

from labelgan.config.gan import GanConfig, NetworkConfig
from labelgan.gan.networks.classic import DcganCritic, DcganCriticWithoutNorm, DenseGenerator, Maxout, MaxoutCritic
from labelgan.gan.networks.families import NETWORKS, parameter_count

SMALL = NetworkConfig(latent_dim=6, width=4, max_width=8, hidden=40)


def test_the_2019_network_has_the_parameters_of_the_report():
    config = GanConfig.for_model("wgan-gp", "uned2019").network
    family = NETWORKS[config.family]
    with torch.device("meta"):
        generator, critic = family.generator(config, 3, (256, 256)), family.critic(config, 3, (256, 256))
    assert parameter_count(generator) == 48_927_683
    assert parameter_count(critic) == 17_480_001


def test_maxout_is_the_largest_of_its_linear_maps():
    torch.manual_seed(0)
    layer, x = Maxout(7, 4, pieces=5), torch.randn(3, 7)
    maps = layer.linear(x)
    expected = torch.stack([maps[:, 5 * unit : 5 * unit + 5].max(dim=1).values for unit in range(4)], dim=1)
    assert torch.equal(layer(x), expected)


def test_the_dense_critic_drops_inputs_and_units_only_while_it_trains():
    torch.manual_seed(0)
    critic, images = MaxoutCritic(SMALL, 3, (8, 8)), torch.randn(4, 3, 8, 8)
    assert [module.p for module in critic.modules() if isinstance(module, nn.Dropout)] == [0.2, 0.5, 0.5]
    assert not torch.equal(critic(images), critic(images))
    critic.eval()
    assert torch.equal(critic(images), critic(images))


def test_the_dense_generator_has_two_hidden_layers_of_the_units_asked():
    layers = [module for module in DenseGenerator(SMALL, 3, (8, 8)).modules() if isinstance(module, nn.Linear)]
    assert [(layer.in_features, layer.out_features) for layer in layers] == [(6, 40), (40, 40), (40, 192)]


def strided(module: nn.Module, kind: type[nn.Conv2d] | type[nn.ConvTranspose2d]) -> list[tuple[int, int]]:
    return [(layer.in_channels, layer.out_channels) for layer in module.modules() if isinstance(layer, kind)]


def test_the_dcgan_generator_is_the_papers_at_64_pixels():
    config = GanConfig.for_model("dcgan").network
    with torch.device("meta"):
        generator = NETWORKS["dcgan"].generator(config, 3, (64, 64))
    assert strided(generator, nn.ConvTranspose2d) == [(1024, 512), (512, 256), (256, 128), (128, 3)]


@pytest.mark.parametrize("size", [(64, 64), (96, 80)])
@pytest.mark.parametrize("preset", [None, "laptop"])
def test_the_critic_of_a_gradient_penalty_starts_near_the_slope_that_it_is_to_have(preset, size):
    config = GanConfig.for_model("wgan-gp", preset).network
    torch.manual_seed(0)
    critic = NETWORKS[config.family].critic(config, 3, size)
    images = torch.randn(4, 3, *size).mul(0.5).clamp(-1, 1).requires_grad_()
    (gradient,) = torch.autograd.grad(critic(images).sum(), images)
    slopes = gradient.flatten(1).norm(dim=1)
    assert float(slopes.min()) > 0.3
    assert float(slopes.max()) < 3


@pytest.mark.parametrize(("critic", "layers"), [(DcganCritic, 2), (DcganCriticWithoutNorm, 0)])
def test_batch_norm_is_where_the_papers_have_it(critic, layers):
    module = critic(SMALL, 3, (32, 32))
    norms = [layer for layer in module.modules() if isinstance(layer, nn.BatchNorm2d)]
    assert len(norms) == layers
    convolutions = [layer for layer in module.modules() if isinstance(layer, nn.Conv2d)]
    # never on the first layer, and a bias exactly where no norm follows
    assert [layer.bias is not None for layer in convolutions] == [True] + [layers == 0] * (len(convolutions) - 1)


def test_dcgan_weights_start_as_the_paper_says():
    torch.manual_seed(0)
    module = NETWORKS["dcgan"].critic(NetworkConfig(width=32, max_width=64), 3, (64, 64))
    weights = torch.cat([layer.weight.detach().flatten() for layer in module.modules() if isinstance(layer, nn.Conv2d)])
    assert float(weights.std()) == pytest.approx(0.02, rel=0.02)
    assert float(weights.mean()) == pytest.approx(0, abs=2e-4)
