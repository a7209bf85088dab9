from __future__ import annotations

import numpy as np
import pytest

from labelgan.audit.copies.patterns import WORKING_SIDE, halved, patterns_of, unit_vectors
from labelgan.core.rng import generator_for


def noise(*shape: int) -> np.ndarray:
    return generator_for(0, "patterns").standard_normal(shape).astype(np.float32)


def test_brightness_and_contrast_leave_a_pattern_as_it_is():
    images = noise(3, 2, 32, 32)
    scale = np.array([0.2, 7.0], np.float32).reshape(1, 2, 1, 1)
    np.testing.assert_allclose(patterns_of(images * scale + 3), patterns_of(images), atol=2e-3)


def test_a_bias_field_changes_a_pattern_less_than_another_slice_does():
    images = noise(2, 1, 64, 64)
    field = np.linspace(0.7, 1.3, 64, dtype=np.float32)
    first, second = patterns_of(images).astype(np.float32)
    biased = patterns_of(images * field).astype(np.float32)[0]
    assert np.square(biased - first).mean() < 0.02 * np.square(second - first).mean()


def test_a_pattern_moves_and_turns_with_its_slice():
    images = noise(1, 2, 40, 40)
    found = patterns_of(images).astype(np.float32)
    turned = patterns_of(images[..., ::-1]).astype(np.float32)
    np.testing.assert_allclose(turned, found[..., ::-1], atol=2e-3)
    moved = patterns_of(np.roll(images, (2, -3), (2, 3))).astype(np.float32)
    np.testing.assert_allclose(
        np.roll(moved, (-2, 3), (2, 3))[..., 12:-12, 12:-12], found[..., 12:-12, 12:-12], atol=3e-3
    )


def test_a_pattern_depends_on_its_slice_alone(monkeypatch):
    images = noise(7, 1, 24, 24)
    whole = patterns_of(images)
    monkeypatch.setattr("labelgan.audit.copies.patterns._BLOCK", 3)
    assert np.array_equal(patterns_of(images), whole)
    assert np.array_equal(patterns_of(images[4:5]), whole[4:5])


@pytest.mark.parametrize(("side", "expected"), [(48, 48), (64, 64), (128, 64), (200, 67), (256, 64)])
def test_slices_are_averaged_down_by_whole_factors(side, expected):
    assert WORKING_SIDE == 64
    assert patterns_of(np.zeros((1, 1, side, side), np.float32)).shape == (1, 1, expected, expected)


def test_a_flat_slice_has_no_pattern_and_one_that_is_not_finite_is_refused():
    images = np.full((2, 1, 32, 32), 5.0, np.float32)
    assert not patterns_of(images).any()
    assert not unit_vectors(halved(patterns_of(images)), 2).any()
    images[1, 0, 3, 3] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        patterns_of(images)


def test_products_of_unit_vectors_are_mean_correlations():
    small = halved(noise(2, 3, 64, 64))
    assert small.shape == (2, 3, 32, 32)
    (vectors,) = unit_vectors(small, 1)
    np.testing.assert_allclose(np.square(vectors).sum(1), 1, rtol=1e-5)
    kept = small[..., ::2, ::2].reshape(2, 3, -1)
    expected = np.mean([a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a, b in zip(kept[0], kept[1], strict=True)])
    assert vectors[0] @ vectors[1] == pytest.approx(expected, abs=1e-5)


def test_quadrants_are_the_four_corners():
    small = halved(noise(1, 1, 64, 64))
    parts = unit_vectors(small, 2)
    assert parts.shape == (4, 1, 64)
    corner = small[0, 0, :16:2, 16::2].ravel()
    np.testing.assert_allclose(parts[1, 0], corner / np.linalg.norm(corner), rtol=1e-5)
