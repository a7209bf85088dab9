from __future__ import annotations

import json
import multiprocessing
import os
import stat
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelgan.core import files
from labelgan.core.errors import DataError
from labelgan.core.files import (
    fsync_folder,
    is_free,
    lock_folder,
    naming,
    new_folder,
    read_json,
    require_free,
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


# A folder that takes its place when it is whole


class KilledError(BaseException):
    pass


def make(out: Path, content: str, *, replace: bool = False, fails: BaseException | None = None) -> None:
    with new_folder(out, replace) as folder:
        (folder / "deep").mkdir()
        (folder / "deep" / "file").write_text(content)
        if fails is not None:
            raise fails


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_new_folder_appears_whole_and_alone(tmp_path):
    out = tmp_path / "above" / "out"
    make(out, "one")
    assert (out / "deep" / "file").read_text() == "one"
    assert names_in(out.parent) == ["out"]


def test_a_new_folder_that_fails_leaves_what_was_there(tmp_path):
    out = tmp_path / "out"
    with pytest.raises(KeyError):
        make(out, "half", fails=KeyError())
    assert names_in(tmp_path) == []
    make(out, "one")
    with pytest.raises(KeyError):
        make(out, "half", replace=True, fails=KeyError())
    assert (out / "deep" / "file").read_text() == "one"
    make(out, "two", replace=True)
    assert (out / "deep" / "file").read_text() == "two"
    assert names_in(tmp_path) == ["out"]


def test_a_new_folder_takes_nobodys_place_unasked(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    make(out, "one")
    with pytest.raises(DataError, match="filled by somebody else"):
        make(out, "two")
    assert (out / "deep" / "file").read_text() == "one"
    assert names_in(tmp_path) == ["out"]


def test_a_folder_that_a_kill_left_between_two_names_comes_back(tmp_path):
    """Killed after the old folder went aside and before the new one came: the old one is the one that is whole."""
    out = tmp_path / "out"
    make(out, "old")
    out.rename(tmp_path / ".out.replaced")
    (tmp_path / ".out.partial").mkdir()
    with pytest.raises(KeyError):
        make(out, "new", replace=True, fails=KeyError())
    assert (out / "deep" / "file").read_text() == "old"
    assert names_in(tmp_path) == ["out"]


def test_two_that_make_the_same_folder_do_not_meet(tmp_path):
    out = tmp_path / "out"
    with new_folder(out) as folder:
        (folder / "file").write_text("mine")
        with pytest.raises(DataError, match=r"out: another process is at work in this folder"):
            make(out, "theirs")
        assert names_in(folder) == ["file"]
    assert names_in(out) == ["file"]


def test_a_lock_throws_away_what_a_kill_left_half_written(tmp_path, monkeypatch):
    write_bytes_atomic(tmp_path / "file", b"whole")

    def die(descriptor: int) -> None:
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", lambda self, missing_ok=False: None)  # a killed process tidies nothing up
        patch.setattr(files.os, "fsync", die)
        with pytest.raises(KilledError):
            write_bytes_atomic(tmp_path / "file", b"half")
    (tmp_path / ".mine.tmp").write_text("not ours")
    assert len(names_in(tmp_path)) == 3
    with lock_folder(tmp_path):
        assert names_in(tmp_path) == [".lock", ".mine.tmp", "file"]
    assert (tmp_path / "file").read_bytes() == b"whole"


def test_an_error_without_a_name_gets_one(tmp_path):
    for name, kept in ((None, str(tmp_path)), ("theirs", "theirs")):
        with pytest.raises(OSError, match="No space left") as caught, naming(tmp_path):
            raise OSError(28, "No space left on device", *([name] if name else []))
        assert caught.value.filename == kept


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


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a": "\xff"}', "not UTF-8 at byte 7"),
        (b"9" * 5000, "a number of too many digits"),
    ],
)
def test_why_a_text_is_no_json_is_told_in_plain_words(tmp_path, content, why):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(DataError, match=f"a.json: cannot be read as JSON: {why}$"):
        read_json(tmp_path / "a.json")


def test_texts_without_end_are_not_read(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match=r"pipe: cannot be read as JSON: not a regular file$"):
        read_json(tmp_path / "pipe")
    (tmp_path / "a.json").write_text("[1, 2, 3]")
    monkeypatch.setattr(files, "LARGEST_TEXT", 8)
    with pytest.raises(DataError, match=r"a\.json: cannot be read as JSON: larger than 0 MiB$"):
        read_json(tmp_path / "a.json")
    monkeypatch.setattr(files, "LARGEST_TEXT", 9)
    assert read_json(tmp_path / "a.json") == [1, 2, 3]


def test_a_lock_that_is_a_link_is_not_followed(tmp_path):
    (tmp_path / ".lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DataError, match=r"\.lock: cannot be locked: it is a link"), lock_folder(tmp_path):
        raise AssertionError("it was let in")
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("name", [*sorted(files.LITTER), ".config.toml.123.tmp"])
def test_a_folder_with_nothing_but_litter_is_free(tmp_path, name):
    out = tmp_path / "out"
    assert is_free(out)
    out.mkdir()
    (out / name).touch()
    require_free(out)
    make(out, "one")
    assert (out / "deep" / "file").read_text() == "one"
    with pytest.raises(DataError, match="out: is not empty; go elsewhere"):
        require_free(out, "go elsewhere")
    require_free(out, ours=["deep"])
    with pytest.raises(DataError, match="file: is a file; name another folder"):
        require_free(out / "deep" / "file")


def test_the_working_folder_is_filled_where_it_is(tmp_path, monkeypatch):
    """It keeps its inode: a shell in it would stand in a folder that is gone."""
    monkeypatch.chdir(tmp_path)
    before = tmp_path.stat().st_ino
    with pytest.raises(KeyError):
        make(Path(), "half", fails=KeyError())
    assert names_in(tmp_path) == []
    make(Path(), "one")
    assert names_in(tmp_path) == ["deep"]
    with pytest.raises(DataError, match="filled by somebody else"):
        make(Path(), "two")
    make(Path(), "two", replace=True)
    assert (tmp_path / "deep" / "file").read_text() == "two"
    assert names_in(tmp_path) == ["deep"]
    assert tmp_path.stat().st_ino == before


def test_a_link_to_an_empty_folder_stays_a_link(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "disk")
    make(tmp_path / "out", "one")
    assert (tmp_path / "out").is_symlink()
    assert (tmp_path / "disk" / "deep" / "file").read_text() == "one"
