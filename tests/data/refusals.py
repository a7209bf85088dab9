"""How the readers refuse a file: one DataError that names it, in one line; and damage to try them with."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import strategies as st

from labelgan.config.base import CheckConfig
from labelgan.core.errors import DataError
from labelgan.data.reading.read import read_header, read_mask, read_volume
from labelgan.data.volume import ImageRef

SMALL_LIMITS = CheckConfig.build({"max_voxels": 10**6, "max_file_bytes": 10**7})

# Where bytes change, as a share of the file's length, and to what; and the share of the file that is kept.
CHANGES = st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=6)
KEEP = st.floats(0, 1)


def refuse(path: Path, reason: str, read=read_volume, **options) -> None:
    """The file is refused, the error names it, and its reason is one line."""
    with pytest.raises(DataError, match=reason) as caught:
        read(ImageRef(path), **options)
    named(caught.value, path)


def named(error: DataError, path: Path) -> None:
    """The error names the file and gives a reason in one line."""
    assert re.fullmatch(re.escape(f"{path}: ") + ".+", str(error))


def damaged(content: bytes, changes: list[tuple[float, int]], keep: float) -> bytes:
    """Changes some bytes; half of the time it cuts the end off too."""
    spoilt = bytearray(content)
    for place, value in changes:
        spoilt[int(place * len(content))] = value
    return bytes(spoilt[: int(keep * len(content)) + 1] if keep < 0.5 else spoilt)


def read_or_refuse(path: Path, component: int | None = None) -> None:
    """Every reader either reads the file, with an affine that is finite, or refuses it as it should."""
    for read in (read_header, read_volume, read_mask):
        try:
            result = read(ImageRef(path, component), SMALL_LIMITS)
        except DataError as error:
            named(error, path)
        else:
            assert np.isfinite(result.affine).all()
