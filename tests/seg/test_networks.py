from __future__ import annotations

import pytest
import torch

from labelgan.config.seg import SegNetworkConfig
from labelgan.core.errors import ConfigError
from labelgan.core.rng import reseed_torch
from labelgan.seg.networks import SEGMENTERS, build_segmenter, parameter_count
from labelgan.training.checkpoint import load_tensors, load_weights, save_tensors


def config_of(name: str, width: int = 8, norm: str | None = "instance") -> SegNetworkConfig:
    return SegNetworkConfig.build({"name": name, "width": width, "norm": norm})


@pytest.mark.parametrize("norm", [None, "batch", "instance"])
@pytest.mark.parametrize("name", SEGMENTERS)
def test_every_network_keeps_the_size_and_learns(name, norm):
    network = build_segmenter(config_of(name, norm=norm), 2)
    for size in ((32, 32), (40, 56), (37, 50)):
        logits = network(torch.randn(2, 2, *size))
        assert logits.shape == (2, 1, *size)
        assert bool(logits.isfinite().all())
    logits.square().mean().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


@pytest.mark.parametrize("name", SEGMENTERS)
def test_width_scales_and_channels_enter(name):
    counts = [parameter_count(build_segmenter(config_of(name, width), 1)) for width in (8, 16)]
    assert 3 < counts[1] / counts[0] < 5
    assert parameter_count(build_segmenter(config_of(name), 3)) > parameter_count(build_segmenter(config_of(name), 1))
    assert build_segmenter(config_of(name), 1)(torch.zeros(1, 1, 32, 32)).shape == (1, 1, 32, 32)


@pytest.mark.parametrize("name", SEGMENTERS)
def test_the_same_stream_gives_the_same_weights(name):
    def built(seed: int) -> list[torch.Tensor]:
        reseed_torch(seed, "weights")
        return list(build_segmenter(config_of(name), 2).state_dict().values())

    first, again, other = built(0), built(0), built(1)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(first, other, strict=True))


@pytest.mark.parametrize("name", SEGMENTERS)
def test_weights_can_be_saved_and_read(name, tmp_path):
    network, other = (build_segmenter(config_of(name), 2) for _ in range(2))
    save_tensors(tmp_path / "weights.safetensors", network.state_dict())
    load_weights(other, load_tensors(tmp_path / "weights.safetensors"), tmp_path / "weights.safetensors")
    images = torch.randn(1, 2, 32, 32)
    assert torch.equal(network(images), other(images))


def test_an_unknown_name_is_refused():
    with pytest.raises(ConfigError, match=r"^network\.name: unknown 'unet'; one of li2018, dynunet, segresnet$"):
        build_segmenter(SegNetworkConfig(name="unet"), 2)


@pytest.mark.parametrize("name", SEGMENTERS)
def test_a_prior_is_what_a_network_gives_where_it_sees_nothing(name):
    for prior in (0.01, 0.3):
        reseed_torch(0, "weights")
        config = config_of(name).model_copy(update={"prior": prior})
        network = build_segmenter(config, 2)
        found = network(torch.zeros(1, 2, 32, 32)).sigmoid()
        assert found.flatten().tolist() == pytest.approx([prior] * 1024, rel=1e-4)
    reseed_torch(0, "weights")
    plain = build_segmenter(config_of(name), 2)
    different = [key for key, value in plain.state_dict().items() if not torch.equal(value, network.state_dict()[key])]
    assert [key.rpartition(".")[2] for key in different] == ["weight", "bias"]
    assert len({key.rpartition(".")[0] for key in different}) == 1


@pytest.mark.parametrize("name", SEGMENTERS)
def test_with_a_prior_chance_gives_the_last_weights_both_signs(name):
    """All weights of one sign, as one seed in a few hundred has it, kept a narrow network from learning at all."""
    reseed_torch(0, "weights")
    network = build_segmenter(config_of(name).model_copy(update={"prior": 0.01}), 2)
    last = [module for module in network.modules() if isinstance(module, torch.nn.Conv2d)][-1]
    assert float(last.weight.detach().mean()) == pytest.approx(0, abs=1e-6)
    assert float(last.weight.detach().abs().max()) > 0
