from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from labelgan.audit.filters import COPY, LOAD, MASK, NO_BRAIN, SampleFilter
from labelgan.audit.labels.labels import moved
from labelgan.audit.slices import AuditSlices
from plants import DISGUISES, labelled


@pytest.fixture(scope="module")
def train() -> AuditSlices:
    return labelled("t", 6)


@pytest.fixture(scope="module")
def unseen() -> AuditSlices:
    return labelled("u", 3)


@pytest.fixture(scope="module")
def fitted(train: AuditSlices) -> SampleFilter:
    return SampleFilter.fit(train)


def test_unseen_patients_are_kept(fitted, unseen):
    verdict = fitted.judge(unseen)
    assert verdict.keep.mean() >= 0.85
    assert verdict.dropped.get(COPY, 0) <= 0.05 * len(unseen)
    assert sum(verdict.dropped.values()) == (~verdict.keep).sum()


@pytest.mark.parametrize("disguise", ["noisy", "shifted, flipped, brightened, noisy"])
def test_training_slices_in_disguise_are_dropped(fitted, train, disguise):
    images = DISGUISES[disguise](train.images_NCHW[::3]).astype(np.float32)
    verdict = fitted.judge(replace(train.select(slice(None, None, 3)), images_NCHW=images))
    assert (verdict.reasons == COPY).mean() >= 0.99


def test_masks_out_of_place_are_dropped_more_often_than_true_ones(fitted, unseen):
    lesion = unseen.select(unseen.lesions_NHW.any((1, 2)))
    true = fitted.judge(lesion).reasons == MASK
    degraded = fitted.judge(replace(lesion, masks_NHW=moved(lesion.masks_NHW, 4))).reasons == MASK
    assert true.mean() < 0.2
    assert degraded.mean() > true.mean() + 0.3


def test_a_sample_all_lesion_or_all_black_is_dropped(fitted, unseen):
    some = unseen.select(slice(0, 4))
    images, masks = some.images_NCHW.copy(), some.masks_NHW.copy()
    masks[1] = some.brains_NHW[1]
    images[3] = -3
    reasons = fitted.judge(replace(some, images_NCHW=images, masks_NHW=masks)).reasons
    assert reasons[1] in (LOAD, MASK)
    assert reasons[3] == NO_BRAIN


def test_every_sample_is_judged_alone(fitted, unseen):
    whole = fitted.judge(unseen).reasons
    assert np.array_equal(fitted.judge(unseen.select(slice(5, 9))).reasons, whole[5:9])


def test_one_training_patient_sets_no_limit_for_copies(train):
    alone = SampleFilter.fit(train.select(train.patients == "t0"))
    assert alone.limits == {}
    assert COPY not in alone.judge(train.select(train.patients == "t0")).reasons


def test_features_count_where_both_sides_have_them(train, unseen):
    features = np.eye(len(train), dtype=np.float32)
    with_features = SampleFilter.fit(train, features)
    assert set(with_features.limits) == {"whole", "parts", "encoder"}
    copied = with_features.judge(unseen.select(slice(0, 3)), features[:3] * 0.99)
    assert (copied.reasons == COPY).all()
    assert (with_features.judge(unseen.select(slice(0, 3))).reasons != COPY).any()
