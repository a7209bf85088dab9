"""Which patient a slice belongs to, by its file name."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

_MARKED = re.compile(r"^(.+?)[_-](?:slice|sl|z|s)[_-]?\d+$", re.IGNORECASE)
_SPELT = re.compile(r"^(.+?)[_-]slice[_-]?\d+$", re.IGNORECASE)
_NUMBERED = re.compile(r"^(.*\d.*)[_-]\d{1,4}$")


def patient_names(stems: Sequence[str], volumes: bool = False) -> list[str]:
    """Gives the patient of every file name; slices of one patient must never be taken for two patients.

    1. A name that ends in a slice mark is of the patient before it: ``p3_slice012``, ``p3_z12``, ``p3-s4`` -> ``p3``.
    2. Else ``PATIENT_NN`` is of ``PATIENT`` when PATIENT holds a digit, at least two such patients are seen and one
       of them has several files: ``TCGA_4941_7`` -> ``TCGA_4941``. ``img_001``, ``img_002`` stay two patients.
    3. Else every file is a patient of its own.

    Volumes are rarely slices: of their names, only a spelt-out ``slice`` counts.

    Example:
        >>> patient_names(["p1_slice1", "p1_slice2", "img_001"])
        ['p1', 'p1', 'img_001']
    """
    if volumes:
        return [match[1] if (match := _SPELT.match(stem)) else stem for stem in stems]
    marked = [match[1] if (match := _MARKED.match(stem)) else None for stem in stems]
    numbered = [
        match[1] if mark is None and (match := _NUMBERED.match(stem)) else None
        for stem, mark in zip(stems, marked, strict=True)
    ]
    counts = Counter(name for name in numbered if name)
    joined = len(counts) > 1 and max(counts.values()) > 1
    return [mark or (joined and number) or stem for stem, mark, number in zip(stems, marked, numbered, strict=True)]
