"""PNG and TIFF pictures as single slices, with the limits set before anything is decoded."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from labelgan.config.base import CheckConfig
from labelgan.core.errors import DataError
from labelgan.data.reading.header import Header, check_size, untrusted

PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
TIFF_MAGICS = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")

# Columns run to the patient's left and rows to the back, so that the picture stands upright in LPS order.
PICTURE_AFFINE = np.diag([-1.0, -1.0, 1.0, 1.0])

_UNCOMPRESSED, _PALETTE, _WHITE_IS_ZERO = 1, 3, 0


def read_picture_header(path: Path, kind: str, limits: CheckConfig, indexed: bool = False) -> Header:
    """Reads size, type and number of components without decoding. Raises DataError."""
    with untrusted(path, "not a readable picture"), _quiet(path):
        return _open(path, kind, limits, indexed, decode=False)[0]


def read_picture(path: Path, kind: str, limits: CheckConfig, indexed: bool = False) -> tuple[Header, np.ndarray]:
    """Decodes a picture into (columns, rows, components), values as stored.

    Args:
        path: the file.
        kind: ``png`` or ``tiff``.
        limits: largest picture that is decoded.
        indexed: give palette pictures as their indices (masks) instead of their colours.

    Raises:
        DataError: not a picture, more than one page, too large, truncated, or of a type that is not read.
    """
    with untrusted(path, "not a readable picture"), _quiet(path):
        header, pixels = _open(path, kind, limits, indexed, decode=True)
        if pixels.ndim == 2:
            pixels = pixels[..., None]
        if pixels.shape[:2] != header.shape[1::-1] or pixels.dtype.kind not in "biuf":
            raise DataError(path, f"decodes to {pixels.shape} {pixels.dtype}, not to what its header promises")
        if pixels.dtype.kind == "b":
            pixels = pixels.astype(np.uint8)
        return header, pixels.transpose(1, 0, 2)


@contextmanager
def _quiet(path: Path) -> Iterator[None]:
    """Makes Pillow's warning about decompression bombs a refusal of the one file, and hides what decoders remark."""
    from PIL.Image import MAX_IMAGE_PIXELS, DecompressionBombError, DecompressionBombWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", DecompressionBombWarning)
        try:
            yield
        except (DecompressionBombError, DecompressionBombWarning):
            raise DataError(
                path,
                f"the header claims more pixels than the limit of {MAX_IMAGE_PIXELS:.3g}: cut it into smaller pictures",
            ) from None


def _open(path: Path, kind: str, limits: CheckConfig, indexed: bool, decode: bool) -> tuple[Header, np.ndarray]:
    if kind == "tiff":
        import logging

        import tifffile

        logging.getLogger("tifffile").setLevel(logging.CRITICAL)
        with tifffile.TiffFile(path) as file:
            if len(file.pages) != 1:
                raise DataError(path, f"holds {len(file.pages)} pages: one picture is expected in each TIFF")
            page: Any = file.pages[0]
            if int(page.compression) == _UNCOMPRESSED and int(page.photometric) != _PALETTE:
                return _from_page(path, page, limits, decode)
    return _from_pillow(path, kind, limits, indexed, decode)


def _from_page(path: Path, page: Any, limits: CheckConfig, decode: bool) -> tuple[Header, np.ndarray]:
    rows, columns, components = int(page.imagelength), int(page.imagewidth), int(page.samplesperpixel)
    if int(page.imagedepth) != 1 or not 1 <= components <= 4 or page.dtype is None:
        raise DataError(path, f"a TIFF of {components} components, depth {page.imagedepth}: not read")
    stored = rows * columns * components * page.dtype.itemsize
    check_size(path, (columns, rows, components), stored, limits)
    if stored > path.stat().st_size and int(page.bitspersample) >= 8:
        raise DataError(path, f"truncated: {path.stat().st_size} bytes are fewer than the pixels' {stored}")
    header = Header(path, (columns, rows, 1), PICTURE_AFFINE, np.dtype(page.dtype), "tiff", components)
    if not decode:
        return header, np.empty(0)
    pixels = np.asarray(page.asarray())
    if pixels.ndim == 3 and int(page.planarconfig) == 2:
        pixels = np.moveaxis(pixels, 0, -1)
    if int(page.photometric) == _WHITE_IS_ZERO:
        if pixels.dtype.kind == "f":
            raise DataError(path, "a TIFF of floats with white as zero: not read")
        pixels = (2 ** int(page.bitspersample) - 1) - pixels
    return header, pixels


def _from_pillow(path: Path, kind: str, limits: CheckConfig, indexed: bool, decode: bool) -> tuple[Header, np.ndarray]:
    from PIL import Image

    if kind == "png":
        with path.open("rb") as stream:
            start = stream.read(26)
        if len(start) < 26:
            raise DataError(path, "truncated: the PNG ends inside its header")
        depth, colour = start[24], start[25]
        if depth == 16 and colour != 0:  # Pillow would drop the lower byte without a word
            raise DataError(path, "a 16-bit colour PNG is not read: store TIFF, or one 16-bit grey PNG per channel")
    with Image.open(path, formats=[kind.upper()]) as image:
        mode = image.mode
        if mode in ("P", "PA") and not indexed:
            mode = "RGB"
        modes = {"1": 1, "L": 1, "P": 1, "I": 1, "F": 1, "LA": 2, "PA": 2, "RGB": 3, "RGBA": 4}
        if mode not in modes and not mode.startswith("I;16"):
            raise DataError(path, f"pictures of mode {mode} are not read: store grey, RGB or RGBA")
        components = modes.get(mode, 1)
        dtype = np.dtype(np.uint16 if mode.startswith("I;16") else {"I": np.int32, "F": np.float32}.get(mode, np.uint8))
        columns, rows = image.size
        check_size(path, (columns, rows, components), rows * columns * components * dtype.itemsize, limits)
        header = Header(path, (columns, rows, 1), PICTURE_AFFINE, dtype, kind, components)
        if not decode:
            return header, np.empty(0)
        return header, np.asarray(image.convert("RGB") if mode != image.mode else image)
