"""The WMH Segmentation Challenge's tree: SITE/ID/{pre,orig}/{FLAIR,T1}.nii.gz and wmh.nii.gz.

Read as published: ``training/Utrecht/0``, ``training/Amsterdam/GE3T/100``, ``test/...``; also without the split,
without the site, and one case alone. ``pre`` (bias-corrected) is preferred to ``orig``. The numeric folder names are
given per site, so equal names at two sites are two patients, and their ids then carry the site.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from labelgan.data.case import Case, Cohort, Note
from labelgan.data.layouts.common import (
    NIFTI_ENDINGS,
    as_ref,
    by_site_then_id,
    channels_of,
    in_channel_order,
    listing,
    safe_label,
    stem_of,
    unique_ids,
)
from labelgan.data.volume import ImageRef

_SPLITS = {"training": "training", "train": "training", "test": "test", "testing": "test"}
_IMAGE_FOLDERS = ("pre", "orig")
_BRAIN_MASKS = ("brain_mask", "brainmask", "brain")
_OTHER_TREES = ("additional_annotations", "derivatives", "imagestr", "labelstr", "imagests", "labelsts")
_DEPTH = 4  # split, site, scanner, patient
_MOST_FOLDERS = 20_000


@dataclass(frozen=True)
class _Found:
    folder: Path
    way: tuple[str, ...]
    images: dict[str, ImageRef]
    mask: Path | None
    brain_mask: Path | None


def detect(root: Path) -> str | None:
    """Tells the first case folder found, or None."""
    for found in _walk(root, (), [], [_MOST_FOLDERS]):
        if found.images:
            return f"{'/'.join(found.way) or 'the folder itself'} holds {' and '.join(found.images)}"
    return None


def read(root: Path) -> Cohort:
    """Reads the tree; folders without a case become notes."""
    empty: list[Path] = []
    found = list(_walk(root, (), empty, [_MOST_FOLDERS]))
    splits, sites = [], []
    for one in found:
        way = one.way[:-1]
        split = next((_SPLITS[name.lower()] for name in way[:1] if name.lower() in _SPLITS), None)
        places = [safe_label(name) for name in (way[1:] if split else way)]
        splits.append(split or _SPLITS.get(root.name.lower()))
        sites.append("_".join(places) or None)
    names = [one.way[-1] if one.way else root.resolve().name for one in found]
    ids = unique_ids(list(zip(splits, sites, names, strict=True)))
    cases = [
        Case(
            id=identifier,
            patient=identifier,
            images=one.images,
            mask=as_ref(one.mask),
            site=site,
            split=split,
            brain_mask=as_ref(one.brain_mask),
        )
        for one, identifier, site, split in zip(found, ids, sites, splits, strict=True)
    ]
    notes = [Note(None, folder, "holds no case: no pre/ or orig/ with FLAIR and T1, no wmh.nii.gz") for folder in empty]
    return Cohort(root, "wmh", by_site_then_id(cases), channels_of(cases), notes=tuple(notes))


def _walk(folder: Path, way: tuple[str, ...], empty: list[Path], budget: list[int]) -> Iterator[_Found]:
    """Finds case folders down to the depth of the published tree, noting folders that lead to none."""
    budget[0] -= 1
    if budget[0] < 0:
        return
    folders, files = listing(folder)
    case = _case(folder, way, folders, files)
    if case is not None:
        yield case
        return
    anything = False
    for child in folders:
        if len(way) < _DEPTH and child.name.lower() not in _OTHER_TREES:
            for found in _walk(child, (*way, child.name), empty, budget):
                anything = True
                yield found
    if not anything and way:
        empty[:] = [path for path in empty if folder not in path.parents]
        empty.append(folder)


def _case(folder: Path, way: tuple[str, ...], folders: list[Path], files: list[Path]) -> _Found | None:
    by_name = {child.name.lower(): child for child in folders}
    places = [by_name[name] for name in _IMAGE_FOLDERS if name in by_name]
    mask = _named(files, ("wmh",))
    images: dict[str, ImageRef] = {}
    brain_mask = _named(files, _BRAIN_MASKS)
    for inside in [*(listing(place)[1] for place in places), files]:
        images = {
            name: ImageRef(path) for name in ("FLAIR", "T1") if (path := _named(inside, (name.lower(),))) is not None
        }
        if images:
            brain_mask = brain_mask or _named(inside, _BRAIN_MASKS)
            break
    if not places and mask is None and not images:
        return None
    return _Found(folder, way, in_channel_order(images), mask, brain_mask)


def _named(files: list[Path], names: tuple[str, ...]) -> Path | None:
    """The first NIfTI of one of the names, .nii.gz before .nii."""
    for name in names:
        for ending in NIFTI_ENDINGS:
            for path in files:
                if path.name.lower() == name + ending and stem_of(path):
                    return path
    return None
