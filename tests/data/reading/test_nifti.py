from __future__ import annotations

import gzip
import time
import tracemalloc
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from refusals import CHANGES, KEEP, damaged, read_or_refuse, refuse
from trees import AFFINE, SHAPE, header_of, save, voxels

from labelgan.config.base import CheckConfig
from labelgan.data.reading.read import read_header, read_volume
from labelgan.data.volume import ImageRef


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
    spoilt = bytes(content[:cut] if cut % 4 == 0 else content)
    path = tmp_path / "a.nii"
    path.write_bytes(gzip.compress(spoilt, 1) if packed else spoilt)
    read_or_refuse(path)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=CHANGES, keep=KEEP)
def test_a_damaged_gzip_stream_raises_nothing_but_data_error(
    tmp_path: Path, changes: list[tuple[float, int]], keep: float
) -> None:
    path = tmp_path / "a.nii.gz"
    path.write_bytes(damaged(gzip.compress(SMALL), changes, keep))
    read_or_refuse(path)
