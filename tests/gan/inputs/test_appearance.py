from __future__ import annotations

import numpy as np
import pytest

from labelgan.gan.inputs.appearance import match_brightness, restyle, smooth_noise

BRAIN = np.zeros((32, 32), bool)
BRAIN[6:26, 6:26] = True
IMAGE = np.where(BRAIN, np.linspace(-1, 2, 32)[None, :], -3.0).astype(np.float32)[None].repeat(2, axis=0)


def test_strength_zero_changes_nothing():
    assert restyle(IMAGE, BRAIN, 0.0, np.random.default_rng(0)) is IMAGE


def test_pixels_outside_the_brain_stay():
    styled = restyle(IMAGE, BRAIN, 1.0, np.random.default_rng(0))
    assert np.array_equal(styled[:, ~BRAIN], IMAGE[:, ~BRAIN])
    assert not np.allclose(styled[:, BRAIN], IMAGE[:, BRAIN])


def test_brighter_tissue_stays_brighter():
    # the tone curve rises everywhere; field and noise are small against a step of one z-score
    for seed in range(20):
        row = restyle(IMAGE, BRAIN, 0.6, np.random.default_rng(seed))[:, 6:26].mean(axis=1)
        assert (row[:, 24] > row[:, 8]).all()


def test_a_stronger_style_changes_more():
    changes = [
        np.mean([np.abs(restyle(IMAGE, BRAIN, s, np.random.default_rng(k)) - IMAGE).mean() for k in range(20)])
        for s in (0.2, 0.6, 1.2)
    ]
    assert changes == sorted(changes)


def test_an_empty_brain_is_left_alone():
    assert restyle(IMAGE, np.zeros_like(BRAIN), 1.0, np.random.default_rng(0)) is IMAGE


@pytest.mark.parametrize("sigma", [1.0, 4.0])
def test_smooth_noise_has_unit_spread_and_neighbours_alike(sigma):
    noise = smooth_noise(np.random.default_rng(1), (128, 128), sigma)
    assert noise.std() == pytest.approx(1, abs=1e-6)
    # the autocorrelation of smoothed noise at lag 1 is exp(-1 / 4 sigma²)
    assert (noise[:, 1:] * noise[:, :-1]).mean() == pytest.approx(np.exp(-1 / (4 * sigma**2)), abs=0.05)


def test_a_matched_slice_has_the_brightness_of_the_other():
    like = np.stack([np.random.default_rng(0).normal(1.0, 0.3, 400), np.random.default_rng(1).normal(-0.5, 2.0, 400)])
    matched = match_brightness(IMAGE, BRAIN, np.zeros_like(BRAIN), like)
    for channel in range(2):
        found, wanted = (np.quantile(values, [0.1, 0.5, 0.9]) for values in (matched[channel][BRAIN], like[channel]))
        assert found == pytest.approx(wanted, abs=0.3)
        rows = matched[channel, 6:26, 6:26]
        assert (np.diff(rows, axis=1) >= 0).all()
    assert np.array_equal(matched[:, ~BRAIN], IMAGE[:, ~BRAIN])


def test_a_matched_lesion_stays_as_much_brighter_than_the_brightest_tissue():
    lesion = np.zeros_like(BRAIN)
    lesion[10:14, 10:14] = True
    image = np.where(lesion, 5.0, IMAGE).astype(np.float32)
    like = np.random.default_rng(0).normal(1.0, 0.3, (2, 400))
    matched = match_brightness(image, BRAIN, lesion, like)
    before = image[0][lesion].mean() - np.quantile(image[0][BRAIN & ~lesion], 0.98)
    after = matched[0][lesion].mean() - np.quantile(like[0], 0.98)
    assert after == pytest.approx(before, abs=0.05)


def test_nothing_to_be_like_changes_nothing():
    assert match_brightness(IMAGE, BRAIN, BRAIN, np.zeros((2, 9))) is IMAGE
    assert match_brightness(IMAGE, BRAIN, np.zeros_like(BRAIN), np.zeros((2, 0))) is IMAGE


def test_a_flat_slice_can_be_matched():
    flat = np.zeros_like(IMAGE)
    matched = match_brightness(flat, BRAIN, np.zeros_like(BRAIN), np.random.default_rng(0).normal(1, 0.1, (2, 400)))
    assert np.isfinite(matched).all()
    assert 0.5 < matched[:, BRAIN].mean() < 1.5
