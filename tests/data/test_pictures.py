from __future__ import annotations

import io

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage

from labelgan.data.pictures import (
    GAP_PX,
    OUTLINE_RGB,
    encode_png,
    grey_window,
    mosaic,
    outline,
    panel,
    save_png,
    to_grey,
)

masks = hnp.arrays(bool, st.tuples(st.integers(1, 10), st.integers(1, 10)))


def test_the_window_holds_nearly_everything_and_no_outlier():
    values = np.arange(1001.0)
    assert grey_window(values) == pytest.approx((10.0, 998.0))
    values[0], values[-1] = -1e9, 1e9
    assert grey_window(values) == pytest.approx((10.0, 998.0))


def test_a_flat_picture_has_a_window_too():
    low, high = grey_window(np.full((4, 4), 3.0))
    assert high > low
    assert to_grey(np.full((2, 2), 3.0), (low, high)).tolist() == [[0, 0], [0, 0]]


def test_grey_runs_from_black_to_white_and_is_held_there():
    greys = to_grey(np.array([[-5.0, 0.0, 1.0, 2.0, 9.0]]), (0.0, 2.0))
    assert greys.tolist() == [[0, 0, 128, 255, 255]]
    assert greys.dtype == np.uint8


@given(mask=masks)
@settings(max_examples=50, deadline=None)
def test_the_outline_is_the_ring_around_the_lesion(mask):
    assert np.array_equal(outline(mask), ndimage.binary_dilation(mask) & ~mask)


@given(mask=masks, axis=st.sampled_from([0, 1]))
@settings(max_examples=20, deadline=None)
def test_the_outline_flips_with_the_mask(mask, axis):
    assert np.array_equal(outline(np.flip(mask, axis)), np.flip(outline(mask), axis))


def test_a_panel_shows_every_channel_then_the_first_with_the_outline():
    images = np.stack([np.full((4, 6), 0.25), np.full((4, 6), 0.75)])
    mask = np.zeros((4, 6), np.uint8)
    mask[1:3, 2:4] = 1
    picture = panel(images, mask, [(0.0, 1.0), (0.0, 1.0)])
    assert picture.shape == (4, 3 * 6 + 2 * GAP_PX, 3)
    first, second = picture[:, :6], picture[:, 6 + GAP_PX : 12 + GAP_PX]
    outlined = picture[:, -6:]
    assert (first == 64).all()
    assert (second == 191).all()
    assert (picture[:, 6 : 6 + GAP_PX] == 255).all()
    ring = (outlined == OUTLINE_RGB).all(axis=2)
    assert np.array_equal(ring, outline(mask))
    assert (outlined[~ring] == 64).all()


def test_zoom_repeats_pixels_and_keeps_the_outline_thin():
    images, mask = np.eye(5)[None], np.zeros((5, 5), np.uint8)
    mask[2, 2] = 1
    plain, large = (panel(images, mask, [(0.0, 1.0)], zoom) for zoom in (1, 3))
    assert np.array_equal(large[::3, :15:3], plain[:, :5])
    ring = (large[:, -15:] == OUTLINE_RGB).all(axis=2)
    assert ring.sum() == 4 * 3


def test_a_mosaic_lays_panels_out_row_by_row_on_white():
    images = np.zeros((5, 1, 8, 8))
    for number in range(5):
        images[number] = number
    picture = mosaic(images, np.zeros((5, 8, 8)), columns=2, zoom=1)
    height, width, gap = 8, 2 * 8 + GAP_PX, 4 * GAP_PX
    assert picture.shape == (3 * height + 2 * gap, 2 * width + gap, 3)
    window = grey_window(images[:, 0])
    for number in range(5):
        top, left = number // 2 * (height + gap), number % 2 * (width + gap)
        assert (picture[top : top + 8, left : left + 8] == to_grey(images[number, 0], window)[..., None]).all()
    assert (picture[-8:, width + gap :] == 255).all()


def test_every_channel_has_one_window_for_the_whole_mosaic():
    rng = np.random.default_rng(0)
    images = rng.normal(size=(4, 2, 16, 16))
    scaled = images * np.array([100.0, 0.01])[None, :, None, None] + np.array([7.0, -3.0])[None, :, None, None]
    masks = rng.random((4, 16, 16)) > 0.9
    difference = mosaic(images, masks).astype(int) - mosaic(scaled, masks)
    assert np.abs(difference).max() <= 1


@pytest.mark.parametrize(("side", "zoom"), [(8, 16), (64, 2), (128, 1), (500, 1)])
def test_small_slices_are_enlarged(side, zoom):
    images = np.random.default_rng(0).normal(size=(1, 1, side, side))
    assert mosaic(images, np.zeros((1, side, side))).shape[0] == side * zoom


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 3), (5, 7, 4)])
def test_png_round_trip_without_metadata(tmp_path, shape):
    pixels = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    content = encode_png(pixels)
    assert content == encode_png(pixels)
    with Image.open(io.BytesIO(content)) as picture:
        assert np.array_equal(np.asarray(picture), pixels)
        assert picture.info == {}
    save_png(tmp_path / "a" / "picture.png", pixels)
    assert (tmp_path / "a" / "picture.png").read_bytes() == content
