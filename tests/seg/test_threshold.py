from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from torch import nn

from labelgan.config.seg import SegConfig, SegPredictConfig
from labelgan.core.errors import DataError
from labelgan.data.store import SliceStore
from labelgan.scoring.metrics import score_masks
from labelgan.seg.predict import Ensemble
from labelgan.seg.threshold import PUBLISHED, THRESHOLDS, choose, dsc_by_threshold, fit_threshold
from labelgan.seg.train import train_segmenter
from tiny import tiny_seg_config

VALUES = [float(np.float32(value)) for value in (*THRESHOLDS, 0.0, 0.07, 0.31, 0.449, 0.451, 1.0)]


@settings(max_examples=50, deadline=None)
@given(
    probability=arrays.arrays(np.float32, (3, 4, 2), elements=st.sampled_from(VALUES)),
    mask=arrays.arrays(np.uint8, (3, 4, 2), elements=st.integers(0, 2)),
)
def test_the_curve_is_the_score_at_every_threshold(probability, mask):
    mask[0, 0, 0] = 1
    curve = dsc_by_threshold(probability, mask)
    for threshold, dsc in zip(THRESHOLDS, curve, strict=True):
        expected = score_masks(mask, (probability > threshold).astype(np.uint8), affine=np.eye(4)).dsc
        assert dsc == pytest.approx(expected)


def test_the_published_threshold_is_left_for_a_gain_alone():
    assert PUBLISHED == 0.45
    assert PUBLISHED in THRESHOLDS
    flat = np.full(len(THRESHOLDS), 0.7)
    assert choose(flat) == 0.45
    flat[THRESHOLDS.index(0.2)] = 0.704
    assert choose(flat) == 0.45
    flat[THRESHOLDS.index(0.2)] = 0.706
    assert choose(flat) == 0.2
    flat[THRESHOLDS.index(0.35)] = 0.705
    assert choose(flat) == 0.35


class Answer(nn.Module):
    """Says the probability that stands in the first channel's z-score."""

    def forward(self, images_NCHW: torch.Tensor) -> torch.Tensor:
        return images_NCHW[:, :1].clamp(0.001, 0.999).logit()


def ensemble(store: SliceStore, **predict) -> Ensemble:
    config = SegConfig(predict=SegPredictConfig(**predict))
    return Ensemble([Answer()], store.channels, store.config, config, torch.device("cpu"))


@pytest.fixture
def planted(phantom_store, tmp_path) -> Path:
    """The phantoms' store, with 0.28 on lesions and 0.22 elsewhere in the first channel: 0.25 parts them."""
    shutil.copytree(phantom_store.path, tmp_path / "store")
    images = np.load(tmp_path / "store" / "images.npy")
    images[:, 0] = np.where(np.load(tmp_path / "store" / "masks.npy") == 1, 0.28, 0.22)
    np.save(tmp_path / "store" / "images.npy", images)
    return tmp_path / "store"


def test_the_threshold_that_parts_lesions_from_the_rest_is_found(planted):
    store = SliceStore.open(planted)
    fitted = fit_threshold(ensemble(store, emptied=0), store, store.select())
    assert fitted.value == 0.25
    assert fitted.curve[0.25] == 1
    assert fitted.curve[0.45] == 0
    assert fitted.cases == ("P001", "P002", "P003")
    told = json.loads(json.dumps(fitted.as_json(), allow_nan=False))
    assert (told["value"], len(told["mean_dsc"])) == (0.25, len(THRESHOLDS))


def test_slices_that_predictions_leave_empty_count_as_empty(planted):
    store = SliceStore.open(planted)
    whole, cut = (fit_threshold(ensemble(store, emptied=share), store, store.select()) for share in (0, 0.4))
    assert cut.curve[0.25] < whole.curve[0.25]


def test_what_is_held_out_is_not_looked_at(planted):
    before = SliceStore.open(planted)
    rows = before.select(exclude=["P001"])
    fitted = fit_threshold(ensemble(before), before, rows)
    for name in ("images.npy", "masks.npy"):
        values = np.load(planted / name)
        values[before.rows_of(["P001"])] = 1
        np.save(planted / name, values)
    after = SliceStore.open(planted)
    assert fit_threshold(ensemble(after), after, rows) == fitted
    assert fitted.cases == ("P002", "P003")
    assert fit_threshold(ensemble(after), after, after.select()) != fitted


def test_cases_without_a_lesion_do_not_count_and_one_with_is_needed(planted):
    store = SliceStore.open(planted)
    masks, index = np.load(planted / "masks.npy"), np.load(planted / "index.npy")
    masks[store.rows_of(["P002"])] = 0
    np.save(planted / "masks.npy", masks)
    store = SliceStore.open(planted)
    assert fit_threshold(ensemble(store), store, store.select()).cases == ("P001", "P003")
    index["lesion_voxels"] = 0
    np.save(planted / "index.npy", index)
    store = SliceStore.open(planted)
    with pytest.raises(DataError, match="no training case has a lesion to choose the threshold by"):
        fit_threshold(ensemble(store), store, store.select())


def test_a_training_without_a_lesion_is_refused_before_it_begins(planted, tmp_path):
    index = np.load(planted / "index.npy")
    index["lesion_voxels"] = 0
    np.save(planted / "index.npy", index)
    with pytest.raises(DataError, match="no training case has a lesion"):
        train_segmenter(
            SliceStore.open(planted), tmp_path / "seg", tiny_seg_config("li2018", "train.fit_threshold=true")
        )
    assert not (tmp_path / "seg" / "manifest.json").exists()
