"""Real and synthetic cohorts out together, in any format: what ``labelgan export`` does.

What may not happen is decided here: a scan that a generator was trained on is never validated with that generator's
slices, two sources never share an id by accident, and a mixed folder says of every case whether it is synthetic.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labelgan.core.errors import ConfigError, DataError, LeakError
from labelgan.core.files import new_folder, require_free, write_json_atomic, write_text_atomic
from labelgan.core.progress import Report
from labelgan.core.provenance import provenance
from labelgan.data.case import Case
from labelgan.data.check.leaks import KnownScan, find_twins
from labelgan.data.curation import seal_samples
from labelgan.data.export.card import CARD, cohort_card
from labelgan.data.export.records import ExportFacts, Fold, LabelledVolume, Origin
from labelgan.data.export.sources import Source
from labelgan.data.export.splits import SyntheticGroup, make_folds, require_unseen_by_any
from labelgan.data.export.write import FORMAT_VERSION, FORMATS, write_cases
from labelgan.data.layouts.common import safe_label
from labelgan.data.manifests import MANIFEST, MIXED_COHORT, REAL_COHORT
from labelgan.data.pseudonyms import keyfile


@dataclass(frozen=True)
class Exported:
    """Result of an export: how many cases of each kind, which folds, and patients that no fold validates on."""

    out: Path
    real: int
    synthetic: int
    folds: tuple[Fold, ...]
    never_validated: tuple[str, ...] = ()


def export_sources(
    roots: Sequence[Path],
    out: Path,
    format: str,
    *,
    channels: Sequence[str] = (),
    exclude: Sequence[str] = (),
    folds: int | None = None,
    seed: int = 0,
    drop_other: bool = False,
    progress: Report | None = None,
) -> Exported:
    """Writes one or more cohorts as one, in one format. The folder appears whole, or not at all.

    Args:
        roots: folders of cohorts, real and synthetic, in any layout.
        out: new folder.
        format: key of ``FORMATS``.
        channels: which, in order; by default those of the first cohort.
        exclude: ids of cases or patients to leave out.
        folds: how many; see `export_splits.make_folds`. Only for formats that keep folds.
        seed: of the draw of folds.
        drop_other: make other pathology (2) background.
        progress: called as (cases done, cases, case id).

    Raises:
        ConfigError: an option does not make sense, ``out`` is in the way, or a package is missing.
        DataError: a cohort cannot be read, a case lacks a channel, or one scan stands under two patients.
        LeakError: no fold can be made that a generator has not looked into; see `export_splits.make_folds`.
    """
    if format not in FORMATS:
        raise ConfigError(f"--format {format}", f"unknown format; one of {', '.join(FORMATS)}")
    if folds is not None and not FORMATS[format].folds:
        keep = " and ".join(name for name, entry in FORMATS.items() if entry.folds)
        raise ConfigError(f"--folds {folds}", f"{format} keeps no folds; {keep} do")
    if not roots:
        raise ConfigError("SOURCES", "name at least one cohort")
    out = Path(out)
    require_free(out)
    sources = [Source.open(root, exclude) for root in roots]
    _require_known(exclude, sources)
    mix = _Mix(sources, _prefixes(sources), tuple(channels) or sources[0].channels, drop_other, progress)
    facts = ExportFacts(mix.channels, mix.origin)
    if FORMATS[format].folds:
        make_folds(mix.by_name(), mix.groups())  # refuses what names tell before anything is read
    made: list[Fold] = []

    def make() -> Sequence[Fold]:
        if FORMATS[format].folds:
            groups = mix.groups()
            mix.require_no_twins()
            require_unseen_by_any(mix.test, groups)
            made.extend(make_folds(mix.scanned, groups, folds, seed))
        return made

    with new_folder(out) as temporary:
        write_cases(format, mix.volumes(), temporary, facts, make)
        manifest = mix.manifest(FORMATS[format].layout)
        if manifest["kind"] in (MIXED_COHORT, REAL_COHORT):
            write_json_atomic(temporary / MANIFEST, manifest)
        else:
            seal_samples(temporary, manifest)
            write_text_atomic(temporary / CARD, cohort_card(manifest))
    validated = {identifier for fold in made for identifier in fold.validation}
    idle = dict.fromkeys(case.patient for case in mix.scanned if case.id not in validated) if made else {}
    synthetic = sum(len(source.cases) for source in sources if source.synthetic)
    return Exported(out, len(mix.records) - synthetic, synthetic, tuple(made), tuple(idle))


def _require_known(exclude: Sequence[str], sources: Sequence[Source]) -> None:
    """Raises ConfigError where ``exclude`` names nobody, and DataError where it leaves nobody."""
    left = {name for source in sources for case in source.cases for name in (case.id, case.patient)}
    if not left:
        raise DataError(sources[0].root, "no case is left to export")
    known = {name for source in sources for name in source.known}
    if unknown := sorted(set(exclude) - known):
        raise ConfigError(f"--exclude {','.join(unknown)}", "no such case or patient")


def _prefixes(sources: Sequence[Source]) -> list[str | None]:
    """Names of folders to put before ids, where two sources share an id or patient; else none.

    Folders of one name are numbered: what lies above them may name people.
    """
    names = [
        {name for case in source.cases for name in ((case.id,) if source.synthetic else (case.id, case.patient))}
        for source in sources
    ]
    shared = [any(mine & theirs for j, theirs in enumerate(names) if j != i) for i, mine in enumerate(names)]
    own = [
        "cohort" if keyfile() and not source.synthetic else safe_label(source.root.resolve().name) for source in sources
    ]
    low = [name.casefold() for name in own]
    folders = [
        name if low.count(key) == 1 else f"{name}-{low[: i + 1].count(key)}"
        for i, (name, key) in enumerate(zip(own, low, strict=True))
    ]
    return [folder if clash else None for folder, clash in zip(folders, shared, strict=True)]


class _Mix:
    """The cases of several sources in one row, and what is learned of them on the way."""

    def __init__(
        self,
        sources: Sequence[Source],
        prefixes: Sequence[str | None],
        channels: tuple[str, ...],
        drop_other: bool,
        progress: Report | None,
    ) -> None:
        self.sources, self.prefixes, self.channels = sources, prefixes, channels
        self.drop_other, self.progress = drop_other, progress
        self.records: list[dict[str, Any]] = []
        self.scanned: list[KnownScan] = []  # annotated, to train or validate on
        self.test: list[KnownScan] = []
        self._owners: dict[str, tuple[str, str]] = {}

    @property
    def origin(self) -> Origin:
        kinds = {source.synthetic for source in self.sources}
        return "mixed" if len(kinds) == 2 else "synthetic" if kinds == {True} else "real"

    def _named(self, prefix: str | None, name: str) -> str:
        return f"{prefix}_{name}" if prefix else name

    def volumes(self) -> Iterator[LabelledVolume]:
        """Gives the cases one by one."""
        count, done = sum(len(source.cases) for source in self.sources), 0
        for number, (source, prefix) in enumerate(zip(self.sources, self.prefixes, strict=True)):
            for case in source.cases:
                if self.progress is not None:
                    self.progress(done, count, case.id)
                volume, scan = source.read(case, self.channels, keep_other=not self.drop_other)
                volume = dataclasses.replace(
                    volume, id=self._named(prefix, volume.id), patient=self._named(prefix, volume.patient)
                )
                self._learn(volume, scan, case, number)
                yield volume
                done += 1
        if self.progress is not None:
            self.progress(count, count, "")

    def _learn(self, volume: LabelledVolume, scan: KnownScan, case: Case, number: int) -> None:
        record = {"id": volume.id, "patient": volume.patient, "synthetic": volume.synthetic, "source": number}
        self.records.append(record | ({"split": volume.split} if volume.split else {}))
        if volume.synthetic:
            return
        for value in scan.hashes.values():
            owner, owner_case = self._owners.setdefault(value, (volume.patient, volume.id))
            if owner != volume.patient:
                raise DataError(
                    case.images[self.channels[0]].path,
                    f"patient {volume.patient} has the voxels of case {owner_case} of patient {owner}; "
                    "--exclude one of them",
                )
        # By the names that generators know: those of the cohort, without a prefix.
        known = dataclasses.replace(scan, id=volume.id)
        if volume.for_test:
            self.test.append(known)
        elif volume.mask_XYZ is not None:
            self.scanned.append(known)

    def require_no_twins(self) -> None:
        """Raises LeakError where two patients, whom folds may part, have scans that are one scan in two forms."""
        scans = [*self.scanned, *self.test]
        for twins in find_twins(scans):
            if twins.refused:
                first, second = scans[twins.first], scans[twins.second]
                raise LeakError(
                    second.id,
                    f"of patient {second.patient} may be case {first.id} of patient {first.patient} in another form: "
                    f"{twins.words}; folds may part the two: give both one id, or --exclude one of them",
                )

    def by_name(self) -> list[KnownScan]:
        """The annotated scans without their hashes, for which they would have to be read."""
        scans = [case for source in self.sources if not source.synthetic for case in source.cases]
        return [
            KnownScan(case.id, case.patient, {}) for case in scans if case.mask is not None and case.split != "test"
        ]

    def groups(self) -> list[SyntheticGroup]:
        """The synthetic sources as the folds need them."""
        return [
            SyntheticGroup(source.root, source.seen, tuple(self._named(prefix, case.id) for case in source.cases))
            for source, prefix in zip(self.sources, self.prefixes, strict=True)
            if source.synthetic
        ]

    def manifest(self, layout: str | None) -> dict[str, Any]:
        """Gives ``manifest.json``: of one synthetic cohort all that it said before, of others who is who."""
        head = {"format": FORMAT_VERSION, "layout": layout}
        if len(self.sources) == 1 and self.sources[0].synthetic:
            before, kept = self.sources[0].manifest.content, {record["id"] for record in self.records}
            samples = [entry for entry in before.get("samples", []) if entry.get("id") in kept]
            return {**before, **head, "channels": list(self.channels), "samples": samples}
        kind = REAL_COHORT if self.origin == "real" else MIXED_COHORT
        sources = []
        for source in self.sources:
            told: dict[str, Any] = {"synthetic": source.synthetic, "cases": len(source.cases)}
            if source.synthetic:
                told |= {
                    key: source.manifest.content[key]
                    for key in ("seed", "intensity", "range", "generator")
                    if key in source.manifest.content
                }
            sources.append(told)
        return {
            **head,
            "kind": kind,
            "channels": list(self.channels),
            "sources": sources,
            "cases": self.records,
            "made_with": provenance(),
        }
