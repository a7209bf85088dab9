"""One image from one file: its header, its voxels, its mask values; whatever is malformed is one DataError.

The content of a file decides what it is, never its name. Files are untrusted: sizes are checked before memory is
set aside, and a gzip stream is never unfolded much further than its header promises.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from labelgan.config.base import CheckConfig
from labelgan.core.errors import DataError
from labelgan.data.reading.header import DEFAULT_LIMITS, Header, untrusted
from labelgan.data.reading.nifti import GZIP_MAGIC, read_nifti, read_nifti_header
from labelgan.data.reading.npz import ZIP_MAGIC, is_npz, read_npz, read_npz_header
from labelgan.data.reading.pictures import PNG_MAGIC, TIFF_MAGICS, read_picture, read_picture_header
from labelgan.data.volume import LESION, ImageRef, Volume

__all__ = ["Header", "read_header", "read_mask", "read_volume", "read_with_header", "to_mask", "voxel_hash"]

# How far a stored value may be from 0, 1 or 2: floats that went through scl_slope are not exact.
MASK_TOLERANCE = 1e-3

_FOREIGN = (
    (b"\xff\xd8\xff", "a JPEG picture: its compression changes intensities; store PNG, TIFF or NIfTI"),
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself: fetch it with git lfs pull"),
    (b"PK\x03\x04", "a ZIP archive: unpack it first"),
    (b"\x89HDF", "an HDF5 or MINC file: convert it to NIfTI"),
    (b"BM", "a BMP picture: store PNG, TIFF or NIfTI"),
)


def _kind(path: Path) -> str:
    """Tells ``nifti``, ``png``, ``tiff`` or ``npz`` by content; raises DataError for anything else."""
    with untrusted(path, "cannot be opened"):
        if not path.is_file():
            if path.is_symlink():
                raise DataError(path, "a link to a file that is not there: mend it, or put the file itself there")
            raise DataError(path, "not a regular file: put the image itself there" if path.exists() else "no such file")
        with path.open("rb") as stream:
            start = stream.read(512)
    if not start:
        raise DataError(path, "an empty file (0 bytes): copy or download it again")
    if start.startswith(PNG_MAGIC):
        return "png"
    if start.startswith(TIFF_MAGICS):
        return "tiff"
    if start.startswith(ZIP_MAGIC) and is_npz(path):
        return "npz"
    if start[:2] == GZIP_MAGIC or start[:4] in (b"\x5c\x01\0\0", b"\0\0\x01\x5c", b"\x1c\x02\0\0", b"\0\0\x02\x1c"):
        return "nifti"
    if start.lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        raise DataError(path, "not NIfTI but a web page: the download failed; fetch the file again")
    if start[128:132] == b"DICM":
        raise DataError(path, "not NIfTI but DICOM: convert it first, for instance with dcm2niix")
    for magic, reason in _FOREIGN:
        if start.startswith(magic):
            raise DataError(path, f"not NIfTI but {reason}")
    raise DataError(path, "not a NIfTI, PNG or TIFF file: export the image again")


def read_header(ref: ImageRef, limits: CheckConfig = DEFAULT_LIMITS) -> Header:
    """Reads shape, affine, spacing and stored type without loading voxels.

    Raises:
        DataError: naming the file, for anything that is missing, malformed or beyond the limits.
    """
    kind = _kind(ref.path)
    if kind == "nifti":
        return read_nifti_header(ref.path, limits)
    if kind == "npz":
        return read_npz_header(ref.path, limits)
    return read_picture_header(ref.path, kind, limits)


def read_with_header(
    ref: ImageRef,
    limits: CheckConfig = DEFAULT_LIMITS,
    indexed: bool = False,
) -> tuple[Header, Volume]:
    """Reads header and voxels in one pass, voxels as float32 (X, Y, Z).

    Args:
        ref: the file, and which component of a colour picture.
        limits: largest sizes that are read.
        indexed: give palette pictures as their indices, as masks need.

    Raises:
        DataError: naming the file.
    """
    kind = _kind(ref.path)
    if kind == "nifti":
        header, data = read_nifti(ref.path, limits)
        if ref.component:
            raise DataError(ref.path, f"component {ref.component} is asked for, and a NIfTI file holds one")
        return header, Volume(data, header.affine)
    header, pixels = read_components(ref.path, kind, limits, indexed)
    with untrusted(ref.path, "not a readable picture"):
        return header, Volume(_component(ref, pixels).astype(np.float32), header.affine.copy())


def read_components(path: Path, kind: str, limits: CheckConfig, indexed: bool = False) -> tuple[Header, np.ndarray]:
    """Reads a picture or archive as (columns, rows, components), values as stored. Raises DataError naming the file."""
    return read_npz(path, limits) if kind == "npz" else read_picture(path, kind, limits, indexed)


def _component(ref: ImageRef, pixels: np.ndarray) -> np.ndarray:
    """Takes one component of (columns, rows, components) as (columns, rows, 1)."""
    count = pixels.shape[2]
    if ref.component is not None:
        if ref.component >= count:
            raise DataError(ref.path, f"holds {count} components, and number {ref.component} (from 0) is asked for")
        return pixels[..., ref.component : ref.component + 1]
    colours = pixels[..., : count - 1] if count in (2, 4) else pixels  # the last of two or four is opacity
    if (colours != colours[..., :1]).any():
        raise DataError(
            ref.path, f"a colour picture of {count} components where one grey value is expected: store it in grey"
        )
    return colours[..., :1]


def read_volume(ref: ImageRef, limits: CheckConfig = DEFAULT_LIMITS) -> Volume:
    """Reads one channel as float32 (X, Y, Z) in storage order; pictures are (columns, rows, 1).

    Raises:
        DataError: naming the file, for anything that is missing, malformed or beyond the limits.
    """
    return read_with_header(ref, limits)[1]


def read_mask(ref: ImageRef, limits: CheckConfig = DEFAULT_LIMITS) -> Volume:
    """Reads a mask as uint8 (X, Y, Z) with values 0, 1 and 2.

    Values may be off by 0.001 (floats through scl_slope). A PNG or TIFF of exactly 0 and 255 reads as 0 and 1.

    Raises:
        DataError: naming the file and the values at fault.
    """
    return to_mask(ref, *read_with_header(ref, limits, indexed=True))


def to_mask(ref: ImageRef, header: Header, volume: Volume) -> Volume:
    """Makes mask values of voxels that were read already; see `read_mask`."""
    stored, mask = volume.data, np.zeros(volume.data.shape, dtype=np.uint8, order="F")
    if header.is_picture and np.isin(stored, (0, 255)).all():
        mask[stored == 255] = LESION
        return Volume(mask, volume.affine)
    known = np.zeros(stored.shape, dtype=bool)
    labels = ref.labels or ((0, 0), (1, 1), (2, 2))
    with np.errstate(invalid="ignore"):
        for value, meaning in labels:
            hit = np.abs(stored - np.float32(value)) <= MASK_TOLERANCE
            mask[hit] = meaning
            known |= hit
    if not known.all():
        expected = ", ".join(str(value) for value, _ in labels)
        raise DataError(ref.path, f"values {_some_values(stored)}: expected {expected}{_advice(stored[~known])}")
    return Volume(mask, volume.affine)


def _some_values(stored: np.ndarray, most: int = 6) -> str:
    values = np.unique(stored)
    shown = ", ".join(f"{value:g}" for value in values[:most])
    return shown if len(values) <= most else f"{shown}, ... ({len(values)} in all, up to {values[-1]:g})"


def _advice(unknown: np.ndarray) -> str:
    if not np.isfinite(unknown).all():
        return "; it holds NaN or infinity: make the mask again"
    if (unknown == 255).all():
        return "; divide by 255, or say what 255 means by storing 1 (lesion) or 2 (other pathology)"
    if ((unknown > 0) & (unknown < 1)).all():
        return "; it looks like a probability map or an interpolated mask: threshold it"
    return "; store 0 background, 1 lesion, 2 other pathology"


def voxel_hash(volume: Volume) -> str:
    """Identifies voxels whatever the orientation, type or compression they are stored in.

    The axes are brought to the nearest RAS order; then shape and float32 little-endian values are hashed. The
    affine's numbers do not enter.

    Example:
        >>> import numpy as np
        >>> data = np.arange(24.0).reshape(2, 3, 4)
        >>> flipped = Volume(data[::-1], np.diag([-1.0, 1, 1, 1]))
        >>> voxel_hash(flipped) == voxel_hash(Volume(data, np.eye(4)))
        True
    """
    from nibabel.orientations import apply_orientation, io_orientation

    data = apply_orientation(volume.data, io_orientation(volume.affine))
    digest = hashlib.sha256(repr(tuple(int(size) for size in data.shape)).encode())
    for k in range(data.shape[2]):
        # Adding zero turns -0.0 into 0.0, which are the same voxel.
        digest.update((data[..., k].astype("<f4") + np.float32(0)).tobytes(order="F"))
    return f"sha256:{digest.hexdigest()}"
