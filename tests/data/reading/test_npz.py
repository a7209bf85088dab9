from __future__ import annotations

import io
import pickle
import struct
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from refusals import CHANGES, KEEP, SMALL_LIMITS, damaged, read_or_refuse, refuse
from trees import AFFINE

from labelgan.config.base import CheckConfig
from labelgan.core.rng import generator_for
from labelgan.data.export.write import CohortFacts, LabelledSlice, export_cohort
from labelgan.data.reading.npz import is_npz, read_npz
from labelgan.data.reading.read import read_header, read_mask, read_volume
from labelgan.data.volume import ImageRef

PIXELS = generator_for(0, "npz").normal(size=(4, 6, 3)).astype(np.float32)


def npy(array: np.ndarray, **claims: object) -> bytes:
    """An array as .npy, whose header claims other things where told to: ``shape``, ``descr``."""
    stream = io.BytesIO()
    header = {"descr": np.lib.format.dtype_to_descr(array.dtype), "fortran_order": False, "shape": array.shape}
    np.lib.format.write_array_header_1_0(stream, header | claims)  # type: ignore[arg-type]
    return stream.getvalue() + array.tobytes()


def archive(path: Path, packing: int = zipfile.ZIP_DEFLATED, /, **members: bytes | np.ndarray) -> Path:
    """Writes members as ``NAME.npy``."""
    with zipfile.ZipFile(path, "w", packing) as target:
        for name, content in members.items():
            target.writestr(f"{name}.npy", npy(content) if isinstance(content, np.ndarray) else content)
    return path


def with_stated_size(path: Path, member: str, size: int) -> Path:
    """Makes the archive's directory state another unfolded size of a member than is there."""
    content = bytearray(path.read_bytes())
    entry = content.index(b"PK\x01\x02")
    while content[entry + 46 : entry + 46 + len(member)] != member.encode():
        entry = content.index(b"PK\x01\x02", entry + 4)
    content[entry + 24 : entry + 28] = struct.pack("<I", size)
    path.write_bytes(content)
    return path


# --- what is read ------------------------------------------------------------------------------------------------


def test_what_the_exporter_writes_is_read_as_it_was(tmp_path: Path) -> None:
    rng = generator_for(1, "slice")
    z_scores, mask = rng.normal(size=(2, 8, 16)).astype(np.float32), (rng.random((8, 16)) > 0.7).astype(np.uint8)
    facts = CohortFacts(("FLAIR", "T1"), (8, 16), (3.0, 1.25, 0.75))
    export_cohort("npz", [LabelledSlice("s1", z_scores, z_scores, mask)], tmp_path, facts, dict)
    images, masks = tmp_path / "images" / "s1.npz", tmp_path / "masks" / "s1.npz"
    header = read_header(ImageRef(images))
    assert (header.shape, header.components, header.kind) == ((16, 8, 1), 2, "npz")
    assert header.dtype == np.float32
    assert header.is_picture
    np.testing.assert_array_equal(header.affine, facts.affine)
    np.testing.assert_allclose(header.spacing_mm, (0.75, 1.25, 3.0))
    for component in range(2):
        volume = read_volume(ImageRef(images, component))
        np.testing.assert_array_equal(volume.data[..., 0].T, z_scores[component])
        np.testing.assert_array_equal(volume.affine, facts.affine)
    np.testing.assert_array_equal(read_mask(ImageRef(masks)).data[..., 0].T, mask)


@pytest.mark.parametrize("dtype", ["u1", "i2", "<f4", ">f4", "f8"])
@pytest.mark.parametrize("packing", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("shape", [(4, 6), (4, 6, 1), (4, 6, 3)])
def test_pixels_of_two_or_three_axes_of_any_type(
    tmp_path: Path, shape: tuple[int, ...], packing: int, dtype: str
) -> None:
    pixels = (generator_for(2, "pixels").random(shape) * 100).astype(dtype)
    path = archive(tmp_path / "a.npz", packing, pixels=pixels)
    header, read = read_npz(path, SMALL_LIMITS)
    assert header.shape == (6, 4, 1)
    assert header.components == read.shape[2] == (shape[2] if len(shape) == 3 else 1)
    np.testing.assert_array_equal(read, pixels.reshape(4, 6, -1).transpose(1, 0, 2))


@pytest.mark.parametrize("version", [(1, 0), (2, 0)])
@pytest.mark.parametrize("order", ["C", "F"])
def test_what_numpy_itself_writes_is_read(tmp_path: Path, order: str, version: tuple[int, int]) -> None:
    stream = io.BytesIO()
    np.lib.format.write_array(stream, np.asarray(PIXELS, order=order), version)  # type: ignore[call-overload]
    path = archive(tmp_path / "a.npz", pixels=stream.getvalue())
    np.testing.assert_array_equal(read_npz(path, SMALL_LIMITS)[1], PIXELS.transpose(1, 0, 2))
    np.savez(tmp_path / "plain.npz", pixels=PIXELS, affine=AFFINE, more=np.arange(3))
    header, read = read_npz(tmp_path / "plain.npz", SMALL_LIMITS)
    np.testing.assert_array_equal(read, PIXELS.transpose(1, 0, 2))
    np.testing.assert_array_equal(header.affine, AFFINE)


def test_without_an_affine_a_slice_stands_upright_as_a_picture_does(tmp_path: Path) -> None:
    header = read_header(ImageRef(archive(tmp_path / "a.npz", pixels=PIXELS)))
    np.testing.assert_array_equal(header.affine, np.diag([-1, -1, 1, 1]))


def test_the_name_does_not_matter_and_the_header_does_not_unfold_the_pixels(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.dat", pixels=np.zeros((2000, 2000), np.float32))
    tracemalloc.start()
    assert read_header(ImageRef(path)).shape == (2000, 2000, 1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4e6


# --- what is refused ---------------------------------------------------------------------------------------------


def test_a_zip_of_somebody_elses_is_not_taken_for_an_archive_of_ours(tmp_path: Path) -> None:
    foreign = archive(tmp_path / "a.npz", arr_0=PIXELS)
    assert not is_npz(foreign)
    refuse(foreign, "ZIP archive: unpack it first")
    (tmp_path / "b.npz").write_bytes(b"PK\x03\x04" + bytes(80))
    assert not is_npz(tmp_path / "b.npz")
    assert not is_npz(tmp_path / "absent.npz")
    assert is_npz(archive(tmp_path / "c.npz", pixels=PIXELS))


@pytest.mark.parametrize("keep", [0.2, 0.5, 0.8, 0.99])
def test_a_truncated_archive(tmp_path: Path, keep: float) -> None:
    """The directory stands at the end, so that what is left is a ZIP that tells nothing of itself."""
    path = archive(tmp_path / "a.npz", pixels=PIXELS, affine=AFFINE)
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content))])
    refuse(path, "ZIP archive")
    refuse(path, "ZIP archive", read_header)


def test_changed_pixels_are_found_by_their_checksum(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.npz", zipfile.ZIP_STORED, pixels=PIXELS)
    content = bytearray(path.read_bytes())
    content[content.index(PIXELS.tobytes()) + 7] ^= 1
    path.write_bytes(content)
    refuse(path, "not a readable NumPy archive: Bad CRC-32")


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({"shape": (30000, 30000, 3)}, "2.7e\\+09 voxels, more than the limit"),
        ({"shape": (2**62, 2**62, 3)}, "more than the limit"),
        ({"shape": (4, 6, 4)}, "not what the archive holds"),
        ({"shape": (4, 5, 3)}, "not what the archive holds"),
        ({"shape": (0, 6, 3)}, "every axis needs at least one voxel"),
        ({"shape": (-4, -6, 3)}, "every axis needs at least one voxel"),
        ({"shape": ()}, "not what the archive holds"),
        ({"descr": "<f8"}, "not what the archive holds"),
        ({"descr": "<c8", "shape": (4, 3, 3)}, "complex64: expected .* of numbers"),
        ({"descr": "|S4"}, "expected .* of numbers"),
        ({"descr": "<M8[ns]", "shape": (4, 3, 3)}, "expected .* of numbers"),
        ({"descr": [("r", "<f4")]}, "expected .* of numbers"),
        ({"descr": "nonsense"}, "not a readable NumPy archive"),
        ({"shape": (4, 6, 3, 1)}, "expected \\(rows, columns, components\\)"),
        ({"shape": (72,)}, "expected \\(rows, columns, components\\)"),
        ({"shape": (4, 3, 6)}, "holds 6 components: 1 to 4 are read"),
    ],
)
def test_a_header_that_lies_or_holds_no_numbers(tmp_path: Path, claims: dict, reason: str) -> None:
    path = archive(tmp_path / "a.npz", pixels=npy(PIXELS, **claims))
    refuse(path, reason)
    refuse(path, reason, read_header)


class Planted:
    """What a pickle would run when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("member", ["pixels", "affine"])
def test_objects_are_refused_and_no_pickle_is_loaded(tmp_path: Path, member: str) -> None:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "|O", "fortran_order": False, "shape": (4, 6)})
    stream.write(pickle.dumps(Planted(tmp_path / "ran")))
    path = archive(tmp_path / "a.npz", **({"pixels": PIXELS} | {member: stream.getvalue()}))
    refuse(path, f"{member}.npy is \\(4, 6\\) object, which is not what the archive holds")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", b"\x93NUMPY\x01\x00\xff\xff{", b"hello" * 40])
@pytest.mark.parametrize("member", ["pixels", "affine"])
def test_a_member_that_is_no_array(tmp_path: Path, member: str, content: bytes) -> None:
    refuse(archive(tmp_path / "a.npz", **({"pixels": PIXELS} | {member: content})), "not a readable NumPy archive")


@pytest.mark.parametrize(
    ("affine", "reason"),
    [
        (np.eye(3), "affine has the shape \\(3, 3\\)"),
        (np.zeros((4, 4)), "singular"),
        (np.full((4, 4), np.nan), "NaN or infinity"),
    ],
)
def test_an_affine_that_is_none(tmp_path: Path, affine: np.ndarray, reason: str) -> None:
    refuse(archive(tmp_path / "a.npz", pixels=PIXELS, affine=affine), reason, read_header)


@pytest.mark.parametrize("member", ["pixels", "affine"])
def test_a_member_that_unfolds_further_than_the_directory_states_is_not_unfolded(tmp_path: Path, member: str) -> None:
    """64 MiB of zeros behind the array, in a file a thousandth of that; the directory states the array alone."""
    arrays = {"pixels": PIXELS, "affine": AFFINE}
    stated = len(npy(arrays[member]))
    path = archive(tmp_path / "bomb.npz", **(arrays | {member: npy(arrays[member]) + bytes(2**26)}))
    assert path.stat().st_size < 2**17
    tracemalloc.start()
    refuse(path, "not what the archive holds")
    refuse(with_stated_size(path, f"{member}.npy", stated), "not a readable NumPy archive|does not unfold")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8e6


def test_a_directory_that_states_too_much(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.npz", pixels=npy(PIXELS, shape=(400, 6, 3)))
    size = len(npy(PIXELS)) + 396 * 6 * 3 * 4
    refuse(with_stated_size(path, "pixels.npy", size), "not a readable NumPy archive|does not unfold")


def test_limits_can_be_set(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.npz", pixels=PIXELS[..., 0])
    refuse(path, "more than the limit of 23", limits=CheckConfig.build({"max_voxels": 23}))
    refuse(path, "more than the limit of 200", limits=CheckConfig.build({"max_file_bytes": 200}))
    assert read_volume(ImageRef(path), CheckConfig.build({"max_voxels": 24})).data.size == 24


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(packing=st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]), changes=CHANGES, keep=KEEP)
def test_damaged_archives_raise_nothing_but_data_error(
    tmp_path: Path, packing: int, changes: list[tuple[float, int]], keep: float
) -> None:
    path = archive(tmp_path / "a.npz", packing, pixels=PIXELS, affine=AFFINE)
    path.write_bytes(damaged(path.read_bytes(), changes, keep))
    read_or_refuse(path, component=1)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    member=st.sampled_from(["pixels", "affine"]),
    changes=st.lists(st.tuples(st.integers(0, 127), st.integers(0, 255)), min_size=1, max_size=6),
)
def test_damaged_array_headers_raise_nothing_but_data_error(
    tmp_path: Path, member: str, changes: list[tuple[int, int]]
) -> None:
    """Damage behind the checksum, as somebody would do it who means harm."""
    arrays = {"pixels": npy(PIXELS), "affine": npy(AFFINE)}
    content = bytearray(arrays[member])
    for place, value in changes:
        content[place] = value
    read_or_refuse(archive(tmp_path / "a.npz", zipfile.ZIP_STORED, **(arrays | {member: bytes(content)})), component=1)
