"""What an audit looks at: labelled slices of one grid and scale, each with its patient where that is known."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np

from labelgan.core.errors import DataError
from labelgan.core.rng import generator_for
from labelgan.data.layouts.detect import read_cohort
from labelgan.data.prepare.brain_search import find_brains
from labelgan.data.prepare.case import Z_LIMIT
from labelgan.data.store import SliceStore
from labelgan.data.synthetic_slices import is_synthetic, read_labelled_slices

Progress = Callable[[int, int, str], None]

_JOINED = 256  # cases that are joined at once: many small arrays would leave holes in memory that large ones cannot use


@dataclass(frozen=True, eq=False)
class AuditSlices:
    """Labelled slices in memory. Letters: N slices, C channels, H rows, W columns.

    Attributes:
        images_NCHW: z-scores, float16 as stores keep them, or float32. Ten thousand slices in single precision would
            fill the memory that an audit may have; what computes takes `z_scores` of a block.
        masks_NHW: uint8, 0 background, 1 lesion, 2 other pathology.
        brains_NHW: uint8, 0 or 1; estimated slice by slice for synthetic ones.
        patients: (N,) str, empty where unknown (synthetic slices).
        cases: (N,) str.
        z_fraction: (N,) float32, height in the brain from 0 to 1, nan where unknown.
        names: (N,) str, unique: the case, and the slice where the case has several.
    """

    images_NCHW: np.ndarray
    masks_NHW: np.ndarray
    brains_NHW: np.ndarray
    patients: np.ndarray
    cases: np.ndarray
    z_fraction: np.ndarray
    names: np.ndarray

    def __post_init__(self) -> None:
        count, _, height, width = self.images_NCHW.shape
        assert self.images_NCHW.dtype in (np.float16, np.float32)
        assert self.masks_NHW.shape == self.brains_NHW.shape == (count, height, width)
        assert all(len(part) == count for part in (self.patients, self.cases, self.z_fraction, self.names))

    def __len__(self) -> int:
        return len(self.images_NCHW)

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns of a slice."""
        return self.images_NCHW.shape[2], self.images_NCHW.shape[3]

    def z_scores(self, rows: Any = slice(None)) -> np.ndarray:
        """The images of some rows in single precision: (n, C, H, W) float32."""
        return np.asarray(self.images_NCHW[rows], np.float32)

    @property
    def lesion_NHW(self) -> np.ndarray:
        """Where the mask is lesion, bool; other pathology is not."""
        return self.masks_NHW == 1

    @cached_property
    def lone_brains_NHW(self) -> np.ndarray:
        """Brains, each found from its slice alone as those of synthetic slices are; found once."""
        synthetic = not (self.patients != "").any()
        return self.brains_NHW if synthetic else find_brains(self.images_NCHW[:, 0])

    def select(self, rows: Any) -> Self:
        """The slices of some rows: an index array, a bool array or a Python slice."""
        return type(self)(
            self.images_NCHW[rows],
            self.masks_NHW[rows],
            self.brains_NHW[rows],
            self.patients[rows],
            self.cases[rows],
            self.z_fraction[rows],
            self.names[rows],
        )

    def subset(self, most: int, seed: int, *names: str | int) -> Self:
        """At most ``most`` slices, drawn without repeats from a named stream, in their order."""
        if len(self) <= most:
            return self
        return self.select(np.sort(generator_for(seed, *names).permutation(len(self))[:most]))

    def blocks(self, size: int) -> Iterator[slice]:
        """Python slices that cut the rows into blocks, so that work on them stays bounded in memory."""
        return (slice(start, min(start + size, len(self))) for start in range(0, len(self), size))

    @classmethod
    def from_store(
        cls,
        store: SliceStore,
        *,
        keep: Collection[str] | None = None,
        exclude: Collection[str] = (),
        max_slices: int | None = None,
        seed: int = 0,
        labelled_only: bool = True,
    ) -> Self:
        """Takes slices of a store.

        Args:
            store: the store.
            keep: ids of the cases or patients that are wanted; None takes all.
            exclude: ids of cases or patients to leave out.
            max_slices: a larger number of slices is cut down to this by a seeded draw.
            seed: of that draw.
            labelled_only: leave out cases without an expert mask.

        Raises:
            ConfigError: an id is neither a case nor a patient of the store.
            DataError: no slice is left.
        """
        cases = store.kept_cases(exclude)
        if keep is not None:
            others = {case.id for case in store.kept_cases(keep)}  # raises for an id that nobody has
            cases = tuple(case for case in cases if case.id not in others)
        rows = store.rows_of(case.id for case in cases if case.labelled or not labelled_only)
        if not len(rows):
            raise DataError(store.path, "has no labelled slice of the cases that are wanted")
        if max_slices is not None and len(rows) > max_slices:
            rows = np.sort(generator_for(seed, "audit slices").permutation(rows)[:max_slices])
        index = store.index[rows]
        of = [store.cases[number] for number in index["case"]]
        return cls(
            *(_rows_of(store, name, rows) for name in ("images", "masks", "brains")),
            patients=np.array([case.patient for case in of]),
            cases=np.array([case.id for case in of]),
            z_fraction=np.array(index["z_fraction"], np.float32),
            names=np.array([f"{case.id}/z{z}" for case, z in zip(of, index["z"], strict=True)]),
        )

    @classmethod
    def from_cohort(
        cls,
        root: Path,
        store: SliceStore,
        *,
        max_slices: int | None = None,
        seed: int = 0,
        progress: Progress | None = None,
    ) -> AuditSlices:
        """Reads any labelled cohort as slices on a store's grid and scale; see `data.synthetic_slices`.

        Args:
            root: folder of the cohort, synthetic or real.
            store: whose size, spacing, channels and settings count.
            max_slices: a larger number of slices is cut down to this by a seeded draw, synthetic ones before reading.
            seed: of that draw.
            progress: called as (cases done, cases, case id).

        Raises:
            DataError: the cohort cannot be read, or a case has no mask or lacks a channel.
        """
        cohort, synthetic = read_cohort(root), is_synthetic(root)
        cases = list(cohort.cases)
        if synthetic and max_slices is not None and len(cases) > max_slices:
            chosen = np.sort(generator_for(seed, "audit slices").permutation(len(cases))[:max_slices])
            cases = [cases[number] for number in chosen]
        if not cases:
            raise DataError(root, "holds no case")
        parts: list[AuditSlices] = []
        joined: list[AuditSlices] = []
        for read in read_labelled_slices(cohort, cases, store, progress):
            images_ZCHW = read.images_ZCHW.clip(-Z_LIMIT, Z_LIMIT).astype(np.float16)  # as in the store
            count = len(images_ZCHW)
            # of synthetic slices they are found at the end, all at once
            brains_ZHW = np.zeros(read.masks_ZHW.shape, bool) if read.brains_ZHW is None else read.brains_ZHW
            heights = np.full(count, np.nan) if read.z_fraction is None else read.z_fraction
            names = [read.case.id if count == 1 else f"{read.case.id}/{number}" for number in range(count)]
            parts.append(
                AuditSlices(
                    images_ZCHW,
                    read.masks_ZHW.astype(np.uint8),
                    brains_ZHW.astype(np.uint8),
                    patients=np.array(["" if synthetic else read.case.patient] * count),
                    cases=np.array([read.case.id] * count),
                    z_fraction=heights.astype(np.float32),
                    names=np.array(names),
                )
            )
            if len(parts) == _JOINED:
                joined.append(concatenate(parts))
                parts = []
        slices = concatenate([*joined, *parts])
        if synthetic:
            slices = dataclasses.replace(slices, brains_NHW=find_brains(slices.images_NCHW[:, 0]))
        return slices if max_slices is None else slices.subset(max_slices, seed, "audit slices")


def _rows_of(store: SliceStore, name: str, rows: np.ndarray) -> np.ndarray:
    """Copies rows of one of a store's arrays by a mapping of their own, which lets go of the pages that it read."""
    return np.asarray(getattr(SliceStore.open(store.path), name)[rows])


def concatenate(parts: list[AuditSlices]) -> AuditSlices:
    """Joins slices of one grid."""
    fields = list(AuditSlices.__dataclass_fields__)
    return AuditSlices(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in fields})


class Encoder(Protocol):
    """Gives every slice's features, (N, K) float32, the same whatever the batch."""

    def __call__(self, slices: AuditSlices, /) -> np.ndarray: ...


Segmenter = Callable[[np.ndarray], np.ndarray]
"""(N, C, H, W) z-scores to (N, H, W) lesion probability, trained on real training patients alone."""

Critic = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""(N, C, H, W) z-scores and (N, H, W) masks to (N,) scores, higher is more like the critic's training slices."""


@dataclass(frozen=True, eq=False)
class AuditData:
    """The three sets of slices that every part of an audit works on, of one grid, scale and order of channels.

    Attributes:
        samples: what is audited.
        train: slices of the patients that the generator learned from.
        held_out: slices of patients that it has never seen.
        channels: names, in order.
        pixel_mm: size of a pixel along rows and columns.
        encoder: learned features, fitted on `train` alone; None in a test that needs none.
        segmenter: an independent one, where there is one.
        critic: of the samples' generator, where it is at hand.
    """

    samples: AuditSlices
    train: AuditSlices
    held_out: AuditSlices
    channels: tuple[str, ...] = ("FLAIR", "T1")
    pixel_mm: tuple[float, float] = (1.0, 1.0)
    encoder: Encoder | None = None
    segmenter: Segmenter | None = None
    critic: Critic | None = None
    _features: dict[str, np.ndarray] = field(default_factory=dict, repr=False)

    def features(self, which: str) -> np.ndarray:
        """Encoder's features of ``samples``, ``train`` or ``held_out``, computed once: (N, K) float32."""
        if which not in self._features:
            assert self.encoder is not None
            self._features[which] = self.encoder(getattr(self, which))
        return self._features[which]
