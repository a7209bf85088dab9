"""Which cases an audit compares, and its refusals: training and held-out patients must be different people."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from labelgan.config.audit import AuditDataConfig
from labelgan.core.errors import ConfigError, DataError, LeakError
from labelgan.data.case import Cohort
from labelgan.data.check.leaks import KnownScan, find_meetings, require_no_leak
from labelgan.data.check.seen import SeenCases
from labelgan.data.store import SliceStore, StoredCase


@dataclass(frozen=True)
class AuditedCases:
    """The training cases, the held-out cases with their store, the size of a pixel in mm, and what to tell."""

    train_ids: tuple[str, ...]
    held_out_store: SliceStore
    held_out_ids: tuple[str, ...]
    pixel_mm: tuple[float, float]
    notes: list[str]


@dataclass(frozen=True)
class Instrument:
    """A trained network that an audit asks: its folder, the cases that it has seen, and what it answers."""

    path: Path
    seen: SeenCases
    ask: Callable[..., np.ndarray]

    def require_unseen(self, cases: AuditedCases, train: SliceStore, config: AuditDataConfig) -> None:
        """Raises LeakError when the network has seen a held-out case or patient."""
        held = tuple(case for case in cases.held_out_store.cases if case.id in set(cases.held_out_ids))
        seen = self.seen if config.one_cohort else _nameless(self.seen)
        known = cases.held_out_store.known(held)
        require_no_leak(self.path, seen, known, (*train.known(train.cases), *known))


def audited_cases(
    samples: Cohort, train: SliceStore, held_out: SliceStore | Collection[str], config: AuditDataConfig
) -> AuditedCases:
    """Finds and checks the cases.

    Raises:
        LeakError: training and held-out cases share a patient or voxels, or the generator has seen a held-out case.
        ConfigError: an id is not in the store, or nobody is left on a side.
        DataError: the stores differ in channels, size or spacing.
    """
    if isinstance(held_out, SliceStore):
        require_same_grid(train, held_out)
        held_store, held, learned = held_out, held_out.cases, train.cases
    else:
        if not held_out:
            raise ConfigError("--held-out", "name a store of held-out patients, or some of the training store's")
        learned = train.kept_cases(held_out)
        names = {case.id for case in learned}
        held_store, held = train, tuple(case for case in train.cases if case.id not in names)
        if not learned:
            raise ConfigError("--exclude", f"leaves no training patient in {train.path}")
    known = train.known(learned), held_store.known(held)
    require_apart(*known, held_store.path, one_cohort=config.one_cohort)
    seen = samples.manifest.seen
    if seen is not None:
        named = seen if config.one_cohort else _nameless(seen)
        require_no_leak(samples.root, named, known[1], (*known[0], *known[1]))
    pixels = np.median([case.pixel_mm for case in learned], axis=0)
    note = unseen_note(seen, learned)
    return AuditedCases(
        tuple(case.id for case in learned if case.labelled),
        held_store,
        tuple(case.id for case in held if case.labelled),
        (float(pixels[0]), float(pixels[1])),
        [note] if note else [],
    )


def require_same_grid(train: SliceStore, held_out: SliceStore) -> None:
    """Raises DataError unless two stores have the same channels, size and spacing."""
    facts = (
        ("channels", train.channels, held_out.channels),
        ("slices of size", train.size, held_out.size),
        ("spacing_mm", train.config.spacing_mm, held_out.config.spacing_mm),
    )
    for what, ours, theirs in facts:
        if ours != theirs:
            raise DataError(held_out.path, f"has {what} {theirs}, the training store {ours}; prepare both alike")


def require_apart(
    train: Sequence[KnownScan], held_out: Sequence[KnownScan], held_out_path: Path, *, one_cohort: bool
) -> None:
    """Raises LeakError when a held-out case is a training case, in another form too, or of a training patient.

    Patients are compared by name where both sides are of one cohort.
    """
    for meeting in find_meetings(held_out, train)[:1]:
        raise LeakError(
            held_out_path,
            f"case {held_out[meeting.first].id} is the training case {train[meeting.second].id}: {meeting.words}",
        )
    patients = {case.patient for case in train}
    for case in held_out:
        if one_cohort and case.patient in patients:
            raise LeakError(
                held_out_path,
                f"patient {case.patient} is among the training patients too; "
                "where that is another person of the same name, say so: --set data.one_cohort=false",
            )


def unseen_note(seen: SeenCases | None, train: Collection[StoredCase]) -> str | None:
    """Says how many of the cases that a generator has seen are not in the training store, if any."""
    if seen is None:
        return (
            "The samples' manifest does not tell what their generator has seen: "
            "copies are looked for among the training slices given here alone."
        )
    known = {value for case in train for value in case.hashes.values()}
    entries = (*seen.own, *seen.inherited)
    missing = [entry for entry in entries if known.isdisjoint(entry.hashes.values())]
    if not missing:
        return None
    return (
        f"{len(missing)} of the {len(entries)} cases that the generator has seen are not among the training slices "
        "given here: copies of them are not looked for."
    )


def _nameless(seen: SeenCases) -> SeenCases:
    nameless = {"id": "", "patient": ""}
    return SeenCases(*(tuple(e.model_copy(update=nameless) for e in part) for part in (seen.own, seen.inherited)))
