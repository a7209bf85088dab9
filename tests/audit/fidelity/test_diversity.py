from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from labelgan.audit.fidelity.diversity import diversity, random_pairs
from labelgan.audit.slices import AuditData, AuditSlices
from labelgan.config.audit import AuditConfig
from labelgan.core.rng import generator_for


@pytest.fixture(scope="module")
def slices(phantom_store) -> AuditSlices:
    return AuditSlices.from_store(phantom_store)


def measured(samples: AuditSlices, slices: AuditSlices) -> dict[str, Any]:
    data = AuditData(samples, slices, slices)
    return {finding.name: finding for finding in diversity(data, AuditConfig())}


def unnamed(slices: AuditSlices) -> AuditSlices:
    """As a synthetic cohort's: no patients, and names of their own."""
    names = np.array([f"s{number}" for number in range(len(slices))])
    return dataclasses.replace(slices, patients=np.full(len(slices), ""), names=names)


def noisy(slices: AuditSlices, level: float = 0.02) -> AuditSlices:
    noise = generator_for(0, "noise").standard_normal(slices.images_NCHW.shape, dtype=np.float32)
    return dataclasses.replace(slices, images_NCHW=slices.images_NCHW + np.float32(level) * noise)


def test_real_slices_are_as_diverse_as_real_slices(slices):
    found = measured(slices, slices)
    assert found["diversity.spread"].value == found["diversity.spread"].good == pytest.approx(1)
    assert found["diversity.repeats"].value == found["diversity.repeats"].good < 0.05
    assert found["diversity.ms_ssim"].standing == pytest.approx(1, abs=0.15)


def test_one_slice_over_and_over(slices):
    found = measured(noisy(unnamed(slices.select(np.full(20, 4)))), slices)
    assert found["diversity.spread"].value < 0.05
    assert found["diversity.repeats"].value == 1
    assert found["diversity.ms_ssim"].standing < 0.1


def test_a_few_slices_over_and_over_have_spread_and_repeat_all_the_same(slices):
    found = measured(noisy(unnamed(slices.select(np.resize(np.arange(0, len(slices), 6), len(slices))))), slices)
    assert found["diversity.spread"].value > 0.7
    assert found["diversity.repeats"].value > 0.9


def test_equal_masks_overlap(slices):
    lesioned = slices.select(slices.lesions_NHW.any(axis=(1, 2)))
    masks = np.repeat(lesioned.masks_NHW[:1] == 1, len(lesioned), axis=0).astype(np.uint8)
    found = measured(unnamed(dataclasses.replace(lesioned, masks_NHW=masks)), slices)
    assert found["diversity.mask_overlap"].value == 1
    assert found["diversity.mask_overlap"].good < 0.5


def test_what_cannot_be_measured_is_said(slices):
    empty = dataclasses.replace(slices, masks_NHW=np.zeros_like(slices.masks_NHW))
    assert measured(empty, slices)["diversity.mask_overlap"].note == "fewer than two samples with a lesion"
    alone = measured(unnamed(slices.select([0])), slices)
    assert alone["diversity.spread"].value is alone["diversity.repeats"].value is None
    assert alone["diversity.ms_ssim"].value is None


def test_pairs_are_of_different_groups():
    groups = np.array(["a", "a", "b", "c"])
    pairs = random_pairs(groups, 50, 0)
    assert pairs is not None
    assert pairs.shape == (2, 50)
    assert (groups[pairs[0]] != groups[pairs[1]]).all()
    assert random_pairs(groups[:2], 50, 0) is None
    assert random_pairs(groups[:1], 50, 0) is None
