from __future__ import annotations

import gzip
import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from refusals import refuse
from trees import AFFINE, SHAPE, header_of, lesion_mask, save, voxels

from labelgan.core.errors import DataError
from labelgan.data.reading.read import read_header, read_mask, read_volume, voxel_hash
from labelgan.data.volume import ImageRef, Volume


def test_the_content_decides_not_the_name(tmp_path: Path) -> None:
    save(tmp_path / "a.nii.gz", voxels("a")).rename(tmp_path / "a.dat")
    np.testing.assert_array_equal(read_volume(ImageRef(tmp_path / "a.dat")).data, voxels("a"))


@pytest.mark.parametrize("dtype", ["u1", "i2", "f4", "f8"])
def test_masks_of_any_type(tmp_path: Path, dtype: str) -> None:
    mask = lesion_mask("m")
    volume = read_mask(ImageRef(save(tmp_path / "m.nii.gz", mask.astype(dtype))))
    assert volume.data.dtype == np.uint8
    np.testing.assert_array_equal(volume.data, mask)


def test_masks_through_slope_may_be_a_little_off(tmp_path: Path) -> None:
    mask = lesion_mask("m")
    (tmp_path / "m.nii").write_bytes(header_of((mask * 127).astype(np.int16), scl_slope=1 / 127.01))
    np.testing.assert_array_equal(read_mask(ImageRef(tmp_path / "m.nii")).data, mask)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ((0, 255), "values 0, 255: expected 0, 1, 2; divide by 255"),
        ((0, 1, 255), "values 0, 1, 255: expected 0, 1, 2"),
        ((0, 1, 3), "values 0, 1, 3: expected"),
        ((0, 1, -1), "values -1, 0, 1: expected"),
        ((0, 0.4, 1), "probability"),
        ((0, 1, np.nan), "NaN"),
        ((0, 1.01), "values 0, 1.01"),
    ],
)
def test_masks_with_unknown_values(tmp_path: Path, values: tuple[float, ...], reason: str) -> None:
    data = np.resize(np.array(values, dtype=np.float32), SHAPE)
    refuse(save(tmp_path / "m.nii.gz", data), reason, read_mask)


def test_labels_map_stored_values(tmp_path: Path) -> None:
    stored = np.resize(np.array([0, 4, 9], dtype=np.uint8), SHAPE)
    path = save(tmp_path / "m.nii.gz", stored)
    mask = read_mask(ImageRef(path, labels=((0, 0), (4, 1), (9, 2))))
    np.testing.assert_array_equal(mask.data, np.resize([0, 1, 2], SHAPE))
    with pytest.raises(DataError, match="expected 0, 4"):
        read_mask(ImageRef(path, labels=((0, 0), (4, 1))))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty file"),
        (b"<!DOCTYPE html><html>404</html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "Git LFS"),
        (b"\xff\xd8\xff\xe0" + bytes(600), "JPEG"),
        (bytes(128) + b"DICM" + bytes(900), "DICOM"),
        (b"PK\x03\x04" + bytes(600), "ZIP"),
        (b"hello", "not a NIfTI"),
        (bytes(1000), "not a NIfTI"),
        (b"\x5c\x01\x00\x00" + bytes(10), "the header alone has 348"),
        (b"\x5c\x01\x00\x00" + bytes(600), "'n\\+1' is missing"),
        (b"\x1f\x8b", "truncated"),
        (b"\x1f\x8b\x00\x00 no gzip" + bytes(60), "corrupted"),
        (gzip.compress(b"not a nifti at all" * 40, mtime=0), "not a NIfTI"),
        (b"\x89PNG\r\n\x1a\n", "truncated"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "not a readable picture"),
        (b"II*\x00" + bytes(100), "not a readable picture|pages"),
    ],
)
def test_what_is_no_image(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "a.nii.gz"
    path.write_bytes(content)
    refuse(path, reason)
    refuse(path, reason, read_header)
    refuse(path, reason, read_mask)


def test_what_is_not_a_file(tmp_path: Path) -> None:
    refuse(tmp_path / "absent.nii.gz", "no such file")
    refuse(tmp_path, "not a regular file")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    refuse(tmp_path / "loop", "link")
    os.mkfifo(tmp_path / "pipe")  # opening it would wait for ever
    refuse(tmp_path / "pipe", "not a regular file")


@given(
    order=st.permutations(range(3)),
    flips=st.tuples(*[st.sampled_from([1, -1])] * 3),
    dtype=st.sampled_from(["<i2", ">f4", "f8", "i4"]),
)
def test_the_hash_does_not_depend_on_storage(order: list[int], flips: tuple[int, ...], dtype: str) -> None:
    data = voxels("a")
    orientation = np.array([[axis, flip] for axis, flip in zip(order, flips, strict=True)])
    stored = nib.orientations.apply_orientation(data, orientation).astype(dtype)
    affine = AFFINE @ nib.orientations.inv_ornt_aff(orientation, data.shape)
    expected = voxel_hash(Volume(data.astype(np.float32), AFFINE))
    assert voxel_hash(Volume(stored, affine)) == expected
    assert expected.startswith("sha256:")
    assert len(expected) == 71


def test_the_hash_tells_voxels_and_shapes_apart() -> None:
    data = voxels("a").astype(np.float32)
    other = data.copy()
    other[0, 0, 0] += 1
    same_bytes = data.reshape((7, 6, 5), order="F")
    digests = {
        voxel_hash(Volume(volume, np.eye(4)))
        for volume in (data, other, data.reshape(7, 6, 5), same_bytes, data[::-1], data.transpose(0, 2, 1))
    }
    assert len(digests) == 6


def test_the_hash_takes_no_notice_of_the_affines_numbers_or_of_signed_zero() -> None:
    data = voxels("a").astype(np.float32)
    data[0] = 0
    negative = data.copy()
    negative[0] = -0.0
    assert voxel_hash(Volume(data, np.eye(4))) == voxel_hash(Volume(negative, np.diag([3.0, 2, 1, 1])))


def test_the_hash_survives_compression_and_orientation_on_disk(tmp_path: Path) -> None:
    image = nib.Nifti1Image(voxels("a"), AFFINE)
    nib.save(image, tmp_path / "a.nii")
    nib.save(nib.as_closest_canonical(image), tmp_path / "b.nii.gz")
    first, second = (read_volume(ImageRef(tmp_path / name)) for name in ("a.nii", "b.nii.gz"))
    assert (first.data != second.data).any()
    assert voxel_hash(first) == voxel_hash(second)
