from __future__ import annotations

import numpy as np
import pytest

from labelgan.audit.slices import AuditData, AuditSlices
from labelgan.core.errors import ConfigError, DataError
from labelgan.data.layouts.detect import read_cohort
from labelgan.data.prepare.brain_search import find_brains


def test_a_store_gives_its_slices(phantom_store):
    slices = AuditSlices.from_store(phantom_store)
    assert len(slices) == len(phantom_store)
    assert slices.size == (32, 32)
    assert slices.images_NCHW.dtype == np.float16  # half the memory, and exactly what the store holds
    assert slices.z_scores([1]).dtype == np.float32
    assert np.array_equal(slices.z_scores(), phantom_store.images.astype(np.float32))
    assert np.array_equal(slices.masks_NHW, phantom_store.masks)
    assert np.array_equal(slices.heights_N, phantom_store.index["z_fraction"])
    assert set(slices.patients) == {"P001", "P002", "P003"}
    assert len(set(slices.names)) == len(slices)


def test_patients_are_kept_or_left_out(phantom_store):
    kept = AuditSlices.from_store(phantom_store, keep=["P002"])
    rest = AuditSlices.from_store(phantom_store, exclude=["P002"])
    assert set(kept.patients) == {"P002"}
    assert set(rest.patients) == {"P001", "P003"}
    assert len(kept) + len(rest) == len(phantom_store)
    with pytest.raises(ConfigError, match="P9"):
        AuditSlices.from_store(phantom_store, keep=["P9"])
    with pytest.raises(DataError, match="no labelled slice"):
        AuditSlices.from_store(phantom_store, keep=["P001"], exclude=["P001"])


def test_a_draw_is_seeded_and_without_repeats(phantom_store):
    some = [AuditSlices.from_store(phantom_store, max_slices=7, seed=seed).names.tolist() for seed in (1, 1, 2)]
    assert some[0] == some[1] != some[2]
    assert len(set(some[0])) == 7


def test_a_synthetic_cohort_has_no_patients(tiny_samples, phantom_store):
    slices = AuditSlices.from_cohort(read_cohort(tiny_samples), phantom_store)
    assert set(slices.patients) == {""}
    assert np.isnan(slices.heights_N).all()
    assert slices.names.tolist() == [f"syn{number:06d}" for number in range(6)]
    some = AuditSlices.from_cohort(read_cohort(tiny_samples), phantom_store, max_slices=4, seed=3)
    assert len(set(some.names)) == 4
    assert set(some.names) <= set(slices.names)


def test_a_real_cohort_comes_as_its_store_has_it(phantom_cohort, phantom_store):
    slices, stored = (
        AuditSlices.from_cohort(read_cohort(phantom_cohort), phantom_store),
        AuditSlices.from_store(phantom_store),
    )
    assert np.array_equal(slices.images_NCHW, stored.images_NCHW)
    assert np.array_equal(slices.brains_NHW, stored.brains_NHW)
    assert np.array_equal(slices.patients, stored.patients)


def test_lone_brains_are_found_once_and_are_those_of_synthetic_slices(phantom_store, tiny_samples, monkeypatch):
    real, samples = (
        AuditSlices.from_store(phantom_store),
        AuditSlices.from_cohort(read_cohort(tiny_samples), phantom_store),
    )
    assert samples.lone_brains_NHW is samples.brains_NHW
    assert np.array_equal(samples.brains_NHW, find_brains(samples.images_NCHW[:, 0]))
    assert np.array_equal(real.lone_brains_NHW, find_brains(real.images_NCHW[:, 0]))
    assert not np.array_equal(real.lone_brains_NHW, real.brains_NHW)
    monkeypatch.setattr("labelgan.audit.slices.find_brains", None)
    assert real.lone_brains_NHW is real.lone_brains_NHW


def test_features_are_computed_once(phantom_store):
    slices = AuditSlices.from_store(phantom_store)
    asked = []

    def encoder(part: AuditSlices, /) -> np.ndarray:
        asked.append(len(part))
        return part.images_NCHW.mean(axis=(2, 3))

    data = AuditData(slices, slices.select([0, 1]), slices.select([2]), encoder=encoder)
    assert data.features("train").shape == (2, 2)
    assert data.features("train") is data.features("train")
    assert asked == [2]
