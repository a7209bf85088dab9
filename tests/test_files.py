from __future__ import annotations

import json
import multiprocessing
import os
import stat
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelgan import files
from labelgan.errors import DataError
from labelgan.files import (
    fsync_folder,
    lock_folder,
    read_json,
    sha256_file,
    write_bytes_atomic,
    write_json_atomic,
    write_text_atomic,
)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(value=json_values)
@settings(max_examples=40, deadline=None)
def test_json_round_trip(tmp_path_factory, value):
    path = tmp_path_factory.getbasetemp() / "round-trip.json"
    write_json_atomic(path, value)
    assert read_json(path) == value


def test_folders_are_made_and_nothing_else_is_left(tmp_path):
    path = tmp_path / "a" / "b" / "file.bin"
    write_bytes_atomic(path, b"one")
    write_bytes_atomic(path, b"two")
    assert path.read_bytes() == b"two"
    assert list(path.parent.iterdir()) == [path]
    write_text_atomic(path, "Größe")
    assert path.read_bytes() == "Größe".encode()


def test_a_private_file_is_private_before_it_is_there(tmp_path):
    for mode in (0o600, 0o640):
        write_json_atomic(tmp_path / "a.json", {"where": "/"}, mode=mode)
        assert stat.S_IMODE((tmp_path / "a.json").stat().st_mode) == mode


def test_a_failure_while_writing_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    path = tmp_path / "file.bin"
    write_bytes_atomic(path, b"old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_bytes_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_content_reaches_the_disk_before_its_name_does(tmp_path, monkeypatch):
    """Rename before fsync would leave an empty file after a power cut."""
    events: list[str] = []
    fsync, replace = os.fsync, Path.replace
    monkeypatch.setattr(files.os, "fsync", lambda descriptor: (events.append("fsync"), fsync(descriptor))[1])
    monkeypatch.setattr(Path, "replace", lambda self, target: (events.append("rename"), replace(self, target))[1])
    write_bytes_atomic(tmp_path / "file.bin", b"x")
    assert events == ["fsync", "rename", "fsync"]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {"a": [-float("inf")]}])
def test_json_that_no_other_reader_reads_is_not_written(tmp_path, value):
    path = tmp_path / "value.json"
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json_atomic(path, value)
    assert not path.exists()


@pytest.mark.parametrize(
    "content", [b"{", b"\xff\xfe\x00", b"[" * 100_000, None], ids=["cut short", "not text", "too deep", "absent"]
)
def test_files_that_are_no_json_are_named(tmp_path, content):
    path = tmp_path / "manifest.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=r"manifest\.json: cannot be read as JSON: "):
        read_json(path)


def test_the_hash_is_that_of_the_standard(tmp_path):
    path = tmp_path / "abc"
    path.write_bytes(b"abc")
    # FIPS 180-2, appendix B.1
    assert sha256_file(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_a_folder_that_is_not_there_cannot_be_synced(tmp_path):
    fsync_folder(tmp_path)
    with pytest.raises(FileNotFoundError):
        fsync_folder(tmp_path / "absent")


def _try_lock(folder: str, answers) -> None:
    try:
        with lock_folder(Path(folder)):
            answers.put("free")
    except DataError as error:
        answers.put(str(error))


def test_a_lock_keeps_other_processes_out_until_it_is_left(tmp_path):
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    folder = tmp_path / "run"

    def ask() -> str:
        process = context.Process(target=_try_lock, args=(str(folder), answers))
        process.start()
        answer = answers.get(timeout=60)
        process.join()
        return answer

    with lock_folder(folder):
        assert ask() == f"{folder}: another process is at work in this folder"
    assert ask() == "free"


def test_a_lock_is_left_on_an_error(tmp_path):
    with pytest.raises(KeyError), lock_folder(tmp_path):
        raise KeyError
    with lock_folder(tmp_path):
        pass


def test_written_json_is_plain_ascii_with_a_last_newline(tmp_path):
    write_json_atomic(tmp_path / "a.json", {"größe": 1})
    content = (tmp_path / "a.json").read_bytes()
    assert content.isascii()
    assert content.endswith(b"}\n")
    assert json.loads(content) == {"größe": 1}


@pytest.mark.parametrize("text", ["9" * 5000, "[" * 100_000, '{"a": '])
def test_json_that_python_cannot_hold_is_one_data_error(tmp_path, text):
    """More digits than Python turns into a number, and more brackets than it has stack for, are no fault of ours."""
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(DataError, match="cannot be read as JSON"):
        read_json(tmp_path / "a.json")
