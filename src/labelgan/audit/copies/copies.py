"""Copies of patients: samples that lie closer to a training slice than another patient's slices would.

The distance at which a sample counts as a copy is measured on patients that the generator has not seen. Passing is
evidence, not proof, of privacy: a copy changed in another way than is searched for here stays unseen.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Self

import numpy as np

from labelgan.audit.copies.nearest import find_nearest, nearest_features
from labelgan.audit.copies.patterns import patterns_of
from labelgan.core.progress import Report

Space = Literal["whole", "parts", "encoder"]
"""Space of a comparison: the whole pattern, its likest patches, or an encoder's features."""


@dataclass(frozen=True, eq=False)
class Comparable:
    """Slices as copies are looked for among them.

    Attributes:
        patterns_NCHW: (N, C, h, w), of `audit.patterns.patterns_of`.
        patients: (N,) str; None for samples.
        features_ND: (N, D) of an encoder, or None.
        flipped_ND: (N, D) of the same slices turned left to right, or None; of use for samples and held-out slices.
    """

    patterns_NCHW: np.ndarray
    patients: np.ndarray | None = None
    features_ND: np.ndarray | None = None
    flipped_ND: np.ndarray | None = None

    @classmethod
    def of(
        cls,
        images_NCHW: np.ndarray,
        patients: np.ndarray | None = None,
        features_ND: np.ndarray | None = None,
        flipped_ND: np.ndarray | None = None,
    ) -> Self:
        """Takes (N, C, H, W) images of any scale; raises ValueError where one is not finite."""
        return cls(patterns_of(images_NCHW), patients, features_ND, flipped_ND)

    def __len__(self) -> int:
        return len(self.patterns_NCHW)

    def select(self, rows: np.ndarray) -> Self:
        """The slices of some rows, an index or bool array."""
        parts = (self.patterns_NCHW, self.patients, self.features_ND, self.flipped_ND)
        patterns, *others = (None if part is None else part[rows] for part in parts)
        assert patterns is not None
        return type(self)(patterns, *others)


@dataclass(frozen=True, eq=False)
class Neighbours:
    """The nearest training slice of every one of N slices, in each space.

    Attributes:
        rows: space to (N,) rows of the training slices.
        distances: space to (N,), 1 - correlation for patterns, Euclidean for features; inf where nobody is to compare.
        flip: (N,) bool, whether the nearest whole pattern was turned left to right.
        shift: (N, 2) rows and columns by which it was then moved, working pixels.
    """

    rows: Mapping[Space, np.ndarray]
    distances: Mapping[Space, np.ndarray]
    flip: np.ndarray
    shift: np.ndarray


def neighbours(
    slices: Comparable, train: Comparable, *, apart: bool = False, title: str = "", report: Report | None = None
) -> Neighbours:
    """Finds the nearest training slice of every slice in each space.

    Args:
        slices: whose neighbours.
        train: among whom.
        apart: do not compare a patient with itself; both must then have patients.
        title: of the work, for the report.
        report: called with (slices done, slices, title).
    """
    assert not apart or (slices.patients is not None and train.patients is not None)
    groups = (slices.patients, train.patients) if apart else (None, None)
    found = find_nearest(slices.patterns_NCHW, train.patterns_NCHW, *groups, title=title, report=report)
    rows: dict[Space, np.ndarray] = {"whole": found.row, "parts": found.part_row}
    distances: dict[Space, np.ndarray] = {"whole": found.distance, "parts": found.part_distance}
    if slices.features_ND is not None and train.features_ND is not None:
        row, distance = nearest_features(slices.features_ND, train.features_ND, *groups)
        if slices.flipped_ND is not None:
            turned_row, turned = nearest_features(slices.flipped_ND, train.features_ND, *groups)
            row, distance = np.where(turned < distance, turned_row, row), np.minimum(turned, distance)
        rows["encoder"], distances["encoder"] = row, distance
    return Neighbours(rows, distances, found.flip, found.shift)


FALSE_RATE = 0.01
"""Share of an unseen patient's slices that may be called copies."""

CERTAIN = 0.5
"""A sample at less than this part of the limit is all but the training slice itself."""

PRIVACY_NOTE = (
    "Passing is evidence, not proof, of privacy: only copies of whole slices or of large parts of them, moved, turned, "
    "brightened or made noisy, are looked for."
)

FLOOR = 0.5
"""A limit is never below this part of the one that the training patients set among themselves."""

FLOOR_SLICES = 500
"""Most training slices that the floor is read from, evenly spread over them."""

_TAIL = 0.1  # share of the reference distances whose fall towards zero the limit is read from


@dataclass(frozen=True)
class Limit:
    """Closeness of slices of patients that were not seen, in one space.

    Attributes:
        limit: a sample closer than this counts as a copy; that of the held-out slices, or the floor where that is more.
        closest: the least distance of the held-out slices.
        slices: how many there were.
        floor: `FLOOR` times the limit of training slices against those of other training patients; 0 where there is
            one training patient alone.
    """

    limit: float
    closest: float
    slices: int
    floor: float = 0.0

    def held_up(self, floor: float) -> Limit:
        """The limit that is no lower than a floor."""
        return dataclasses.replace(self, limit=max(self.limit, floor), floor=floor)


def limits_of(reference: Neighbours, false_rate: float = FALSE_RATE) -> dict[Space, Limit]:
    """Sets the limit of each space so that at most ``false_rate`` of such slices lie below any of them.

    The rate is shared equally among the spaces. The quantile may lie below every reference slice: it is found by
    Weissman's estimator (JASA 73, 1978) on the lower tail, with the tail's index from the median of the
    log-spacings in place of Hill's mean, so that a few slices of a patient who is in both sets do not decide, and
    greater by its standard error, so that few slices set a lower limit, not one that is as often too high.

    Args:
        reference: neighbours of slices of patients who are not among the training slices, or each apart from its own
            patient.
        false_rate: share of them that may be called copies.
    """
    limits: dict[Space, Limit] = {}
    for space, distances in reference.distances.items():
        known = np.sort(distances[np.isfinite(distances)])
        if not len(known):
            continue
        tail = min(len(known), max(10, round(_TAIL * len(known))))
        edge = known[tail - 1]
        spacings = np.log(edge / np.maximum(known[:tail], 1e-6 * edge)) if edge > 0 else np.zeros(tail)
        spread = float(np.median(spacings)) / np.log(2) * (1 + 1 / (np.log(2) * tail**0.5))  # 1 / tail index
        share = false_rate / len(reference.distances) * len(known) / tail
        limits[space] = Limit(float(edge * min(share, 1.0) ** spread), float(known[0]), len(known))
    return limits


def with_floors(limits: Mapping[Space, Limit], train: Comparable, report: Report | None = None) -> dict[Space, Limit]:
    """Holds limits up by what training patients differ by among themselves.

    A held-out patient who is a training patient, if brightened by a tenth, has distances of about 0 to itself. Where
    few patients are held out, these would set the limit, and no copy would lie below it.
    """
    assert train.patients is not None
    rows = np.unique(np.linspace(0, len(train) - 1, min(len(train), FLOOR_SLICES)).round().astype(int))
    among = neighbours(train.select(rows), train, apart=True, title="training slices", report=report)
    floors = limits_of(among)
    return {
        space: limit.held_up(FLOOR * floors[space].limit if space in floors else 0.0) for space, limit in limits.items()
    }


@dataclass(frozen=True)
class Pair:
    """A sample and the training slice that it is closest to.

    Attributes:
        sample: row of the sample.
        train: row of the training slice.
        patient: its patient.
        space: in which the two are closest, measured by the limit.
        distance: there.
        closeness: distance over limit; below 1 a copy.
        flip: whether the training slice was turned left to right; None where its whole pattern is not the nearest.
        shift: rows and columns by which it was then moved, working pixels; None likewise.
    """

    sample: int
    train: int
    patient: str
    space: Space
    distance: float
    closeness: float
    flip: bool | None
    shift: tuple[int, int] | None


@dataclass(frozen=True)
class PatientCopies:
    """Copies of one training patient among the samples.

    Attributes:
        patient: id.
        slices: training slices.
        copies: samples that count as copies of one of them.
        closer_than_any: of these copies, those closer than any held-out slice is to any training slice. Where few
            slices are held out, samples may be closer than all of these by chance: only copies count.
    """

    patient: str
    slices: int
    copies: int
    closer_than_any: int

    def __str__(self) -> str:
        if self.closer_than_any:
            noun = "sample" if self.closer_than_any == 1 else "samples"
            return f"patient {self.patient}: {self.closer_than_any} {noun} closer than any held-out patient would be"
        counts = "sample counts as a copy" if self.copies == 1 else "samples count as copies"
        return f"patient {self.patient}: {self.copies} {counts}, none closer than a held-out patient came"


@dataclass(frozen=True, eq=False)
class CopyAudit:
    """Copies found among N samples.

    Attributes:
        closeness: (N,) least of the spaces' distance over limit; below 1 the sample is a copy.
        space: (N,) str, the space of that least.
        row: (N,) training row there.
        closer_than_any: (N,) bool, in some space closer than any held-out slice.
        limits: by space.
        held_out_closeness: (M,) the same of the held-out slices, M of them.
        held_out_patients: how many there are.
        held_out_patient_share: share of the held-out patients with a slice that counts as a copy.
        patients: the training patients with copies, most first.
        pairs: the closest pairs, closest first.
        authenticity: share of the samples that are no nearer to their nearest training slice than any other patient
            is (Alaa et al., ICML 2022, with patients in place of points); None where there is one patient alone.
        held_out_authenticity: the same of the held-out slices.
    """

    closeness: np.ndarray
    space: np.ndarray
    row: np.ndarray
    closer_than_any: np.ndarray
    limits: Mapping[Space, Limit]
    held_out_closeness: np.ndarray
    held_out_patients: int
    held_out_patient_share: float
    patients: tuple[PatientCopies, ...]
    pairs: tuple[Pair, ...]
    authenticity: float | None
    held_out_authenticity: float | None

    @property
    def copies(self) -> np.ndarray:
        """(N,) bool, the samples that count as copies."""
        return self.closeness < 1

    @property
    def share(self) -> float:
        """Share of the samples that count as copies; of independent patients' slices about `FALSE_RATE` would."""
        return float(self.copies.mean())

    @property
    def certain_share(self) -> float:
        """Share of the samples that are all but a training slice."""
        return float((self.closeness < CERTAIN).mean())

    @property
    def held_out_share(self) -> float:
        """Share of the held-out slices that count as copies: the limits were set on them."""
        return float((self.held_out_closeness < 1).mean())

    @property
    def shared_patients(self) -> bool:
        """Whether a held-out slice is all but a training slice: the two sets may have a patient in common."""
        return bool((self.held_out_closeness < CERTAIN).any())


def audit_copies(
    samples: Comparable, train: Comparable, held_out: Comparable, *, pairs: int = 10, report: Report | None = None
) -> CopyAudit:
    """Looks for training slices among samples.

    Args:
        samples: the samples.
        train: what their generator was trained on, with patients.
        held_out: slices of patients that it has not seen, with patients; the limits are set on them.
        pairs: how many of the closest pairs to name, each sample in at most one.
        report: called with (slices done, slices, title).
    """
    assert train.patients is not None
    assert held_out.patients is not None
    reference = neighbours(held_out, train, title="held-out slices", report=report)
    limits = with_floors(limits_of(reference), train, report)
    found = neighbours(samples, train, title="samples", report=report)
    near, reference_near = closeness_of(found, limits), closeness_of(reference, limits)
    below = [found.distances[space] < limit.closest for space, limit in limits.items()]
    closer_than_any = np.any(below, axis=0) if below else np.zeros(len(samples), bool)
    flagged = reference_near.closeness < 1
    authentic = _authenticity([found, reference], train, report)
    return CopyAudit(
        closeness=near.closeness,
        space=near.space,
        row=near.row,
        closer_than_any=closer_than_any,
        limits=limits,
        held_out_closeness=reference_near.closeness,
        held_out_patients=len(set(held_out.patients)),
        held_out_patient_share=len(set(held_out.patients[flagged])) / len(set(held_out.patients)),
        patients=_by_patient(near, closer_than_any, train.patients),
        pairs=_closest(near, found, train.patients, pairs),
        authenticity=authentic[0],
        held_out_authenticity=authentic[1],
    )


@dataclass(frozen=True, eq=False)
class Closeness:
    """(N,) least distance over limit among the spaces, the space where it is, and the training row there."""

    closeness: np.ndarray
    space: np.ndarray
    row: np.ndarray


def closeness_of(found: Neighbours, limits: Mapping[Space, Limit]) -> Closeness:
    """Measures distances by the limits of their spaces. A limit of 0 makes nothing a copy but the slice itself."""
    spaces = list(limits)
    if not spaces:
        count = len(found.flip)
        return Closeness(np.full(count, np.inf), np.full(count, "whole"), np.full(count, -1))
    with np.errstate(divide="ignore"):
        relative = np.stack([found.distances[s] / np.maximum(limits[s].limit, 1e-12) for s in spaces])
    best = relative.argmin(0)
    every = np.arange(len(best))
    rows = np.stack([found.rows[space] for space in spaces])
    return Closeness(relative[best, every], np.array(spaces)[best], rows[best, every])


def _by_patient(near: Closeness, closer_than_any: np.ndarray, patients: np.ndarray) -> tuple[PatientCopies, ...]:
    found = []
    nearest = patients[near.row]
    for patient in sorted(set(patients)):
        mine = nearest == patient
        copied = mine & (near.closeness < 1)
        copies, closer = int(copied.sum()), int((copied & closer_than_any).sum())
        if copies:
            found.append(PatientCopies(str(patient), int((patients == patient).sum()), copies, closer))
    return tuple(sorted(found, key=lambda entry: (-entry.copies, -entry.closer_than_any, entry.patient)))


def _closest(near: Closeness, found: Neighbours, patients: np.ndarray, most: int) -> tuple[Pair, ...]:
    pairs = []
    for number in np.argsort(near.closeness, kind="stable")[:most]:
        if (row := int(near.row[number])) < 0:
            continue
        space = near.space[number].item()
        aligned = row == found.rows["whole"][number]
        pairs.append(
            Pair(
                sample=int(number),
                train=row,
                patient=str(patients[row]),
                space=space,
                distance=float(found.distances[space][number]),
                closeness=float(near.closeness[number]),
                flip=bool(found.flip[number]) if aligned else None,
                shift=(int(found.shift[number, 0]), int(found.shift[number, 1])) if aligned else None,
            )
        )
    return tuple(pairs)


def _authenticity(found: list[Neighbours], train: Comparable, report: Report | None) -> list[float | None]:
    """Share of slices no nearer to their nearest training slice than the latter is to any other patient."""
    hit = np.unique(np.concatenate([entry.rows["whole"] for entry in found]))
    assert train.patients is not None
    patterns = train.patterns_NCHW
    groups = train.patients[hit], train.patients
    own = np.full(len(train), np.inf)
    own[hit] = find_nearest(
        patterns[hit], patterns, *groups, title="training slices", report=report, whole_only=True
    ).distance
    if not np.isfinite(own[hit]).all():
        return [None] * len(found)
    return [float((entry.distances["whole"] >= own[entry.rows["whole"]]).mean()) for entry in found]
