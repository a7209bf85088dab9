"""Labelled slices in memory: the one type that stores, cohorts, generators' content, trainings and audits exchange."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Self

import numpy as np

from labelgan.core.rng import generator_for
from labelgan.data.volume import LESION

_UNKNOWN = np.empty(0)


def _unknown() -> np.ndarray:
    return _UNKNOWN


DONOR_HEIGHT = 0.15  # of the brain's height; a lesion comes from no further above or below, where there is one
MARGIN = (1.0, 3.0)  # pixels over which a lesion that was laid in fades into its surroundings


@dataclass(frozen=True, eq=False)
class Slices:
    """Labelled slices of one grid and scale. Letters: N slices, C channels, H rows, W columns.

    What is not known may be left out; it then stands as said.

    Attributes:
        images_NCHW: z-scores, float32, or float16 where many are kept in memory.
        masks_NHW: uint8, 0 background, 1 lesion, 2 other pathology.
        brains_NHW: bool; False everywhere where no brain is known.
        heights_N: float32, height in the brain from 0 to 1; nan where unknown.
        cases: (N,) str, id of the case; the name where unknown.
        patients: (N,) str; empty where unknown, as of synthetic slices.
        names: (N,) str, unique: the case, and the slice where the case has several; the number where unknown.
    """

    images_NCHW: np.ndarray
    masks_NHW: np.ndarray
    brains_NHW: np.ndarray = field(default_factory=_unknown)
    heights_N: np.ndarray = field(default_factory=_unknown)
    cases: np.ndarray = field(default_factory=_unknown)
    patients: np.ndarray = field(default_factory=_unknown)
    names: np.ndarray = field(default_factory=_unknown)

    def __post_init__(self) -> None:
        count, _, height, width = self.images_NCHW.shape
        assert self.images_NCHW.dtype in (np.float16, np.float32)
        if self.names is _UNKNOWN:
            object.__setattr__(self, "names", np.arange(count).astype(str))
        if self.cases is _UNKNOWN:
            object.__setattr__(self, "cases", self.names)
        for name, value in (("brains_NHW", False), ("heights_N", np.float32("nan")), ("patients", "")):
            if getattr(self, name) is _UNKNOWN:  # one value, whatever the number of slices
                shape = (count, height, width) if name == "brains_NHW" else (count,)
                object.__setattr__(self, name, np.broadcast_to(np.array(value), shape))
        assert self.masks_NHW.shape == self.brains_NHW.shape == (count, height, width)
        assert len(self.heights_N) == len(self.cases) == len(self.patients) == len(self.names) == count

    def __len__(self) -> int:
        return len(self.images_NCHW)

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns of a slice."""
        return self.images_NCHW.shape[2], self.images_NCHW.shape[3]

    @property
    def lesions_NHW(self) -> np.ndarray:
        """Pixels of lesion, bool; other pathology is none."""
        return self.masks_NHW == LESION

    def z_scores(self, rows: Any = slice(None)) -> np.ndarray:
        """The images of some rows in single precision: (n, C, H, W) float32."""
        return np.asarray(self.images_NCHW[rows], np.float32)

    def select(self, rows: Any) -> Self:
        """The slices of some rows: an index array, a bool array or a Python slice."""
        return type(self)(**{entry.name: getattr(self, entry.name)[rows] for entry in fields(self)})

    @classmethod
    def concatenate(cls, parts: Sequence[Slices]) -> Self:
        """Joins slices of one grid."""
        return cls(
            **{entry.name: np.concatenate([getattr(part, entry.name) for part in parts]) for entry in fields(cls)}
        )

    def subset(self, most: int, seed: int, *names: str | int) -> Self:
        """At most ``most`` slices, drawn without repeats from a named stream, in their order."""
        if len(self) <= most:
            return self
        return self.select(np.sort(generator_for(seed, *names).permutation(len(self))[:most]))

    def blocks(self, size: int) -> Iterator[slice]:
        """Python slices that cut the rows into blocks, so that work on them stays bounded in memory."""
        return (slice(start, min(start + size, len(self))) for start in range(0, len(self), size))


def fading_out(lesion_HW: np.ndarray, margin: float) -> np.ndarray:
    """Weights max(0, 1 - d / (m + 1)), d pixels from the lesion: 1 in it, 0 further out than ``margin`` m. float64."""
    from scipy import ndimage

    return np.clip(1 - np.asarray(ndimage.distance_transform_edt(~lesion_HW)) / (margin + 1), 0, 1)
