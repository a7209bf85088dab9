from __future__ import annotations

from typing import cast

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from labelgan.core.rng import generator_for
from labelgan.gan.inputs.batches import BatchSource
from labelgan.gan.inputs.inputs import Inputs
from labelgan.gan.watch import WATCHED, Watch, diversity_ratio, lesion_rate, spread


def blobs(name: str, count: int = 24, noise: float = 0.0) -> Tensor:
    """Slices with one bright square somewhere, so that they differ in what they show."""
    rng = generator_for(0, name)
    images = torch.full((count, 3, 32, 32), -1.0)
    for image, (row, column) in zip(images, rng.integers(0, 24, (count, 2)), strict=True):
        image[:, row : row + 8, column : column + 8] = 1.0
    return images + noise * torch.from_numpy(rng.standard_normal(images.shape)).float()


def test_identical_samples_have_no_diversity():
    assert diversity_ratio(blobs("fake")[:1].expand(24, -1, -1, -1), blobs("real")) == pytest.approx(0.0, abs=1e-5)


def test_two_draws_of_the_same_slices_are_as_diverse_as_each_other():
    assert diversity_ratio(blobs("fake"), blobs("real")) == pytest.approx(1.0, abs=0.1)
    assert diversity_ratio(blobs("real"), blobs("real")) == pytest.approx(1.0)


def test_diversity_falls_with_every_mode_that_is_lost():
    real = blobs("real")
    ratios = [diversity_ratio(real[torch.arange(24) % modes], real) for modes in (24, 8, 4, 2, 1)]
    assert ratios == sorted(ratios, reverse=True)
    assert ratios[0] - ratios[3] > 0.2
    assert ratios[-1] == pytest.approx(0.0, abs=1e-5)


def test_pixel_noise_does_not_hide_a_collapse():
    one = blobs("real")[:1].expand(24, -1, -1, -1)
    noise = 0.1 * torch.from_numpy(generator_for(0, "noise").standard_normal(one.shape)).float()
    assert diversity_ratio(one + noise, blobs("real")) < 0.15


def test_the_spread_of_two_flat_slices_is_their_difference():
    flat = torch.stack([torch.full((2, 40, 24), 0.25), torch.full((2, 40, 24), -0.5)])
    assert spread(flat) == pytest.approx(0.75, rel=1e-6)


def test_the_spread_does_not_depend_on_order_and_scales_with_the_slices():
    images = blobs("real")
    assert spread(images.flip(0)) == pytest.approx(spread(images), rel=1e-5)
    assert spread(3 * images) == pytest.approx(3 * spread(images), rel=1e-5)
    assert spread(images + 5) == pytest.approx(spread(images), rel=1e-4)


def test_real_slices_that_are_all_alike_do_not_divide_by_zero():
    assert diversity_ratio(blobs("fake"), torch.zeros(4, 3, 32, 32)) == 1.0


def test_the_lesion_rate_counts_masks_that_are_not_empty():
    masks = torch.zeros(8, 6, 6, dtype=torch.bool)
    assert lesion_rate(masks) == 0.0
    masks[2, 3, 3] = masks[5, 0, 0] = masks[5, 1, 0] = True
    assert lesion_rate(masks) == 0.25


class Fixed:
    """Inputs whose latents are the indices themselves."""

    def samples(self, seed: int, indices, conditions=None) -> tuple[Tensor, ...]:
        return (torch.tensor(list(indices), dtype=torch.float32) + 1000 * seed,)


class FewSlices:
    """A source that gives five slices at a time."""

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        return rng.integers(0, 24, 5)

    def load(self, rows: np.ndarray, rng: np.random.Generator) -> Tensor:
        return blobs("real")[rows]


class Shapes(nn.Module):
    """Turns a number into a slice with a square at a place of its own; its mask channel is lesion throughout."""

    def forward(self, numbers_N: Tensor) -> Tensor:
        self.seen = [*getattr(self, "seen", []), numbers_N.tolist()]
        assert not self.training
        images = torch.full((len(numbers_N), 3, 32, 32), -1.0)
        for image, number in zip(images, numbers_N.int().tolist(), strict=True):
            image[:2, number % 24 : number % 24 + 8, :8] = 1.0
            image[2] = 1.0 if number % 2 else -1.0
        return images


def test_the_watch_always_looks_at_the_same_samples():
    watch = Watch(cast(Inputs, Fixed()), cast(BatchSource, FewSlices()), seed=3)
    generator = Shapes()
    images, masks = watch.samples(generator, torch.device("cpu"))
    assert [number for block in generator.seen for number in block] == [3000.0 + index for index in range(WATCHED)]
    assert generator.training
    again, _ = watch.samples(generator, torch.device("cpu"))
    assert torch.equal(images, again)
    figures = watch.metrics(images, masks)
    assert figures["lesion_rate"] == 0.5
    assert figures["diversity"] > 0.3
    assert watch.metrics(images[:1].expand(WATCHED, -1, -1, -1), masks)["diversity"] == pytest.approx(0, abs=1e-5)
