"""The real slice that a synthetic one is nearest to, by the audit's own measure of likeness."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from labelgan.audit.copies.nearest import find_nearest
from labelgan.audit.copies.patterns import patterns_of
from labelgan.core.errors import DataError, LabelganError
from labelgan.studio.index import CaseEntry, Index, SliceEntry
from labelgan.studio.real import Grid, real_cases
from labelgan.studio.sources import Source

MOST_BASE = 20_000  # real slices that are searched


@dataclass(frozen=True)
class NearestReal:
    """A real slice.

    Attributes:
        slice: the real slice.
        likeness: normalised cross correlation of the two patterns, 1 for the same.
        flip: whether it had to be turned left to right.
        shift: rows and columns by which it was then moved, working pixels.
        of_training: whether it is known to be one that the generator was trained on.
    """

    slice: SliceEntry
    likeness: float
    flip: bool
    shift: tuple[int, int]
    of_training: bool


@dataclass(frozen=True, eq=False)
class _Base:
    patterns_MCHW: np.ndarray
    slices: list[SliceEntry]
    of_training: bool


class NearestSearch:
    """Finds nearest real slices; what is searched is read once for every synthetic cohort."""

    def __init__(self, index: Index) -> None:
        self.index = index
        self._bases: dict[str, _Base] = {}
        self._found: dict[str, NearestReal] = {}
        self._lock = threading.Lock()

    def find(self, entry: SliceEntry) -> NearestReal:
        """The nearest real slice of a synthetic one.

        Raises:
            DataError: the slice is real, or there is no real slice of the same channels to compare with.
        """
        if not entry.case.synthetic:
            raise DataError(entry.case.id, "is a real slice; the nearest one is looked for beside synthetic ones")
        with self._lock:
            if entry.key not in self._found:
                self._found[entry.key] = self._search(entry)
            return self._found[entry.key]

    def _search(self, entry: SliceEntry) -> NearestReal:
        source = entry.case.source
        grid = Grid.of(source.manifest)
        if source.key not in self._bases:
            self._bases[source.key] = self._base(source, grid)
        base = self._bases[source.key]
        images_NCHW, _ = grid.bring(self.index.images(entry.case))
        found = find_nearest(patterns_of(images_NCHW[entry.z : entry.z + 1]), base.patterns_MCHW)
        rows, columns = (int(moved) for moved in found.shift[0])
        return NearestReal(
            base.slices[int(found.row[0])],
            float(1 - found.distance[0]),
            bool(found.flip[0]),
            (rows, columns),
            base.of_training,
        )

    def _base(self, source: Source, grid: Grid) -> _Base:
        """Slices of the generator's training cases, found by their voxels; of all real cases where none of them is."""
        real = real_cases(self.index, source, grid)
        patterns, slices = [], []
        for case, images_NCHW in self._read(real.training or real.beside, grid):
            patterns.append(patterns_of(images_NCHW))
            slices += [self.index.slices[key] for key in case.slices]
            if len(slices) > MOST_BASE:
                break
        if not slices:
            raise DataError(source.title, "there is no real slice of its channels beside it; name its cohort too")
        return _Base(np.concatenate(patterns), slices, bool(real.training))

    def _read(self, cases: tuple[CaseEntry, ...], grid: Grid) -> Iterator[tuple[CaseEntry, np.ndarray]]:
        for case in cases:
            with contextlib.suppress(LabelganError, ValueError, OSError):
                yield case, grid.bring(self.index.images(case))[0]
