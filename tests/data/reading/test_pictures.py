from __future__ import annotations

import zlib
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from refusals import CHANGES, KEEP, damaged, read_or_refuse, refuse
from trees import lesion_mask, save_picture, voxels

from labelgan.config.base import CheckConfig
from labelgan.core.errors import DataError
from labelgan.data.reading.read import read_header, read_mask, read_volume
from labelgan.data.volume import ImageRef


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


def test_limits_can_be_set(tmp_path: Path) -> None:
    picture = save_picture(tmp_path / "a.png", np.zeros((20, 20), np.uint8))
    refuse(picture, "more than the limit of 399", limits=CheckConfig.build({"max_voxels": 399}))
    assert read_volume(ImageRef(picture), CheckConfig.build({"max_voxels": 400})).data.size == 400


def test_depths_that_would_lose_their_lower_bits_are_refused(tmp_path: Path) -> None:
    content = bytearray(save_picture(tmp_path / "a.png", np.zeros((4, 5, 3), np.uint8)).read_bytes())
    content[24] = 16  # bits of a component
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    (tmp_path / "a.png").write_bytes(content)
    refuse(tmp_path / "a.png", "16-bit colour PNG is not read")
    Image.new("CMYK", (5, 4)).save(tmp_path / "a.tif", compression="tiff_lzw")
    refuse(tmp_path / "a.tif", "pictures of mode CMYK are not read")


def test_white_is_zero_is_turned_round(tmp_path: Path) -> None:
    stored = (voxels("a", shape=(4, 5)) % 250).astype(np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="miniswhite")
    np.testing.assert_array_equal(read_volume(ImageRef(tmp_path / "a.tif")).data[..., 0].T, 255.0 - stored)
    tifffile.imwrite(tmp_path / "b.tif", stored.astype(np.float32), photometric="miniswhite")
    refuse(tmp_path / "b.tif", "floats with white as zero")


def test_planes_of_a_tiff_are_its_components(tmp_path: Path) -> None:
    planes = (voxels("a", shape=(3, 4, 5)) % 250).astype(np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", planes, photometric="rgb", planarconfig="separate")
    np.testing.assert_array_equal(read_volume(ImageRef(tmp_path / "a.tif", 2)).data[..., 0].T, planes[2])


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kind=st.sampled_from(["png", "tif", "lzw"]), changes=CHANGES, keep=KEEP)
def test_damaged_files_raise_nothing_but_data_error(
    tmp_path: Path, kind: str, changes: list[tuple[float, int]], keep: float
) -> None:
    colours = (voxels("a", shape=(4, 5, 3)) % 250).astype(np.uint8)
    path = tmp_path / f"a.{'tif' if kind == 'lzw' else kind}"
    if kind == "lzw":
        Image.fromarray(colours).save(path, compression="tiff_lzw")
    else:
        save_picture(path, colours)
    path.write_bytes(damaged(path.read_bytes(), changes, keep))
    read_or_refuse(path, component=1)
