from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from labelgan.core.errors import ConfigError, DataError
from labelgan.integrations.mixing import SyntheticPool

if TYPE_CHECKING:
    from labelgan.integrations.monai import RandSyntheticSliced

# monai's front warns of what it imports
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")

POOL = SyntheticPool(
    np.arange(5, dtype=np.float16)[:, None, None, None] * np.ones((5, 2, 8, 8), np.float16) + 10,
    np.arange(5, dtype=np.uint8)[:, None, None] % 2 * np.ones((5, 8, 8), np.uint8),
    Path("pool"),
    None,
)


def item() -> dict:
    return {"image": torch.zeros(2, 8, 8), "label": torch.full((1, 8, 8), 2, dtype=torch.uint8), "id": "p1"}


def transform(prob: float, seed: int = 0, **options) -> RandSyntheticSliced:
    from labelgan import RandSyntheticSliced

    change = RandSyntheticSliced(["image", "label"], POOL, prob=prob, **options)
    change.set_random_state(seed)
    return change


def test_never_and_always():
    kept, replaced = transform(0.0)(item()), transform(1.0)(item())
    assert (kept["synthetic"], kept["image"].sum(), kept["label"].sum()) == (False, 0, 128)
    assert replaced["synthetic"]
    number = int(replaced["image"][0, 0, 0]) - 10
    assert np.array_equal(replaced["image"].numpy(), POOL.images_NCHW[number])
    assert np.array_equal(replaced["label"][0].numpy(), POOL.masks_NHW[number])
    assert replaced["id"] == "p1"
    assert replaced["image"].dtype == torch.float32
    assert replaced["label"].dtype == torch.uint8


def test_as_often_as_asked_and_every_slice_has_its_turn():
    change = transform(0.3)
    results = [change(item()) for _ in range(1000)]
    made = [int(result["image"][0, 0, 0]) - 10 for result in results if result["synthetic"]]
    assert abs(len(made) - 300) < 60  # four standard deviations
    assert set(made) == set(range(5))


def test_monais_seeds_govern_it():
    from monai.transforms.compose import Compose

    def drawn(seed: int) -> list[float]:
        pipeline: Any = Compose([transform(0.5)])
        pipeline.set_random_state(seed)
        return [float(pipeline(item())["image"].mean()) for _ in range(20)]

    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)


def test_arrays_stay_arrays_and_the_item_given_is_left_alone():
    given = {name: value.numpy() for name, value in item().items() if name != "id"}
    result = transform(1.0)(given)
    assert isinstance(result["image"], np.ndarray)
    assert given["image"].sum() == 0


def test_faults():
    from labelgan import RandSyntheticSliced

    with pytest.raises(ConfigError, match="expected the image's key and the label's key"):
        RandSyntheticSliced(["image"], POOL)
    with pytest.raises(DataError, match=r"^image: has the shape \(2, 4, 4\), synthetic slices \(2, 8, 8\)$"):
        transform(1.0)({"image": torch.zeros(2, 4, 4), "label": torch.zeros(1, 4, 4)})
    alone = transform(1.0, allow_missing_keys=True)({"image": torch.zeros(2, 8, 8)})
    assert set(alone) == {"image", "synthetic"}
