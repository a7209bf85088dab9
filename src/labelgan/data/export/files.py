"""Files that every export format writes: NIfTI with a header made from nothing, JSON, plain bytes."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from labelgan.core.errors import ConfigError


def nifti_bytes(volume_XYZ: np.ndarray, affine: np.ndarray, compresslevel: int = 6) -> bytes:
    """Encodes a gzipped NIfTI-1 with a header made from nothing; the same voxels give the same bytes."""
    import nibabel as nib

    image = nib.Nifti1Image(np.ascontiguousarray(volume_XYZ), affine)
    image.header.set_xyzt_units("mm")
    image.set_qform(affine, code=1)
    image.set_sform(affine, code=1)
    return gzip.compress(image.to_bytes(), compresslevel=compresslevel, mtime=0)


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a file, and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def write_nifti(path: Path, volume_XYZ: np.ndarray, affine: np.ndarray) -> None:
    """Writes a volume; see `nifti_bytes`."""
    write_bytes(path, nifti_bytes(volume_XYZ, affine))


def write_json(path: Path, value: Any) -> None:
    """Writes JSON that any reader can read."""
    write_bytes(path, (json.dumps(value, indent=1, allow_nan=False) + "\n").encode())


def write_table(path: Path, rows: list[Mapping[str, str]]) -> None:
    """Writes tab-separated values with a line of column names; an empty value is ``n/a``, as BIDS has it."""
    columns = list(rows[0])
    lines = [columns, *([row[column] or "n/a" for column in columns] for row in rows)]
    write_bytes(path, "".join("\t".join(line) + "\n" for line in lines).encode())


def require_flair_t1(format: str, channels: tuple[str, ...]) -> None:
    """Raises ConfigError where a format cannot name a channel."""
    if not {"FLAIR", "T1"}.issuperset(channels):
        raise ConfigError(
            f"--format {format}", f"holds FLAIR and T1, not {', '.join(channels)}; use nnunet, png or npz"
        )
