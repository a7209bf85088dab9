"""Who met whom: refusals where a held-out case, or another form of it, is among the cases that something has seen."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from labelgan.core.errors import LeakError
from labelgan.data.check.fingerprint import REFUSE_AT, WARN_AT, Prints, alike_between, alike_pairs, fingerprints
from labelgan.data.check.seen import SeenCases
from labelgan.data.reading.read import voxel_hash
from labelgan.data.volume import LESION, Volume

LEAST_MASK = 10  # lesion voxels from which a mask is known by its hash: two people may share a single voxel
NOT_ONE_PERSON = "where they are two people, --set fingerprints=false"
_TRAIN_WITHOUT = "sample a generator that was trained with --exclude"


class Known(Protocol):
    """A case by what it is known by: of a store, of a cohort on disk, or of a manifest. See `KnownScan`."""

    @property
    def id(self) -> str: ...
    @property
    def patient(self) -> str: ...
    @property
    def hashes(self) -> Mapping[str, str]: ...
    @property
    def mask_hash(self) -> str | None: ...
    @property
    def prints(self) -> Prints: ...


@dataclass(frozen=True, eq=False)
class KnownScan:
    """A case by what it is known by.

    Attributes:
        id: of the case.
        patient: who was scanned.
        hashes: channel to hash of its voxels.
        mask_hash: of its mask's voxels; None where there is no mask, or too little lesion in it.
        prints: channel to fingerprints; none where they are not known.
    """

    id: str
    patient: str
    hashes: Mapping[str, str]
    mask_hash: str | None = None
    prints: Prints = field(default_factory=dict)

    @classmethod
    def of(
        cls, id: str, patient: str, volumes: Mapping[str, Volume], mask: Volume | None, *, prints: bool = True
    ) -> KnownScan:
        """Makes hashes, and fingerprints where they are asked for, of a case's images and its mask."""
        hashes = {name: voxel_hash(volume) for name, volume in volumes.items()}
        return cls(id, patient, hashes, hash_of_mask(mask), fingerprints(volumes) if prints else {})


def hash_of_mask(mask: Volume | None) -> str | None:
    """Hash of a mask's voxels; None where it has fewer than `LEAST_MASK` of lesion."""
    if mask is None or (mask.data == LESION).sum() < LEAST_MASK:
        return None
    return voxel_hash(mask)


@dataclass(frozen=True)
class Meeting:
    """Two cases that are one scan, by their places in what was compared, and in words how that is known."""

    first: int
    second: int
    words: str


def find_meetings(ours: Sequence[Known], theirs: Sequence[Known]) -> list[Meeting]:
    """Finds pairs of one of ours and one of theirs that are one scan: by voxels, by mask, then by fingerprint."""
    owners = {value: number for number, case in enumerate(ours) for value in case.hashes.values()}
    masks = {case.mask_hash: number for number, case in enumerate(ours) if case.mask_hash is not None}
    found = {}
    for number, case in enumerate(theirs):
        name = case.id or "a case without a name"
        for value in case.hashes.values():
            if value in owners:
                found.setdefault((owners[value], number), f"the same voxels as {name}")
        if case.mask_hash in masks:
            found.setdefault((masks[case.mask_hash], number), f"the same mask as {name}")
    for pair in alike_between([case.prints for case in ours], [case.prints for case in theirs]):
        name = theirs[pair.second].id or "a case without a name"
        found.setdefault((pair.first, pair.second), alike_words(pair.channel, pair.share, name))
    return [Meeting(first, second, words) for (first, second), words in found.items()]


def alike_words(channel: str, share: float, name: str) -> str:
    """Says how far a case's fingerprint agrees with that of another."""
    return (
        f"{share:.0%} of the bits of its fingerprint ({channel}) are those of {name}; other people's agree in less "
        f"than {WARN_AT:.0%}"
    )


@dataclass(frozen=True)
class Twins:
    """Two cases of two patients that look like one scan; ``certain`` where the voxels or masks are the same."""

    first: int
    second: int
    words: str
    share: float
    certain: bool = False

    @property
    def refused(self) -> bool:
        """Whether they must not stand on both sides of a fold."""
        return self.certain or self.share >= REFUSE_AT


def find_twins(cases: Sequence[Known]) -> list[Twins]:
    """Finds pairs of cases of two patients that have one mask, or fingerprints that agree in `WARN_AT` or more.

    Those with the same voxels are left to who compares hashes; ``words`` speak of the second, naming the first.
    """
    masks: dict[str, int] = {}
    found: dict[tuple[int, int], Twins] = {}
    for number, case in enumerate(cases):
        if case.mask_hash is None:
            continue
        first = masks.setdefault(case.mask_hash, number)
        if cases[first].patient != case.patient and not _same_voxels(cases[first], case):
            found[first, number] = Twins(first, number, f"the mask is that of {cases[first].id}", 1.0, certain=True)
    for pair in alike_pairs([case.prints for case in cases], [case.patient for case in cases]):
        words = alike_words(pair.channel, pair.share, cases[pair.first].id)
        if not _same_voxels(cases[pair.first], cases[pair.second]):
            found.setdefault((pair.first, pair.second), Twins(pair.first, pair.second, words, pair.share))
    return [found[key] for key in sorted(found)]


def _same_voxels(case: Known, other: Known) -> bool:
    return not set(case.hashes.values()).isdisjoint(other.hashes.values())


def twin_warning(cases: Sequence[Known], twins: Twins) -> str:
    """Gives a line about two of the cases, of patients whose scans look like one scan."""
    first, second = cases[twins.first], cases[twins.second]
    fate = "no fold may part them" if twins.refused else "look at both"
    return (
        f"patients {first.patient} and {second.patient} may be one person: of case {second.id}, {twins.words}; "
        f"{fate}: leave one out (--exclude), give both one id, or, {NOT_ONE_PERSON}"
    )


def twin_warnings(cases: Sequence[Known]) -> list[str]:
    """Gives a line for each pair of patients whose scans look like one scan."""
    return [twin_warning(cases, twins) for twins in find_twins(cases)]


def require_no_leak(root: Path, seen: SeenCases | None, held_out: Iterable[Known], cohort: Iterable[Known]) -> None:
    """Raises LeakError when a generator has seen a held-out case or patient, by voxels, mask, fingerprint or name.

    A name says who a patient is inside one cohort alone. The cases of a generator that this one was tuned from are
    compared by name only where they share voxels with ``cohort``: the phantoms of a shipped generator have names too.

    Args:
        root: the synthetic cohort, for the message.
        seen: what its generator has seen; None where that is not known.
        held_out: the cases that must not be among them.
        cohort: all cases of the store or cohort.
    """
    held_out = tuple(held_out)
    if not held_out:
        return
    if seen is None:
        raise LeakError(
            root,
            "its manifest does not tell which cases its generator has seen, so it cannot be used with cases held out; "
            "sample it again with `labelgan sample`",
        )
    for meeting in find_meetings(held_out, (*seen.own, *seen.inherited))[:1]:
        held = held_out[meeting.first]
        raise LeakError(root, f"was made from the held-out case {held.id} ({meeting.words}); {_TRAIN_WITHOUT}")
    known = {value for case in cohort for value in case.hashes.values()}
    related = any(value in known for entry in seen.inherited for value in entry.hashes.values())
    names = {name: case for case in held_out for name in (case.id, case.patient)}
    for entry in (*seen.own, *(seen.inherited if related else ())):
        for name in (entry.id, entry.patient):
            if name in names:
                held = names[name]
                raise LeakError(
                    root, f"was made from the held-out patient {held.patient} (case {held.id}); {_TRAIN_WITHOUT}"
                )
