"""LabelGAN's own NumPy archives: one slice each, values as they are, with its affine.

An archive holds ``pixels``, (rows, columns, components) or (rows, columns), and may hold ``affine``, (4, 4), of the
array [column, row, slice]. Archives are untrusted: their directory is read first, and nothing is unfolded beyond it.
"""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np

from labelgan.config.base import CheckConfig
from labelgan.core.errors import DataError
from labelgan.data.reading.header import DEFAULT_LIMITS, Header, check_affine, check_size, untrusted
from labelgan.data.reading.pictures import PICTURE_AFFINE

ZIP_MAGIC = b"PK\x03\x04"
_PIXELS, _AFFINE = "pixels.npy", "affine.npy"
_LARGEST_HEADER = 10_000


def is_npz(path: Path) -> bool:
    """Tells an archive of ours from any other ZIP file, by its members."""
    try:
        with zipfile.ZipFile(path) as archive:
            return _PIXELS in archive.namelist()
    except (OSError, zipfile.BadZipFile, ValueError, RuntimeError):
        return False


def read_npz_header(path: Path, limits: CheckConfig) -> Header:
    """Reads shape, type and affine without unfolding the pixels. Raises DataError."""
    with untrusted(path, "not a readable NumPy archive"), zipfile.ZipFile(path) as archive:
        return _header(path, archive, limits)


def read_npz(path: Path, limits: CheckConfig) -> tuple[Header, np.ndarray]:
    """Reads an archive as (columns, rows, components), values as stored. Raises DataError."""
    with untrusted(path, "not a readable NumPy archive"), zipfile.ZipFile(path) as archive:
        header = _header(path, archive, limits)
        pixels = read_array(path, archive, _PIXELS, limits)
        pixels = pixels[..., None] if pixels.ndim == 2 else pixels
        return header, pixels.transpose(1, 0, 2)


def _header(path: Path, archive: zipfile.ZipFile, limits: CheckConfig) -> Header:
    shape, dtype = _describe(path, archive, _PIXELS, limits)
    if len(shape) not in (2, 3) or dtype.kind not in "uif":
        raise DataError(path, f"its pixels are {shape} {dtype}: expected (rows, columns, components) of numbers")
    components = shape[2] if len(shape) == 3 else 1
    if not 1 <= components <= 4:
        raise DataError(path, f"holds {components} components: 1 to 4 are read")
    affine = PICTURE_AFFINE
    if _AFFINE in archive.namelist():
        affine = read_array(path, archive, _AFFINE, limits).astype(np.float64)
        if affine.shape != (4, 4):
            raise DataError(path, f"its affine has the shape {affine.shape}, not (4, 4)")
        check_affine(path, affine)
    return Header(path, (shape[1], shape[0], 1), affine, dtype, "npz", components)


def _describe(path: Path, archive: zipfile.ZipFile, name: str, limits: CheckConfig) -> tuple[tuple[int, ...], np.dtype]:
    """Reads an array's own header inside the archive, and holds it against the archive's directory."""
    with archive.open(name) as stream:
        version = np.lib.format.read_magic(stream)
        if version == (1, 0):
            header = np.lib.format.read_array_header_1_0(stream, max_header_size=_LARGEST_HEADER)
        else:
            header = np.lib.format.read_array_header_2_0(stream, max_header_size=_LARGEST_HEADER)
        begin = stream.tell()
    shape, _, dtype = header
    size = archive.getinfo(name).file_size
    check_size(path, shape, size, limits)
    if dtype.hasobject or begin + int(np.prod(shape, dtype=object)) * dtype.itemsize != size:
        raise DataError(path, f"{name} is {shape} {dtype}, which is not what the archive holds")
    return shape, dtype


def read_array(path: Path, archive: zipfile.ZipFile, name: str, limits: CheckConfig = DEFAULT_LIMITS) -> np.ndarray:
    """Unfolds one array of an archive, never further than its directory states; call it inside `untrusted`.

    Args:
        path: of the archive, for messages.
        archive: open for reading.
        name: of the member.
        limits: largest sizes that are read.

    Raises:
        DataError: the member is no array of numbers or text, is too large, or is not as long as is stated.
    """
    _describe(path, archive, name, limits)
    size = archive.getinfo(name).file_size
    with archive.open(name) as stream:
        content = stream.read(size + 1)
    if len(content) != size:
        raise DataError(path, f"{name} does not unfold to the size that the archive states")
    return np.load(io.BytesIO(content), allow_pickle=False)
