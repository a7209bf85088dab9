from __future__ import annotations

import numpy as np
import pytest

from labelgan.audit.fidelity.anchors import blurred, noisy, octave_noise, repeated, shifted
from labelgan.audit.slices import AuditSlices
from labelgan.config.audit import FidelityConfig
from labelgan.core.rng import generator_for


@pytest.fixture(scope="module")
def slices(phantom_store) -> AuditSlices:
    return AuditSlices.from_store(phantom_store)


def test_noise_has_the_variance_asked_for_on_every_scale():
    noise = octave_noise((400, 64, 64), generator_for(0, "noise"))
    assert noise.std() == pytest.approx(1, rel=0.03)
    coarse = noise.reshape(400, 8, 8, 8, 8).mean(axis=(2, 4))
    assert coarse.std() > 3 / 8  # of white noise 1/8 would be left


def test_noisy_slices_are_as_far_as_the_setting_says(slices):
    for level in (0.2, 1.0):
        degraded = noisy(slices, FidelityConfig(noise=level), 0)
        assert (degraded.z_scores() - slices.z_scores()).std() == pytest.approx(level, rel=0.1)
    again = noisy(slices, FidelityConfig(), 3)
    assert np.array_equal(again.images_NCHW, noisy(slices, FidelityConfig(), 3).images_NCHW)
    first = noisy(slices.select(slice(0, 2)), FidelityConfig(), 3)
    assert np.array_equal(again.images_NCHW[:2], first.images_NCHW)
    assert (again.masks_NHW != slices.masks_NHW).any()


def test_blurred_slices_keep_their_mean_and_lose_their_edges(slices):
    degraded = blurred(slices, FidelityConfig(blur=0.05))
    edges = [np.abs(np.diff(part.images_NCHW, axis=3)).mean() for part in (degraded, slices)]
    assert edges[0] < 0.7 * edges[1]
    assert degraded.z_scores().mean() == pytest.approx(slices.z_scores().mean(), abs=0.05)
    had, has = slices.lesions_NHW, degraded.lesions_NHW
    assert (has | ~had).all()
    assert has.sum() > 1.5 * had.sum()
    assert np.array_equal(has.any(axis=(1, 2)), had.any(axis=(1, 2)))


def test_a_few_slices_over_and_over(slices):
    many = slices.select(np.resize(np.arange(len(slices)), 100))
    assert len(repeated(many, 0)) == 100
    assert len(set(repeated(many, 0).names)) <= 2
    assert len(set(repeated(slices.select([4]), 0).names)) == 1


@pytest.mark.parametrize(("down", "right"), [(0, 0), (2, 0), (-1, 3), (0, -4)])
def test_planes_move_and_zeros_come_in(down, right):
    plane = np.arange(1, 31).reshape(5, 6)
    moved = shifted(plane, down, right)
    for row in range(5):
        for column in range(6):
            inside = 0 <= row - down < 5 and 0 <= column - right < 6
            assert moved[row, column] == (plane[row - down, column - right] if inside else 0)
