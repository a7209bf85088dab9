"""Pairs: a folder of images and a folder of masks with matching names; PNG, TIFF or NIfTI; 1 to 4 channels.

Read: ``images/`` beside ``masks/`` (or another of the usual names), the two inside ``train/`` and ``test/``, ``train/``
and ``test/`` inside the two, and masks beside their images as ``NAME_mask.png``, all with or without a folder per
patient. The channels of a colour picture are its components; several files ``NAME_T1.png``, ``NAME_FLAIR.png`` make
one case too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from labelgan.data.case import Case, Cohort, Note
from labelgan.data.layouts.common import (
    PICTURE_ENDINGS,
    as_ref,
    by_site_then_id,
    channel_name,
    channels_of,
    in_channel_order,
    listing,
    patient_names,
    stem_of,
    unique_ids,
)
from labelgan.data.manifests import CohortManifest, read_manifest
from labelgan.data.volume import ImageRef

_IMAGES = ("images", "image", "imgs", "img", "scans", "scan", "slices", "inputs")
_MASKS = (
    *("masks", "mask", "labels", "label", "gt", "ground_truth", "groundtruth", "annotations", "annotation"),
    *("segmentations", "segmentation", "segs", "seg", "lesions", "targets"),
)
_SPLITS = {"training": "training", "train": "training", "test": "test", "testing": "test"}
_SPLITS |= {"validation": "validation", "valid": "validation", "val": "validation"}
_MASK_MARK = re.compile(
    r"[_-](?:mask|label|labels|seg|segmentation|gt|annotation|lesion|lesions|manual)$", re.IGNORECASE
)
_CHANNEL_MARK = re.compile(r"^(.+)[_-](t1w?|flair|t2w?|pdw?|ch\d|c\d|\d{4})$", re.IGNORECASE)
_PEEKS = 8


@dataclass(frozen=True)
class _Pair:
    """The folder of images and the folder of masks of one split, and the files below each."""

    images: Path
    masks: Path
    split: str | None


def _pairs(root: Path) -> list[_Pair]:
    """Finds where images and masks lie."""
    found: list[_Pair] = []
    folders = listing(root)[0]
    for place, split in [(root, None), *((child, _SPLITS.get(child.name.lower())) for child in folders)]:
        if place is not root and split is None:
            continue
        by_name = {child.name.lower(): child for child in listing(place)[0]}
        images = next((by_name[name] for name in _IMAGES if name in by_name), None)
        masks = next((by_name[name] for name in _MASKS if name in by_name), None)
        if images is None or masks is None:
            continue
        inner = {child.name.lower(): child for child in listing(masks)[0]}
        splits = [
            child for child in listing(images)[0] if child.name.lower() in _SPLITS and child.name.lower() in inner
        ]
        if splits:
            found += [_Pair(child, inner[child.name.lower()], _SPLITS[child.name.lower()]) for child in splits]
        else:
            found.append(_Pair(images, masks, split))
    if not found and any(_is_mask_beside(name) for name in _images_below(root)):
        found.append(_Pair(root, root, None))
    return found


def _is_mask_beside(name: str) -> bool:
    return bool(re.search(r"[_-]mask$", name, re.IGNORECASE))


def _images_below(folder: Path) -> dict[str, list[Path]]:
    """Image files of a folder and of the folders in it (one per patient), by name without ending."""
    folders, files = listing(folder)
    files += [file for child in folders for file in listing(child)[1]]
    found: dict[str, list[Path]] = {}
    for file in files:
        stem = stem_of(file)
        if stem is not None:
            name = (file.parent.relative_to(folder) / stem).as_posix()
            found.setdefault(name, []).append(file)
    return found


def detect(root: Path) -> str | None:
    """Tells the two folders and one name found in both, or None."""
    for pair in _pairs(root):
        for name, _, mask in _matched(pair)[0]:
            if mask is not None:
                below = "" if pair.images == root else f" in {pair.images.relative_to(root)}/"
                return f"image{below} and mask {mask.relative_to(root)} match ({name})"
    return None


def _matched(pair: _Pair) -> tuple[list[tuple[str, dict[str, Path], Path | None]], list[Path]]:
    """Gives (name, channel to file, mask) of every case, and the masks left over."""
    images = _images_below(pair.images)
    if pair.images == pair.masks:
        masks = {name: images[name] for name in images if _is_mask_beside(name)}
        images = {name: files for name, files in images.items() if name not in masks}
    else:
        masks = _images_below(pair.masks)
    by_plain_name = {_MASK_MARK.sub("", name): files for name, files in masks.items()} | masks
    used: set[Path] = set()
    cases: list[tuple[str, dict[str, Path], Path | None]] = []
    several: dict[str, dict[str, Path]] = {}
    for name, files in images.items():
        match = _CHANNEL_MARK.match(name)
        if match and name not in by_plain_name and match[1] in by_plain_name:
            several.setdefault(match[1], {})[_marked_channel(match[2])] = files[0]
            continue
        cases += [(name, {"": file}, _mask_like(file, by_plain_name.get(name, []))) for file in files]
    for name, channels in several.items():
        cases.append((name, channels, by_plain_name[name][0]))
    used.update(mask for _, _, mask in cases if mask is not None)
    return cases, [file for files in masks.values() for file in files if file not in used]


def _mask_like(image: Path, masks: list[Path]) -> Path | None:
    """Of masks with one name, the one with the image's own ending, else the first."""
    return next((mask for mask in masks if mask.suffix == image.suffix), masks[0] if masks else None)


def _marked_channel(mark: str) -> str:
    if mark.isdigit():
        return f"ch{int(mark)}"
    return f"ch{mark[1:]}" if re.fullmatch(r"c\d", mark, re.IGNORECASE) else channel_name(mark)


def read(root: Path) -> Cohort:
    """Reads the pairs; masks without an image become notes."""
    parts, drafts, notes = [], [], []
    for pair in _pairs(root):
        matched, left = _matched(pair)
        drafts += [(name, files, mask, pair.split) for name, files, mask in matched]
        notes += [Note(None, mask, "a mask without an image of the same name") for mask in left]
    manifest = read_manifest(root, CohortManifest)
    names = _component_names(manifest.channels or (), [files[""] for _, files, _, _ in drafts if "" in files])
    parts = [(split, *name.split("/")) for name, _, _, split in drafts]
    by_file = patient_names([name.split("/")[-1] for name, *_ in drafts], volumes=not _has_pictures(drafts))
    cases = []
    for (name, files, mask, split), identifier, patient in zip(drafts, unique_ids(parts), by_file, strict=True):
        folder = name.rpartition("/")[0]
        alone = patient == name.split("/")[-1]
        cases.append(
            Case(
                id=identifier,
                patient=folder or (identifier if alone else patient),
                images=in_channel_order(dict(_refs(files, names))),
                mask=as_ref(mask),
                split=split,
            )
        )
    return Cohort(root, "pairs", by_site_then_id(cases), channels_of(cases), notes=tuple(notes), manifest=manifest)


def _has_pictures(drafts: list[tuple[str, dict[str, Path], Path | None, str | None]]) -> bool:
    return any(file.name.lower().endswith(PICTURE_ENDINGS) for _, files, *_ in drafts for file in files.values())


def _refs(files: dict[str, Path], names: list[str]) -> Iterator[tuple[str, ImageRef]]:
    for channel, file in files.items():
        if channel:
            yield channel, ImageRef(file)
        elif len(names) == 1:
            yield names[0], ImageRef(file)
        else:
            yield from ((name, ImageRef(file, component)) for component, name in enumerate(names))


def _component_names(named: Sequence[str], files: list[Path]) -> list[str]:
    """Channel names of the components of one file, by looking at a few pictures; ``named`` where there are as many.

    A picture stored as RGB whose three components are equal everywhere is grey, and an opacity that is the same
    everywhere is none.
    """
    from labelgan.core.errors import DataError
    from labelgan.data.reading.header import DEFAULT_LIMITS
    from labelgan.data.reading.read import read_components, read_header

    count = 1
    for file in files[:: max(1, len(files) // _PEEKS)][:_PEEKS]:
        if not file.name.lower().endswith(PICTURE_ENDINGS):
            continue
        try:
            header = read_header(ImageRef(file))
            if header.components == 1:
                continue
            if header.kind == "npz":  # components are channels here, never colours or opacity
                count = max(count, header.components)
                continue
            pixels = read_components(file, header.kind, DEFAULT_LIMITS)[1]
        except DataError:
            continue  # told by the check, file by file
        colours = pixels[..., :3] if pixels.shape[2] >= 3 else pixels[..., :1]
        if pixels.shape[2] == 4 and (pixels[..., 3] != pixels[0, 0, 3]).any():
            count = max(count, 4)
        if (colours != colours[..., :1]).any():
            count = max(count, colours.shape[2])
    if len(named) == count == len(set(named)):
        return [channel_name(name) for name in named]
    return [f"ch{index}" for index in range(count)]
