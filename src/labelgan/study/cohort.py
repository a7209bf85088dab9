"""Facts of a cohort before anything is trained: patients, lesion loads, and the hash of every file.

Reading every voxel takes a while, so what was found is kept beside the study and read again where size or time of a
file has changed.
"""

from __future__ import annotations

import functools
import io
import itertools
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from labelgan.config.base import PrepareConfig
from labelgan.core.errors import DataError, LabelganError, LeakError
from labelgan.core.files import read_json, sha256_file, write_bytes_atomic, write_json_atomic
from labelgan.core.progress import Report
from labelgan.data.case import Case, require_safe_ids
from labelgan.data.check.fingerprint import PRINTS_SHAPE, Prints, fingerprints
from labelgan.data.check.leaks import (
    NOT_ONE_PERSON,
    KnownScan,
    Twins,
    find_meetings,
    find_twins,
    hash_of_mask,
    twin_warning,
)
from labelgan.data.geometry import SliceGeometry
from labelgan.data.layouts.detect import read_cohort, require_unmixed
from labelgan.data.pseudonyms import keyfile, shown_path
from labelgan.data.reading.read import voxel_hash
from labelgan.data.volume import LESION, Volume


class KnownCase(BaseModel):
    """One annotated case.

    Attributes:
        id: of the case.
        patient: who was scanned.
        site: scanner or centre.
        stamp: path, size and time of its files: what tells that they have changed.
        files: path under the cohort's root to SHA-256 of the file.
        hashes: channel to voxel hash, whatever the file's form.
        mask_hash: of the reference; None where it has too little lesion to be known by.
        lesion_ml: volume of the reference's lesions.
        lesion_voxels: of the reference.
        outside: name of a size and spacing of slices to the lesion voxels that lie outside of them.
        voxels: of the scan.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    patient: str
    site: str | None
    stamp: tuple[tuple[str, int, int], ...]
    files: dict[str, str]
    hashes: dict[str, str]
    lesion_ml: float
    voxels: int
    lesion_voxels: int = 0
    outside: dict[str, int] = {}
    mask_hash: str | None = None


@dataclass(frozen=True)
class KnownCohort:
    """The annotated cases of a cohort, and those without a mask, which a study cannot use.

    Attributes:
        root: the cohort's folder.
        cases: the annotated ones.
        unlabelled: ids of the others.
        prints: case id to fingerprints; empty where they were not asked for.
    """

    root: Path
    cases: tuple[KnownCase, ...]
    unlabelled: tuple[str, ...] = ()
    prints: Mapping[str, Prints] = field(default_factory=dict)

    @functools.cached_property
    def scans(self) -> tuple[KnownScan, ...]:
        """By what the cases are known."""
        return tuple(
            KnownScan(case.id, case.patient, case.hashes, case.mask_hash, self.prints.get(case.id, {}))
            for case in self.cases
        )

    @functools.cached_property
    def twins(self) -> list[Twins]:
        """Pairs of cases of two patients that look like one scan, by their places in ``cases``."""
        return find_twins(self.scans)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a reader must know before anything is trained."""
        return tuple(twin_warning(self.scans, twins) for twins in self.twins)

    @property
    def patients(self) -> tuple[str, ...]:
        """Patient ids in order of first appearance."""
        return tuple(self._by_patient)

    @functools.cached_property
    def _by_patient(self) -> dict[str, list[KnownCase]]:
        # Looking through all cases for every patient would take minutes where there are 10,000.
        cases: dict[str, list[KnownCase]] = {}
        for case in self.cases:
            cases.setdefault(case.patient, []).append(case)
        return cases

    def of(self, patients: frozenset[str] | set[str] | tuple[str, ...]) -> tuple[KnownCase, ...]:
        """The cases of some patients, in the cohort's order."""
        wanted = frozenset(patients)
        return tuple(case for case in self.cases if case.patient in wanted)

    def load_ml(self, patient: str) -> float:
        """Mean lesion volume over a patient's cases, mL."""
        return float(np.mean([case.lesion_ml for case in self._by_patient[patient]]))

    def site(self, patient: str) -> str:
        """A patient's site; empty where the layout tells none."""
        return self._by_patient[patient][0].site or ""

    def fingerprint(self) -> dict[str, dict[str, str]]:
        """Case id to file to SHA-256: what results depend on, wherever the folder lies."""
        return {case.id: case.files for case in self.cases}


def know_cohort(
    root: Path, cache: Path, report: Report | None = None, prepare: PrepareConfig | None = None
) -> KnownCohort:
    """Reads what a study must know of a cohort.

    Args:
        root: the cohort's folder.
        cache: JSON file that keeps it; fingerprints, which say more of a scan, lie beside it, for the owner's eyes.
        report: called as (cases done, cases, case id).
        prepare: the slices that are planned, whose crop is then known too (see `cropped_lesions`), and fingerprints
            where it wants them.

    Raises:
        DataError: the cohort cannot be read, or fewer than two patients are annotated; the message names the file.
        LeakError: one scan stands under two patients, in one form or two, or synthetic slices lie among the scans.
    """
    cohort = read_cohort(root)
    place = cache.with_name(f"{cache.stem}-fingerprints.npz")
    fingerprinted = prepare is not None and prepare.fingerprints
    prints = _read_prints(place) if fingerprinted else {}
    before_prints = dict(prints)
    require_unmixed(cohort)
    known = _cached(cache)
    cases: list[KnownCase] = []
    annotated = [case for case in cohort.cases if case.mask is not None]
    require_safe_ids(annotated, root)
    for number, case in enumerate(annotated):
        stamp = _stamp(case, root)
        before = known.get(case.id)
        if before is None or before.stamp != stamp or before.patient != case.patient or before.site != case.site:
            before = None
            prints.pop(case.id, None)
        elif "mask_hash" not in before.model_fields_set:
            before = None  # known to a version that did not hash masks
        unprinted = fingerprinted and case.id not in prints
        if before is None or unprinted:
            if report is not None:
                report(number, len(annotated), case.id)
            volumes = {channel: case.load_image(channel) for channel in case.images}
            if unprinted:
                prints[case.id] = fingerprints(volumes)
            before = before or _know(case, stamp, root, volumes)
        cases.append(_with_crop(before, case, prepare))
    if report is not None:
        report(len(annotated), len(annotated), "")
    if not cases:
        raise DataError(root, "no case has a mask: a study needs annotated patients")
    if cases != list(known.values()):
        write_json_atomic(cache, {"format": 1, "cases": [case.model_dump(mode="json") for case in cases]})
    prints = {case.id: prints[case.id] for case in cases if case.id in prints}
    if prints.keys() != before_prints.keys() or any(prints[name] is not before_prints[name] for name in prints):
        _write_prints(place, prints)
    unlabelled = tuple(case.id for case in cohort.cases if case.mask is None)
    result = KnownCohort(root, tuple(cases), unlabelled, prints)
    require_one_patient_a_scan(result)
    return result


def _read_prints(place: Path) -> dict[str, Prints]:
    """Case id to fingerprints, as `_write_prints` left them; none where that cannot be read."""
    found: dict[str, dict[str, np.ndarray]] = {}
    try:
        with np.load(place, allow_pickle=False) as archive:
            for name in archive.files:
                case, _, channel = name.partition("/")
                value = found.setdefault(case, {})
                if channel and archive[name].shape == PRINTS_SHAPE and archive[name].dtype == np.uint8:
                    value[channel] = archive[name]
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        return {}  # a cache: what is not understood is made anew
    return dict(found)


def _write_prints(place: Path, prints: Mapping[str, Prints]) -> None:
    entries = {f"{case}/{channel}": value for case, part in prints.items() for channel, value in part.items()}
    # of a case too thin for a fingerprint the name alone, so that it is not read every time
    entries |= {f"{case}/": np.zeros(0, np.uint8) for case, part in prints.items() if not part}
    stream = io.BytesIO()
    np.savez(stream, **entries)  # pyright: ignore[reportArgumentType]
    write_bytes_atomic(place, stream.getvalue(), mode=0o600)


def _cached(cache: Path) -> dict[str, KnownCase]:
    if not cache.is_file():
        return {}
    try:
        content = read_json(cache)
        return {case.id: case for case in (KnownCase.model_validate(entry) for entry in content["cases"])}
    except (LabelganError, ValidationError, KeyError, TypeError):
        return {}  # a cache: what is not understood is read again


def _files(case: Case) -> list[Path]:
    refs = [*case.images.values(), case.mask, case.brain_mask]
    return list(dict.fromkeys(ref.path for ref in refs if ref is not None))


def _inside(path: Path, root: Path) -> str:
    if (told := shown_path(path)) is not None:
        return told
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)


def _stamp(case: Case, root: Path) -> tuple[tuple[str, int, int], ...]:
    try:
        facts = [(path, path.stat()) for path in _files(case)]
    except OSError as error:
        raise DataError(error.filename or root, f"cannot be read: {error.strerror}") from None
    return tuple((_inside(path, root), fact.st_size, fact.st_mtime_ns) for path, fact in facts)


def _know(case: Case, stamp: tuple[tuple[str, int, int], ...], root: Path, volumes: Mapping[str, Volume]) -> KnownCase:
    mask = case.load_mask()
    assert mask is not None
    voxel_mm3 = float(abs(np.linalg.det(mask.affine[:3, :3])))
    return KnownCase(
        id=case.id,
        patient=case.patient,
        site=case.site,
        stamp=stamp,
        files={_inside(path, root): sha256_file(path) for path in _files(case)},
        hashes={channel: voxel_hash(volume) for channel, volume in volumes.items()},
        mask_hash=hash_of_mask(mask),
        lesion_ml=float(np.count_nonzero(mask.data == LESION)) * voxel_mm3 / 1000,
        voxels=int(mask.data.size),
    )


def _with_crop(known: KnownCase, case: Case, prepare: PrepareConfig | None) -> KnownCase:
    """Counts the lesion voxels outside the slices that are planned, where that is not known yet."""
    if prepare is None or prepare.spacing_mm == "auto" or (name := _slices(prepare)) in known.outside:
        return known
    mask = case.load_mask()
    assert mask is not None
    lesion = mask.data == LESION
    geometry = SliceGeometry.of(mask.data.shape, mask.affine, prepare.size, prepare.spacing_mm)
    seen = geometry.to_native(np.ones((geometry.z.length, *geometry.size), dtype=bool), fill=False)
    counts = {"lesion_voxels": int(np.count_nonzero(lesion))}
    return known.model_copy(update={**counts, "outside": {**known.outside, name: int((lesion & ~seen).sum())}})


def _slices(prepare: PrepareConfig) -> str:
    return f"{prepare.size[0]}x{prepare.size[1]} {prepare.spacing_mm}"


def cropped_lesions(cohort: KnownCohort, prepare: PrepareConfig) -> tuple[int, int]:
    """Lesion voxels outside the slices that are planned, and all of them."""
    name = _slices(prepare)
    return sum(case.outside.get(name, 0) for case in cohort.cases), sum(case.lesion_voxels for case in cohort.cases)


def _path(cohort: KnownCohort, case: KnownCase) -> Path:
    return cohort.root / next(iter(case.files))


def require_one_patient_a_scan(*cohorts: KnownCohort) -> None:
    """Raises LeakError, naming both files, where one scan stands under two patients, or in two cohorts.

    It may do so in two forms: masks and fingerprints are compared too.
    """
    owners: dict[str, tuple[int, KnownCohort, KnownCase]] = {}
    for number, cohort in enumerate(cohorts):
        for case in cohort.cases:
            for value in case.hashes.values():
                owner = owners.setdefault(value, (number, cohort, case))
                if owner[0] != number or owner[2].patient != case.patient:
                    first, second = _path(owner[1], owner[2]), _path(cohort, case)
                    raise LeakError(
                        second,
                        f"case {case.id} (patient {case.patient}) holds the voxels of case {owner[2].id} "
                        f"(patient {owner[2].patient}), {first}: a scan under two patients would meet itself in a test",
                    )
    for cohort in cohorts if len(cohorts) == 1 else ():
        for twins in cohort.twins:
            if twins.refused:
                _refuse(cohort, cohort.cases[twins.first], cohort, cohort.cases[twins.second], twins.words)
    for first, second in itertools.combinations(cohorts, 2):
        for meeting in find_meetings(second.scans, first.scans)[:1]:
            _refuse(first, first.cases[meeting.second], second, second.cases[meeting.first], meeting.words)


def _refuse(first: KnownCohort, case: KnownCase, second: KnownCohort, twin: KnownCase, words: str) -> NoReturn:
    override = NOT_ONE_PERSON.replace("fingerprints", "prepare.fingerprints")
    raise LeakError(
        _path(second, twin),
        f"case {twin.id} (patient {twin.patient}) may be case {case.id} of patient {case.patient} in another form, "
        f"{_path(first, case)}: {words}; a scan under two patients would meet itself in a test. Leave one out, give "
        f"both one id, or, {override}",
    )


def facts_of(cohort: KnownCohort) -> dict[str, Any]:
    """Gives the entry of a cohort in study.json."""
    return {
        "name": "cohort" if keyfile() else cohort.root.resolve().name,
        "patients": len(cohort.patients),
        "cases": len(cohort.cases),
        "unlabelled": len(cohort.unlabelled),
    }
