from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from labelgan.config.base import CheckConfig
from labelgan.core.errors import DataError
from labelgan.data.reading.header import Header, check_affine, check_size, grid_corners, untrusted, voxels_apart

PATH = Path("a.nii.gz")
ANGLE = np.deg2rad(30)
ROTATION = np.array([[np.cos(ANGLE), -np.sin(ANGLE), 0], [np.sin(ANGLE), np.cos(ANGLE), 0], [0, 0, 1]])


def affine_of(matrix: np.ndarray, origin: tuple[float, float, float] = (0, 0, 0)) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = matrix, origin
    return affine


def header(matrix: np.ndarray = ROTATION, kind: str = "nifti") -> Header:
    return Header(PATH, (3, 4, 5), affine_of(matrix, (10, 20, 30)), np.dtype("i2"), kind)


def test_spacing_is_the_length_of_the_columns_whatever_the_rotation() -> None:
    assert header(ROTATION @ np.diag([1.0, -2.0, 3.5])).spacing_mm == pytest.approx((1, 2, 3.5))


def test_what_holds_one_slice() -> None:
    assert [header(kind=kind).is_picture for kind in ("nifti", "png", "tiff", "npz")] == [False, True, True, True]


def test_corners_are_the_centres_of_the_outermost_voxels() -> None:
    grid = header(np.diag([2.0, 1.0, -1.0]))
    corners = grid_corners(grid.shape, grid.affine)
    assert corners.shape == (8, 3)
    expected = {(10 + x, 20 + y, 30 + z) for x in (0.0, 4.0) for y in (0.0, 3.0) for z in (0.0, -4.0)}
    assert {tuple(corner) for corner in corners.tolist()} == expected
    np.testing.assert_array_equal(grid_corners((1, 1, 1), np.eye(4)), np.zeros((8, 3)))


def test_equal_grids_in_another_storage_order_have_the_same_corners() -> None:
    flipped = affine_of(np.diag([-1.0, 1, 1]), (2, 0, 0))
    first, second = grid_corners((3, 4, 5), np.eye(4)), grid_corners((3, 4, 5), flipped)
    assert sorted(map(tuple, first.tolist())) == sorted(map(tuple, second.tolist()))
    assert (first != second).any()


@pytest.mark.parametrize("shape", [(0, 3, 3), (3, -1, 3), (3, 3, 0)])
def test_axes_without_a_voxel_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match=r"^a\.nii\.gz: the header claims the shape .*: every axis needs at least one"):
        check_size(PATH, shape, 9, CheckConfig.build({}))


def test_sizes_are_refused_just_beyond_their_limits() -> None:
    limits = CheckConfig.build({"max_voxels": 24, "max_file_bytes": 100})
    check_size(PATH, (2, 3, 4), 100, limits)
    with pytest.raises(DataError, match="claims 5×5 = 25 voxels, more than the limit of 24"):
        check_size(PATH, (5, 5), 100, limits)
    with pytest.raises(DataError, match="unfold to 101 bytes, more than the limit of 100"):
        check_size(PATH, (2, 3, 4), 101, limits)
    with pytest.raises(DataError, match="more than the limit"):  # a product beyond 64 bits
        check_size(PATH, (2**32, 2**32, 2**32), 1, limits)


@pytest.mark.parametrize(
    "matrix",
    [
        np.eye(3),
        ROTATION @ np.diag([0.5, 0.5, 8.0]),
        np.diag([1e-3, 1e-3, 1e-3]),
        np.array([[1, 0.5, 0], [0, 1, 0], [0, 0, 1.0]]),
    ],
)
def test_affines_that_span_space_pass(matrix: np.ndarray) -> None:
    check_affine(PATH, affine_of(matrix))


@pytest.mark.parametrize(
    ("matrix", "reason"),
    [
        (np.diag([1.0, np.nan, 1]), "NaN or infinity"),
        (np.diag([1.0, np.inf, 1]), "NaN or infinity"),
        (np.diag([1.0, 0, 1]), r"singular \(voxel size 1×0×1 mm\)"),
        (np.array([[1, 1, 0], [1, 1, 0], [0, 0, 1.0]]), "singular"),
        (np.array([[1, 0, 1], [0, 1, 1], [0, 0, 1e-5]]), "singular"),
        (np.diag([1e200, 1, 1]), "singular"),
    ],
)
def test_affines_that_span_less_are_refused(matrix: np.ndarray, reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        check_affine(PATH, affine_of(matrix))


def test_an_origin_that_is_not_finite_is_refused() -> None:
    with pytest.raises(DataError, match="NaN"):
        check_affine(PATH, affine_of(np.eye(3), (0, np.nan, 0)))


@pytest.mark.parametrize(
    ("raised", "told"),
    [
        (ValueError("two\nlines"), "a.nii.gz: unreadable: two lines"),
        (KeyError(), "a.nii.gz: unreadable: KeyError"),
        (RecursionError("x" * 500), "a.nii.gz: unreadable: " + "x" * 200),
        (MemoryError(), "a.nii.gz: unreadable: not enough memory for what the header claims"),
        (DataError("b.nii", "is told already"), "b.nii: is told already"),
    ],
)
def test_whatever_a_parser_raises_is_one_line(raised: Exception, told: str) -> None:
    with pytest.raises(DataError) as caught, untrusted(PATH, "unreadable"):
        raise raised
    assert str(caught.value) == told


def test_an_interrupt_is_no_malformed_file() -> None:
    with pytest.raises(KeyboardInterrupt), untrusted(PATH, "unreadable"):
        raise KeyboardInterrupt


def test_numbers_out_of_range_give_no_warning() -> None:
    with untrusted(PATH, "unreadable"):
        assert np.isinf(np.float32(3e38) * np.float32(10))


def test_a_header_is_a_value() -> None:
    assert replace(header(), components=3).components == 3
    with pytest.raises(AttributeError):
        header().shape = (1, 1, 1)  # type: ignore[misc]


def test_grids_are_compared_in_voxels():
    affine = np.diag([2.0, 1.0, 4.0, 1.0])
    moved = affine.copy()
    moved[:3, 3] = 0.5, 0.1, 0.4
    assert voxels_apart((5, 6, 7), affine, moved) == pytest.approx(0.25)  # 0.5 mm of 2 mm
    assert voxels_apart((5, 6, 7), affine, affine @ np.diag([1, 1.01, 1, 1])) == pytest.approx(0.05)  # the fifth row
    assert voxels_apart((5, 6, 7), affine, affine) == 0
    assert voxels_apart((5, 6, 7), np.zeros((4, 4)), affine) == np.inf
    assert voxels_apart((5, 6, 7), affine, affine * np.nan) == np.inf
