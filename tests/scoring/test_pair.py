from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from labelgan.core.rng import generator_for
from labelgan.scoring.pair import MaskPair, axial_axis, predicted_lesion, surface

SPACING = (0.9, 1.1, 3.0)
SHAPE = (9, 8, 5)


def pair(reference: np.ndarray, prediction: np.ndarray) -> MaskPair:
    return MaskPair.of(reference, prediction, np.diag(SPACING), 2)


def random_masks(*name: str | int) -> tuple[np.ndarray, np.ndarray]:
    """Two sparse masks away from most of the border; the reference holds some 2."""
    reference, prediction = np.zeros((2, 20, 18, 8), np.uint8)
    place = (slice(3, 12), slice(5, 13), slice(1, 6))
    reference[place] = generator_for(4, *name).choice(3, SHAPE, p=[0.8, 0.15, 0.05])
    prediction[place] = generator_for(5, *name).random(SHAPE) > 0.8
    return reference, prediction


# Thresholds


@pytest.mark.parametrize(
    ("value", "dtype", "counts"),
    [
        (1, np.uint8, True),
        (255, np.uint8, True),
        (1000, np.int16, True),
        (1001, np.int16, False),
        (-1, np.int8, False),
        (0.5, np.float32, True),
        (0.4999, np.float32, False),
        (0.5, np.float64, True),
        (1000.0, np.float32, True),
        (1000.5, np.float32, False),
        (np.nan, np.float32, False),
        (np.inf, np.float32, False),
        (True, np.bool_, True),
    ],
)
def test_what_counts_as_predicted_lesion(value: float, dtype: type, counts: bool) -> None:
    prediction = np.zeros((6, 6, 2), dtype=dtype)
    prediction[1:4, 1:4, 0] = value
    expected = np.zeros(prediction.shape, bool)
    expected[1:4, 1:4, 0] = counts
    np.testing.assert_array_equal(predicted_lesion(prediction), expected)
    assert pair(np.zeros(prediction.shape, np.uint8), prediction).predicted_voxels == 9 * counts


@pytest.mark.parametrize(
    ("value", "counts"), [(0.49, False), (0.5, True), (1.5, True), (1.51, False), (2.5, False), (3, False)]
)
def test_what_counts_as_reference_lesion(value: float, counts: bool) -> None:
    reference = np.zeros((6, 6, 2))
    reference[1:4, 1:4, 0] = value
    found = pair(reference, np.ones_like(reference))
    assert found.reference_voxels == 9 * counts
    # both ends belong to a range, so that 1.5 is lesion and other pathology at once
    assert found.overlap_voxels == 9 * (counts and value < 1.5)
    assert found.predicted_voxels == 72 - 9 * (1.5 <= value <= 2.5)


# Cropping


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
def test_cropping_loses_no_lesion_and_changes_nothing_that_was_given(seed: int, order: tuple[int, int, int]) -> None:
    reference, prediction = (np.asfortranarray(mask).transpose(order) for mask in random_masks("crop", seed))
    before = reference.copy(), prediction.copy()
    found = MaskPair.of(reference, prediction, np.diag(SPACING)[:, order], order.index(2))
    assert found.reference_voxels == (reference == 1).sum()
    assert found.predicted_voxels == ((prediction == 1) & (reference != 2)).sum()
    assert found.overlap_voxels == ((prediction == 1) & (reference == 1)).sum()
    assert found.reference.size <= 11 * 10 * 7  # what they fill, and a voxel around it
    # whatever the order in memory, the axes keep their steps and the slices their direction
    assert found.axes_mm[:, found.slice_axis] == pytest.approx((0, 0, 3.0))
    np.testing.assert_array_equal(reference, before[0])
    np.testing.assert_array_equal(prediction, before[1])


def test_masks_that_are_empty_leave_one_voxel() -> None:
    empty = np.zeros(SHAPE, np.uint8)
    found = pair(empty, empty)
    assert found.reference.shape == (1, 1, 1)
    assert (found.reference_voxels, found.predicted_voxels, found.overlap_voxels) == (0, 0, 0)
    assert (found.recall, found.precision) == (1.0, 1.0)


def test_a_lesion_at_the_border_is_not_given_a_margin_that_is_not_there() -> None:
    """A margin would make a surface of what the image's edge cuts off."""
    whole = np.ones(SHAPE, np.uint8)
    assert not any(found.any() for found in pair(whole, whole).surfaces)


# Lesions


def test_lesions_are_touched_or_not() -> None:
    reference, prediction = np.zeros((2, 12, 6, 3), np.uint8)
    for x in (0, 3, 6, 9):
        reference[x : x + 2, 0:2, 0] = 1
    prediction[1:4, 1, 0] = 1  # one prediction touches two of four
    prediction[8, 4, 2] = 1  # and another none
    found = pair(reference, prediction)
    assert (found.recall, found.precision) == (0.5, 0.5)


def test_lesions_connect_through_corners() -> None:
    reference = np.zeros((6, 6, 3), np.uint8)
    reference[1, 1, 0] = reference[2, 2, 1] = reference[3, 3, 2] = 1
    prediction = np.zeros_like(reference)
    prediction[3, 3, 2] = 1
    assert pair(reference, prediction).recall == 1.0


# Surfaces and distances


def test_surfaces_are_found_slice_by_slice_and_the_border_is_no_surface() -> None:
    block = np.ones((5, 5, 3), dtype=bool)
    assert not surface(block, 2).any()
    inside = np.zeros((7, 7, 3), dtype=bool)
    inside[1:6, 1:6] = True
    edge = surface(inside, 2)
    assert edge.sum() == 3 * 16
    assert not edge[2:5, 2:5].any()
    assert surface(inside, 0).sum() == 5 * 2 * 3  # in the other plane the mask reaches the border on two sides


@settings(max_examples=60, deadline=None)
@given(arrays(np.bool_, (5, 4, 3)), st.sampled_from([0, 1, 2]))
def test_a_surface_is_what_an_erosion_takes_away(mask: np.ndarray, axis: int) -> None:
    from scipy.ndimage import binary_erosion

    box = np.ones([1 if number == axis else 3 for number in range(3)])
    eroded = np.asarray(binary_erosion(mask, box, border_value=1), dtype=bool)
    np.testing.assert_array_equal(surface(mask, axis), mask & ~eroded)


@pytest.mark.parametrize("seed", range(4))
def test_distances_are_those_to_the_nearest_surface_voxel(seed: int) -> None:
    found = pair(*random_masks("distances", seed))
    reference, prediction = (np.argwhere(mask) * SPACING for mask in found.surfaces)
    apart = np.linalg.norm(reference[:, None] - prediction[None], axis=2)
    there, back = found.distances_mm
    np.testing.assert_allclose(np.sort(there), np.sort(apart.min(axis=1)), atol=1e-9)
    np.testing.assert_allclose(np.sort(back), np.sort(apart.min(axis=0)), atol=1e-9)


# The axial axis


def test_the_axial_axis_of_all_48_orientations_also_a_little_oblique() -> None:
    a = 0.3
    tilt = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    for order in itertools.permutations(range(3)):
        for signs in itertools.product((1, -1), repeat=3):
            affine = np.zeros((3, 3))
            for axis, world in enumerate(order):
                affine[world, axis] = signs[axis] * SPACING[world]
            assert axial_axis(affine) == axial_axis(tilt @ affine) == order.index(2)


def test_of_a_tie_the_axial_axis_is_as_stored() -> None:
    half = np.sqrt(0.5)
    assert axial_axis(np.array([[1, 0, 0], [0, half, -half], [0, half, half]])) == 2
