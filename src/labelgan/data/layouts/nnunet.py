"""nnU-Net raw data: dataset.json, imagesTr/CASE_0000.ext, labelsTr/CASE.ext, and imagesTs as the test split."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path
from typing import Any

from labelgan.core.errors import DataError
from labelgan.core.files import read_json
from labelgan.data.case import Case, Cohort, Note
from labelgan.data.layouts.common import (
    PICTURE_ENDINGS,
    by_site_then_id,
    channel_name,
    channels_of,
    in_channel_order,
    listing,
    patient_names,
)
from labelgan.data.volume import LESION, OTHER_PATHOLOGY, ImageRef

_CHANNEL = re.compile(r"^(.+)_(\d{4})$")
_OTHER = re.compile(r"other|ignore|uncertain|unlabel", re.IGNORECASE)
_LESION = re.compile(r"lesion|tumou?r|wmh|hyperintens|glioma|plaque|infarct|stroke|metasta|cancer", re.IGNORECASE)
_LARGEST_JSON = 64 * 2**20
_LARGEST_LABEL = 2**31


def detect(root: Path) -> str | None:
    """Tells that dataset.json and imagesTr/ are there, or None."""
    if (root / "dataset.json").is_file() and (root / "imagesTr").is_dir():
        return "dataset.json beside imagesTr/"
    return None


def read(root: Path) -> Cohort:
    """Reads the dataset. Raises DataError when dataset.json cannot be understood."""
    description = root / "dataset.json"
    if description.stat().st_size > _LARGEST_JSON:
        raise DataError(description, f"larger than {_LARGEST_JSON // 2**20} MiB")
    content = read_json(description)
    if not isinstance(content, dict):
        raise DataError(description, "expected a JSON object")
    channels = _channels(description, content)
    labels, notes = _labels(description, content.get("labels"))
    ending = content.get("file_ending", ".nii.gz")
    if not isinstance(ending, str) or not ending.startswith("."):
        raise DataError(description, f"file_ending is {ending!r}: expected something like .nii.gz")
    cases: list[Case] = []
    for letters, split in (("Tr", "training"), ("Ts", "test")):
        images, masks = _files(root / f"images{letters}", ending), _files(root / f"labels{letters}", ending)
        by_case: dict[str, dict[int, Path]] = defaultdict(dict)
        for stem, path in images.items():
            match = _CHANNEL.match(stem)
            if match is None:
                notes.append(Note(None, path, "not read: the name does not end in a channel such as _0000"))
            elif int(match[2]) not in channels:
                notes.append(Note(match[1], path, f"not read: dataset.json names no channel {int(match[2])}"))
            else:
                by_case[match[1]][int(match[2])] = path
        for identifier in sorted({*by_case, *masks}):
            cases.append(
                Case(
                    id=identifier,
                    patient=identifier,
                    images=in_channel_order(_images(by_case.get(identifier, {}), channels, ending)),
                    mask=ImageRef(masks[identifier], labels=labels) if identifier in masks else None,
                    split=split,
                )
            )
    patients = patient_names([case.id for case in cases], volumes=ending.lower() not in PICTURE_ENDINGS)
    cases = [
        Case(case.id, patient, case.images, case.mask, split=case.split)
        for case, patient in zip(cases, patients, strict=True)
    ]
    return Cohort(root, "nnunet", by_site_then_id(cases), channels_of(cases), labels=dict(labels), notes=tuple(notes))


def _files(folder: Path, ending: str) -> dict[str, Path]:
    if not folder.is_dir():
        return {}
    return {path.name[: -len(ending)]: path for path in listing(folder)[1] if path.name.endswith(ending)}


def _images(files: dict[int, Path], channels: dict[int, str], ending: str) -> dict[str, ImageRef]:
    """One file per channel; a colour picture, which nnU-Net keeps whole in _0000, gives its components."""
    if list(files) == [0] and len(channels) > 1 and ending.lower() in PICTURE_ENDINGS:
        return {name: ImageRef(files[0], component) for component, name in channels.items()}
    return {name: ImageRef(files[index]) for index, name in channels.items() if index in files}


def _channels(description: Path, content: dict[str, Any]) -> dict[int, str]:
    named = content.get("channel_names", content.get("modality"))
    if not isinstance(named, dict) or not named:
        raise DataError(description, "channel_names (or modality) is missing or no table: expected such as {'0': 'T1'}")
    try:
        channels = {int(index): channel_name(str(name)) for index, name in named.items()}
    except ValueError:
        raise DataError(
            description, f"channel_names has keys that are no numbers: {', '.join(map(str, named))}"
        ) from None
    if len(set(channels.values())) < len(channels):
        channels = {index: f"{name}_{index}" for index, name in channels.items()}
    return dict(sorted(channels.items()))


def _whole(value: Any) -> int:
    """A label as it is stored; raises TypeError, ValueError or OverflowError where it is no whole number."""
    number = int(value)
    if number != float(value) or abs(number) > _LARGEST_LABEL:
        raise ValueError
    return number


def _labels(description: Path, named: Any) -> tuple[tuple[tuple[int, int], ...], list[Note]]:
    """Maps stored values to 0, 1 and 2 by what dataset.json calls them."""
    values: dict[str, list[int]] = {}
    if not isinstance(named, dict):
        raise DataError(description, "labels is missing or no table: expected such as {'background': 0, 'lesion': 1}")
    try:
        for key, value in named.items():
            if isinstance(value, str):  # the older way: {"1": "lesion"}
                key, value = value, int(key)
            values[str(key)] = [_whole(one) for one in (value if isinstance(value, list) else [value])]
    except (TypeError, ValueError, OverflowError):
        raise DataError(description, "labels: every label needs a whole number") from None
    foreground = {name: stored for name, stored in values.items() if any(stored)}
    others = [name for name in foreground if _OTHER.search(name)]
    lesions = [name for name in foreground if _LESION.search(name) and name not in others]
    left = [name for name in foreground if name not in others and name not in lesions]
    notes: list[Note] = []
    if not lesions and len(left) == 1:
        lesions, left = left, []
    if not lesions:
        names = ", ".join(foreground) or "none"
        raise DataError(description, f"labels: which one is the lesion? Name it lesion, tumour or wmh (found: {names})")
    if left:
        notes.append(Note(None, description, f"labels {', '.join(left)} are read as 2, ignored: they are not lesions"))
    meaning = {0: 0}
    for names, target in ((left, OTHER_PATHOLOGY), (others, OTHER_PATHOLOGY), (lesions, LESION)):
        meaning.update({stored: target for name in names for stored in foreground[name] if stored})
    return tuple(sorted(meaning.items())), notes
