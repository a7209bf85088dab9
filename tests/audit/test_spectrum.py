from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from labelgan.audit.spectrum import mean_power, spectral_distance
from toy_slices import toy_slices

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
    power, spoilt = mean_power(SLICES), mean_power(changed(SLICES.images_NCHW + board))
    assert np.unravel_index((spoilt / power)[0].argmax(), power[0].shape) == (16, 16)
    assert spoilt[0, 16, 16] > 20 * power[0, 16, 16]
    assert spectral_distance(spoilt, power) > 1


def test_it_grows_with_noise_and_blur():
    from scipy.ndimage import gaussian_filter

    noise = np.random.default_rng(0).standard_normal(SLICES.images_NCHW.shape)
    power = mean_power(SLICES)
    noisy = [spectral_distance(mean_power(changed(SLICES.images_NCHW + s * noise)), power) for s in (0.1, 0.3, 1)]
    blur = [gaussian_filter(SLICES.images_NCHW, (0, 0, s, s)) for s in (0.5, 1, 2)]
    blurred = [spectral_distance(mean_power(changed(images)), power) for images in blur]
    assert 0 < noisy[0] < noisy[1] < noisy[2]
    assert 0 < blurred[0] < blurred[1] < blurred[2]


def test_blocks_do_not_show(monkeypatch):
    whole = mean_power(SLICES)
    monkeypatch.setattr("labelgan.audit.spectrum.BLOCK", 7)
    np.testing.assert_allclose(mean_power(SLICES), whole, rtol=1e-9)
