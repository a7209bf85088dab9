"""Training batches: which rows of the store, as the generator's channels, in [-1, 1].

Step k's batches depend on (seed, k) alone, so that a resumed run draws what the uninterrupted one would have drawn.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import torch
from torch import Tensor

from labelgan.config.gan import GanConfig
from labelgan.core.errors import DataError
from labelgan.core.rng import generator_for
from labelgan.data.prepare.case import to_unit
from labelgan.data.store import SliceStore
from labelgan.gan.inputs.mask_channel import encode_mask
from labelgan.training.team import ALONE, Team


def training_rows(store: SliceStore, config: GanConfig, exclude: Collection[str] = ()) -> np.ndarray:
    """Gives the rows that the generator may see: labelled, and without other pathology where so set.

    Patients one of whose cases is excluded are left out whole.

    Raises:
        ConfigError: an excluded id is nobody's.
        LeakError: an excluded case is among those that stay, in another form or under another name.
        DataError: too few slices are left, or none of them has a lesion.
    """
    rows = store.select(exclude=[case.id for case in store.hold_out(exclude)])
    if config.train.drop_other_pathology:
        rows = rows[store.index["other_voxels"][rows] == 0]
    if len(rows) < 2:
        raise DataError(
            store.path, f"{len(rows)} labelled slices are left to train on; at least 2 are needed: exclude fewer"
        )
    if not store.index["lesion_voxels"][rows].any():
        raise DataError(
            store.path, f"none of its {len(rows)} slices to train on has a lesion: add annotated cases that have some"
        )
    return rows


class BatchSource:
    """Draws batches from a store's rows."""

    def __init__(self, store: SliceStore, rows: np.ndarray, config: GanConfig, device: torch.device) -> None:
        self.store, self.config, self.device = store, config, device
        self.rows = rows
        with_lesion = store.index["lesion_voxels"][rows] > 0
        self.lesion_rows, self.other_rows = rows[with_lesion], rows[~with_lesion]

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        """Gives a batch's rows, drawn with replacement; ``lesion_fraction`` of them have a lesion on average."""
        count, fraction = self.config.train.batch_size, self.config.train.lesion_fraction
        if fraction is None or not len(self.lesion_rows) or not len(self.other_rows):
            return rng.choice(self.rows, count)
        take_lesion = rng.random(count) < fraction
        return np.where(take_lesion, rng.choice(self.lesion_rows, count), rng.choice(self.other_rows, count))

    def load(self, rows: np.ndarray, rng: np.random.Generator, team: Team = ALONE) -> Tensor:
        """Reads this process's part of rows: (N, C, H, W) in [-1, 1] on the device, images, then the mask channel."""
        batch = self.store.read(team.part(rows))
        images_NCHW = to_unit(torch.from_numpy(batch.images_NCHW).to(self.device))
        lesion_NHW = torch.from_numpy(batch.masks_NHW).to(self.device) == 1
        noise_NHW = None
        if self.config.mask.encoding == "gaussian":
            noise = rng.standard_normal((len(rows), *self.store.size)).astype(np.float32)
            noise_NHW = torch.from_numpy(team.part(noise)).to(self.device)
        return torch.cat([images_NCHW, encode_mask(lesion_NHW, self.config.mask, noise_NHW)], dim=1)

    def batch(self, step: int, turn: int, team: Team = ALONE) -> tuple[Tensor, np.ndarray]:
        """Gives this process's part of the batch of one turn of one step, and the store rows of the whole batch."""
        rng = generator_for(self.config.train.seed, "batch", step, turn)
        rows = self.draw(rng)
        return self.load(rows, rng, team), rows
