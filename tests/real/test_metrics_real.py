from __future__ import annotations

import sys

import numpy as np
import pytest

from labelgan.data.layouts.detect import read_cohort
from labelgan.data.prepare.itk import to_itk
from labelgan.data.volume import Volume
from labelgan.scoring.metrics import METRICS, score_masks
from real_data import real_cohort

pytestmark = pytest.mark.real


# The filters take seconds for the seven million voxels of one case of the second cohort.
@pytest.mark.parametrize(("name", "count"), [("ms3seg-wmh", 3), ("open-ms-bids", 1), ("Dataset501_LGG", 3)])
def test_real_masks_score_as_through_the_filters(name: str, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Predictions are the reference moved by a voxel and thinned out, and another patient's mask where grids agree."""
    sys.modules.pop("metrics", None)
    from bench.speed.metrics import score_with_filters  # type: ignore[import-not-found]

    masks = [case.load_mask() for case in read_cohort(real_cohort(name)).cases[:count]]
    for number, volume in enumerate(masks):
        assert volume is not None
        moved = np.roll(volume.data, (1, 2), axis=(0, 1))
        moved[::5] = 0
        predictions = [moved]
        other = masks[number - 1]
        if other is not None and other.data.shape == volume.data.shape:
            predictions.append(other.data)
        image = to_itk(Volume(volume.data.astype(np.float32), volume.affine))
        for prediction in predictions:
            scores = score_masks(volume.data, prediction, affine=volume.affine)
            expected = score_with_filters(image, to_itk(Volume(prediction, volume.affine)))
            for metric in METRICS:
                tolerance = {"abs": 1e-6, "rel": 0} if metric == "hd95_mm" else {"rel": 1e-9, "abs": 0}
                assert scores[metric] == pytest.approx(expected[metric], **tolerance), (name, number, metric)
