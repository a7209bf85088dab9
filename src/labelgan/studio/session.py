"""One studio: what it found, what it keeps in memory, and what its pages are told."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from labelgan.core.errors import DataError
from labelgan.studio.blind import BlindTests
from labelgan.studio.flags import Judge, flags_of_audits
from labelgan.studio.images import Cache
from labelgan.studio.index import CaseEntry, Index, SliceEntry
from labelgan.studio.live import LiveRun
from labelgan.studio.nearest import NearestSearch
from labelgan.studio.pictures import Marking, draw_slice
from labelgan.studio.sources import Keys, Source, find_sources

PICTURE_BYTES = 128 * 2**20
REPORTS = {"study": "report.html", "audit": "audit.html"}
MOST_REPORT = 256 * 2**20


class Session:
    """Everything behind the page; all methods may be called from several threads."""

    def __init__(self, roots: Sequence[Path]) -> None:
        self.keys = Keys()
        sources, notes = find_sources(roots, self.keys)
        self.index = Index(sources, self.keys)
        self.index.notes += notes
        self.nearest = NearestSearch(self.index)
        self.judge = Judge(self.index)
        self.blind = BlindTests(self.index)
        self._live: dict[str, LiveRun] = {}
        self._live_lock = threading.Lock()
        self._pictures: Cache[bytes] = Cache(PICTURE_BYTES, len)

    def start(self) -> None:
        """Begins to fill the index, in the background."""
        threading.Thread(target=self.fill, name="studio index", daemon=True).start()

    def fill(self) -> None:
        """Fills the index now."""
        self.index.fill()
        self.index.flag(flags_of_audits(self.index))

    # Finding by key; an unknown one is an error that tells nothing

    def source(self, key: Any, *kinds: str) -> Source:
        """The source of a key; raises DataError where there is none of these kinds."""
        found = self.index.sources.get(key) if isinstance(key, str) else None
        if found is None or (kinds and found.kind not in kinds):
            raise DataError("source", "there is no such one")
        return found

    def slice(self, key: Any) -> SliceEntry:
        """The slice of a key; raises DataError where there is none."""
        found = self.index.slices.get(key) if isinstance(key, str) else None
        if found is None:
            raise DataError("slice", "there is no such one")
        return found

    def case(self, key: Any) -> CaseEntry:
        """The case of a key; raises DataError where there is none."""
        found = self.index.cases.get(key) if isinstance(key, str) else None
        if found is None:
            raise DataError("case", "there is no such one")
        return found

    # What pages are told

    def overview(self) -> dict[str, Any]:
        """Sources, sites, flags, progress and notes."""
        index = self.index
        cases = list(index.cases.values())
        slices = Counter(entry.case.source.key for entry in list(index.slices.values()))
        return {
            "complete": index.complete.is_set(),
            "done": index.done,
            "total": index.total,
            "notes": list(index.notes),
            "sites": sorted({case.site for case in cases if case.site}),
            "channels": list(dict.fromkeys(name for case in cases for name in case.channels)),
            "flags": sorted({word for words in list(index.flags.values()) for word in words}),
            "sources": [
                {
                    "key": source.key,
                    "kind": source.kind,
                    "title": source.title,
                    "cases": sum(case.source is source for case in cases),
                    "slices": slices[source.key],
                    **self._facts(source),
                }
                for source in index.sources.values()
            ],
        }

    def _facts(self, source: Source) -> dict[str, Any]:
        if source.kind == "run":
            return {"model": str(source.manifest.get("model", "")), "status": str(source.manifest.get("status", ""))}
        if source.kind in REPORTS:
            return {"report": self._report_path(source) is not None}
        curation = self.index.curations.get(source.key)
        if curation is not None:
            return {verdict: len(curation.of(verdict)) for verdict in ("accept", "reject")}
        return {}

    def volumes(self) -> list[dict[str, Any]]:
        """The cases with several slices, which the viewer opens: scans before stores, the fullest slice of each."""
        cases = [case for case in list(self.index.cases.values()) if len(case.slices) > 1]
        cases.sort(key=lambda case: case.source.kind != "cohort")
        return [
            {
                "key": case.key,
                "id": case.id,
                "source": case.source.title,
                "channels": list(case.channels),
                "slices": len(case.slices),
                "mask": self.index.slices[case.slices[0]].load is not None,
                "fullest": self._fullest(case),
            }
            for case in cases
        ]

    def _fullest(self, case: CaseEntry) -> int:
        """The slice with the most lesion; the middle one where there is none."""
        loads = [self.index.slices[key].load or 0.0 for key in case.slices]
        return loads.index(max(loads)) if any(loads) else len(loads) // 2

    def brief(self, entry: SliceEntry) -> dict[str, Any]:
        """Contents of a tile of the gallery."""
        case, decision = entry.case, self.index.decision(entry)
        return {
            "key": entry.key,
            "case": case.id,
            "case_key": case.key,
            "z": entry.z,
            "slices": len(case.slices),
            "synthetic": case.synthetic,
            "site": case.site,
            "load": entry.load,
            "decision": decision.decision if decision else None,
            "judged": case.synthetic and not case.source.sealed,
            "flags": list(self.index.flags.get(entry.key, ())),
        }

    def detail(self, entry: SliceEntry) -> dict[str, Any]:
        """Facts of one slice."""
        case, decision = entry.case, self.index.decision(entry)
        images = self.index.images(case)
        height, width = images.plane(case.channels[0], entry.z).shape
        return {
            **self.brief(entry),
            "source": case.source.title,
            "patient": "" if case.synthetic else case.patient,
            "channels": list(case.channels),
            "neighbours": list(case.slices),
            "has_mask": images.mask_XYZ is not None,
            "size": [height, width],
            "pixel_mm": list(images.pixel_mm),
            "decided": decision.when if decision else None,
        }

    def picture(self, entry: SliceEntry, channel: str, side: int, marking: Marking) -> bytes:
        """A PNG of one channel of a slice; raises DataError where it cannot be drawn."""
        if channel not in entry.case.channels:
            channel = entry.case.channels[0]

        def make() -> bytes:
            images = self.index.images(entry.case)
            plane, mask = images.plane(channel, entry.z), images.mask_plane(entry.z)
            return draw_slice(plane, mask, images.windows[channel], images.pixel_mm, side, marking)

        return self._pictures.get((entry.key, channel, side, marking), make)

    def live(self, key: Any) -> LiveRun:
        """A run's sampler, loaded when it is first asked for."""
        source = self.source(key, "run")
        with self._live_lock:
            if source.key not in self._live:
                self._live[source.key] = LiveRun.open(source.path)
            return self._live[source.key]

    def report(self, key: Any) -> bytes:
        """The page of a study or an audit; raises DataError where there is none."""
        source = self.source(key, *REPORTS)
        path = self._report_path(source)
        if path is None:
            raise DataError(source.title, "has no report yet; labelgan report makes it")
        return path.read_bytes()

    def _report_path(self, source: Source) -> Path | None:
        path = source.path / REPORTS[source.kind]
        if not path.is_file() or not source.has(path) or path.stat().st_size > MOST_REPORT:
            return None
        return path
