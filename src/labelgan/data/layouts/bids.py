"""BIDS: sub-*/[ses-*/]anat/*_{FLAIR,T1w}.nii.gz, with lesion masks under derivatives/.

A mask is a file named ``_label-lesion_mask`` or ``_label-L_..._mask``, else ``_dseg``. Each session is a case; the
sessions of one subject are one patient. Of several files that fit (runs, acquisitions, raters), the plainest name is
taken and the choice is noted.
"""

from __future__ import annotations

import os
from collections import defaultdict
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
    stem_of,
)
from labelgan.data.volume import ImageRef

_SUFFIXES = {"FLAIR": "FLAIR", "T1w": "T1"}
_LESION_LABELS = ("lesion", "lesions", "wmh", "wml", "l")
_NATIVE_SPACES = ("orig", "native", "individual", "t1w", "flair", "scanner")
_ANATOMY = ("aseg", "aparcaseg", "aparc", "brain", "tissue", "carpet")
_DEPTH = 6

_Key = tuple[str, str | None]


@dataclass(frozen=True)
class _Name:
    """A BIDS file name taken apart: entities such as run-1, and the suffix after the last underscore."""

    path: Path
    entities: dict[str, str]
    suffix: str

    @property
    def plainness(self) -> tuple[int, str]:
        return len(self.entities), self.path.as_posix()

    @property
    def key(self) -> _Key:
        """Subject and session, from the name, else from the folders above."""
        return self._part("sub") or "", self._part("ses")

    def _part(self, entity: str) -> str | None:
        if entity in self.entities:
            return self.entities[entity]
        above = [part[4:] for part in self.path.parts[:-1] if part.startswith(f"{entity}-")]
        return above[-1] if above else None


def _parse(path: Path) -> _Name | None:
    stem = stem_of(path, NIFTI_ENDINGS)
    if stem is None or not stem.startswith("sub-"):
        return None
    *pairs, suffix = stem.split("_")
    entities = {key: value for key, dash, value in (pair.partition("-") for pair in pairs) if dash}
    return _Name(path, entities, suffix)


def _anat_folders(root: Path) -> list[tuple[str, str | None, Path]]:
    """Every sub-*/[ses-*/]anat, as subject, session and folder."""
    found: list[tuple[str, str | None, Path]] = []
    for subject in listing(root)[0]:
        if not subject.name.startswith("sub-"):
            continue
        for child in listing(subject)[0]:
            if child.name == "anat":
                found.append((subject.name[4:], None, child))
            elif child.name.startswith("ses-") and (child / "anat").is_dir():
                found.append((subject.name[4:], child.name[4:], child / "anat"))
    return found


def detect(root: Path) -> str | None:
    """Tells the first subject with an image, or None."""
    for subject, _, folder in _anat_folders(root):
        for path in listing(folder)[1]:
            name = _parse(path)
            if name is not None and name.suffix in _SUFFIXES:
                return f"sub-{subject} holds {path.name}"
    return None


def read(root: Path) -> Cohort:
    """Reads the tree; choices between several files become notes."""
    notes: list[Note] = []
    masks: dict[_Key, list[_Name]] = defaultdict(list)
    brains: dict[_Key, list[_Name]] = defaultdict(list)
    anat = _anat_folders(root)
    inside = {folder: [name for path in listing(folder)[1] if (name := _parse(path))] for _, _, folder in anat}
    for name in [*_derivatives(root), *(name for names in inside.values() for name in names)]:
        if _mask_rank(name) is not None:
            masks[name.key].append(name)
        elif name.suffix == "mask" and name.entities.get("desc") == "brain":
            brains[name.key].append(name)
    cases = []
    for subject, session, folder in anat:
        identifier = f"sub-{subject}" + (f"_ses-{session}" if session else "")
        images: dict[str, ImageRef] = {}
        for suffix, channel in _SUFFIXES.items():
            fitting = sorted(
                (name for name in inside[folder] if name.suffix == suffix), key=lambda name: name.plainness
            )
            if fitting:
                images[channel] = ImageRef(fitting[0].path)
                _note_choice(notes, identifier, fitting, channel)
        alone = sum(other == subject for other, _, _ in anat) == 1
        keys: list[_Key] = [(subject, session), *([(subject, None)] if alone else [])]
        fitting = sorted((name for key in dict.fromkeys(keys) for name in masks.get(key, [])), key=_mask_order)
        _note_choice(
            notes, identifier, [name for name in fitting if _mask_rank(name) == _mask_rank(fitting[0])], "mask"
        )
        brain = sorted((name for key in keys for name in brains.get(key, [])), key=_mask_order)
        cases.append(
            Case(
                id=identifier,
                patient=f"sub-{subject}",
                images=in_channel_order(images),
                mask=as_ref(fitting[0].path if fitting else None),
                session=session,
                brain_mask=as_ref(brain[0].path if brain else None),
            )
        )
    return Cohort(root, "bids", by_site_then_id(cases), channels_of(cases), notes=tuple(notes))


def _derivatives(root: Path) -> list[_Name]:
    """Every NIfTI of a subject under derivatives/, to a bounded depth; links to folders are not followed."""
    top, found = root / "derivatives", []
    for folder, folders, files in os.walk(top):
        here = Path(folder)
        if len(here.relative_to(top).parts) >= _DEPTH:
            folders.clear()
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [name for file in sorted(files) if (name := _parse(here / file)) is not None]
    return found


def _mask_rank(name: _Name) -> int | None:
    """Ranks a file as a lesion mask: 0 label-lesion, 1 label-L, 2 dseg, None not at all."""
    label = name.entities.get("label", "").lower()
    if name.suffix == "mask" and label in _LESION_LABELS:
        return int(label == "l")
    if name.suffix == "dseg" and name.entities.get("desc", "").lower() not in _ANATOMY:
        return 0 if label in _LESION_LABELS else 2
    return None


def _mask_order(name: _Name) -> tuple[bool, int, int, str]:
    space = name.entities.get("space", "orig").lower()
    rank = _mask_rank(name)
    return space not in _NATIVE_SPACES, 3 if rank is None else rank, *name.plainness


def _note_choice(notes: list[Note], identifier: str, fitting: list[_Name], what: str) -> None:
    if len(fitting) > 1:
        others = ", ".join(name.path.name for name in fitting[1:4]) + (", ..." if len(fitting) > 4 else "")
        notes.append(Note(identifier, fitting[0].path, f"chosen as {what} among several; not used: {others}"))
