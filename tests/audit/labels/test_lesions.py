from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from labelgan.audit.labels.lesions import FEWEST_PX, components, measure_lesions, ventricles_of


def test_every_lesion_is_measured():
    masks = np.zeros((3, 21, 21), np.uint8)
    brains = np.zeros((3, 21, 21), np.uint8)
    brains[:2, 1:20, 1:20] = 1  # 19 × 19, the middle is ten pixels from outside
    masks[0, 10, 10] = 1
    masks[0, 1, 1:5] = 1
    masks[0, 2, 5] = 1  # touches by a corner
    masks[0, 15, 15] = 2
    masks[2, 0, :2] = 1
    images = np.zeros((3, 1, 21, 21), np.float16)
    images[0, 0, 10, 13:16] = -2
    table = measure_lesions(masks, brains, images)
    np.testing.assert_allclose(table.load[:2], [6 / 361, 0])
    assert np.isnan(table.load[2])
    assert table.count.tolist() == [2, 0, 1]
    assert table.slice.tolist() == [0, 0, 2]
    assert table.size.tolist() == [5, 1, 2]
    np.testing.assert_allclose(table.depth, [(4 * 1 + 2) / 5 / 10, 1, np.nan])
    np.testing.assert_allclose(table.ventricle_px, [np.hypot(8, 8), 3, np.nan])
    np.testing.assert_allclose(table.outside, [0, np.nan, 1])
    assert table.empty_rate == pytest.approx(1 / 3)


def test_a_set_without_lesions_has_an_empty_table():
    table = measure_lesions(np.zeros((4, 8, 8), np.uint8), np.ones((4, 8, 8), np.uint8))
    assert table.empty_rate == 1
    assert not table.load.any()
    assert len(table.size) == len(table.slice) == len(table.depth) == len(table.ventricle_px) == 0


def test_where_ventricles_are_not_known_no_distance_is_told():
    masks = np.zeros((1, 8, 8), np.uint8)
    masks[0, 3, 3] = 1
    assert np.isnan(measure_lesions(masks, np.ones_like(masks)).ventricle_px).all()


@given(arrays(np.uint8, (3, 9, 9), elements=st.integers(0, 2)), arrays(np.uint8, (3, 9, 9), elements=st.integers(0, 1)))
def test_sizes_and_counts_add_up(masks, brains):
    table = measure_lesions(masks, brains)
    assert np.array_equal(np.bincount(table.slice, table.size, 3), (masks == 1).sum((1, 2)))
    assert np.array_equal(np.bincount(table.slice, minlength=3), table.count)
    assert [components(mask == 1)[1] for mask in masks] == table.count.tolist()
    known = table.depth[np.isfinite(table.depth)]
    assert ((known >= 0) & (known <= 1 + 1e-9)).all()
    inside = table.outside[np.isfinite(table.outside)]
    assert ((inside >= 0) & (inside <= 1)).all()


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
