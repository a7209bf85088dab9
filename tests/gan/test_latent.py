from __future__ import annotations

import pytest
import torch

from labelgan.config.gan import NetworkConfig
from labelgan.gan.latent import batch_latents, sample_latents
from labelgan.core.rng import generator_for

NORMAL = NetworkConfig(latent_dim=32)
UNIFORM = NetworkConfig(latent_dim=32, latent="uniform")


@pytest.mark.parametrize("config", [NORMAL, UNIFORM], ids=["normal", "uniform"])
def test_a_sample_does_not_depend_on_its_batch(config):
    together = sample_latents(config, 5, range(20))
    assert together.shape == (20, 32)
    assert together.dtype == torch.float32
    assert torch.equal(sample_latents(config, 5, [7])[0], together[7])
    assert torch.equal(sample_latents(config, 5, [19, 3]), together[[19, 3]])


def test_seeds_and_indices_give_different_samples():
    rows = torch.cat([sample_latents(NORMAL, seed, range(8)) for seed in range(4)])
    assert len(torch.unique(rows, dim=0)) == 32


@pytest.mark.parametrize(
    "draw", [lambda c: sample_latents(c, 0, range(400)), lambda c: batch_latents(c, generator_for(0), 400)]
)
def test_uniform_latents_fill_the_cube(draw):
    z = draw(UNIFORM)
    assert z.shape == (400, 32)
    assert -1 <= float(z.min()) < -0.99
    assert 0.99 < float(z.max()) <= 1
    assert float(z.mean()) == pytest.approx(0, abs=0.02)
    assert float(z.var()) == pytest.approx(1 / 3, rel=0.03)


def test_normal_latents_are_standard():
    z = batch_latents(NORMAL, generator_for(0), 400)
    assert float(z.mean()) == pytest.approx(0, abs=0.03)
    assert float(z.var()) == pytest.approx(1, rel=0.04)
    assert float(z.abs().max()) > 3


def test_batches_follow_their_stream():
    assert torch.equal(batch_latents(NORMAL, generator_for(1, "a"), 4), batch_latents(NORMAL, generator_for(1, "a"), 4))
    assert not torch.equal(
        batch_latents(NORMAL, generator_for(1, "a"), 4), batch_latents(NORMAL, generator_for(1, "b"), 4)
    )
