"""Files that are later trusted: written whole or not at all, and hashed."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from labelgan.core.errors import DataError

LARGEST_TEXT = 512 * 2**20  # bytes of a JSON or TOML file

SAFE_ID = re.compile(r"^[A-Za-z0-9._-]{1,64}$")
SAFE_ID_WORDS = "use 1 to 64 letters, digits, dots, dashes, underscores"

MANY = 64
LITTER = frozenset({".DS_Store", "Thumbs.db", "desktop.ini", ".directory", ".lock"})
"""Names that a folder may hold and be empty: of file managers, and of `lock_folder`."""

_PARTS = (".partial", ".replaced", ".lock")  # of a folder that `new_folder` makes
_TEMPORARY = re.compile(r"^\..+\.\d+\.tmp$")  # of `write_bytes_atomic`


def is_safe_id(identifier: str) -> bool:
    """Tells whether an id may become a file name: 1 to 64 letters, digits, dots, underscores, dashes, not all dots."""
    return bool(SAFE_ID.fullmatch(identifier)) and bool(identifier.strip("."))


def bids_label(text: str) -> str:
    """A BIDS label, letters and digits alone: ``sub-p_01`` -> ``p01``."""
    return re.sub(r"[^A-Za-z0-9]", "", text.removeprefix("sub-"))


def fsync_folder(folder: Path) -> None:
    """Makes renames inside a folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def fsync_tree(folder: Path) -> None:
    """Makes everything in a folder survive a power cut: bytes of files, then the names in each folder."""
    found = list(os.walk(folder))
    if sum(len(names) for _, _, names in found) > MANY:
        os.sync()  # one by one, files that are not on the disk yet take ten times as long
    for place, _, names in found:
        for name in names:
            fsync_folder(Path(place, name))  # a file's bytes are synced in the same way
        fsync_folder(Path(place))


def make_folder(folder: Path) -> None:
    """Makes a folder, and those above it, whose names survive a power cut."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for path in reversed(missing):
        fsync_folder(path.parent)


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Context that names ``path`` in operating system errors that name no file, such as a full disk's."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = str(path)
        raise


def write_bytes_atomic(path: Path, content: bytes, mode: int | None = None) -> None:
    """Writes a file through a temporary one: write, fsync, rename, fsync of the folder; ``mode``: its permissions."""
    make_folder(path.parent)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with naming(path), temporary.open("wb") as stream:
            if mode is not None:
                os.fchmod(stream.fileno(), mode)
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    fsync_folder(path.parent)


def write_text_atomic(path: Path, text: str, mode: int | None = None) -> None:
    """As `write_bytes_atomic`, UTF-8."""
    write_bytes_atomic(path, text.encode("utf-8"), mode)


def write_json_atomic(path: Path, value: Any, mode: int | None = None) -> None:
    """As `write_text_atomic`; non-finite numbers are refused, so that any JSON reader can read the file."""
    write_text_atomic(path, json.dumps(value, indent=1, allow_nan=False) + "\n", mode)


def read_text(path: Path) -> str:
    """Reads a UTF-8 text that somebody else may have written.

    Raises:
        OSError: it cannot be opened, or is a pipe or device, which would not end.
        ValueError: it is larger than 512 MiB, or not UTF-8.
    """
    if path.exists() and not path.is_file():
        raise OSError("not a regular file")
    if path.stat().st_size > LARGEST_TEXT:
        raise ValueError(f"larger than {LARGEST_TEXT >> 20} MiB")
    return path.read_text(encoding="utf-8")


def read_json(path: Path) -> Any:
    """Reads a JSON file; raises DataError naming it."""
    try:
        return json.loads(read_text(path))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(path, f"cannot be read as JSON: {why_unread(error)}") from None


def why_unread(error: Exception) -> str:
    """Says in plain words why a JSON or TOML text could not be read."""
    if isinstance(error, RecursionError):
        return "nested too deeply"
    if isinstance(error, UnicodeDecodeError):
        return f"not UTF-8 at byte {error.start}"
    if "set_int_max_str_digits" in str(error):
        return "a number of too many digits"
    return str(error)


def sha256_file(path: Path) -> str:
    """Hex SHA-256 of a file, read in blocks."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def is_half_written(path: Path) -> bool:
    """Whether a path is what a process that was killed leaves of a file that was to be written atomically."""
    return _TEMPORARY.match(path.name) is not None


def sweep(folder: Path) -> None:
    """Throws away what killed processes left half-written in a folder; its caller keeps others out of it."""
    for path in filter(is_half_written, folder.glob(".*.tmp")):
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Keeps a second process out of a folder; raises DataError when one is in it. The lock dies with the process.

    What a killed process left half-written in the folder is thrown away.
    """
    make_folder(folder)
    with _lock(folder / ".lock", folder):
        sweep(folder)
        yield


def is_free(folder: Path, ours: Collection[str] = ()) -> bool:
    """Whether a folder may be filled: it is absent, or holds nothing but `LITTER`, half-written files and ``ours``.

    A file is not free.
    """
    if not folder.is_dir():
        return not (folder.exists() or folder.is_symlink())
    known = LITTER.union(ours)
    return all(path.name in known or is_half_written(path) for path in folder.iterdir())


def require_free(folder: Path, advice: str = "name another folder", ours: Collection[str] = ()) -> None:
    """Raises DataError where `is_free` says no; ``advice`` ends its line."""
    if not is_free(folder, ours):
        reason = "is not empty" if folder.is_dir() else "is a file"
        raise DataError(folder, f"{reason}; {advice}")


@contextlib.contextmanager
def new_folder(out: Path, replace: bool = False) -> Iterator[Path]:
    """Gives an empty folder that takes the place of ``out``, whole and safe on disk, when the context is left.

    On an error nothing is left of the new folder; what a killed process left of one is thrown away. Where ``out`` is
    the working folder or a mounted disk, which cannot be renamed, the entries of the new folder are moved into it one
    by one.

    Args:
        out: absent, or an empty folder; see `is_free`.
        replace: it may be full too; what is in it goes when the new one takes its place, not before.

    Raises:
        DataError: another process is making the same folder, or ``out`` is not empty at the end.
    """
    place = out.resolve()
    make_folder(place.parent)
    fixed = place.is_dir() and (place.is_mount() or place == Path.cwd())
    parts = _PARTS if fixed else [f".{place.name}{part}" for part in _PARTS]
    building, replaced, lock = (place / part if fixed else place.with_name(part) for part in parts)
    with _lock(lock, out):
        try:
            if replaced.exists() and not place.exists():
                replaced.rename(place)  # a process was killed between the two renames below
            for path in (building, replaced):
                shutil.rmtree(path, ignore_errors=True)
            building.mkdir()
            with naming(out):
                yield building
                fsync_tree(building)
            if not replace and not is_free(place, parts):
                raise DataError(out, "was filled by somebody else meanwhile; name another folder")
            if fixed:
                replaced.mkdir()
                _move_entries(place, replaced, but=parts)
                _move_entries(building, place)
            else:
                if place.is_dir():
                    place.rename(replaced)
                building.replace(place)
            fsync_folder(place if fixed else place.parent)
        finally:
            for path in (building, replaced):
                shutil.rmtree(path, ignore_errors=True)
            lock.unlink(missing_ok=True)


def _move_entries(source: Path, target: Path, but: Collection[str] = ()) -> None:
    for path in sorted(source.iterdir()):
        if path.name not in but:
            path.rename(target / path.name)


@contextlib.contextmanager
def _lock(path: Path, subject: Path) -> Iterator[None]:
    from filelock import FileLock, Timeout

    lock = FileLock(path, blocking=False)
    try:
        lock.acquire()
    except Timeout:
        raise DataError(subject, "another process is at work in this folder") from None
    except OSError as error:
        if error.errno != errno.ELOOP:  # a disk that may only be read, say: reported as for any other file
            raise
        raise DataError(path, "cannot be locked: it is a link") from None
    try:
        yield
    finally:
        lock.release()
