from __future__ import annotations

import numpy as np
import pytest

from labelgan.data.slices import Slices


def slices_of(count: int = 4) -> Slices:
    images = np.arange(count, dtype=np.float16)[:, None, None, None] + np.zeros((1, 2, 3, 5), np.float16)
    masks = np.zeros((count, 3, 5), np.uint8)
    masks[1:, 0, 0], masks[:, 1, 1] = 1, 2
    return Slices(images, masks, names=np.array([f"slice {number}" for number in range(count)]))


def test_what_is_not_known_stands_as_said():
    slices = slices_of(2)
    assert (len(slices), slices.size) == (2, (3, 5))
    assert slices.brains_NHW.shape == (2, 3, 5)
    assert not slices.brains_NHW.any()
    assert np.isnan(slices.heights_N).all()
    assert slices.patients.tolist() == ["", ""]
    assert slices.cases.tolist() == slices.names.tolist() == ["slice 0", "slice 1"]
    assert Slices(slices.images_NCHW, slices.masks_NHW).names.tolist() == ["0", "1"]


def test_lesions_are_no_other_pathology_and_z_scores_single_precision():
    slices = slices_of()
    assert slices.lesions_NHW.sum(axis=(1, 2)).tolist() == [0, 1, 1, 1]
    assert slices.z_scores([3, 1]).dtype == np.float32
    assert slices.z_scores([3, 1])[:, 0, 0, 0].tolist() == [3, 1]


@pytest.mark.parametrize("rows", [[3, 1], slice(1, 3), np.array([True, False, False, True])])
def test_selected_slices_keep_everything_that_is_known_of_them(rows):
    slices = slices_of()
    part = slices.select(rows)
    for name in ("images_NCHW", "masks_NHW", "brains_NHW", "heights_N", "cases", "patients", "names"):
        np.testing.assert_array_equal(getattr(part, name), getattr(slices, name)[rows])


def test_parts_join_to_the_whole():
    slices = slices_of()
    joined = Slices.concatenate([slices.select(block) for block in slices.blocks(3)])
    assert joined.names.tolist() == slices.names.tolist()
    assert np.array_equal(joined.masks_NHW, slices.masks_NHW)


def test_a_draw_is_seeded_without_repeats_and_in_order():
    slices = slices_of(20)
    some = [slices.subset(5, seed, "x").names.tolist() for seed in (1, 1, 2)]
    assert some[0] == some[1] != some[2]
    assert sorted(some[0], key=slices.names.tolist().index) == some[0]
    assert len(set(some[0])) == 5
    assert slices.subset(20, 0) is slices
