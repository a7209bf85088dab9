"""Training batches of a segmenter: real slices from the store, and synthetic ones where there are any.

Step k's batch depends on (seed, member, k) alone, so that a resumed run draws what the uninterrupted one would have
drawn.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from labelgan.config.seg import SegConfig
from labelgan.core.rng import generator_for
from labelgan.data.slices import Slices
from labelgan.data.store import SliceStore
from labelgan.seg.augment import apply_affine, draw_affine
from labelgan.seg.copypaste import CopyPaste
from labelgan.training.team import ALONE, Team


class SegBatches:
    """Draws augmented batches.

    Slices come in shuffled rounds, each slice once a round, as the published training has it. With
    ``train.lesion_share`` that share of the slices comes from rounds of the lesion slices alone, the rest from rounds
    of all. Real and synthetic slices have rounds of their own, and how many of a batch are synthetic is the same at
    every step: trainings with and without synthetic slices see the real ones in the same order.
    """

    def __init__(
        self,
        store: SliceStore,
        rows: np.ndarray,
        extra: Slices | None,
        config: SegConfig,
        member: int,
        device: torch.device,
    ) -> None:
        self.store, self.rows, self.extra = store, rows, extra
        self.config, self.member, self.device = config, member, device
        self.synthetic, self.real = split_batch(config, extra is not None)
        self.lesion_rows = np.flatnonzero(store.index["lesion_voxels"][rows] > 0)
        self.copypaste = CopyPaste(store, rows)
        if extra is not None and config.train.shuffle_synthetic_masks:
            self.extra = extra = with_each_others_masks(extra, self._rng("shuffled masks"))
        self.extra_lesion_rows = np.flatnonzero(() if extra is None else extra.lesions_NHW.any(axis=(1, 2)))

    def batch(self, step: int, team: Team = ALONE) -> tuple[Tensor, Tensor]:
        """Gives this process's part of a step's batch, on the device.

        Returns:
            Images (N, C, H, W) float32 and masks (N, H, W) uint8.
        """
        images, masks = [], []
        if self.real:
            real = self._real(step)
            images.append(real.images_NCHW)
            masks.append(real.masks_NHW)
        if self.extra is not None and self.synthetic:
            chosen = self._choose("synthetic", len(self.extra), self.extra_lesion_rows, step, self.synthetic)
            images.append(self.extra.z_scores(chosen))
            masks.append(self.extra.masks_NHW[chosen])
        images_NCHW, masks_NHW = np.concatenate(images), np.concatenate(masks)
        return apply_affine(
            torch.from_numpy(team.part(images_NCHW)).to(self.device),
            torch.from_numpy(team.part(masks_NHW)).to(self.device),
            draw_affine(self._rng("moves", step), len(images_NCHW), self.config.augment).part(team),
        )

    def _real(self, step: int) -> Slices:
        rows = self.rows[self._choose("real", len(self.rows), self.lesion_rows, step, self.real)]
        part, share = self.store.read(rows), self.config.train.copypaste
        return self.copypaste.paste(part, rows, share, self._rng("copy-paste", step)) if share else part

    def _choose(self, kind: str, available: int, with_lesion: np.ndarray, step: int, count: int) -> np.ndarray:
        """The step's slices, those that are drawn for their lesions first."""
        share = self.config.train.lesion_share
        sure = math.ceil(count * share - 1e-9) if share is not None and len(with_lesion) else 0
        of_lesions = with_lesion[self._in_rounds(f"{kind} lesion slices", len(with_lesion), step, sure)]
        return np.concatenate([of_lesions, self._in_rounds(f"{kind} slices", available, step, count - sure)])

    def _in_rounds(self, what: str, available: int, step: int, count: int) -> np.ndarray:
        """The step's share of an endless row of shuffled rounds."""
        if not count:
            return np.empty(0, dtype=np.int64)
        first = step * count
        rounds = range(first // available, (first + count - 1) // available + 1)
        order = np.concatenate([self._rng(what, number).permutation(available) for number in rounds])
        start = first - rounds[0] * available
        return order[start : start + count]

    def _rng(self, *names: str | int) -> np.random.Generator:
        return generator_for(self.config.train.seed, "member", self.member, *names)


def with_each_others_masks(extra: Slices, rng: np.random.Generator) -> Slices:
    """Gives every slice the mask of another one: all slices in one ring, drawn at random, handed on by one place.

    Raises:
        ValueError: there is but one slice.
    """
    if len(extra) < 2:
        raise ValueError("one slice has no other one to change masks with")
    ring = rng.permutation(len(extra))
    masks_NHW = np.empty_like(extra.masks_NHW)
    masks_NHW[ring] = extra.masks_NHW[np.roll(ring, 1)]
    return replace(extra, masks_NHW=masks_NHW)


def split_batch(config: SegConfig, with_synthetic: bool) -> tuple[int, int]:
    """Gives the numbers of synthetic and of real slices in a batch."""
    size = config.train.batch_size
    synthetic = int(size * config.train.synthetic_share + 1e-9) if with_synthetic else 0
    return synthetic, size - synthetic


def steps_of(config: SegConfig, slices: int) -> int:
    """Optimiser steps of a member: as set, or ``epochs`` times those that show ``slices`` slices ``showings`` times.

    Synthetic slices do not enter: a training with them and one without take the same number of steps.
    """
    if config.train.steps is not None:
        return config.train.steps
    return config.train.epochs * math.ceil(config.train.showings * slices / config.train.batch_size)
