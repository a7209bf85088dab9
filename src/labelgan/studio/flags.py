"""Faults that audits found in single samples: read from audits that lie beside them, or judged on demand."""

from __future__ import annotations

import threading
from typing import Any

from labelgan.core.errors import DataError, LabelganError
from labelgan.core.files import read_json
from labelgan.studio.index import Index
from labelgan.studio.sources import Source

AUDITED_COPY = "copy (audit)"


def flags_of_audits(index: Index) -> dict[str, list[str]]:
    """Slice key to flags, from every audit.json whose samples are here, told by the cohort's name and size."""
    flags: dict[str, list[str]] = {}
    for audit in (source for source in index.sources.values() if source.kind == "audit"):
        try:
            content = read_json(audit.path / "audit.json")
        except DataError:
            continue
        for source in _audited(content, index):
            by_id = {case.id: case for case in list(index.cases.values()) if case.source is source}
            for name in _copies(content):
                if name in by_id and by_id[name].slices:
                    flags.setdefault(by_id[name].slices[0], []).append(AUDITED_COPY)
    return flags


def _audited(content: Any, index: Index) -> list[Source]:
    samples = content.get("samples") if isinstance(content, dict) else None
    if not isinstance(samples, dict):
        return []
    return [
        source
        for source in index.sources.values()
        if source.kind == "synthetic"
        and source.path.resolve().name == samples.get("name")
        and len(source.manifest.get("samples") or []) == samples.get("slices")
    ]


def _copies(content: dict[str, Any]) -> list[str]:
    try:
        (found,) = [entry for entry in content["findings"] if entry["name"] == "copies.share"]
        return [str(name) for name in found["extra"]["copies"]]
    except (KeyError, TypeError, ValueError):
        return []


class Judge:
    """Judges the samples of a cohort one by one, as ``labelgan sample --audited`` does, in the background.

    The limits are fitted on the generator's training patients alone, who must be in a slice store beside the samples.
    """

    def __init__(self, index: Index) -> None:
        self.index = index
        self.state: dict[str, dict[str, Any]] = {}
        self._lock = threading.Lock()

    def start(self, source: Source) -> dict[str, Any]:
        """Begins, or tells how far it is: ``{"state": "working" | "done" | "failed", ...}``."""
        with self._lock:
            state = self.state.get(source.key)
            if state is None or state["state"] == "failed":
                state = self.state[source.key] = {"state": "working", "text": "reading"}
                threading.Thread(target=self._work, args=(source, state), name="studio judge", daemon=True).start()
            return dict(state)

    def _work(self, source: Source, state: dict[str, Any]) -> None:
        try:
            flags = self.judge(source, state)
        except (LabelganError, OSError, ValueError) as error:
            state.update(state="failed", text=" ".join(str(error).split()))
            return
        self.index.flag(flags)
        state.update(state="done", text="", flagged=len(flags))

    def judge(self, source: Source, state: dict[str, Any] | None = None) -> dict[str, list[str]]:
        """Slice key to reasons, of the samples that an audit would leave out.

        Raises:
            DataError: no store has the training cases of the samples' generator.
        """
        from labelgan.audit.filters import SampleFilter
        from labelgan.audit.slices import AuditSlices
        from labelgan.data.layouts.detect import read_cohort
        from labelgan.data.store import SliceStore

        def tell(done: int, total: int, what: str) -> None:
            if state is not None:
                state["text"] = f"{what}: {done} of {total}"

        cohort = read_cohort(source.path)
        seen = cohort.manifest.seen
        wanted = {} if seen is None else {case.id: case.hashes for case in seen.own}
        stores = [SliceStore.open(other.path) for other in self.index.sources.values() if other.kind == "store"]
        for store in stores:
            hashes = {case.id: case.hashes for case in store.cases}
            if wanted and all(hashes.get(name) == value for name, value in wanted.items()):
                break
        else:
            raise DataError(source.title, "no slice store here holds its generator's training cases; name it too")
        fitted = SampleFilter.fit(AuditSlices.from_store(store, keep=list(wanted)), report=tell)
        samples = AuditSlices.from_cohort(
            cohort, store, progress=lambda done, total, _: tell(done, total, "samples read")
        )
        reasons = fitted.judge(samples, report=tell).reasons.tolist()
        keys = {case.id: case.slices for case in list(self.index.cases.values()) if case.source is source}
        return {
            keys[name][0]: [reason]
            for name, reason in zip(samples.cases.tolist(), reasons, strict=True)
            if reason and name in keys
        }
