"""NIfTI-1 and NIfTI-2 single files, plain or gzipped, read through a stream that never unfolds more than promised."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

from labelgan.config.base import CheckConfig
from labelgan.core.errors import DataError
from labelgan.data.reading.header import Header, check_affine, check_size, untrusted

GZIP_MAGIC = b"\x1f\x8b"
_BLOCK = 2**20
# Deflate cannot shrink further than 1032:1 (zlib's own documentation), so a smaller file cannot hold what it claims.
_DEFLATE_RATIO = 1032
_TRAILING_BYTES = 2**20
_AGAIN = "copy or download the file again"
_STORE = "store integers or 32/64-bit floats"


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    with path.open("rb") as raw:
        packed = raw.read(2) == GZIP_MAGIC
        raw.seek(0)
        if packed:
            with gzip.GzipFile(fileobj=raw) as unfolded:
                yield cast(BinaryIO, unfolded)
        else:
            yield raw


def _is_gzip(path: Path) -> bool:
    with path.open("rb") as raw:
        return raw.read(2) == GZIP_MAGIC


@contextmanager
def _gzip_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except EOFError:
        raise DataError(path, f"truncated: the gzip stream ends too early; {_AGAIN}") from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise DataError(path, f"corrupted gzip stream ({error}); {_AGAIN}") from None


def _parse(path: Path, stream: BinaryIO) -> Any:
    """Reads the fixed part of the header with nibabel; extensions are skipped unread."""
    import nibabel as nib

    start = stream.read(348)
    if len(start) < 348:
        raise DataError(path, f"not a NIfTI file: only {len(start)} bytes, and the header alone has 348; {_AGAIN}")
    for order in "<>":
        (size,) = struct.unpack(f"{order}i", start[:4])
        if size == 348:
            magic = start[344:348]
            if magic == b"ni1\x00":
                raise DataError(path, "the header of a .hdr/.img pair: convert it to one .nii.gz file")
            if magic != b"n+1\x00":
                raise DataError(path, "not a NIfTI file: the mark 'n+1' is missing (Analyze files are not read)")
            return nib.Nifti1Header(start, endianness=order, check=False)
        if size == 540:
            start += stream.read(540 - 348)
            if start[4:8] != b"n+2\x00" or len(start) < 540:
                raise DataError(path, "not a NIfTI file: damaged NIfTI-2 header")
            return nib.Nifti2Header(start, endianness=order, check=False)
    raise DataError(path, "not a NIfTI file: the header does not begin with 348 or 540")


def _describe(path: Path, parsed: Any, limits: CheckConfig) -> tuple[Header, int, int]:
    """Gives the header, the offset of the voxels and the number of their bytes, all checked."""
    rank = int(parsed["dim"][0])
    if not 1 <= rank <= 7:
        raise DataError(path, f"the header claims {rank} axes")
    dims = [int(size) for size in parsed["dim"][1 : 1 + rank]]
    while len(dims) > 3 and dims[-1] == 1:
        dims.pop()
    if len(dims) > 3 and min(dims) > 0:
        raise DataError(path, f"{len(dims)}-D, of shape {tuple(dims)}: one 3-D image is expected; extract one volume")
    dims += [1] * (3 - len(dims))
    code = int(parsed["datatype"])
    try:
        dtype = parsed.get_data_dtype()
    except Exception:
        raise DataError(path, f"unknown NIfTI data type code {code}: {_STORE}") from None
    if dtype.kind not in "iuf" or dtype.itemsize not in (1, 2, 4, 8):
        name = {32: "complex", 1792: "complex", 2048: "complex", 128: "RGB", 2304: "RGBA"}.get(code, str(dtype))
        raise DataError(path, f"data type {name} (code {code}) is not read: {_STORE}")
    if np.isinf(float(parsed["scl_slope"])):  # NaN and 0 mean: no scaling
        raise DataError(path, "the header's slope, scl_slope, is infinite: export the image again")
    fixed = int(parsed["sizeof_hdr"]) + 4
    start = float(parsed["vox_offset"])
    if not (math.isfinite(start) and start >= fixed):
        raise DataError(
            path, f"the header places the voxels at byte {start:g}, before its own end at {fixed}: export it again"
        )
    size = math.prod(dims) * dtype.itemsize
    check_size(path, tuple(dims), int(start) + size, limits)
    affine = np.asarray(parsed.get_best_affine(), dtype=np.float64)
    check_affine(path, affine)
    qform = None
    if int(parsed["sform_code"]) > 0 and int(parsed["qform_code"]) > 0:
        try:
            qform = np.asarray(parsed.get_qform(), dtype=np.float64)
        except Exception:
            qform = np.full((4, 4), np.nan)
    header = Header(path, (dims[0], dims[1], dims[2]), affine, dtype, "nifti", 1, qform)
    return header, int(start), size


def _check_room(path: Path, needed: int) -> None:
    """Refuses a file too small for what its header promises, before memory is set aside for it."""
    stored = path.stat().st_size
    packed = _is_gzip(path)
    room = stored * _DEFLATE_RATIO if packed else stored
    if room < needed:
        how = "cannot unfold to" if packed else "are fewer than"
        raise DataError(path, f"truncated: its {stored} bytes {how} the {needed} that the header promises; {_AGAIN}")


def read_nifti_header(path: Path, limits: CheckConfig) -> Header:
    """Reads a header and nothing else. Raises DataError."""
    with untrusted(path, "not a readable NIfTI file"), _gzip_errors(path):
        with _opened(path) as stream:
            header, start, size = _describe(path, _parse(path, stream), limits)
        _check_room(path, start + size)
        return header


def read_nifti(path: Path, limits: CheckConfig) -> tuple[Header, np.ndarray]:
    """Reads header and voxels, scaled by scl_slope and scl_inter, as float32 (X, Y, Z). Raises DataError."""
    with untrusted(path, "not a readable NIfTI file"), _gzip_errors(path), _opened(path) as stream:
        parsed = _parse(path, stream)
        header, start, size = _describe(path, parsed, limits)
        _check_room(path, start + size)
        slope, intercept = parsed.get_slope_inter()
        _skip(path, stream, start - stream.tell())
        stored = np.empty(size, dtype=np.uint8)
        _fill(path, stream, stored)
        _finish(path, stream)
        voxels = stored.view(header.dtype).reshape(header.shape, order="F")
        return header, _scaled(voxels, slope, intercept)


def _skip(path: Path, stream: BinaryIO, count: int) -> None:
    while count > 0:
        block = stream.read(min(count, _BLOCK))
        if not block:
            raise DataError(path, f"truncated: it ends before its voxels begin; {_AGAIN}")
        count -= len(block)


def _fill(path: Path, stream: BinaryIO, target: np.ndarray) -> None:
    view, filled = memoryview(target.data), 0
    while filled < len(view):
        count = cast(Any, stream).readinto(view[filled : filled + _BLOCK])
        if not count:
            raise DataError(path, f"truncated: {filled} of the {len(view)} bytes of voxels are there; {_AGAIN}")
        filled += count


def _finish(path: Path, stream: BinaryIO) -> None:
    """Reads to the end, which makes gzip compare its checksum, but not through an endless tail."""
    left = _TRAILING_BYTES
    while block := stream.read(min(left + 1, _BLOCK)):
        left -= len(block)
        if left < 0:
            raise DataError(path, "goes on after the voxels that its header promises: export the image again")


def _scaled(voxels: np.ndarray, slope: float | None, intercept: float | None) -> np.ndarray:
    if slope is None or (slope == 1.0 and not intercept):
        return voxels.astype(np.float32, order="F")
    data = np.empty(voxels.shape, dtype=np.float32, order="F")
    for k in range(voxels.shape[2]):  # one plane at a time: the float64 product never doubles the memory
        data[..., k] = voxels[..., k].astype(np.float64) * slope + (intercept or 0.0)
    return data
