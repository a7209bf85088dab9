"""The range of a set of slices: what synthetic ones are held to, and what the audit asks of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

TAIL = 0.01
"""Share of the slices whose least value, and of those whose largest, may lie outside their range."""

_BLOCK = 256  # slices read at a time


@dataclass(frozen=True, eq=False)
class ValueRange:
    """Least and largest z-score of each channel, (C,) float32.

    Quantiles of pixels would cut what few pixels have, such as lesions of a skull-stripped brain; the extremes of all
    slices hang on one hot pixel. The range therefore spans from the quantile `TAIL` of the slices' minima to the
    quantile 1 - `TAIL` of their maxima: nearly every slice lies in it whole.
    """

    low_C: np.ndarray
    high_C: np.ndarray

    @classmethod
    def of(cls, images_NCHW: np.ndarray, rows: Sequence[int] | np.ndarray | None = None) -> Self:
        """Measures slices, or some rows of them; a memory map is read in blocks."""
        rows = np.arange(len(images_NCHW)) if rows is None else np.asarray(rows)
        ends: list[tuple[np.ndarray, np.ndarray]] = []
        for start in range(0, len(rows), _BLOCK):
            part = np.asarray(images_NCHW[rows[start : start + _BLOCK]])
            ends.append((part.min((2, 3)), part.max((2, 3))))
        low_NC, high_NC = (np.concatenate(side).astype(np.float32) for side in zip(*ends, strict=True))
        low_C, high_C = np.quantile(low_NC, TAIL, axis=0), np.quantile(high_NC, 1 - TAIL, axis=0)
        return cls(low_C.astype(np.float32), high_C.astype(np.float32))

    @property
    def width_C(self) -> np.ndarray:
        """From the least to the largest, (C,)."""
        return self.high_C - self.low_C

    def to_json(self, channels: Sequence[str]) -> dict[str, list[float]]:
        """Channel to [least, largest], plain numbers."""
        return {name: [float(self.low_C[c]), float(self.high_C[c])] for c, name in enumerate(channels)}
