from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from mixes import FACTS, a_slice, a_volume
from trees import AFFINE, SHAPE

from labelgan.data.export.records import LabelledVolume

# Every way to store a grid: which axis is which, and which way each runs.
STORED = [
    ((0, 1, 2), (1, 1, 1)),
    ((0, 1, 2), (-1, -1, 1)),
    ((2, 0, 1), (1, -1, -1)),
    ((1, 2, 0), (-1, 1, -1)),
]


def stored_as(order: tuple[int, ...], signs: tuple[int, ...]) -> LabelledVolume:
    """A volume whose stored axis i runs along world axis ``order[i]``, in mm of ``1 + i``."""
    affine = np.eye(4)
    affine[:3, :3] = 0
    for axis, (world, sign) in enumerate(zip(order, signs, strict=True)):
        affine[world, axis] = sign * (1.0 + axis)
    affine[:3, 3] = 7, -8, 9
    return a_volume(affine=affine)


def by_place(volume: LabelledVolume) -> dict[tuple[float, ...], tuple[float, ...]]:
    """Place in mm to what is there: channels and mask."""
    assert volume.mask_XYZ is not None
    arrays = [*volume.images.values(), volume.mask_XYZ, *volume.z_scores()]
    return {
        tuple(np.round(volume.affine @ [*index, 1], 3)[:3]): tuple(float(array[index]) for array in arrays)
        for index in np.ndindex(arrays[0].shape)
    }


@pytest.mark.parametrize(("order", "signs"), STORED)
def test_axial_storage_moves_no_voxel_in_space(order, signs):
    volume = stored_as(order, signs)
    axial = volume.axial()
    assert nib.aff2axcodes(axial.affine) == ("L", "P", "S")
    assert by_place(axial) == by_place(volume)
    assert (axial.id, axial.patient) == (volume.id, volume.patient)


def test_a_slice_of_a_generator_is_stored_axially_already():
    volume = LabelledVolume.of_slice(a_slice("s1"), FACTS)
    assert volume.synthetic
    assert volume.patient == "s1"
    axial = volume.axial()
    assert axial.mask_XYZ is not None
    np.testing.assert_allclose(axial.affine, volume.affine, atol=1e-12)
    assert np.array_equal(axial.images["T1"], volume.images["T1"])
    (only,) = volume.axial_slices()
    assert only.name == "s1"
    assert np.array_equal(only.z_scores_CHW, a_slice("s1").z_scores_CHW)
    assert only.mask_HW is not None
    assert np.array_equal(only.mask_HW, a_slice("s1").mask_HW)


def test_slices_come_from_the_lowest_up_and_know_their_place():
    volume = a_volume()
    assert volume.mask_XYZ is not None
    slices = volume.axial_slices()
    assert [slice_.name for slice_ in slices] == [f"p1_z{k:03d}" for k in range(SHAPE[2])]
    heights = [(slice_.affine @ [0, 0, 0, 1])[2] for slice_ in slices]
    assert heights == sorted(heights)
    # AFFINE runs to the left, to the front and up: rows are turned, columns are not
    for k, slice_ in enumerate(slices):
        assert slice_.mask_HW is not None
        assert np.array_equal(slice_.mask_HW, volume.mask_XYZ[:, ::-1, k].T)
    np.testing.assert_allclose(slices[0].affine[:3, 0], AFFINE[:3, 0])
    np.testing.assert_allclose(slices[0].affine[:3, 1], -AFFINE[:3, 1])


def test_only_the_cohorts_own_test_split_is_for_test():
    assert [a_volume(split=split).for_test for split in ("test", "training", "validation", None)] == [True] + [
        False
    ] * 3


def test_a_volume_without_a_mask_has_slices_without_one():
    bare = a_volume(mask_XYZ=None)
    assert bare.axial().mask_XYZ is None
    assert all(slice_.mask_HW is None for slice_ in bare.axial_slices())
