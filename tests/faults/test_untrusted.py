"""What strangers made stays data: archives are read member by member into memory, and never onto the disk."""

from __future__ import annotations

import ast
import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import labelgan
from faults.ground import run
from labelgan.core.errors import DataError
from labelgan.data.phantom.slices import ASSET, PhantomSlices
from labelgan.data.reading.read import read_volume
from labelgan.data.volume import ImageRef

PACKAGE = Path(labelgan.__file__).parent
UNPACKERS = {"extract", "extractall", "unpack_archive"}
UNPACKING_MODULES = {"tarfile", "py7zr", "rarfile", "patoolib"}
OUTSIDE = ("../stranger.npy", "../../stranger.npy", "/tmp/labelgan-stranger.npy", "C:\\stranger.npy", "a/../../b.npy")


def unpacking(source: str, where: str) -> Iterator[str]:
    """One line for everything in a module that writes an archive's members to the disk under their own names."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            named = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            if found := {name.split(".")[0] for name in named} & UNPACKING_MODULES:
                yield f"{where}:{node.lineno}: imports {', '.join(found)}"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in UNPACKERS:
            yield f"{where}:{node.lineno}: calls {node.func.attr}"


def test_no_archive_is_unpacked_onto_the_disk() -> None:
    paths = sorted(PACKAGE.rglob("*.py"))
    assert len(paths) > 100
    assert [line for path in paths for line in unpacking(path.read_text(), path.name)] == []


@pytest.mark.parametrize(
    "source",
    ["import tarfile", "from tarfile import open", "z.extractall(p)", "import shutil\nshutil.unpack_archive(a, b)"],
)
def test_a_planted_unpacker_is_found(source: str) -> None:
    assert len(list(unpacking(source, "planted.py"))) == 1


def array(value: object) -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.asarray(value), allow_pickle=False)
    return stream.getvalue()


@pytest.mark.parametrize("name", OUTSIDE)
def test_members_with_names_outside_stay_unread_and_unwritten(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "deep" / "folder"
    folder.mkdir(parents=True)
    path = folder / "slice.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("pixels.npy", array(np.arange(6.0).reshape(2, 3)))
        archive.writestr(name, array([1, 2, 3]))
    assert read_volume(ImageRef(path)).data.shape == (3, 2, 1)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(name.replace("stranger", "pixels"), array(np.arange(6.0).reshape(2, 3)))
    with pytest.raises(DataError, match="ZIP archive"):
        read_volume(ImageRef(path))
    assert [found for found in tmp_path.rglob("*") if found.is_file()] == [path]
    assert not Path("/tmp/labelgan-stranger.npy").exists()


def test_a_cohort_of_such_archives_is_checked_and_nothing_is_written(tmp_path: Path) -> None:
    for part, value in (("images", np.arange(30.0).reshape(5, 6)), ("masks", np.eye(5, 6, dtype=np.uint8))):
        (tmp_path / "cohort" / part).mkdir(parents=True)
        with zipfile.ZipFile(tmp_path / "cohort" / part / "a.npz", "w") as archive:
            archive.writestr("pixels.npy", array(value))
            for name in OUTSIDE:
                archive.writestr(name, array(value))
    outcome = run(tmp_path, "check cohort --json")
    assert (outcome.code, outcome.problems, outcome.left) == (0, [], [])


def test_the_slices_of_the_package_are_read_within_their_sizes(tmp_path: Path) -> None:
    """A wheel's data may have been exchanged: what unfolds further than it says is refused, and so are pickles."""
    sound = PhantomSlices.read()
    with zipfile.ZipFile(ASSET) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}

    def refused(reason: str, **changed: bytes) -> None:
        path = tmp_path / "slices.npz"
        with zipfile.ZipFile(path, "w") as target:
            for name, content in (members | {f"{name}.npy": content for name, content in changed.items()}).items():
                target.writestr(name, content)
        with pytest.raises(DataError, match=reason):
            PhantomSlices.read(path)

    lying = io.BytesIO()
    header = {"descr": "|u1", "fortran_order": False, "shape": (2**40, 2, 96, 96)}
    np.lib.format.write_array_header_1_0(lying, header)
    refused("more than the limit", images=lying.getvalue())
    refused("not what the archive holds", images=members["images.npy"][:-1])
    objects = io.BytesIO()
    np.save(objects, np.array([{}], dtype=object), allow_pickle=True)
    refused("not what the archive holds", channels=objects.getvalue())
    refused("cannot be read", pixel_mm=b"no array")
    path = tmp_path / "slices.npz"
    with zipfile.ZipFile(path, "w") as target:
        for name, content in members.items():
            target.writestr(name, content)
    assert len(PhantomSlices.read(path).slices) == len(sound.slices)
