from __future__ import annotations

import gzip

import nibabel as nib
import numpy as np
import pytest

from labelgan.core.errors import DataError
from labelgan.studio.images import CaseImages
from labelgan.studio.volumes import volume_bytes

AFFINE = np.array([[0, -2, 0, 5], [1, 0, 0, -7], [0, 0, 3, 1], [0, 0, 0, 1.0]])


def images(values, mask=None):
    return CaseImages({"T1": np.asarray(values, np.float32)}, mask, AFFINE)


def read(content: bytes) -> nib.Nifti1Image:
    return nib.Nifti1Image.from_bytes(gzip.decompress(content))


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        (np.arange(24).reshape(2, 3, 4), np.int16),
        (np.arange(24).reshape(2, 3, 4) / 7, np.float32),
        (np.arange(24).reshape(2, 3, 4) * 1e5, np.float32),
    ],
)
def test_voxels_and_geometry_survive(values, dtype):
    image = read(volume_bytes(images(values), "T1"))
    assert image.get_data_dtype() == dtype
    np.testing.assert_allclose(image.get_fdata(), values.astype(np.float32))
    assert image.affine is not None
    np.testing.assert_allclose(image.affine, AFFINE)


def test_the_mask_is_a_volume_too():
    mask = np.zeros((2, 3, 4), np.uint8)
    mask[1, 2, 3] = 1
    image = read(volume_bytes(images(np.zeros((2, 3, 4)), mask), "mask"))
    np.testing.assert_array_equal(np.asarray(image.dataobj), mask)


@pytest.mark.parametrize("channel", ["mask", "FLAIR", "../T1"])
def test_what_is_not_there_is_told(channel):
    with pytest.raises(DataError, match="this case has no"):
        volume_bytes(images(np.zeros((2, 3, 4))), channel)


def test_headers_are_made_from_nothing():
    header = read(volume_bytes(images(np.zeros((2, 3, 4))), "T1")).header
    assert not any(bytes(header[field].tobytes()).strip(b"\0") for field in ("descrip", "aux_file", "db_name"))
