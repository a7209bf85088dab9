from __future__ import annotations

import numpy as np

from labelgan.core.rng import generator_for
from labelgan.data.prepare.limits import ValueRange


def slices(count: int = 400) -> np.ndarray:
    """Two channels of values from -1 to 1 and from -2 to 2, whose ends every slice reaches."""
    images_NCHW = generator_for(0, "tests", "slices").uniform(-1, 1, (count, 2, 8, 8)).astype(np.float16)
    images_NCHW[:, :, 0, 0], images_NCHW[:, :, 0, 1] = -1, 1
    return images_NCHW * np.array([1, 2], np.float16)[:, None, None]


def test_the_range_of_slices_that_all_reach_it():
    found = ValueRange.of(slices())
    np.testing.assert_allclose(found.low_C, [-1, -2])
    np.testing.assert_allclose(found.high_C, [1, 2])
    np.testing.assert_allclose(found.width_C, [2, 4])
    assert found.low_C.dtype == np.float32
    assert found.to_json(["FLAIR", "T1"]) == {"FLAIR": [-1.0, 1.0], "T1": [-2.0, 2.0]}


def test_hot_pixels_in_one_slice_of_a_hundred_do_not_widen_it_but_a_tenth_of_the_slices_do():
    hot = slices()
    hot[:3, 0, 3, 3] = 90
    assert ValueRange.of(hot).high_C[0] == 1
    hot[:40, 0, 3, 3] = 90
    assert ValueRange.of(hot).high_C[0] == 90


def test_rare_bright_pixels_of_many_slices_belong_to_it():
    """Lesions of a skull-stripped brain: one pixel in a thousand, in a third of the slices."""
    rare = slices()
    rare[::3, 0, 4, 4] = 5
    assert ValueRange.of(rare).high_C[0] == 5


def test_rows_are_chosen():
    images_NCHW = slices(8)
    images_NCHW[3:] *= 3
    np.testing.assert_allclose(ValueRange.of(images_NCHW, np.arange(3)).high_C, [1, 2])
    np.testing.assert_allclose(ValueRange.of(images_NCHW, [4, 6]).high_C, [3, 6])
