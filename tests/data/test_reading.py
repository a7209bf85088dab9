from __future__ import annotations

import gzip
import os
import re
import time
import tracemalloc
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from trees import AFFINE, SHAPE, lesion_mask, save, save_picture, voxels

from labelgan.config import CheckConfig
from labelgan.data.case import ImageRef, Volume
from labelgan.data.reading import read_header, read_mask, read_volume, voxel_hash
from labelgan.errors import DataError


def refuse(path: Path, reason: str, read=read_volume, **options) -> None:
    """The file is refused, the error names it, and its reason is one line."""
    with pytest.raises(DataError, match=reason) as caught:
        read(ImageRef(path), **options)
    named(caught.value, path)


def named(error: DataError, path: Path) -> None:
    """The error names the file and gives a reason in one line."""
    assert re.fullmatch(re.escape(f"{path}: ") + ".+", str(error))


def header_of(data: np.ndarray, **fields) -> bytes:
    """An uncompressed NIfTI-1 of the voxels, with header fields overwritten."""
    image = nib.Nifti1Image(data, AFFINE)
    content = bytearray(image.to_bytes())
    header = nib.Nifti1Header(bytes(content[:348]), check=False)
    for name, value in fields.items():
        header[name] = value
    content[:348] = header.binaryblock
    return bytes(content)


# --- what is read ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
@pytest.mark.parametrize("dtype", ["u1", "i1", "i2", "u2", "i4", "u4", "f4", "f8"])
@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
def test_reads_what_nibabel_reads(tmp_path: Path, ending: str, dtype: str, kind: type) -> None:
    data = (voxels("a") % 120).astype(dtype)
    nib.save(kind(data, AFFINE), tmp_path / f"a{ending}")
    ref = ImageRef(tmp_path / f"a{ending}")
    header, volume = read_header(ref), read_volume(ref)
    assert header.shape == SHAPE
    assert header.dtype == np.dtype(dtype)
    assert header.file == ref.path
    np.testing.assert_allclose(header.spacing_mm, (1, 1.5, 3))
    np.testing.assert_array_equal(volume.data, data)
    np.testing.assert_allclose(volume.affine, AFFINE)
    assert volume.data.dtype == np.float32


def test_applies_slope_and_intercept(tmp_path: Path) -> None:
    data = voxels("a")
    (tmp_path / "a.nii").write_bytes(header_of(data, scl_slope=0.5, scl_inter=-3))
    np.testing.assert_allclose(read_volume(ImageRef(tmp_path / "a.nii")).data, data * 0.5 - 3)


def test_reads_big_endian(tmp_path: Path) -> None:
    data = voxels("a")
    nib.save(nib.Nifti1Image(data, AFFINE, nib.Nifti1Header(endianness=">")), tmp_path / "a.nii")
    np.testing.assert_array_equal(read_volume(ImageRef(tmp_path / "a.nii")).data, data)


def test_trailing_axes_of_one_are_dropped_and_missing_ones_added(tmp_path: Path) -> None:
    save(tmp_path / "five.nii.gz", voxels("a")[..., None, None])
    save(tmp_path / "two.nii.gz", voxels("a")[..., 0])
    assert read_header(ImageRef(tmp_path / "five.nii.gz")).shape == SHAPE
    assert read_volume(ImageRef(tmp_path / "two.nii.gz")).data.shape == (6, 7, 1)


def test_the_content_decides_not_the_name(tmp_path: Path) -> None:
    save(tmp_path / "a.nii.gz", voxels("a")).rename(tmp_path / "a.dat")
    np.testing.assert_array_equal(read_volume(ImageRef(tmp_path / "a.dat")).data, voxels("a"))


@pytest.mark.parametrize("ending", ["png", "tif"])
@pytest.mark.parametrize("dtype", ["u1", "u2"])
def test_grey_pictures_stand_upright(tmp_path: Path, ending: str, dtype: str) -> None:
    rows_columns = (voxels("a", shape=(4, 5)) % 250).astype(dtype)
    path = save_picture(tmp_path / f"a.{ending}", rows_columns)
    volume = read_volume(ImageRef(path))
    assert volume.data.shape == (5, 4, 1)  # columns, rows
    np.testing.assert_array_equal(volume.data[..., 0].T, rows_columns)
    assert nib.orientations.aff2axcodes(volume.affine) == ("L", "P", "S")
    assert read_header(ImageRef(path)).shape == (5, 4, 1)
    assert read_header(ImageRef(path)).dtype == np.dtype(dtype)


@pytest.mark.parametrize("name", ["a.png", "plain.tif", "deep.tif", "packed.tif"])
def test_components_of_colour_pictures(tmp_path: Path, name: str) -> None:
    colours = (voxels("a", shape=(4, 5, 3)) % 250).astype(np.uint8)
    scale = 1
    if name == "deep.tif":
        scale = 200
        tifffile.imwrite(tmp_path / name, colours.astype(np.uint16) * scale)
    elif name == "packed.tif":
        Image.fromarray(colours).save(tmp_path / name, compression="tiff_lzw")
    else:
        save_picture(tmp_path / name, colours)
    assert read_header(ImageRef(tmp_path / name)).components == 3
    for component in range(3):
        data = read_volume(ImageRef(tmp_path / name, component)).data
        np.testing.assert_array_equal(data[..., 0].T, colours[..., component] * float(scale))
    refuse(tmp_path / name, "colour picture of 3 components")
    with pytest.raises(DataError, match="holds 3 components, and number 3"):
        read_volume(ImageRef(tmp_path / name, 3))


# --- masks -------------------------------------------------------------------------------------------------------


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


def test_picture_masks(tmp_path: Path) -> None:
    lesion = lesion_mask("m", shape=(4, 5)) == 1
    for name, stored in {
        "eight.png": lesion.astype(np.uint8) * 255,
        "eight.tif": lesion.astype(np.uint8) * 255,
        "one.png": lesion.astype(np.uint8),
        "bit.png": lesion,
        "rgb.png": np.repeat(lesion[..., None].astype(np.uint8) * 255, 3, axis=2),
    }.items():
        mask = read_mask(ImageRef(save_picture(tmp_path / name, stored)))
        np.testing.assert_array_equal(mask.data[..., 0].T, lesion, err_msg=name)
    palette = Image.fromarray(lesion.astype(np.uint8))
    palette.putpalette([0, 0, 0, 255, 0, 0])
    palette.save(tmp_path / "palette.png")
    np.testing.assert_array_equal(read_mask(ImageRef(tmp_path / "palette.png")).data[..., 0].T, lesion)
    grey = lesion.astype(np.uint8) * 255
    grey[0, 0] = 128
    refuse(save_picture(tmp_path / "grey.png", grey), "128", read_mask)


def test_labels_map_stored_values(tmp_path: Path) -> None:
    stored = np.resize(np.array([0, 4, 9], dtype=np.uint8), SHAPE)
    path = save(tmp_path / "m.nii.gz", stored)
    mask = read_mask(ImageRef(path, labels=((0, 0), (4, 1), (9, 2))))
    np.testing.assert_array_equal(mask.data, np.resize([0, 1, 2], SHAPE))
    with pytest.raises(DataError, match="expected 0, 4"):
        read_mask(ImageRef(path, labels=((0, 0), (4, 1))))


# --- what is refused ---------------------------------------------------------------------------------------------


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
        (gzip.compress(b"not a nifti at all" * 40), "not a NIfTI"),
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


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"dim": [3, 30000, 30000, 30000, 1, 1, 1, 1]}, "2.7e\\+13 voxels, more than the limit"),
        ({"dim": [3, 6, -7, 5, 1, 1, 1, 1]}, "every axis needs at least one voxel"),
        ({"dim": [3, 6, 0, 5, 1, 1, 1, 1]}, "every axis needs at least one voxel"),
        ({"dim": [3, -1, 1, 1, 1, 1, 1, 1]}, "every axis needs at least one voxel"),
        ({"dim": [0, 6, 7, 5, 1, 1, 1, 1]}, "claims 0 axes"),
        ({"dim": [9, 6, 7, 5, 1, 1, 1, 1]}, "claims 9 axes"),
        ({"dim": [4, 6, 7, 1, 5, 1, 1, 1]}, "4-D"),
        ({"dim": [3, 600, 70, 50, 1, 1, 1, 1]}, "truncated"),
        ({"datatype": 777}, "unknown NIfTI data type code 777"),
        ({"datatype": 32}, "complex"),
        ({"datatype": 128}, "RGB"),
        ({"datatype": 1536}, "not read"),
        ({"datatype": 0}, "data type"),
        ({"vox_offset": 0}, "before its own end"),
        ({"vox_offset": np.nan}, "places the voxels"),
        ({"vox_offset": 1e30}, "more than the limit"),
        ({"scl_slope": np.inf}, "slope"),
        ({"magic": b"ni1"}, "pair"),
        ({"srow_x": [0, 0, 0, 0]}, "singular"),
        ({"srow_x": [0, 1.5, 0, 0]}, "singular"),
        ({"srow_y": [0, np.nan, 0, 0]}, "NaN"),
        ({"srow_z": [0, 0, np.inf, 0]}, "infinity"),
        ({"sform_code": 0, "qform_code": 1, "quatern_b": 5}, "not a readable NIfTI"),
        ({"sform_code": 0, "qform_code": 0, "pixdim": [1, 0, 1, 1, 1, 1, 1, 1]}, "singular"),
    ],
)
def test_damaged_headers(tmp_path: Path, fields: dict, reason: str) -> None:
    content = header_of(voxels("a"), **fields)
    (tmp_path / "a.nii").write_bytes(content)
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(content))
    refuse(tmp_path / "a.nii", reason)
    if reason != "truncated":
        refuse(tmp_path / "a.nii.gz", reason)


def test_four_axes_are_refused(tmp_path: Path) -> None:
    refuse(save(tmp_path / "a.nii.gz", voxels("a", shape=(3, 4, 5, 2))), "4-D", read_header)


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_truncated_anywhere(tmp_path: Path, ending: str) -> None:
    content = save(tmp_path / f"a{ending}", voxels("a")).read_bytes()
    for kept in [len(content) - 1, len(content) - 8, len(content) - 9, len(content) // 2, 300, 20, 3]:
        (tmp_path / f"t{ending}").write_bytes(content[:kept])
        refuse(tmp_path / f"t{ending}", "truncated|header alone|not a NIfTI")


def test_one_changed_byte_in_a_gzip_is_found(tmp_path: Path) -> None:
    content = bytearray(save(tmp_path / "a.nii.gz", voxels("a")).read_bytes())
    content[len(content) // 2] ^= 0x10
    (tmp_path / "a.nii.gz").write_bytes(content)
    refuse(tmp_path / "a.nii.gz", "corrupted|truncated")


def test_terabytes_are_refused_at_once_and_without_memory(tmp_path: Path) -> None:
    small = header_of(voxels("a"), dim=[3, 32767, 32767, 32767, 1, 1, 1, 1])
    (tmp_path / "claims.nii.gz").write_bytes(gzip.compress(small))
    # Within the number of voxels, but the few bytes of the file cannot unfold to so many.
    hollow = header_of(voxels("a"), dim=[3, 800, 800, 800, 1, 1, 1, 1])
    (tmp_path / "hollow.nii.gz").write_bytes(gzip.compress(hollow))
    tracemalloc.start()
    start = time.perf_counter()
    refuse(tmp_path / "claims.nii.gz", "more than the limit")
    refuse(tmp_path / "hollow.nii.gz", "truncated: its .* bytes cannot unfold")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert time.perf_counter() - start < 2
    assert peak < 20e6


def test_a_gzip_bomb_is_not_unfolded(tmp_path: Path) -> None:
    """128 MiB of zeros behind the promised voxels, in a file a thousandth of that."""
    import zlib

    packer = zlib.compressobj(9, wbits=31)
    with (tmp_path / "bomb.nii.gz").open("wb") as stream:
        stream.write(packer.compress(header_of(voxels("a"))))
        block = bytes(2**22)
        for _ in range(32):
            stream.write(packer.compress(block))
        stream.write(packer.flush())
    assert (tmp_path / "bomb.nii.gz").stat().st_size < 2**20
    tracemalloc.start()
    refuse(tmp_path / "bomb.nii.gz", "goes on after the voxels")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20e6


def test_limits_can_be_set(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii.gz", voxels("a"))
    refuse(path, "more than the limit of 209", limits=CheckConfig.build({"max_voxels": 209}))
    refuse(path, "more than the limit of 700", limits=CheckConfig.build({"max_file_bytes": 700}))
    assert read_volume(ImageRef(path), CheckConfig.build({"max_voxels": 210})).data.size == 210
    picture = save_picture(tmp_path / "a.png", np.zeros((20, 20), np.uint8))
    refuse(picture, "more than the limit", limits=CheckConfig.build({"max_voxels": 399}))


def test_pictures_that_are_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "stack.tif", np.zeros((4, 5, 6), np.uint8), photometric="minisblack")
    refuse(tmp_path / "stack.tif", "4 pages")
    whole = save_picture(tmp_path / "a.tif", voxels("a", shape=(20, 20)).astype(np.uint16)).read_bytes()
    (tmp_path / "a.tif").write_bytes(whole[:-50])
    refuse(tmp_path / "a.tif", "not a readable picture|truncated")
    whole = save_picture(tmp_path / "a.png", voxels("a", shape=(40, 40)).astype(np.uint16)).read_bytes()
    (tmp_path / "a.png").write_bytes(whole[: len(whole) // 2])
    refuse(tmp_path / "a.png", "truncated")
    huge = bytearray(save_picture(tmp_path / "huge.png", np.zeros((2, 2), np.uint8)).read_bytes())
    huge[16:24] = (60000).to_bytes(4, "big") * 2
    (tmp_path / "huge.png").write_bytes(huge)
    refuse(tmp_path / "huge.png", "not a readable picture|limit")


def test_what_is_not_a_file(tmp_path: Path) -> None:
    refuse(tmp_path / "absent.nii.gz", "no such file")
    refuse(tmp_path, "not a regular file")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    refuse(tmp_path / "loop", "link")
    os.mkfifo(tmp_path / "pipe")  # opening it would wait for ever
    refuse(tmp_path / "pipe", "not a regular file")


SMALL = header_of(np.arange(1, 61, dtype=np.int16).reshape(3, 4, 5))


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    changes=st.lists(st.tuples(st.integers(0, 359), st.integers(0, 255)), min_size=1, max_size=12),
    cut=st.integers(0, len(SMALL)),
    packed=st.booleans(),
)
def test_a_damaged_header_raises_nothing_but_data_error(
    tmp_path: Path, changes: list[tuple[int, int]], cut: int, packed: bool
) -> None:
    content = bytearray(SMALL)
    for place, value in changes:
        content[place] = value
    damaged = bytes(content[:cut] if cut % 4 == 0 else content)
    path = tmp_path / "a.nii"
    path.write_bytes(gzip.compress(damaged, 1) if packed else damaged)
    limits = CheckConfig.build({"max_voxels": 10**6, "max_file_bytes": 10**7})
    for read in (read_header, read_volume, read_mask):
        try:
            result = read(ImageRef(path), limits)
        except DataError as error:
            named(error, path)
        else:
            assert np.isfinite(result.affine).all()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kind=st.sampled_from(["gz", "png", "tif", "lzw"]),
    changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=6),
    keep=st.floats(0, 1),
)
def test_damaged_files_raise_nothing_but_data_error(
    tmp_path: Path, kind: str, changes: list[tuple[float, int]], keep: float
) -> None:
    colours = (voxels("a", shape=(4, 5, 3)) % 250).astype(np.uint8)
    path = tmp_path / f"a.{'tif' if kind == 'lzw' else kind}"
    if kind == "gz":
        path.write_bytes(gzip.compress(SMALL))
    elif kind == "lzw":
        Image.fromarray(colours).save(path, compression="tiff_lzw")
    else:
        save_picture(path, colours)
    content = bytearray(path.read_bytes())
    for place, value in changes:
        content[int(place * len(content))] = value
    path.write_bytes(content[: int(keep * len(content)) + 1] if keep < 0.5 else content)
    limits = CheckConfig.build({"max_voxels": 10**6, "max_file_bytes": 10**7})
    for read in (read_header, read_volume, read_mask):
        try:
            read(ImageRef(path, 1 if kind != "gz" else None), limits)
        except DataError as error:
            named(error, path)


# --- the hash ----------------------------------------------------------------------------------------------------


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
    digests = {
        voxel_hash(Volume(volume, np.eye(4)))
        for volume in (data, other, data.reshape(7, 6, 5), data[::-1], data.transpose(0, 2, 1))
    }
    assert len(digests) == 5


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
