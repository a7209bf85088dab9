"""Training batches of a segmenter: real slices from the store, and synthetic ones where there are any.

Step k's batch depends on (seed, member, k) alone, so that a resumed run draws what the uninterrupted one would have
drawn.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from labelgan.config_seg import SegConfig
from labelgan.data.store import SliceStore
from labelgan.rng import generator_for
from labelgan.seg.augment import apply_moves, draw_moves


@dataclass(frozen=True, eq=False)
class ExtraSlices:
    """Slices besides the store's: float16 z-scores (N, C, H, W) and uint8 masks (N, H, W) of 0, 1 and 2."""

    images_NCHW: np.ndarray
    masks_NHW: np.ndarray

    def __len__(self) -> int:
        return len(self.images_NCHW)


class SegBatches:
    """Draws augmented batches.

    Real slices come in shuffled rounds, each slice once a round, as the published training has it. Of a batch,
    ``synthetic`` slices are synthetic, in shuffled rounds likewise; that number is the same at every step.
    """

    def __init__(
        self,
        store: SliceStore,
        rows: np.ndarray,
        extra: ExtraSlices | None,
        config: SegConfig,
        member: int,
        device: torch.device,
    ) -> None:
        self.store, self.rows, self.extra = store, rows, extra
        self.config, self.member, self.device = config, member, device
        self.synthetic, self.real = split_batch(config, extra is not None)

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Gives the batch of a step on the device: images (N, C, H, W) float32 and masks (N, H, W) uint8."""
        seed = self.config.train.seed
        chosen = self._in_rounds("real slices", len(self.rows), step, self.real)
        part = self.store.read(self.rows[chosen])
        images_NCHW, masks_NHW = part.images_NCHW, part.masks_NHW
        if self.extra is not None and self.synthetic:
            chosen = self._in_rounds("synthetic slices", len(self.extra), step, self.synthetic)
            images_NCHW = np.concatenate([images_NCHW, self.extra.images_NCHW[chosen].astype(np.float32)])
            masks_NHW = np.concatenate([masks_NHW, self.extra.masks_NHW[chosen]])
        moves = draw_moves(
            generator_for(seed, "member", self.member, "moves", step), len(images_NCHW), self.config.augment
        )
        return apply_moves(
            torch.from_numpy(images_NCHW).to(self.device), torch.from_numpy(masks_NHW).to(self.device), moves
        )

    def _in_rounds(self, what: str, available: int, step: int, count: int) -> np.ndarray:
        """The step's share of an endless row of shuffled rounds."""
        first = step * count
        rounds = range(first // available, (first + count - 1) // available + 1)
        order = np.concatenate([self._round(what, available, number) for number in rounds])
        start = first - rounds[0] * available
        return order[start : start + count]

    def _round(self, what: str, available: int, number: int) -> np.ndarray:
        return generator_for(self.config.train.seed, "member", self.member, what, number).permutation(available)


def split_batch(config: SegConfig, with_synthetic: bool) -> tuple[int, int]:
    """How many slices of a batch are synthetic and how many real; at least one is real."""
    size = config.train.batch_size
    synthetic = min(int(size * config.train.synthetic_share + 1e-9), size - 1) if with_synthetic else 0
    return synthetic, size - synthetic


def steps_of(config: SegConfig, slices: int) -> int:
    """Optimiser steps of a member: as set, or as many as show ``slices`` slices ``epochs`` times.

    Synthetic slices do not enter: a training with them and one without take the same number of steps.
    """
    if config.train.steps is not None:
        return config.train.steps
    return config.train.epochs * math.ceil(slices / config.train.batch_size)
