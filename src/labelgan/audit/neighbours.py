"""The nearest training slice of every slice in each of the spaces where copies are looked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, Self

import numpy as np

from labelgan.audit.copies.nearest import find_nearest, nearest_features
from labelgan.audit.copies.patterns import patterns_of

Space = Literal["whole", "parts", "encoder"]
"""Where slices are compared: by the whole pattern, by its likest patches, by an encoder's features."""

Report = Callable[[str, int, int], None]


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
        report: called as (title, slices done, slices).
    """
    assert not apart or (slices.patients is not None and train.patients is not None)
    groups = (slices.patients, train.patients) if apart else (None, None)
    progress = None if report is None else lambda done, total: report(title, done, total)
    found = find_nearest(slices.patterns_NCHW, train.patterns_NCHW, *groups, report=progress)
    rows: dict[Space, np.ndarray] = {"whole": found.row, "parts": found.part_row}
    distances: dict[Space, np.ndarray] = {"whole": found.distance, "parts": found.part_distance}
    if slices.features_ND is not None and train.features_ND is not None:
        row, distance = nearest_features(slices.features_ND, train.features_ND, *groups)
        if slices.flipped_ND is not None:
            turned_row, turned = nearest_features(slices.flipped_ND, train.features_ND, *groups)
            row, distance = np.where(turned < distance, turned_row, row), np.minimum(turned, distance)
        rows["encoder"], distances["encoder"] = row, distance
    return Neighbours(rows, distances, found.flip, found.shift)
