"""Material of an audit: labelled slices of one grid and scale, each with its patient where that is known."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol, Self

import numpy as np

from labelgan.core.errors import DataError
from labelgan.core.progress import Report
from labelgan.core.rng import generator_for
from labelgan.data.case import Cohort
from labelgan.data.prepare.brain_search import find_brains
from labelgan.data.prepare.case import Z_LIMIT
from labelgan.data.slices import Slices
from labelgan.data.store import SliceStore
from labelgan.data.synthetic_slices import read_labelled_slices

_JOINED = 256  # cases that are joined at once: many small arrays would leave holes in memory that large ones cannot use


class AuditSlices(Slices):
    """Slices as an audit reads them, and their brains found from each slice alone.

    Images are float16, as stores keep them: ten thousand slices in single precision would fill the memory that an
    audit may have. What computes takes `z_scores` of a block.
    """

    @cached_property
    def lone_brains_NHW(self) -> np.ndarray:
        """Brains, each found from its slice alone as those of synthetic slices are; found once."""
        synthetic = not (self.patients != "").any()
        return self.brains_NHW if synthetic else find_brains(self.images_NCHW[:, 0])

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
        images_NCHW, masks_NHW, brains_NHW = (_rows_of(store, name, rows) for name in ("images", "masks", "brains"))
        return cls(images_NCHW, masks_NHW, brains_NHW.view(bool), **store.facts(rows))

    @classmethod
    def from_cohort(
        cls,
        cohort: Cohort,
        store: SliceStore,
        *,
        max_slices: int | None = None,
        seed: int = 0,
        progress: Report | None = None,
    ) -> Self:
        """Reads any labelled cohort as slices on a store's grid and scale; see `data.synthetic_slices`.

        Args:
            cohort: synthetic or real.
            store: whose size, spacing, channels and settings count.
            max_slices: a larger number of slices is cut down to this by a seeded draw, synthetic ones before reading.
            seed: of that draw.
            progress: called as (cases done, cases, case id).

        Raises:
            DataError: a case cannot be read, has no mask or lacks a channel.
        """
        cases, synthetic = list(cohort.cases), cohort.manifest.is_synthetic
        if synthetic and max_slices is not None and len(cases) > max_slices:
            chosen = np.sort(generator_for(seed, "audit slices").permutation(len(cases))[:max_slices])
            cases = [cases[number] for number in chosen]
        parts: list[Slices] = []
        joined: list[Slices] = []
        for read in read_labelled_slices(cohort, cases, store, progress):
            images_NCHW = read.slices.images_NCHW.clip(-Z_LIMIT, Z_LIMIT).astype(np.float16)  # as in the store
            parts.append(dataclasses.replace(read.slices, images_NCHW=images_NCHW))
            if len(parts) == _JOINED:
                joined.append(Slices.concatenate(parts))
                parts = []
        slices = cls.concatenate([*joined, *parts])
        if synthetic:
            slices = dataclasses.replace(slices, brains_NHW=find_brains(slices.images_NCHW[:, 0]))
        return slices if max_slices is None else slices.subset(max_slices, seed, "audit slices")


def _rows_of(store: SliceStore, name: str, rows: np.ndarray) -> np.ndarray:
    """Copies rows of one of a store's arrays by a mapping of their own, which lets go of the pages that it read."""
    return np.asarray(getattr(SliceStore.open(store.path), name)[rows])


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
