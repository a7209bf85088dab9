from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from labelgan.config.gan import NetworkConfig
from labelgan.gan.networks.grid import Grid, plan_grid, stage_widths

sides = st.integers(8, 160)
sizes = st.tuples(sides, sides)


@given(size=sizes, patch=st.sampled_from([1, 2, 4]))
def test_the_grid_covers_the_slice_and_wastes_less_than_one_coarse_pixel(size, patch):
    grid = plan_grid(size, patch)
    factor = 2**grid.stages * patch
    for inner, side, coarse in zip(grid.inner, size, grid.coarse, strict=True):
        assert inner == coarse * factor
        assert 0 <= inner - side < factor
    # no further doubling would leave four coarse pixels
    assert min(size) / 2 ** (grid.stages + 1) / patch < 4 + 1


@given(size=sizes, patch=st.sampled_from([1, 2, 4]))
def test_cropping_undoes_padding(size, patch):
    grid = plan_grid(size, patch)
    images = torch.arange(1.0, 1 + size[0] * size[1]).reshape(1, 1, *size)
    padded = grid.pad(images)
    assert padded.shape[2:] == grid.inner
    assert torch.equal(grid.crop(padded), images)
    assert int(padded.count_nonzero()) == images.numel()


@pytest.mark.parametrize(
    ("size", "coarse", "stages"),
    [
        ((64, 64), (4, 4), 4),
        ((32, 32), (4, 4), 3),
        ((200, 200), (7, 7), 5),
        ((256, 256), (4, 4), 6),
        ((40, 56), (5, 7), 3),
    ],
)
def test_known_plans(size, coarse, stages):
    assert plan_grid(size) == Grid(size, coarse, stages)


def test_the_number_of_doublings_may_be_given():
    assert plan_grid((256, 256), stages=6).inner == (256, 256)
    assert plan_grid((200, 200), stages=6).inner == (256, 256)
    assert plan_grid((40, 56), stages=6).inner == (64, 64)


def test_widths_halve_towards_the_finest_stage_below_a_ceiling():
    assert stage_widths(NetworkConfig(width=16, max_width=100), 4) == [100, 100, 64, 32, 16]
    assert stage_widths(NetworkConfig(width=128, max_width=1024), 3) == [1024, 512, 256, 128]
