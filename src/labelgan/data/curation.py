"""Samples of a synthetic cohort: their hashes, and who was accepted and rejected, which every training honours.

A decision names what was judged by its SHA-256. Where the sample has changed since, the decision is about something
else: that is told, and nothing is guessed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, get_args

from labelgan.core.errors import DataError
from labelgan.core.files import SAFE_ID, bids_label, read_json, sha256_file, write_json_atomic
from labelgan.data.case import Case
from labelgan.data.check.seen import sealed_cohort
from labelgan.data.layouts.detect import read_cohort
from labelgan.data.manifests import MANIFEST, CohortManifest

CURATION = "curation.json"
BLIND_TESTS = "blind_tests.json"
BESIDE_SAMPLES = frozenset({CURATION, BLIND_TESTS})
"""Files that people write beside samples: they do not change what the samples are."""

FORMAT_VERSION = 1

Verdict = Literal["accept", "reject"]


@dataclass(frozen=True)
class Decision:
    """Somebody's judgement of one sample.

    Attributes:
        decision: accept or reject.
        when: date and time, UTC, ISO 8601.
        sha256: of the sample's files as they were then; see `sample_hash`.
    """

    decision: Verdict
    when: str
    sha256: str


@dataclass(frozen=True)
class Curation:
    """The decisions on a cohort's samples, by id; samples without one stay in."""

    decisions: Mapping[str, Decision] = field(default_factory=lambda: MappingProxyType({}))

    def of(self, verdict: Verdict) -> tuple[str, ...]:
        """Ids that were given this verdict, in order."""
        return tuple(sorted(name for name, entry in self.decisions.items() if entry.decision == verdict))

    def with_decision(self, case: Case, verdict: Verdict | None, when: datetime | None = None) -> Curation:
        """The same with one sample judged, or its decision taken back where ``verdict`` is None."""
        decisions = dict(self.decisions)
        decisions.pop(case.id, None)
        if verdict is not None:
            moment = (when or datetime.now(UTC)).astimezone(UTC).isoformat(timespec="seconds")
            decisions[case.id] = Decision(verdict, moment, sample_hash(case))
        return Curation(MappingProxyType(decisions))

    def digest(self) -> str | None:
        """Identifies what is left out, or None where nothing is: when it was decided does not matter."""
        rejected = [(name, self.decisions[name].sha256) for name in self.of("reject")]
        return hashlib.sha256(json.dumps(rejected).encode()).hexdigest() if rejected else None

    def keep(self, root: Path, cases: Sequence[Case]) -> tuple[Case, ...]:
        """The cases that are not rejected.

        Raises:
            DataError: a sample has changed since it was rejected, a rejected one is not there, or none is left.
        """
        by_id = {case.id: case for case in cases}
        for name in self.of("reject"):
            if name not in by_id:
                raise DataError(root / CURATION, f"rejects {name}, which is not in the cohort; take the entry out")
            if sample_hash(by_id[name]) != self.decisions[name].sha256:
                raise DataError(
                    root / CURATION,
                    f"sample {name} has changed since it was rejected; judge it again in studio, or take the entry out",
                )
        rejected = set(self.of("reject"))
        kept = tuple(case for case in cases if case.id not in rejected)
        if not kept:
            raise DataError(root / CURATION, "rejects every sample; nothing is left to train on")
        return kept

    def facts(self, cases: Sequence[Case]) -> dict[str, Any]:
        """Gives a manifest's entry: how many of the cases were left out and how many stayed in, and which."""
        rejected = len(self.of("reject"))
        return {"rejected": rejected, "kept": len(cases) - rejected, "rejected_sha256": self.digest()}


def sample_hash(case: Case) -> str:
    """Hex SHA-256 of a sample's images, channel by channel, and its mask.

    Raises:
        DataError: a file cannot be read.
    """
    digest = hashlib.sha256()
    named = [*sorted(case.images.items()), *([] if case.mask is None else [("mask", case.mask)])]
    for name, ref in named:
        try:
            digest.update(f"{name}\0{ref.component}\0{sha256_file(ref.path)}\n".encode())
        except OSError as error:
            raise DataError(ref.path, f"cannot be read: {error.strerror}") from None
    return digest.hexdigest()


def seal_samples(root: Path, manifest: Mapping[str, Any]) -> None:
    """Writes the manifest of a synthetic cohort whose slices are there, with the hash of each one's files, sealed.

    Of formats that no layout reads back there are no hashes.

    Raises:
        DataError: a slice is not listed, or cannot be read.
    """
    samples = [{key: value for key, value in entry.items() if key != "sha256"} for entry in manifest["samples"]]
    write_json_atomic(root / MANIFEST, sealed_cohort({**manifest, "samples": samples}))
    if manifest["layout"] is None:
        return
    hashes = {bids_label(case.id): sample_hash(case) for case in read_cohort(root).cases}
    samples = [{**entry, "sha256": hashes[bids_label(entry["id"])]} for entry in samples]
    write_json_atomic(root / MANIFEST, sealed_cohort({**manifest, "samples": samples}))


def require_as_written(cohort: Path, manifest: CohortManifest, case: Case) -> None:
    """Raises DataError where a listed sample's files are not those whose hash stands in its cohort's manifest."""
    listed = manifest.sample_hashes.get(bids_label(case.id))
    if listed is not None and sample_hash(case) != listed:
        raise DataError(case.id, f"its files in {cohort} are not those that `labelgan sample` wrote")


def read_curation(root: Path) -> Curation:
    """Reads a cohort's decisions; empty where there are none.

    Raises:
        DataError: the file is damaged: nothing of it is trusted then.
    """
    path = root / CURATION
    if not path.exists():
        return Curation()
    content = read_json(path)
    entries = content.get("samples") if isinstance(content, dict) and content.get("kind") == "curation" else None
    if not isinstance(entries, dict):
        raise DataError(path, "is not a curation file")
    if content.get("format") != FORMAT_VERSION:
        raise DataError(path, f"has format {content.get('format')!r}; this version reads {FORMAT_VERSION}")
    decisions = {}
    for name, entry in entries.items():
        sound = isinstance(entry, dict) and all(isinstance(entry.get(key), str) for key in ("when", "sha256"))
        if not SAFE_ID.fullmatch(name) or not sound or entry.get("decision") not in get_args(Verdict):
            raise DataError(path, f"its entry {name[:64]!r} is damaged")
        decisions[name] = Decision(entry["decision"], entry["when"], entry["sha256"])
    return Curation(MappingProxyType(decisions))


def write_curation(root: Path, curation: Curation) -> None:
    """Writes the decisions beside the samples, atomically."""
    samples = {
        name: {"decision": entry.decision, "when": entry.when, "sha256": entry.sha256}
        for name, entry in sorted(curation.decisions.items())
    }
    write_json_atomic(root / CURATION, {"format": FORMAT_VERSION, "kind": "curation", "samples": samples})
