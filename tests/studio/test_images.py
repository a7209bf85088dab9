from __future__ import annotations

import gzip

import nibabel as nib
import numpy as np
import pytest

from labelgan.core.errors import DataError
from labelgan.data.case import Case
from labelgan.data.export.write import nifti_bytes
from labelgan.data.layouts.detect import read_cohort
from labelgan.data.volume import ImageRef
from labelgan.studio.images import Cache, CaseImages, lesion_areas, load_case, load_stored, scaled_affine, volume_bytes


def volume(shape=(4, 5, 3)):
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


def test_planes_are_axial_whatever_the_storage():
    axial = CaseImages({"T1": volume()}, None, np.diag([1.0, 2.0, 4.0, 1.0]))
    # the same scan stored sagittally: the axes cyclically moved, the affine with them
    sagittal = CaseImages({"T1": volume().transpose(1, 2, 0)}, None, np.diag([1.0, 2.0, 4.0, 1.0])[:, [1, 2, 0, 3]])
    assert axial.pixel_mm == sagittal.pixel_mm == (2.0, 1.0)
    for z in range(3):
        np.testing.assert_array_equal(axial.plane("T1", z), sagittal.plane("T1", z))
    # as radiologists see it: the first row is the front, the first column the patient's right
    assert axial.plane("T1", 0)[0, 0] == volume()[3, 4, 0]


def test_a_store_gives_back_its_slices(phantom_store):
    case = phantom_store.cases[0]
    images, batch = load_stored(phantom_store, case.id), phantom_store.volume(case.id)
    for z in range(case.count):
        np.testing.assert_array_equal(images.plane("T1", z), batch.images_NCHW[z, 1])
        np.testing.assert_array_equal(images.mask_plane(z), batch.masks_NHW[z])
    assert images.pixel_mm == pytest.approx(case.pixel_mm)
    assert images.mask_XYZ is not None
    assert images.bytes == sum(v.nbytes for v in images.volumes.values()) + images.mask_XYZ.nbytes


def test_areas_are_those_of_the_masks(phantom_cohort):
    case = read_cohort(phantom_cohort).cases[0]
    images = load_case(case)
    row_mm, column_mm = images.pixel_mm
    expected = [float((images.mask_plane(z) == 1).sum()) * row_mm * column_mm for z in range(images.geometry.z.count)]
    assert lesion_areas(case) == pytest.approx(expected)
    assert sum(expected) == pytest.approx((images.mask_XYZ == 1).sum() * row_mm * column_mm)
    assert sum(expected) > 0


def test_without_a_mask_nothing_is_said_of_lesions(phantom_cohort):
    case = read_cohort(phantom_cohort).cases[0]
    bare = Case(case.id, case.patient, case.images)
    assert lesion_areas(bare) == [None] * 12
    assert load_case(bare).mask_plane(0) is None


def test_hashes_are_those_of_the_store(phantom_cohort, phantom_store):
    case = read_cohort(phantom_cohort).cases[0]
    assert load_case(case).hashes() == phantom_store.case(case.id).hashes


def test_shapes_that_differ_are_told(tmp_path):
    paths = [tmp_path / f"{n}.nii.gz" for n in range(2)]
    for number, path in enumerate(paths):
        path.write_bytes(nifti_bytes(volume((4, 4, 2 + number)), np.eye(4)))
    with pytest.raises(DataError, match="shapes of the images and of the mask differ"):
        load_case(Case("a", "a", {"T1": ImageRef(paths[0]), "FLAIR": ImageRef(paths[1])}))


def test_values_that_are_not_finite_are_shown_as_zero(tmp_path):
    values = volume()
    values[0, 0, 0], values[1, 1, 1] = np.nan, np.inf
    (tmp_path / "a.nii.gz").write_bytes(nifti_bytes(values, np.eye(4)))
    images = load_case(Case("a", "a", {"T1": ImageRef(tmp_path / "a.nii.gz")}))
    assert np.isfinite(images.volumes["T1"]).all()
    assert np.isfinite(images.windows["T1"]).all()


@pytest.mark.parametrize(
    ("name", "spacing", "expected"),
    [
        ("a.png", [5.0, 3.0, 2.0], [2.0, 3.0, 5.0]),
        ("a.nii.gz", [5.0, 3.0, 2.0], [1.0, 1.0, 1.0]),
        ("a.png", None, [1.0, 1.0, 1.0]),
        ("a.png", ["x", 1, 1], [1.0, 1.0, 1.0]),
        ("a.png", [0, 1, 1], [1.0, 1.0, 1.0]),
        ("a.png", [float("nan"), 1, 1], [1.0, 1.0, 1.0]),
    ],
)
def test_pictures_get_their_millimetres_from_the_manifest(tmp_path, name, spacing, expected):
    scaled = scaled_affine(np.eye(4), tmp_path / name, {"spacing_mm": spacing})
    np.testing.assert_allclose(np.diag(scaled)[:3], expected)


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


def test_a_value_is_made_once():
    cache: Cache[str] = Cache(100, len)
    made = []

    def make() -> str:
        made.append(1)
        return "value"

    assert cache.get("a", make) == cache.get("a", make) == "value"
    assert made == [1]
    assert cache.bytes == 5


def test_the_longest_unused_goes_first():
    cache: Cache[str] = Cache(10, len)
    for key in "ab":
        cache.get(key, lambda key=key: key * 5)
    cache.get("a", lambda: "never made")
    cache.get("c", lambda: "ccccc")
    assert len(cache) == 2
    assert cache.bytes == 10
    assert cache.get("a", lambda: "made again") == "aaaaa"
    assert cache.get("b", lambda: "bb") == "bb"


def test_what_is_too_large_alone_is_kept_until_the_next():
    cache: Cache[str] = Cache(3, len)
    assert cache.get("a", lambda: "aaaaaaaa") == "aaaaaaaa"
    assert len(cache) == 1
    cache.get("b", lambda: "b")
    assert cache.bytes == 1
