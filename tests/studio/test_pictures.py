from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from labelgan.data.pictures import OUTLINE_RGB
from labelgan.studio.pictures import OTHER_RGB, draw_mask, draw_slice

WINDOW = (0.0, 1.0)


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)))


def colours(png: bytes) -> set[tuple[int, ...]]:
    return {tuple(int(v) for v in colour) for colour in pixels(png).reshape(-1, 3)}


def plane(height=20, width=30):
    return np.full((height, width), 0.5, np.float32)


def test_proportions_are_true():
    assert pixels(draw_slice(plane(), None, WINDOW, (1.0, 1.0), 60)).shape == (40, 60)
    assert pixels(draw_slice(plane(), None, WINDOW, (3.0, 1.0), 60)).shape == (60, 30)


@pytest.mark.parametrize(("asked", "got"), [(1, 16), (100, 100), (9999, 1024)])
def test_sides_are_held_in_bounds(asked, got):
    assert max(pixels(draw_slice(plane(8, 8), None, WINDOW, (1, 1), asked)).shape) == got


def test_a_mask_is_outlined_and_its_inside_left_as_it_is():
    mask = np.zeros((20, 30), np.uint8)
    mask[8:12, 10:16] = 1
    drawn = pixels(draw_slice(plane(), mask, WINDOW, (1, 1), 120))
    orange = (drawn == OUTLINE_RGB).all(-1)
    assert orange.any()
    assert (drawn[32:48, 40:64] == 128).all()
    assert orange[31, 40:64].all()
    assert not orange[:30].any()


@pytest.mark.parametrize(("value", "colour"), [(1, OUTLINE_RGB), (2, OTHER_RGB)])
def test_lesions_and_other_pathology_have_colours_of_their_own(value, colour):
    mask = np.zeros((20, 30), np.uint8)
    mask[8:12, 10:16] = value
    assert colour in colours(draw_slice(plane(), mask, WINDOW, (1, 1), 60))
    filled = pixels(draw_slice(plane(), mask, WINDOW, (1, 1), 60, "fill"))
    assert tuple(filled[20, 26]) == tuple(int(128 * 0.55 + part * 0.45) for part in colour)


def test_a_lesion_of_one_pixel_survives_a_small_picture():
    mask = np.zeros((200, 200), np.uint8)
    mask[101, 57] = 1
    assert OUTLINE_RGB in colours(draw_slice(plane(200, 200), mask, WINDOW, (1, 1), 32))


def test_without_marking_there_is_no_colour():
    mask = np.ones((20, 30), np.uint8)
    assert pixels(draw_slice(plane(), mask, WINDOW, (1, 1), 60, "none")).ndim == 2


def test_a_mask_alone_is_black_and_white():
    drawn = pixels(draw_mask(np.array([[0, 1], [2, 1]]), 8))
    assert drawn.shape == (8, 8)
    np.testing.assert_array_equal(drawn[::4, ::4], [[0, 255], [0, 255]])
