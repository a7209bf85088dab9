from __future__ import annotations

import numpy as np
import pytest

from labelgan.core.errors import DataError
from labelgan.data.layouts.detect import read_cohort
from labelgan.data.synthetic_slices import read_labelled_slices

# Leaks, damaged manifests and every format's way back have their tests in tests/seg/test_synthetic.py.


def test_real_cases_come_with_brains_and_heights(phantom_cohort, phantom_store):
    cohort = read_cohort(phantom_cohort)
    told: list[tuple[int, int, str]] = []
    read = list(read_labelled_slices(cohort, cohort.cases[1:], phantom_store, lambda *progress: told.append(progress)))
    assert [part.case.id for part in read] == ["P002", "P003"]
    assert told == [(0, 2, "P002"), (1, 2, "P003"), (2, 2, "")]
    stored = phantom_store.volume("P002")
    for name in ("masks_NHW", "brains_NHW", "heights_N", "cases", "patients"):
        assert np.array_equal(getattr(read[0].slices, name), getattr(stored, name)), name
    assert read[0].known.hashes == phantom_store.case("P002").hashes
    assert not cohort.manifest.is_synthetic


def test_synthetic_slices_have_neither(tiny_samples, phantom_store):
    cohort = read_cohort(tiny_samples)
    (read,) = read_labelled_slices(cohort, cohort.cases[:1], phantom_store)
    assert cohort.manifest.is_synthetic
    assert read.slices.images_NCHW.shape == (1, 2, 32, 32)
    assert not read.slices.brains_NHW.any()
    assert np.isnan(read.slices.heights_N).all()
    assert (read.slices.names.tolist(), read.slices.patients.tolist()) == (["syn000000"], [""])


def test_a_missing_channel_is_named(phantom_cohort, phantom_store):
    import dataclasses

    cohort = read_cohort(phantom_cohort)
    case = cohort.cases[0]
    blind = dataclasses.replace(case, images={"FLAIR": case.images["FLAIR"]})
    with pytest.raises(DataError, match=r"^P001: has no T1 image, the store has"):
        list(read_labelled_slices(cohort, [blind], phantom_store))
