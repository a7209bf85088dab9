"""Every slice that studio can show: found in the background, so that the page opens at once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from labelgan.core.errors import DataError, LabelganError
from labelgan.data.case import Case
from labelgan.data.curation import Curation, Decision, read_curation, write_curation
from labelgan.data.layouts.detect import read_cohort
from labelgan.data.store import SliceStore
from labelgan.studio.images import Cache, CaseImages, lesion_areas, load_case, load_stored
from labelgan.studio.sources import Keys, Source

CASE_BYTES = 512 * 2**20


@dataclass(frozen=True, eq=False)
class CaseEntry:
    """One case of one source.

    Attributes:
        key: its name in addresses.
        source: where it comes from.
        id, patient, site: as its cohort has them.
        channels: names, in order.
        slices: keys of its slices, from the lowest up.
        load: reads its voxels.
        hashes: of its voxels, where the source lists them.
        case: the files of a cohort's case.
    """

    key: str
    source: Source
    id: str
    patient: str
    site: str
    channels: tuple[str, ...]
    slices: tuple[str, ...]
    load: Callable[[], CaseImages] = field(repr=False)
    hashes: dict[str, str] | None = None
    case: Case | None = None

    @property
    def synthetic(self) -> bool:
        """Whether a generator made it."""
        return self.source.kind == "synthetic"


@dataclass(frozen=True, eq=False)
class SliceEntry:
    """One axial slice; ``load`` is its lesion area in mm², None where no mask tells."""

    key: str
    case: CaseEntry
    z: int
    load: float | None


@dataclass(frozen=True)
class Query:
    """Filter of the gallery; an empty set asks for everything.

    Attributes:
        sources: keys.
        origin: ``real``, ``synthetic`` or empty.
        sites: names.
        lesion: ``with``, ``without`` or empty.
        least, most: lesion area, mm².
        decision: ``accept``, ``reject``, ``undecided`` or empty.
        flag: ``any``, or words of a flag; empty asks for everything.
        case: key of a case, or empty.
        order: ``cohort``, ``load`` (greatest first) or ``shuffled``.
    """

    sources: frozenset[str] = frozenset()
    origin: str = ""
    sites: frozenset[str] = frozenset()
    lesion: str = ""
    least: float = 0.0
    most: float = float("inf")
    decision: str = ""
    flag: str = ""
    case: str = ""
    order: str = "cohort"


class Index:
    """Cases, slices, decisions and flags of all sources; safe to ask while `fill` is at work in another thread."""

    def __init__(self, sources: Sequence[Source], keys: Keys) -> None:
        self.sources = {source.key: source for source in sources}
        self.keys = keys
        self.cases: dict[str, CaseEntry] = {}
        self.slices: dict[str, SliceEntry] = {}
        self.notes: list[str] = []
        self.flags: dict[str, list[str]] = {}
        self.curations: dict[str, Curation] = {}
        self.done, self.total = 0, 1
        self.complete = threading.Event()
        self._lock = threading.RLock()
        self._images: Cache[CaseImages] = Cache(CASE_BYTES, lambda images: images.bytes)

    def start(self) -> None:
        """Fills in the background; the thread ends with the program."""
        threading.Thread(target=self.fill, name="studio index", daemon=True).start()

    def fill(self) -> None:
        """Reads what there is, source by source; what cannot be read becomes a note."""
        plans = []
        # what lists its slices is there at once; scans, whose masks are read one by one, come last
        for source in sorted(self.sources.values(), key=lambda source: source.kind == "cohort"):
            try:
                plans.append((source, *self._cases_of(source)))
            except (LabelganError, OSError) as error:
                self._note(source, error)
        self.total = max(1, sum(count for _, count, _ in plans))
        for source, _, cases in plans:
            for entry in cases:
                if entry is not None:
                    self._add(*entry)
                self.done += 1
            if source.kind == "synthetic" and not source.sealed:
                self._read_curation(source)
        self.done = self.total
        self.complete.set()

    def _note(self, source: Source, error: Exception) -> None:
        with self._lock:
            self.notes.append(f"{source.title}: {' '.join(str(error).split())}")

    def _read_curation(self, source: Source) -> None:
        try:
            self.curations[source.key] = read_curation(source.path)
        except DataError as error:
            self._note(source, error)

    def _add(self, case: CaseEntry, loads: Sequence[float | None]) -> None:
        with self._lock:
            self.cases[case.key] = case
            for z, (key, load) in enumerate(zip(case.slices, loads, strict=True)):
                self.slices[key] = SliceEntry(key, case, z, load)

    # What sources hold

    def _cases_of(self, source: Source) -> tuple[int, Iterator[tuple[CaseEntry, list[float | None]] | None]]:
        if source.kind == "store":
            store = SliceStore.open(source.path)
            return len(store.cases), self._stored(source, store)
        if source.kind in ("cohort", "synthetic"):
            cohort = read_cohort(source.path)
            return len(cohort.cases), self._of_cohort(source, cohort.cases)
        return 0, iter(())

    def _stored(self, source: Source, store: SliceStore) -> Iterator[tuple[CaseEntry, list[float | None]]]:
        for case in store.cases:
            rows = range(case.first, case.first + case.count)
            area = case.pixel_mm[0] * case.pixel_mm[1]
            voxels = store.index["lesion_voxels"]
            loads: list[float | None] = [float(voxels[row]) * area if case.labelled else None for row in rows]

            def load(identifier: str = case.id) -> CaseImages:
                return load_stored(store, identifier)

            entry = self._entry(source, case.id, case.patient, case.site, store.channels, len(loads), load, case.hashes)
            yield entry, loads

    def _of_cohort(
        self, source: Source, cases: Sequence[Case]
    ) -> Iterator[tuple[CaseEntry, list[float | None]] | None]:
        known = _known_loads(source.manifest) if source.kind == "synthetic" else {}
        for case in cases:
            paths = [ref.path for ref in (*case.images.values(), *([] if case.mask is None else [case.mask]))]
            outside = [path for path in paths if not source.has(path)]
            if outside or not case.images:
                what = f"{outside[0].name} leads out of the folder" if outside else "it has no image"
                self._note(source, DataError(case.id, f"{what}; it was not opened"))
                yield None
                continue
            try:
                loads: list[float | None] = (
                    [known[case.id]] if case.id in known else lesion_areas(case, source.manifest)
                )
            except (LabelganError, OSError) as error:
                self._note(source, error)
                yield None
                continue

            def load(case: Case = case) -> CaseImages:
                return load_case(case, source.manifest)

            channels = tuple(case.images)
            site = None if source.kind == "synthetic" else case.site  # of a sample it is a folder's name
            yield self._entry(source, case.id, case.patient, site, channels, len(loads), load, case=case), loads

    def _entry(
        self,
        source: Source,
        identifier: str,
        patient: str,
        site: str | None,
        channels: tuple[str, ...],
        count: int,
        load: Callable[[], CaseImages],
        hashes: dict[str, str] | None = None,
        case: Case | None = None,
    ) -> CaseEntry:
        key = self.keys.of("case", source.key, identifier)
        slices = tuple(self.keys.of("slice", key, z) for z in range(count))
        return CaseEntry(key, source, identifier, patient, site or "", channels, slices, load, hashes, case)

    # What pages ask

    def images(self, case: CaseEntry) -> CaseImages:
        """The voxels of a case, kept for a while; raises DataError where they cannot be read."""
        return self._images.get(case.key, case.load)

    def select(self, query: Query) -> list[SliceEntry]:
        """The slices that a query asks for, in its order."""
        with self._lock:
            found = [entry for entry in self.slices.values() if self._fits(entry, query)]
        rank = {key: number for number, key in enumerate(self.sources)}
        found.sort(key=lambda entry: rank[entry.case.source.key])
        if query.order == "load":
            found.sort(key=lambda entry: -(entry.load or 0.0))
        elif query.order == "shuffled":
            found.sort(key=lambda entry: self.keys.of("shuffle", entry.key))
        return found

    def _fits(self, entry: SliceEntry, query: Query) -> bool:
        case = entry.case
        if query.sources and case.source.key not in query.sources:
            return False
        if query.origin and case.synthetic != (query.origin == "synthetic"):
            return False
        if query.case and case.key != query.case:
            return False
        if query.sites and case.site not in query.sites:
            return False
        if query.lesion and bool(entry.load) != (query.lesion == "with"):
            return False
        if not query.least <= (entry.load or 0.0) <= query.most:
            return False
        if query.decision and (case.source.key not in self.curations or self._decided(entry) != query.decision):
            return False
        flags = self.flags.get(entry.key, ())
        return not query.flag or bool(flags if query.flag == "any" else query.flag in flags)

    def _decided(self, entry: SliceEntry) -> str:
        decision = self.decision(entry)
        return decision.decision if decision else "undecided"

    def decision(self, entry: SliceEntry) -> Decision | None:
        """Decision about a slice, or None."""
        curation = self.curations.get(entry.case.source.key)
        return curation.decisions.get(entry.case.id) if curation else None

    def decide(self, entry: SliceEntry, verdict: Any) -> Decision | None:
        """Enters or takes back a decision about a synthetic slice and writes the file beside its cohort.

        Raises:
            DataError: the slice is not synthetic, the verdict is none, or the file cannot be read or written.
        """
        source, case = entry.case.source, entry.case.case
        if not entry.case.synthetic or case is None:
            raise DataError(entry.case.id, "is not a synthetic sample; only those are accepted or rejected")
        if source.sealed:
            raise DataError(
                source.title,
                "belongs to a study's work; curate a cohort of labelgan sample, and give it as --synthetic",
            )
        if verdict not in ("accept", "reject", None):
            raise DataError(entry.case.id, "expected accept, reject or nothing")
        with self._lock:
            # the file may have changed behind the page
            curation = read_curation(source.path).with_decision(case, verdict)
            try:
                write_curation(source.path, curation)
            except OSError as error:
                raise DataError(source.path, f"cannot be written to: {error.strerror}") from None
            self.curations[source.key] = curation
        return self.decision(entry)

    def flag(self, entries: dict[str, list[str]]) -> None:
        """Enters flags, slice key to words, beside those that are there."""
        with self._lock:
            for key, words in entries.items():
                self.flags[key] = list(dict.fromkeys([*self.flags.get(key, []), *words]))


def _known_loads(manifest: dict[str, Any]) -> dict[str, float]:
    """Lesion area of every sample, mm², from a synthetic cohort's manifest; empty where it does not tell."""
    try:
        _, row_mm, column_mm = (float(length) for length in manifest["spacing_mm"])
        return {str(entry["id"]): int(entry["lesion_voxels"]) * row_mm * column_mm for entry in manifest["samples"]}
    except (KeyError, TypeError, ValueError):
        return {}
