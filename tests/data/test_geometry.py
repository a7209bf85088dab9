from __future__ import annotations

import json
from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelgan.core.rng import generator_for
from labelgan.data.geometry import AxisMap, SliceGeometry

SPACING = (0.9, 1.1, 3.0)
ORIENTATIONS = [(order, signs) for order in permutations(range(3)) for signs in product((1, -1), repeat=3)]


def affine_of(
    order: tuple[int, ...], signs: tuple[int, ...], spacing: tuple[float, ...] = (0.9, 1.1, 3.0)
) -> np.ndarray:
    """Affine of a grid whose axis a runs along world axis order[a] with the given sign."""
    affine = np.zeros((4, 4))
    for axis in range(3):
        affine[order[axis], axis] = signs[axis] * SPACING[axis]
    affine[:, 3] = (12.5, -7.0, 30.25, 1.0)
    return affine


def inside_crop(geometry: SliceGeometry) -> np.ndarray:
    return geometry.to_native(np.ones((geometry.z.length, *geometry.size), bool), fill=False)


orientations = st.sampled_from(ORIENTATIONS)
shapes = st.tuples(*[st.integers(1, 15)] * 3)
sizes = st.tuples(st.integers(1, 20), st.integers(1, 20))


@settings(max_examples=300, deadline=None)
@given(orientations, shapes, sizes, st.sampled_from(["image", "label"]), st.integers(0, 99))
def test_native_to_store_to_native_is_the_identity_inside_the_crop(orientation, shape, size, order, seed):
    geometry = SliceGeometry.of(shape, affine_of(*orientation), size)
    volume = generator_for(seed).standard_normal(shape).astype(np.float32)
    back = geometry.to_native(geometry.to_store(volume, order=order, fill=-9), fill=-9, order=order)
    assert back.dtype == volume.dtype
    kept = inside_crop(geometry)
    assert kept.sum() == geometry.z.count * min(geometry.y.count, size[0]) * min(geometry.x.count, size[1])
    np.testing.assert_array_equal(back[kept], volume[kept])
    assert (back[~kept] == -9).all()


@settings(max_examples=100, deadline=None)
@given(orientations, shapes, sizes, st.sampled_from([None, 0.7, 2.0]))
def test_store_affine_points_at_the_same_millimetres(orientation, shape, size, spacing_mm):
    """A volume that holds each voxel's own world coordinate must hold the store's coordinates after to_store."""
    affine = affine_of(*orientation)
    geometry = SliceGeometry.of(shape, affine, size, spacing_mm)
    world = np.einsum("ij,jxyz->ixyz", affine[:3, :3], np.indices(shape)) + affine[:3, 3].reshape(3, 1, 1, 1)
    stored = np.stack([geometry.to_store(part, order="label", fill=np.nan) for part in world])
    z, row, column = np.indices((geometry.z.length, *size))
    store_affine = geometry.store_affine()
    expected = np.einsum("ij,jzyx->izyx", store_affine[:3, :3], np.stack([column, row, z]))
    expected += store_affine[:3, 3].reshape(3, 1, 1, 1)
    inside = np.isfinite(stored).all(0)
    tolerance = 1e-9 if spacing_mm is None else 0.5 * 3.0 + 1e-6  # nearest voxel: within half of the largest one
    assert np.abs(stored - expected)[:, inside].max(initial=0) <= tolerance


@settings(max_examples=48, deadline=None)
@given(orientations)
def test_store_slices_are_upright_and_radiological(orientation):
    geometry = SliceGeometry.of((5, 6, 7), affine_of(*orientation), (8, 8))
    signs = np.sign(np.diag(geometry.store_affine())[:3])
    assert tuple(signs) == (-1, -1, 1)  # columns to Left, rows to Posterior, slices to Superior, in RAS+


def test_store_affine_of_a_later_slice_starts_there():
    geometry = SliceGeometry.of((5, 6, 7), affine_of(*ORIENTATIONS[5]), (8, 8))
    np.testing.assert_allclose(geometry.store_affine(3)[:, 3], geometry.store_affine() @ [0, 0, 3, 1])


def test_oblique_grid_keeps_its_true_directions():
    angle = np.deg2rad(20)
    turn = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    affine = np.eye(4)
    affine[:3, :3] = turn * (0.5, 0.5, 4.0)
    geometry = SliceGeometry.of((8, 9, 4), affine, (6, 6))
    assert (geometry.z.native_axis, geometry.y.native_axis, geometry.x.native_axis) == (2, 1, 0)
    assert geometry.spacing_mm == pytest.approx((4.0, 0.5, 0.5))
    np.testing.assert_allclose(geometry.store_affine()[:3, 2], affine[:3, 2])


def test_resampling_gives_the_spacing_asked_for_and_keeps_a_constant():
    geometry = SliceGeometry.of((40, 30, 3), affine_of((0, 1, 2), (1, 1, 1)), (24, 24), spacing_mm=2.0)
    assert geometry.spacing_mm == pytest.approx((3.0, 2.0, 2.0))
    stored = geometry.to_store(np.full((40, 30, 3), 5.0), order="image", fill=0)
    assert set(np.unique(stored)) <= {0.0, 5.0}
    assert (stored == 5).sum(axis=(1, 2)).tolist() == [17 * 18] * 3  # 30×1.1/2 = 16.5 -> 17 rows, 40×0.9/2 = 18 columns


@pytest.mark.parametrize("spacing_mm", [0.5, 0.7, 1.3, 2.0, 2.7])
def test_rounding_takes_no_value_out_of_the_range_of_its_plane(spacing_mm):
    """Float32 weights add up to one but for rounding, which is another on each processor: the clip must hide it."""
    geometry = SliceGeometry.of((40, 30, 4), affine_of((0, 1, 2), (1, 1, 1)), (24, 24), spacing_mm)
    levels = np.array([0.1, -3.7, 1000 / 3, 5], np.float32)
    volume = np.broadcast_to(levels, (40, 30, 4))
    stored = geometry.to_store(volume, order="image", fill=np.nan)
    back = geometry.to_native(np.broadcast_to(levels[:, None, None], (4, 24, 24)), order="image", fill=np.nan)
    for level, plane, native in zip(levels, stored, np.moveaxis(back, 2, 0), strict=True):
        assert np.unique(plane[np.isfinite(plane)]).tolist() == [level]
        assert np.unique(native[np.isfinite(native)]).tolist() == [level]


def test_linear_resampling_follows_a_ramp_and_returns_it():
    affine = np.diag([1.0, 1.0, 1.0, 1.0])
    ramp = np.broadcast_to(np.arange(32.0)[:, None, None], (32, 32, 2))
    for spacing in (0.5, 2.0):
        geometry = SliceGeometry.of((32, 32, 2), affine, (64, 64), spacing)
        back = geometry.to_native(geometry.to_store(ramp, order="image", fill=0), order="image")
        np.testing.assert_allclose(back[4:-4], ramp[4:-4], atol=1e-4)


def test_downsampling_smooths_a_checkerboard_instead_of_aliasing_it():
    board = (np.indices((32, 32, 1)).sum(0) % 2).astype(np.float32)
    geometry = SliceGeometry.of((32, 32, 1), np.eye(4), (8, 8), spacing_mm=4.0)
    np.testing.assert_allclose(geometry.to_store(board, order="image", fill=0), 0.5, atol=0.05)


@settings(max_examples=50, deadline=None)
@given(orientations, st.sampled_from([0.5, 1.3, 2.7]))
def test_masks_are_never_interpolated(orientation, spacing_mm):
    mask = generator_for(3).choice(np.array([0, 2], np.uint8), (9, 8, 7))
    geometry = SliceGeometry.of(mask.shape, affine_of(*orientation), (16, 16), spacing_mm)
    stored = geometry.to_store(mask, order="label", fill=0)
    back = geometry.to_native(stored)
    assert stored.dtype == back.dtype == np.uint8
    assert set(np.unique(stored)) | set(np.unique(back)) <= {0, 2}


def test_to_native_puts_chosen_slices_where_they_belong():
    geometry = SliceGeometry.of((4, 4, 6), affine_of((0, 1, 2), (1, 1, -1)), (4, 4))
    volume = np.arange(96, dtype=np.float32).reshape(4, 4, 6)
    stored = geometry.to_store(volume, order="label", fill=0)
    back = geometry.to_native(stored[[1, 4]], fill=-1, z=[1, 4])
    assert (back[..., [0, 2, 3, 5]] == -1).all()  # native z runs down: store slices 1, 4 are native 4, 1
    np.testing.assert_array_equal(back[..., [1, 4]], volume[..., [1, 4]])


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 40), st.floats(0.2, 4.0))
def test_every_native_voxel_has_a_pixel_when_nothing_is_cropped(count, zoom):
    axis = AxisMap.centred(0, False, count, zoom, 200)
    positions = np.floor(axis.to_native_positions() + 0.5)
    assert positions.min() >= axis.inside[0]
    assert positions.max() <= axis.inside[-1]


def test_picture_in_lps_is_stored_as_seen():
    picture_HW = np.arange(12).reshape(3, 4)
    geometry = SliceGeometry.of((4, 3, 1), np.diag([-1.0, -1.0, 1.0, 1.0]), (3, 4))
    np.testing.assert_array_equal(geometry.to_store(picture_HW.T[..., None], order="image")[0], picture_HW)


@settings(max_examples=30, deadline=None)
@given(orientations, shapes, sizes, st.sampled_from([None, 0.7]))
def test_json_round_trip(orientation, shape, size, spacing_mm):
    geometry = SliceGeometry.of(shape, affine_of(*orientation), size, spacing_mm)
    assert SliceGeometry.from_json(json.loads(json.dumps(geometry.to_json()))) == geometry
    assert geometry.native_shape == shape
    assert geometry.size == size


def test_broken_values_are_refused():
    good = SliceGeometry.of((4, 4, 4), np.eye(4), (4, 4)).to_json()
    for broken in ({**good, "x": {**good["x"], "length": 0}}, {**good, "y": good["x"]}, {"z": 1}, None):
        with pytest.raises(ValueError, match=r"."):
            SliceGeometry.from_json(broken)
    with pytest.raises(ValueError, match="singular"):
        SliceGeometry.of((4, 4, 4), np.diag([1.0, 1.0, 0.0, 1.0]), (4, 4))
    with pytest.raises(ValueError, match="shape"):
        SliceGeometry.of((4, 4, 4), np.eye(4), (4, 4)).to_store(np.zeros((4, 4, 5)), order="image")
    with pytest.raises(ValueError, match="shape"):
        SliceGeometry.of((4, 4, 4), np.eye(4), (4, 4)).to_native(np.zeros((3, 4, 4)))
