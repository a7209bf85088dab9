"""Shared by the folder layouts: listing, names of files and channels, ids that are unique."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from labelgan.core.errors import DataError
from labelgan.data.case import Case
from labelgan.data.volume import ImageRef

NIFTI_ENDINGS = (".nii.gz", ".nii")
PICTURE_ENDINGS = (".png", ".tif", ".tiff", ".npz", ".jpg", ".jpeg", ".bmp")  # the last three are refused when read
IMAGE_ENDINGS = NIFTI_ENDINGS + PICTURE_ENDINGS

_CHANNEL_NAMES = {"t1w": "T1", "t1": "T1", "flair": "FLAIR", "t2w": "T2", "t2": "T2", "pdw": "PD", "pd": "PD"}
_CHANNEL_ORDER = ("FLAIR", "T1")

Value = TypeVar("Value")


def listing(folder: Path) -> tuple[list[Path], list[Path]]:
    """Gives a folder's subfolders and files in name order; hidden ones and links that lead nowhere are left out.

    Raises:
        DataError: the folder cannot be listed.
    """
    folders, files = [], []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith((".", "__MACOSX")):
                    continue
                try:
                    (folders if entry.is_dir() else files).append(folder / entry.name)
                except OSError:  # a loop of links
                    files.append(folder / entry.name)
    except OSError as error:
        raise DataError(folder, f"cannot be listed: {error.strerror}") from None
    return sorted(folders), sorted(files)


def stem_of(path: Path, endings: Sequence[str] = IMAGE_ENDINGS) -> str | None:
    """The name without its image ending, or None for a file that is no image."""
    for ending in endings:
        if path.name.lower().endswith(ending) and len(path.name) > len(ending):
            return path.name[: -len(ending)]
    return None


def channel_name(name: str) -> str:
    """Normal spelling of a channel: T1w, t1 -> T1; flair -> FLAIR; others as they stand."""
    return _CHANNEL_NAMES.get(name.lower(), name)


def in_channel_order(images: Mapping[str, Value]) -> dict[str, Value]:
    """FLAIR, T1, then the others as they came."""
    first = [name for name in _CHANNEL_ORDER if name in images]
    return {name: images[name] for name in [*first, *(name for name in images if name not in first)]}


def channels_of(cases: Iterable[Case]) -> tuple[str, ...]:
    """Every channel that a case has, in store order."""
    return tuple(in_channel_order({name: None for case in cases for name in case.images}))


def safe_label(text: str) -> str:
    """A site or split name as part of an id: what does not belong becomes an underscore."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", text)


def unique_ids(parts: Sequence[tuple[str | None, ...]]) -> list[str]:
    """Makes ids from parts, most telling last, taking only as many parts as it needs to tell all apart.

    Example:
        >>> unique_ids([("a", "1"), ("b", "1"), ("b", "2")])
        ['a_1', 'b_1', '2']
    """
    ids = [names[-1] or "" for names in parts]
    for count in range(2, max((len(names) for names in parts), default=0) + 1):
        seen = Counter(name.casefold() for name in ids)
        ids = [
            "_".join(safe_label(name) for name in names[-count:-1] if name) + f"_{names[-1]}"
            if seen[name.casefold()] > 1 and any(names[-count:-1])
            else name
            for name, names in zip(ids, parts, strict=True)
        ]
    return ids


def by_site_then_id(cases: Iterable[Case]) -> tuple[Case, ...]:
    """The stable order of a cohort's cases."""
    return tuple(sorted(cases, key=lambda case: (case.site or "", case.id, case.session or "")))


def as_ref(path: Path | None) -> ImageRef | None:
    """An image reference, or None for no file."""
    return None if path is None else ImageRef(path)


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
