"""Which predicted mask belongs to which case: by the case's id in the names of files and folders."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from labelgan.core.errors import DataError
from labelgan.data.case import Case, Cohort
from labelgan.data.layouts.common import IMAGE_ENDINGS, listing, safe_label, stem_of, unique_ids
from labelgan.data.layouts.detect import read_cohort
from labelgan.data.volume import ImageRef

# Names that say what a file is and not whose; the folder then tells the case.
_RESULT = "result"
_PROBABILITY = "probability"  # what `segment predict --probabilities` writes beside a result
_GENERIC = {_RESULT, "wmh", "mask", "label", "labels", "lesion", "lesions", "pred", "prediction", "seg", "segmentation"}
_MARK = re.compile(
    r"[_-](?:label-[A-Za-z0-9_-]+_mask|mask|labels?|d?seg|segmentation|pred|prediction|result|lesions?|wmh)$",
    re.IGNORECASE,
)
_DEPTH = 5
_MOST_FOLDERS = 20_000


@dataclass(frozen=True)
class MaskFile:
    """One mask under a folder, and the names by which a case may ask for it.

    Attributes:
        ref: the file.
        way: folders and name that tell it apart, relative to the folder that was searched.
        names: every id that it answers to.
    """

    ref: ImageRef
    way: tuple[str, ...]
    names: frozenset[str]

    @property
    def rank(self) -> tuple[bool, int]:
        """Order of several files of one case: ``result`` before others, then NIfTI before pictures."""
        name = self.ref.path.name.lower()
        ending = next(place for place, ending in enumerate(IMAGE_ENDINGS) if name.endswith(ending))
        return stem_of(self.ref.path) != _RESULT, ending


def find_masks(folder: Path) -> list[MaskFile]:
    """Every image file under a folder, as a mask. Raises DataError when the folder cannot be listed."""
    return [_mask_file(ImageRef(path), path.relative_to(folder)) for path in _images(folder, _DEPTH, [_MOST_FOLDERS])]


def find_predictions(folder: Path) -> list[MaskFile]:
    """The predicted masks under a folder, which may be a cohort itself, with images beside its masks."""
    found = _without_probabilities(find_masks(folder))
    try:
        cases = [case for case in read_cohort(folder).cases if case.mask is not None]
    except DataError:
        cases = []
    if not cases:
        return found
    results = [mask for mask in found if stem_of(mask.ref.path) == _RESULT]
    return [*results, *(_mask_of(case, folder) for case in cases)]


def _without_probabilities(masks: Sequence[MaskFile]) -> list[MaskFile]:
    with_result = {mask.ref.path.parent for mask in masks if stem_of(mask.ref.path) == _RESULT}
    return [
        mask for mask in masks if not (stem_of(mask.ref.path) == _PROBABILITY and mask.ref.path.parent in with_result)
    ]


def find_references(root: Path, layout: str | None = None) -> Cohort:
    """Reads the reference cohort; without images beside them, masks are found by the names of files and folders.

    Raises:
        DataError: nothing is there, or no case has a mask.
    """
    try:
        cohort = read_cohort(root, layout)
    except DataError:
        if layout is not None or not root.is_dir():
            raise
        try:
            cohort = read_cohort(root, "wmh")  # recognised by its images, but read without them too
        except DataError:
            cohort = _bare_masks(root)
            if cohort is None:
                raise
    if all(case.mask is None for case in cohort.cases):
        raise DataError(root, f"no case of this {cohort.layout} cohort has a mask to score against")
    return cohort


def _bare_masks(root: Path) -> Cohort | None:
    found = find_masks(root)
    ids = unique_ids([mask.way for mask in found])
    cases = [Case(id=name, patient=name, images={}, mask=mask.ref) for name, mask in zip(ids, found, strict=True)]
    return Cohort(root, "masks", tuple(cases)) if cases else None


@dataclass(frozen=True)
class Matched:
    """The outcome of matching.

    Attributes:
        pairs: every case that has a mask, and its prediction, or None where there is none, or the error where
            several claim to be it.
        extra: predictions that belong to no case.
    """

    pairs: tuple[tuple[Case, ImageRef | DataError | None], ...]
    extra: tuple[Path, ...]


def match(cohort: Cohort, predictions: Sequence[MaskFile]) -> Matched:
    """Gives every case of a cohort its prediction."""
    cases = [case for case in cohort.cases if case.mask is not None]
    if len(cases) == 1 and len(predictions) == 1 and predictions[0].way[-1] in _GENERIC:
        return Matched(((cases[0], predictions[0].ref),), ())
    by_name: dict[str, list[MaskFile]] = {}
    for mask in predictions:
        for name in mask.names:
            by_name.setdefault(name, []).append(mask)
    pairs: list[tuple[Case, ImageRef | DataError | None]] = []
    used: set[Path] = set()
    asked = [tuple(dict.fromkeys(_asked_for(case, cohort.root))) for case in cases]
    askers = Counter(name for names in asked for name in names)
    for case, names in zip(cases, asked, strict=True):
        # a name that two cases would go by, such as a number given at two sites, tells of neither
        own = [name for name in names if name == case.id or askers[name] == 1]
        claims = next((by_name[name] for name in own if name in by_name), [])
        best = min((mask.rank for mask in claims), default=None)
        chosen = [mask.ref for mask in claims if mask.rank == best]
        used.update(mask.ref.path for mask in claims)
        if len(chosen) > 1:
            files = " and ".join(ref.path.as_posix() for ref in chosen[:2])
            pairs.append((case, DataError(case.id, f"several predictions are named so: {files}")))
        else:
            pairs.append((case, chosen[0] if chosen else None))
    return Matched(tuple(pairs), tuple(mask.ref.path for mask in predictions if mask.ref.path not in used))


def _asked_for(case: Case, root: Path) -> Iterator[str]:
    """The names under which a case's prediction may be found, the most telling first."""
    assert case.mask is not None
    path = case.mask.path
    way = _way(path.relative_to(root)) if path.is_relative_to(root) else (path.name,)
    last = way[-1]
    if len(way) > 1:
        yield _joined(way)
    if case.site is not None:
        yield _joined((case.site, case.id))
    yield case.id
    if last not in _GENERIC:
        yield last


def _mask_of(case: Case, root: Path) -> MaskFile:
    assert case.mask is not None
    path = case.mask.path
    mask = _mask_file(case.mask, path.relative_to(root) if path.is_relative_to(root) else Path(path.name))
    return MaskFile(mask.ref, mask.way, mask.names | {case.id})


def _mask_file(ref: ImageRef, relative: Path) -> MaskFile:
    way = _way(relative)
    return MaskFile(ref, way, frozenset(_names(way)))


def _way(relative: Path) -> tuple[str, ...]:
    stem = stem_of(relative) or relative.name
    folders = relative.parts[:-1]
    return folders if folders and stem.lower() in _GENERIC else (*folders, stem)


def _names(way: tuple[str, ...]) -> Iterable[str]:
    for last in {way[-1], _MARK.sub("", way[-1])}:
        parts = (*way[:-1], last)
        for start in range(len(parts)):
            yield _joined(parts[start:])


def _joined(parts: Sequence[str]) -> str:
    return "_".join([*(safe_label(part) for part in parts[:-1]), parts[-1]])


def _images(folder: Path, depth: int, budget: list[int]) -> Iterator[Path]:
    budget[0] -= 1
    if budget[0] < 0:
        return
    folders, files = listing(folder)
    yield from (file for file in files if stem_of(file) is not None)
    for child in folders if depth else ():
        yield from _images(child, depth - 1, budget)
