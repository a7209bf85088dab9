"""Real and synthetic slices in one PyTorch dataset, at a ratio, without leaks."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch.utils.data import Dataset

from labelgan.core.errors import ConfigError, DataError
from labelgan.core.rng import generator_for
from labelgan.data.check.leaks import require_no_leak
from labelgan.data.manifests import SeenCases
from labelgan.data.store import SliceStore
from labelgan.gan.sample import Generator
from labelgan.seg.synthetic import read_synthetic


@dataclass(frozen=True, eq=False)
class SyntheticPool:
    """Labelled synthetic slices in memory, on a store's grid and scale.

    Attributes:
        images_NCHW: float16 z-scores, channels as in the store.
        masks_NHW: uint8 of 0, 1 and 2.
        root: folder that they come from: a synthetic cohort, or a generator's run.
        seen: what their generator has seen; None where that is not known.
    """

    images_NCHW: np.ndarray
    masks_NHW: np.ndarray
    root: Path
    seen: SeenCases | None

    def __len__(self) -> int:
        return len(self.images_NCHW)

    @classmethod
    def load(
        cls,
        synthetic: str | Path | Generator,
        store: str | Path | SliceStore,
        *,
        exclude: Collection[str] = (),
        samples: int = 1000,
        seed: int = 0,
    ) -> Self:
        """Reads a synthetic cohort, or asks a generator.

        Args:
            synthetic: folder that ``labelgan sample`` wrote, or a generator.
            store: the slice store that the slices will be mixed with.
            exclude: ids of cases or patients of the store that are held out.
            samples: how many slices, of a generator.
            seed: of z, of a generator.

        Raises:
            LeakError: the generator has seen a held-out patient.
            DataError: channels or size are not the store's.

        Example:
            >>> pool = SyntheticPool.load("synthetic", "store", exclude=["P005"])  # doctest: +SKIP
        """
        store = store if isinstance(store, SliceStore) else SliceStore.open(Path(store))
        held_out = store.hold_out(exclude)
        if not isinstance(synthetic, Generator):
            root = Path(synthetic)
            read = read_synthetic(root, store, held_out)
            return cls(read.slices.images_NCHW, read.slices.masks_NHW, root, read.seen)
        seen, run = synthetic.trained.seen, synthetic.run.path
        require_no_leak(run, seen, store.known(held_out), store.known(store.cases))
        if (synthetic.channels, synthetic.size) != (store.channels, store.size):
            made, wanted = ((g.channels, g.size) for g in (synthetic, store))
            raise DataError(run, f"makes slices of {made}, the store {store.path} holds {wanted}")
        made = synthetic.sample(samples, seed)
        return cls(made.images_NCHW.astype(np.float16), made.masks_NHW, run, seen)


class MixedSlices(Dataset):
    """Labelled slices of a store, and synthetic ones at a ratio, as a map-style PyTorch dataset.

    An item is a dictionary: ``image`` (C, H, W) float32 z-scores, ``label`` (1, H, W) uint8 of 0, 1 and 2 (2: to be
    ignored), ``synthetic``, ``id``, ``patient``. Every real slice comes once an epoch. Synthetic ones come in shuffled
    rounds, each slice once a round; `set_epoch` moves on to the next ones.

    Args:
        store: slice store, or its folder.
        synthetic: pool, folder that ``labelgan sample`` wrote, or generator.
        share: of all items, how many are synthetic: 0.25 is one in four; 1 leaves real slices out.
        exclude: ids of cases or patients to hold out; synthetic slices made from them are refused.
        samples: how many slices a generator is asked for, once; by default as many as one epoch shows.
        seed: of samples and rounds.
        transform: called with every item.

    Raises:
        LeakError: the generator has seen a held-out patient.
        ConfigError: ``share`` is no share, or ``exclude`` names nobody.

    Example:
        >>> slices = MixedSlices("store", "synthetic", share=0.25, exclude=["P005"])  # doctest: +SKIP
        >>> loader = torch.utils.data.DataLoader(slices, batch_size=16, shuffle=True)  # doctest: +SKIP
    """

    def __init__(
        self,
        store: str | Path | SliceStore,
        synthetic: str | Path | Generator | SyntheticPool,
        *,
        share: float = 0.5,
        exclude: Collection[str] = (),
        samples: int | None = None,
        seed: int = 0,
        transform: Callable[[dict[str, Any]], Any] | None = None,
    ) -> None:
        if not 0 <= share <= 1:
            raise ConfigError("share", f"{share} is not a share between 0 and 1")
        self.store = store if isinstance(store, SliceStore) else SliceStore.open(Path(store))
        self.seed, self.transform = seed, transform
        held_out = self.store.hold_out(exclude)
        rows = self.store.select(exclude=[case.id for case in held_out])
        self.rows = rows if share < 1 else rows[:0]
        wanted = samples or len(rows) if share == 1 else round(len(rows) * share / (1 - share))
        if not isinstance(synthetic, SyntheticPool):
            asked = max(1, samples or wanted)
            synthetic = SyntheticPool.load(synthetic, self.store, exclude=exclude, samples=asked, seed=seed)
        known = self.store.known(held_out)
        require_no_leak(synthetic.root, synthetic.seen, known, self.store.known(self.store.cases))
        self.pool = synthetic
        self._synthetic = len(self.pool) if share == 1 else wanted
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        """Chooses the synthetic slices of an epoch; the same epoch gives the same ones."""
        count, available = self._synthetic, len(self.pool)
        first = epoch * count
        rounds = range(first // available, math.ceil((first + count) / available))
        orders = [generator_for(self.seed, "mixed slices", number).permutation(available) for number in rounds]
        start = first - (rounds[0] if rounds else 0) * available
        self.chosen = np.concatenate([*orders, np.empty(0, np.int64)])[start : start + count].astype(np.int64)

    def __len__(self) -> int:
        return len(self.rows) + self._synthetic

    def __getitem__(self, index: int) -> Any:
        if not -len(self) <= index < len(self):
            raise IndexError(f"item {index} of {len(self)}")
        index %= len(self)
        if index < len(self.rows):
            row = int(self.rows[index])
            batch, case = self.store.read([row]), self.store.case_of(row)
            image, mask = batch.images_NCHW[0], batch.masks_NHW[0]
            facts = {"synthetic": False, "id": f"{case.id}_z{int(self.store.index['z'][row]):03d}"}
            facts["patient"] = case.patient
        else:
            number = int(self.chosen[index - len(self.rows)])
            image, mask = self.pool.images_NCHW[number].astype(np.float32), self.pool.masks_NHW[number]
            facts = {"synthetic": True, "id": f"synthetic_{number:06d}", "patient": ""}
        item = {"image": torch.from_numpy(image), "label": torch.from_numpy(mask.copy())[None], **facts}
        return item if self.transform is None else self.transform(item)
