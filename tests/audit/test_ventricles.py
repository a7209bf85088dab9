from __future__ import annotations

import numpy as np
import pytest

from labelgan.audit.ventricles import FEWEST_PX, ventricles_of

AXIS = np.arange(41)
AWAY = np.hypot(AXIS[:, None] - 20, AXIS - 20)
EDGE_PX = np.maximum(18 - AWAY, 0)  # a round brain


@pytest.fixture
def image() -> np.ndarray:
    """Two channels of noise of standard deviation 1."""
    return np.random.default_rng(0).normal(size=(2, 41, 41)).astype(np.float32)


def square(top: int, left: int, side: int = 4) -> tuple[slice, slice, slice]:
    return slice(None), slice(top, top + side), slice(left, left + side)


def test_fluid_deep_in_the_brain_is_found(image):
    image[square(18, 14)] = -4
    found = ventricles_of(image, EDGE_PX)
    assert found[18:22, 14:18].all()
    assert found.sum() == pytest.approx(16, abs=4)  # two noisy channels are seldom dark together


def test_what_is_dark_in_one_channel_or_near_the_edge_is_not(image):
    image[0, 18:22, 14:18] = -4
    image[1, 18:22, 14:18] = 1
    image[square(4, 18)] = -4
    found = ventricles_of(image, EDGE_PX)
    assert not found[18:22, 14:18].any()
    assert not found[4:8, 18:22].any()


def test_a_few_pixels_are_noise():
    flat = np.zeros((1, 41, 41), np.float16)
    flat[0, 20, 20 : 20 + FEWEST_PX] = -1
    assert ventricles_of(flat, EDGE_PX).sum() == FEWEST_PX
    flat[0, 20, 20] = 0
    assert not ventricles_of(flat, EDGE_PX).any()


def test_scale_and_offset_do_not_matter(image):
    image[square(16, 22)] = -4
    assert np.array_equal(ventricles_of(300 * image + 1000, EDGE_PX), ventricles_of(image, EDGE_PX))


def test_without_brain_there_are_none(image):
    assert not ventricles_of(image, np.zeros((41, 41))).any()
