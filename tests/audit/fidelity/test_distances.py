from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelgan.audit.fidelity.distances import (
    distances,
    kernel_distance,
    kth_neighbour,
    manifold_overlap,
    mean_power,
    mean_spread,
    nearest_other,
    spectral_distance,
    unbiased_mmd,
    wasserstein_1,
    wasserstein_spread,
)
from labelgan.core.rng import generator_for
from toy_slices import toy_slices


def points(count: int, *names, dimensions: int = 6) -> np.ndarray:
    return generator_for(0, *names).standard_normal((count, dimensions)).astype(np.float32)


def test_distances_are_euclidean_and_zero_between_equal_rows():
    a, b = points(40, "a") * 100, points(30, "b") * 100
    expected = np.linalg.norm(a[:, None].astype(np.float64) - b, axis=2)
    np.testing.assert_allclose(distances(a, b), expected, rtol=1e-9)
    assert (np.diag(distances(a, a)) == 0).all()


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 30), st.floats(0, 20), st.integers(0, 5))
def test_w1_of_a_shifted_set_is_the_shift(count: int, shift: float, axis: int):
    a = points(count, "shift", count)
    b = a.copy()
    b[:, axis] += np.float32(shift)
    assert wasserstein_1(a, b) == pytest.approx(shift, rel=1e-4, abs=1e-5)


def test_the_spread_of_w1_is_that_of_its_quarters():
    a, b = np.random.default_rng(0).normal(size=(2, 80, 3))
    found = [wasserstein_1(a[part::4], b[part::4]) for part in range(4)]
    assert wasserstein_spread(a, b) == pytest.approx(np.std(found, ddof=1))
    assert wasserstein_spread(a, a) == 0
    assert wasserstein_spread(a[:3], b) is None


def test_w1_in_one_dimension_is_the_gap_of_quantiles():
    a, b = points(50, "a", dimensions=1), points(50, "b", dimensions=1) * 3
    assert wasserstein_1(a, b) == pytest.approx(np.abs(np.sort(a[:, 0]) - np.sort(b[:, 0])).mean(), rel=1e-6)


def test_w1_ignores_order_and_refuses_sets_of_two_sizes():
    a = points(12, "a")
    assert wasserstein_1(a[::-1], a) == 0
    assert wasserstein_1(np.zeros((2, 2)), np.array([[3.0, 4.0], [0.0, 0.0]])) == pytest.approx(2.5)
    with pytest.raises(ValueError, match="not 12 and 11"):
        wasserstein_1(a, a[:11])


@pytest.mark.parametrize("measure", [wasserstein_1, lambda a, b: kernel_distance(a, b, block=60).mean])
def test_distances_of_sets_are_symmetric_up_to_the_draw(measure):
    a, b = points(60, "a"), points(60, "b") + 1
    assert measure(a, b) == pytest.approx(measure(b, a), rel=1e-6)


def test_the_kernel_distance_of_one_distribution_is_zero_on_average():
    """Unbiased: below 0 about as often as above; the biased estimate is far above its own noise."""
    found = np.array([kernel_distance(points(80, "a", n), points(80, "b", n), blocks=2).mean for n in range(60)])
    error = found.std() / np.sqrt(len(found))
    assert abs(found.mean()) < 3 * error
    assert 15 <= (found > 0).sum() <= 45


def test_the_unbiased_estimate_is_the_mean_over_distinct_pairs():
    a, b = points(5, "a"), points(4, "b")
    xx, yy, xy = a @ a.T, b @ b.T, a @ b.T
    # for the linear kernel: |mean a - mean b|² less what the variances add
    biased = ((a.mean(0) - b.mean(0)) ** 2).sum()
    extra = a.var(0, ddof=1).sum() / len(a) + b.var(0, ddof=1).sum() / len(b)
    assert unbiased_mmd(xx, yy, xy) == pytest.approx(biased - extra, rel=1e-4)


def test_the_kernel_distance_does_not_grow_with_the_sample():
    a, b = points(900, "a"), points(900, "b") + 0.5
    whole, part = kernel_distance(a, b, block=800), kernel_distance(a, b, block=200)
    assert whole.mean == pytest.approx(part.mean, abs=3 * (part.sd / np.sqrt(20) + whole.sd))
    assert part.sd > whole.sd > 0


def test_the_manifolds_of_one_set_are_one():
    a = points(200, "a")
    overlap = manifold_overlap(a, a)
    assert (overlap.precision, overlap.recall, overlap.coverage) == (1, 1, 1)
    assert overlap.density == pytest.approx(1, abs=0.25)


def test_disjoint_sets_share_nothing():
    overlap = manifold_overlap(points(100, "a"), points(100, "b") + 1000)
    assert (overlap.precision, overlap.recall, overlap.density, overlap.coverage) == (0, 0, 0, 0)


def test_dropped_modes_cost_recall_and_coverage_not_precision():
    real = np.concatenate([points(100, "real", mode) + 50 * mode for mode in range(4)])
    half = np.concatenate([points(200, "half", mode) + 50 * mode for mode in range(2)])
    overlap = manifold_overlap(half, real)
    assert overlap.precision > 0.8
    assert overlap.recall < 0.55
    assert overlap.coverage < 0.55


def test_an_outlier_makes_precision_large_and_density_not():
    """The reason for density: Naeem et al., figure 2."""
    real = np.concatenate([points(100, "real"), np.full((1, 6), 30.0)])
    bad = points(100, "bad") + 8
    overlap = manifold_overlap(bad, real)
    assert overlap.precision > 0.9
    assert overlap.density < 0.35


def test_a_point_over_and_over_lies_in_its_own_ball():
    real = np.repeat(points(2, "two"), 20, axis=0)
    assert manifold_overlap(real, real).precision == 1
    assert manifold_overlap(points(30, "others"), real).recall >= 0


def test_neighbours_are_counted_without_the_point_itself():
    line = np.array([[0.0], [1.0], [3.0], [7.0]])
    assert kth_neighbour(line, 1).tolist() == [1, 1, 2, 4]
    assert kth_neighbour(line, 2).tolist() == [3, 2, 3, 6]
    assert nearest_other(line).tolist() == [1, 1, 2, 4]
    assert nearest_other(line, np.array(["a", "a", "b", "b"])).tolist() == [3, 2, 2, 6]
    assert nearest_other(line, np.array(["a"] * 4)).tolist() == [np.inf] * 4


def test_blocks_do_not_show(monkeypatch):
    a, b = points(150, "a"), points(170, "b") + 0.3
    groups = generator_for(0, "groups").integers(9, size=150)
    whole = (manifold_overlap(a, b), kth_neighbour(a, 3), nearest_other(a, groups))
    monkeypatch.setattr("labelgan.audit.fidelity.distances._BLOCK", 7)
    cut = (manifold_overlap(a, b), kth_neighbour(a, 3), nearest_other(a, groups))
    assert whole[0] == cut[0]
    for before, after in zip(whole[1:], cut[1:], strict=True):
        np.testing.assert_allclose(before, after, rtol=1e-12)


def test_the_spread_is_the_root_mean_squared_distance_of_two_points():
    a = points(40, "a")
    near = distances(a, a)
    expected = np.sqrt((near**2).sum() / (40 * 39))
    assert mean_spread(a) == pytest.approx(expected, rel=1e-6)
    assert mean_spread(np.ones((5, 3))) == 0


SLICES = toy_slices(60, 0)


def changed(images_NCHW: np.ndarray):
    return dataclasses.replace(SLICES, images_NCHW=images_NCHW.astype(np.float32))


def test_a_factor_of_ten_in_power_is_ten_decibel():
    power = mean_power(SLICES)
    assert power.shape == (2, 32, 17)
    assert spectral_distance(power, power) == 0
    assert spectral_distance(10 * power, power) == pytest.approx(10)
    assert spectral_distance(power, 10 * power) == pytest.approx(10)
    assert spectral_distance(np.zeros(4), np.zeros(4)) == 0


def test_a_faint_chequerboard_shows_where_it_lies():
    board = 0.3 * (-1.0) ** np.add.outer(np.arange(32), np.arange(32))
    power, degraded = mean_power(SLICES), mean_power(changed(SLICES.images_NCHW + board))
    assert np.unravel_index((degraded / power)[0].argmax(), power[0].shape) == (16, 16)
    assert degraded[0, 16, 16] > 20 * power[0, 16, 16]
    assert spectral_distance(degraded, power) > 1


def test_it_grows_with_noise_and_blur():
    from scipy.ndimage import gaussian_filter

    noise = np.random.default_rng(0).standard_normal(SLICES.images_NCHW.shape)
    power = mean_power(SLICES)
    noisy = [spectral_distance(mean_power(changed(SLICES.images_NCHW + s * noise)), power) for s in (0.1, 0.3, 1)]
    blur = [gaussian_filter(SLICES.images_NCHW, (0, 0, s, s)) for s in (0.5, 1, 2)]
    blurred = [spectral_distance(mean_power(changed(images)), power) for images in blur]
    assert 0 < noisy[0] < noisy[1] < noisy[2]
    assert 0 < blurred[0] < blurred[1] < blurred[2]


def test_blocks_do_not_show_in_the_spectrum(monkeypatch):
    whole = mean_power(SLICES)
    monkeypatch.setattr("labelgan.audit.fidelity.distances.BLOCK", 7)
    np.testing.assert_allclose(mean_power(SLICES), whole, rtol=1e-9)
