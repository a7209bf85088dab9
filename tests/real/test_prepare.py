from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from labelgan.config.base import PrepareConfig
from labelgan.data.layouts.detect import read_cohort
from labelgan.data.prepare.case import prepare_case
from labelgan.data.prepare.cohort import prepare_store
from real_data import real_cohort

pytestmark = pytest.mark.real

# Brain over head, where the head is what is brighter than a tenth of the 99th percentile: skull on, stripped, skull on.
COHORTS = [("ms3seg-wmh", (0.35, 0.75)), ("open-ms-bids", (0.9, 1.15)), ("Dataset501_LGG", (0.3, 0.85))]


@pytest.mark.parametrize(("name", "share"), COHORTS)
def test_brain_is_a_plausible_share_of_the_head_and_holds_the_lesions(name: str, share: tuple[float, float]) -> None:
    config = PrepareConfig.build({"size": (256, 256), "drop_empty": False})
    for case in read_cohort(real_cohort(name)).cases[::4][:4]:
        prepared = prepare_case(case, config)
        flair = case.load_image("FLAIR").data
        head = flair > 0.1 * np.percentile(flair, 99)
        assert share[0] < prepared.brains_ZHW.sum() / head.sum() < share[1], case.id
        lesion = prepared.masks_ZHW == 1
        assert (lesion & prepared.brains_ZHW).sum() > 0.75 * lesion.sum(), case.id


@pytest.mark.parametrize("name", ["ms3seg-wmh", "open-ms-bids"])
def test_store_is_made_in_seconds_a_case_and_leads_back_to_the_scan(name: str, tmp_path: Path) -> None:
    cohort = read_cohort(real_cohort(name))
    leave_out = [case.id for case in cohort.cases[2:]]
    start = time.perf_counter()
    store = prepare_store(real_cohort(name), tmp_path / "store", PrepareConfig.build({}), exclude=leave_out)
    assert time.perf_counter() - start < 20 * len(store.cases)
    assert [case.id for case in store.cases] == [case.id for case in cohort.cases[:2]]
    for stored, case in zip(store.cases, cohort.cases, strict=False):
        batch = store.volume(stored.id)
        assert stored.lesion_voxels_cropped == 0
        truth = case.load_mask()
        assert truth is not None
        np.testing.assert_array_equal(store.to_native(stored.id, batch.masks_NHW) == 1, truth.data == 1)
        flair = case.load_image("FLAIR").data
        z_scores = store.to_native(stored.id, batch.images_NCHW[:, 0], fill=np.nan, order="image")
        seen = np.isfinite(z_scores)
        expected = (flair[seen] - stored.intensity["FLAIR"].mean) / stored.intensity["FLAIR"].sd
        np.testing.assert_allclose(z_scores[seen], expected, rtol=2**-10, atol=2e-3)
        inside = batch.images_NCHW[:, 0][batch.brains_NHW > 0]
        assert abs(float(np.median(inside))) < 0.5
