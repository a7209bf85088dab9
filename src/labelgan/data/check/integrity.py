"""One pass over a whole cohort that tells every problem at once, each naming its case, file and reason."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from labelgan.config.base import CheckConfig
from labelgan.core.errors import DataError
from labelgan.core.files import SAFE_ID_WORDS, is_safe_id
from labelgan.core.words import times
from labelgan.data.case import Case, Cohort
from labelgan.data.check.fingerprint import fingerprint
from labelgan.data.check.leaks import KnownScan, find_twins, hash_of_mask, twin_warning
from labelgan.data.check.problems import CaseFacts, CheckReport, Problem, Severity
from labelgan.data.layouts.detect import LAYOUTS, read_cohort
from labelgan.data.prepare.face import face_warning, shows_face
from labelgan.data.pseudonyms import shown_path
from labelgan.data.reading.header import DEFAULT_LIMITS, NEAR_GRID, SAME_GRID, Header, apart_mm, voxels_apart
from labelgan.data.reading.read import read_with_header, to_mask, voxel_hash
from labelgan.data.volume import LESION, ImageRef

_ONE_OF_TWO = "remove one, or leave it out (`labelgan prepare --exclude ID`)"


def other_layouts(cohort: Cohort) -> list[Problem]:
    """Layouts that were looked for later, and would have been recognised too: their cases are not read."""
    names = list(LAYOUTS)
    found = [(name, LAYOUTS[name].detect(cohort.root)) for name in names[names.index(cohort.layout) + 1 :]]
    return [
        Problem(
            None,
            cohort.root,
            f"looks like {name} too ({evidence}), and is read as {cohort.layout}: keep one layout in a folder, "
            f"or name it (--layout {name})",
            "warning",
        )
        for name, evidence in found
        if evidence is not None
    ]


def duplicate_ids(cohort: Cohort) -> list[Problem]:
    """Ids that are given twice, or differ in case alone."""
    first: dict[str, Case] = {}
    problems: list[Problem] = []
    for case in cohort.cases:
        earlier = first.setdefault(case.id.casefold(), case)  # file systems may take no notice of case
        if earlier is not case:
            refs = list(case.images.values())
            problems.append(
                Problem(
                    case.id,
                    refs[0].path if refs else None,
                    f"duplicate id: '{earlier.id}' is another case already; rename one",
                )
            )
    return problems


def duplicate_voxels(cohort: Cohort, facts: Sequence[CaseFacts]) -> list[Problem]:
    """The same voxels under two ids; told once per pair of cases, with all the channels that agree."""
    owners: dict[str, tuple[int, str]] = {}
    shared: dict[tuple[int, int], list[tuple[str, str]]] = {}
    for index, known in enumerate(facts):
        for channel, digest in known.hashes.items():
            owner, owner_channel = owners.setdefault(digest, (index, channel))
            if owner != index:
                shared.setdefault((owner, index), []).append((owner_channel, channel))
    problems: list[Problem] = []
    for (owner, index), channels in shared.items():
        first, second = cohort.cases[owner], cohort.cases[index]
        same = first.patient == second.patient
        whose = f"the same patient, {first.patient}" if same else f"patients {first.patient} and {second.patient}"
        first_file = first.images[channels[0][0]].path
        inside = first_file.relative_to(cohort.root) if first_file.is_relative_to(cohort.root) else first_file
        where = shown_path(first_file) or inside.as_posix()
        which = ", ".join(b if a == b else f"{b} as its {a}" for a, b in channels)
        problems.append(
            Problem(
                second.id,
                second.images[channels[0][1]].path,
                f"same voxels as case {first.id} ({which}; {where}), under two ids of {whose}: {_ONE_OF_TWO}",
            )
        )
    return problems


def alike_patients(cohort: Cohort, facts: Sequence[CaseFacts]) -> list[Problem]:
    """Two patients whose scans look like one scan in two forms, or have one mask. Synthetic slices are nobody's."""
    if cohort.slices_only:
        return []
    pairs = [(case, known) for case, known in zip(cohort.cases, facts, strict=True) if not case.synthetic]
    scans = [KnownScan(case.id, case.patient, known.hashes, known.mask_hash, known.prints) for case, known in pairs]
    problems = []
    for twins in find_twins(scans):
        refs = list(pairs[twins.second][0].images.values())
        file = refs[0].path if refs else None
        problems.append(Problem(scans[twins.second].id, file, twin_warning(scans, twins), "warning"))
    return problems


def without_lesions(cohort: Cohort, facts: Sequence[CaseFacts]) -> list[Problem]:
    """A cohort in which nothing is annotated, or no annotation holds a lesion."""
    if all(case.mask is None for case in cohort.cases):
        only_test = all(case.split == "test" for case in cohort.cases)
        severity: Severity = "warning" if only_test else "error"
        where = f"look where the {cohort.layout} layout wants masks (docs/guides/own-data.md)"
        return [Problem(None, cohort.root, f"no case has a mask: {where}", severity)]
    counts = [known.lesion_voxels for known in facts if known.lesion_voxels is not None]
    if counts and not any(counts):
        return [Problem(None, cohort.root, "no mask of the cohort holds a lesion", "warning")]
    return []


__all__ = ["CaseFacts", "CheckReport", "Problem", "check_cohort"]

_LARGEST_SPACING_MM = 50.0
_SMALLEST_SPACING_MM = 0.01
# A qform is a rotation in float32 quaternions: it may be off by some hundredths of a millimetre at the far corners.
_QFORM_SLACK = 10.0
_LARGEST_SLANT = 0.02  # about a degree; a rotation in float32 is 10,000 times closer
_MASK = "mask"

# What to do next: endings of the messages about the commonest faults.
_LEAVE_OUT = "or leave the case out (`labelgan prepare --exclude ID`)"
_RESAMPLE = "resample it onto that grid (a mask by nearest neighbour), or export it again"


def check_cohort(
    root: Path,
    limits: CheckConfig = DEFAULT_LIMITS,
    layout: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> CheckReport:
    """Reads every file of a cohort once and tells everything that is wrong.

    Memory is bounded by one case, whatever the number of cases and whatever the headers claim.

    Args:
        root: the cohort's folder.
        limits: largest sizes that are read, and how far two grids may be apart.
        layout: a name in ``layouts.LAYOUTS``, or None to find it by looking.
        progress: called with (cases done, cases in all) after each case.

    Raises:
        DataError: the folder is missing or no layout is recognised. Bad files never raise: they become problems.
    """
    cohort = read_cohort(Path(root), layout)
    problems: list[Problem] = [Problem(note.case, note.path, note.reason, "warning") for note in cohort.notes]
    if layout is None:
        problems += other_layouts(cohort)
    facts: list[CaseFacts] = []
    for done, case in enumerate(cohort.cases, start=1):
        checker = _CaseChecker(case, cohort, limits)
        facts.append(checker.run())
        problems += checker.problems
        if progress is not None:
            progress(done, len(cohort.cases))
    problems += duplicate_ids(cohort)
    problems += duplicate_voxels(cohort, facts)
    problems += alike_patients(cohort, facts)
    problems += without_lesions(cohort, facts)
    if (warning := face_warning(cohort, sum(known.face for known in facts))) is not None:
        problems.append(Problem(None, cohort.root, warning, "warning"))
    return CheckReport(cohort, tuple(problems), tuple(facts))


class _CaseChecker:
    """Goes through the files of one case, one at a time, and collects what is wrong."""

    def __init__(self, case: Case, cohort: Cohort, limits: CheckConfig) -> None:
        self.case, self.cohort, self.limits = case, cohort, limits
        self.problems: list[Problem] = []
        self.reference: tuple[str, Header] | None = None  # the first image that was read, on whose grid the others lie
        self.hashes: dict[str, str] = {}
        self.constant: set[str] = set()
        self.mask_hash: str | None = None
        self.prints: dict[str, np.ndarray] = {}
        self.face = False

    def run(self) -> CaseFacts:
        self._names()
        for channel, ref in self.case.images.items():
            self._image(channel, ref)
        lesion_voxels = None if self.case.mask is None else self._mask(self.case.mask)
        if self.case.brain_mask is not None:
            self._brain_mask(self.case.brain_mask)
        self._same_channels()
        hashes = {channel: digest for channel, digest in self.hashes.items() if channel not in self.constant}
        known = {"lesion_voxels": lesion_voxels, "hashes": hashes, "face": self.face}
        known |= {"mask_hash": self.mask_hash, "prints": self.prints}
        if self.reference is None:
            return CaseFacts(**known)
        return CaseFacts(self.reference[1].shape, self.reference[1].spacing_mm, **known)

    def _tell(self, file: Path | None, reason: str, severity: Severity = "error") -> None:
        self.problems.append(Problem(self.case.id, file, " ".join(reason.split()), severity))

    def _names(self) -> None:
        if not is_safe_id(self.case.id):
            self._tell(self._folder(), f"unsafe id {self.case.id[:70]!r}: rename it; {SAFE_ID_WORDS}")
        missing = [channel for channel in self.cohort.channels if channel not in self.case.images]
        if missing:
            self._tell(self._folder(), f"missing {' and '.join(missing)}, which other cases have: add it, {_LEAVE_OUT}")
        if not self.case.images and not missing:
            self._tell(self._folder(), "no image")
        if self.case.mask is None and any(case.mask is not None for case in self.cohort.cases):
            self._tell(self._folder(), "no mask: not annotated, so not used for training", "warning")

    def _folder(self) -> Path | None:
        files = [ref.path for ref in (*self.case.images.values(), self.case.mask) if ref is not None]
        return files[0].parent if files else None

    def _image(self, channel: str, ref: ImageRef) -> None:
        try:
            header, volume = read_with_header(ref, self.limits)
        except DataError as error:
            self._tell(ref.path, error.reason)
            return
        self._grid(channel, ref, header)
        if _is_finite_throughout(volume.data):
            self.face = self.face or (not header.is_picture and shows_face(volume))
            if volume.data.size and (volume.data == volume.data.flat[0]).all():
                self.constant.add(channel)
                what = "all zero" if volume.data.flat[0] == 0 else f"constant ({volume.data.flat[0]:g} everywhere)"
                told = f"the image is {what}"
                if self._is_slice(header):
                    self._tell(ref.path, told, "warning")
                else:
                    self._tell(ref.path, f"{told}: export it again, {_LEAVE_OUT}")
        else:
            wrong = int(np.count_nonzero(~np.isfinite(volume.data)))
            self._tell(ref.path, f"{wrong} voxels are NaN or infinite: make the image again, {_LEAVE_OUT}")
        self.hashes[channel] = voxel_hash(volume)
        if not self.cohort.slices_only and (prints := fingerprint(volume)) is not None:
            self.prints[channel] = prints

    def _grid(self, what: str, ref: ImageRef, header: Header) -> None:
        """Axes, spacing and affines of one file, and its grid against the first image's."""
        singles = sum(size == 1 for size in header.shape)
        if singles > int(self._is_slice(header)):
            self._tell(
                ref.path,
                f"a single-voxel axis: shape {times(header.shape)}, and a volume is expected: export the whole series",
            )
            return  # it is no grid for other files to be held against, nor the other way round
        spacing = header.spacing_mm
        if not header.is_picture and not all(_SMALLEST_SPACING_MM <= s <= _LARGEST_SPACING_MM for s in spacing):
            self._tell(ref.path, f"implausible voxel size {'×'.join(f'{s:g}' for s in spacing)} mm", "warning")
        if header.qform is not None:
            apart = apart_mm(header.shape, header.affine, header.qform)
            if not apart <= _QFORM_SLACK * self.limits.grid_tolerance_mm:
                self._tell(ref.path, f"its qform and sform differ ({_mm(apart)} apart): the sform is used", "warning")
        if self.reference is None:
            if what != _MASK:
                self.reference = (what, header)
                self._perpendicular(ref, header)
            return
        name, first = self.reference
        if header.shape != first.shape:
            differs = f"shape {times(header.shape)} differs from {times(first.shape)} of {name}"
            self._tell(ref.path, f"{differs}: {_RESAMPLE}")
            return
        apart = apart_mm(header.shape, first.affine, header.affine)
        if header.is_picture != first.is_picture or apart <= self.limits.grid_tolerance_mm:
            return
        voxels = voxels_apart(header.shape, first.affine, header.affine)
        differs = f"affine differs from that of {name}: grid corners {_mm(apart)} apart"
        if voxels > NEAR_GRID:
            self._tell(ref.path, f"{differs}; {_RESAMPLE}")
        elif voxels > SAME_GRID:
            self._tell(ref.path, f"{differs}, {voxels:.2g} of a voxel: the grid of {name} is used", "warning")

    def _perpendicular(self, ref: ImageRef, header: Header) -> None:
        axes = header.affine[:3, :3] / np.array(header.spacing_mm)
        slant = float(np.abs(axes.T @ axes - np.eye(3)).max())  # the cosine between two axes
        if slant > _LARGEST_SLANT:
            degrees = np.degrees(np.arccos(min(slant, 1.0)))
            told = f"its axes are {degrees:.3g} degrees apart, not 90: slices would show a sheared brain"
            self._tell(ref.path, f"{told}; resample the case onto a perpendicular grid", "warning")

    def _mask(self, ref: ImageRef) -> int | None:
        """Checks the mask and gives its number of lesion voxels, or None when it cannot be used."""
        try:
            header, stored = read_with_header(ref, self.limits, indexed=True)
        except DataError as error:
            self._tell(ref.path, f"mask: {error.reason}")
            return None
        self._grid(_MASK, ref, header)
        try:
            volume = to_mask(ref, header, stored)
        except DataError as error:
            self._tell(ref.path, f"mask: {error.reason}")
            return None
        mask, self.mask_hash = volume.data, hash_of_mask(volume)
        lesion = int(np.count_nonzero(mask == LESION))
        if not lesion and mask.any():
            self._tell(ref.path, "the mask holds only label 2 (other pathology), no lesion", "warning")
        elif not lesion and not self._is_slice(header):
            self._tell(ref.path, "the mask is empty", "warning")
        return lesion

    def _brain_mask(self, ref: ImageRef) -> None:
        try:
            header, volume = read_with_header(ref, self.limits, indexed=True)
        except DataError as error:
            self._tell(ref.path, f"brain mask: {error.reason}", "warning")
            return
        if self.reference is not None and header.shape != self.reference[1].shape:
            self._tell(ref.path, f"brain mask of shape {times(header.shape)} does not fit the images", "warning")
        if not (volume.data > 0).any():
            self._tell(ref.path, "the brain mask is empty", "warning")

    def _same_channels(self) -> None:
        names = [channel for channel in self.hashes if channel not in self.constant]
        for index, channel in enumerate(names):
            for other in names[:index]:
                if self.hashes[channel] == self.hashes[other]:
                    self._tell(
                        self.case.images[channel].path,
                        f"{channel} holds the same voxels as {other}: fetch the right file",
                    )
                    break

    def _is_slice(self, header: Header) -> bool:
        """One slice stands for a case in pictures, in pairs, and in cohorts of synthetic slices."""
        single = self.cohort.slices_only or self.case.synthetic or self.cohort.layout == "pairs"
        return (header.is_picture or single) and 1 in header.shape


def _is_finite_throughout(data: np.ndarray) -> bool:
    # Minimum and maximum propagate NaN and show infinities without a second array of the volume's size.
    return bool(np.isfinite(data.min()) and np.isfinite(data.max()))


def _mm(distance: float) -> str:
    return f"{distance:.3g} mm"
