from __future__ import annotations

import numpy as np
import pytest

from labelgan.audit.fidelity.features import (
    Standardised,
    coarse_images,
    coarse_masks,
    lesion_masks,
    unit_images,
)
from labelgan.audit.slices import AuditSlices


@pytest.fixture(scope="module")
def slices(phantom_store) -> AuditSlices:
    return AuditSlices.from_store(phantom_store)


def test_images_are_bounded_and_masks_hold_lesions_alone(slices):
    images, masks = unit_images(slices), lesion_masks(slices)
    np.testing.assert_allclose(images.numpy(), np.tanh(slices.z_scores() / 4), rtol=1e-5)  # two tanh
    assert masks.shape == (len(slices), 1, 32, 32)
    assert masks.sum() == (slices.masks_NHW == 1).sum()


def test_coarse_features_are_means_of_fields(slices, monkeypatch):
    images, masks = coarse_images(slices, 4), coarse_masks(slices, 4)
    fields = np.tanh(slices.z_scores() / 4).reshape(len(slices), 2, 4, 8, 4, 8).mean(axis=(3, 5))
    np.testing.assert_allclose(images, fields.reshape(len(slices), -1), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(masks.sum(axis=1) * 64, slices.lesions_NHW.sum(axis=(1, 2)), rtol=1e-5)
    monkeypatch.setattr("labelgan.audit.fidelity.features.BLOCK", 5)
    np.testing.assert_allclose(coarse_images(slices, 4), images, rtol=1e-5, atol=1e-6)
    assert coarse_masks(slices.select([]), 4).shape == (0, 16)


def test_training_features_set_the_scale():
    train = np.random.default_rng(0).normal([1, 2, 3], [1, 10, 100], (500, 3))
    each, whole = Standardised(train, each=True)(train), Standardised(train)(train)
    np.testing.assert_allclose(each.std(axis=0), 1, rtol=1e-4)
    assert np.sqrt((whole**2).mean()) == pytest.approx(1, rel=1e-4)
    assert whole[:, 2].std() / whole[:, 0].std() == pytest.approx(train[:, 2].std() / train[:, 0].std(), rel=1e-4)
    assert np.isfinite(Standardised(np.ones((4, 2)), each=True)(np.zeros((1, 2)))).all()
