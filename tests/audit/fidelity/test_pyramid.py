from __future__ import annotations

import numpy as np
import pytest
import torch

from labelgan.audit.fidelity.pyramid import (
    blocks_of,
    expanded,
    laplacian_pyramid,
    ms_ssim,
    pyramid_patches,
    sliced_wasserstein,
    standardise_patches,
)
from labelgan.core.rng import generator_for


def noise(*shape: int, name: str = "x") -> torch.Tensor:
    return torch.from_numpy(generator_for(0, name).standard_normal(shape, dtype=np.float32))


@pytest.mark.parametrize("size", [(64, 64), (40, 56), (33, 47), (16, 16)])
def test_the_levels_add_up_to_the_images(size):
    images = noise(3, 2, *size)
    levels = laplacian_pyramid(images, coarsest=8)
    rebuilt = levels[-1]
    for level in reversed(levels[:-1]):
        rebuilt = level + expanded(rebuilt, level.shape[2:])
    torch.testing.assert_close(rebuilt, images, rtol=1e-4, atol=1e-5)
    assert all(min(level.shape[2:]) >= 8 for level in levels)


def test_a_constant_lies_in_the_coarsest_level_alone():
    *bands, last = laplacian_pyramid(torch.full((1, 1, 64, 64), 3.0))
    assert len(bands) == 2
    assert max(float(band.abs().max()) for band in bands) < 1e-5
    torch.testing.assert_close(last, torch.full_like(last, 3.0))


def test_patches_are_cut_where_the_level_has_them():
    """Of an image whose value is its place, every patch must be a window of consecutive places."""
    place = torch.arange(16 * 16, dtype=torch.float32).reshape(1, 1, 16, 16).repeat(1, 2, 1, 1)
    place[:, 1] += 1000
    (patches,) = pyramid_patches(place, patches=200, patch=7)
    assert patches.shape == (200, 2 * 49)
    corner = patches[:, 0]
    window = np.arange(7)[:, None] * 16 + np.arange(7)
    np.testing.assert_array_equal(patches[:, :49], corner[:, None] + window.ravel())
    np.testing.assert_array_equal(patches[:, 49:], patches[:, :49] + 1000)
    assert {int(value) // 16 for value in corner} == {int(value) % 16 for value in corner} == set(range(10))


def test_patches_do_not_depend_on_the_slices_beside(monkeypatch):
    images = noise(11, 2, 32, 32)
    whole = pyramid_patches(images, patches=5)
    monkeypatch.setattr("labelgan.audit.fidelity.pyramid._IMAGES", 4)
    for before, after in zip(whole, pyramid_patches(images, patches=5), strict=True):
        np.testing.assert_allclose(before, after, rtol=1e-4, atol=1e-5)
    assert [rows.stop - rows.start for rows in blocks_of(11)] == [4, 4, 3]


def test_sliced_distance_of_a_shift_is_the_mean_projection_of_it():
    """Along one axis of one dimension: the shift itself. In more: |cos| of a random direction, on average."""
    a = generator_for(0, "a").standard_normal((500, 1)).astype(np.float32)
    assert sliced_wasserstein(a, a + 2) == pytest.approx(2, rel=1e-5)
    b = generator_for(0, "b").standard_normal((500, 2)).astype(np.float32)
    moved = b + np.array([3, 0], np.float32)
    assert sliced_wasserstein(b, moved, projections=4000) == pytest.approx(3 * 2 / np.pi, rel=0.03)


def test_sliced_distance_takes_sets_of_different_size():
    a = generator_for(0, "a").standard_normal((300, 4)).astype(np.float32)
    assert sliced_wasserstein(np.repeat(a, 3, axis=0), a) == pytest.approx(0, abs=1e-6)
    assert sliced_wasserstein(a, a) == 0
    assert sliced_wasserstein(a, a * 2) == sliced_wasserstein(a, a * 2) > 0


def test_patches_are_brought_to_the_reference():
    reference = generator_for(0, "r").normal(5, 3, (4000, 8)).astype(np.float32)
    scaled = standardise_patches(reference, reference, channels=2)
    assert scaled.mean() == pytest.approx(0, abs=1e-3)
    assert scaled.std() == pytest.approx(1, abs=1e-3)
    constant = np.ones((4, 8), np.float32)
    assert (standardise_patches(constant, constant, channels=2) == 0).all()


def test_ms_ssim_is_one_for_equal_slices_and_falls_with_noise():
    images = noise(4, 2, 64, 64).cumsum(2).cumsum(3) / 64
    span = float(images.max() - images.min())
    torch.testing.assert_close(ms_ssim(images, images, span), torch.ones(4))
    found = [ms_ssim(images, images + level * noise(4, 2, 64, 64, name="n"), span).mean() for level in (0.1, 0.5, 2)]
    assert 1 > found[0] > found[1] > found[2] > 0
    torch.testing.assert_close(ms_ssim(images, images.flip(0), span), ms_ssim(images.flip(0), images, span))


def test_ssim_of_two_constants_is_their_luminance_term():
    """One scale, no structure: (2ab + c1) / (a² + b² + c1), c1 = (0.01 span)²."""
    a, b = torch.full((1, 1, 12, 12), 1.0), torch.full((1, 1, 12, 12), 3.0)
    c1 = (0.01 * 8) ** 2
    assert float(ms_ssim(a, b, 8.0)) == pytest.approx((6 + c1) / (10 + c1), rel=1e-4)
