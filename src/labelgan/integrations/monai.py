"""A MONAI dictionary transform that puts synthetic slices in the place of real ones."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.config.type_definitions import KeysCollection
from monai.transforms.transform import MapTransform, RandomizableTransform
from monai.utils.type_conversion import convert_to_dst_type

from labelgan.core.errors import ConfigError, DataError
from labelgan.integrations.mixing import SyntheticPool


class RandSyntheticSliced(RandomizableTransform, MapTransform):
    """With probability ``prob``, replaces an item's image and label by those of a synthetic slice.

    For slice pipelines on a store's grid: images are channel-first z-scores of the store's size, labels (1, H, W) of
    0, 1 and 2. Every item also gets ``synthetic``, True or False. Randomness is MONAI's: ``set_random_state`` and
    ``set_determinism`` govern it.

    Args:
        keys: the image's key and the label's key.
        pool: synthetic slices; `SyntheticPool.load` refuses those that would leak.
        prob: how often.
        allow_missing_keys: as in every MONAI transform.

    Raises:
        ConfigError: ``keys`` are not two.

    Example:
        >>> pool = labelgan.SyntheticPool.load("synthetic", "store", exclude=["P005"])  # doctest: +SKIP
        >>> transform = labelgan.RandSyntheticSliced(["image", "label"], pool, prob=0.3)  # doctest: +SKIP
    """

    def __init__(
        self, keys: KeysCollection, pool: SyntheticPool, prob: float = 0.5, allow_missing_keys: bool = False
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        RandomizableTransform.__init__(self, prob)
        if len(self.keys) != 2:
            raise ConfigError("keys", "expected the image's key and the label's key")
        self.pool = pool
        self._number = 0

    def randomize(self, data: Any = None) -> None:
        """Draws whether to replace, and by which slice; as many numbers whatever comes out."""
        super().randomize(None)
        self._number = int(self.R.randint(len(self.pool)))

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Gives the item, replaced or as it was."""
        item = dict(data)
        self.randomize()
        item["synthetic"] = self._do_transform
        if not self._do_transform:
            return item
        made = (self.pool.images_NCHW[self._number], self.pool.masks_NHW[self._number][None])
        for key, array in zip(self.keys, made, strict=True):
            if key not in item and self.allow_missing_keys:
                continue
            if tuple(item[key].shape) != array.shape:
                raise DataError(str(key), f"has the shape {tuple(item[key].shape)}, synthetic slices {array.shape}")
            item[key] = convert_to_dst_type(torch.from_numpy(array.copy()), item[key])[0]
        return item
