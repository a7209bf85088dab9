"""Where z comes from: drawn on the CPU, one named stream a sample, so that sample i is the same everywhere."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from labelgan.config.gan import NetworkConfig
from labelgan.core.rng import generator_for


def _draw(rng: np.random.Generator, shape: tuple[int, ...], config: NetworkConfig) -> Tensor:
    values = rng.standard_normal(shape) if config.latent == "normal" else rng.uniform(-1.0, 1.0, shape)
    return torch.from_numpy(values.astype(np.float32))


def sample_latents(config: NetworkConfig, seed: int, indices: Iterable[int]) -> Tensor:
    """Gives z of samples ``indices``: (N, Z) float32 on the CPU; row i depends on ``seed`` and its own index alone."""
    return torch.stack([_draw(generator_for(seed, "z", i), (config.latent_dim,), config) for i in indices])


def batch_latents(config: NetworkConfig, rng: np.random.Generator, count: int) -> Tensor:
    """Gives z of one training batch, (N, Z) float32 on the CPU."""
    return _draw(rng, (count, config.latent_dim), config)
