from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest

import labelgan
from labelgan.core.errors import ConfigError

# what torchio imports warns
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")


def test_without_the_extra_it_says_what_to_install(phantom_cohort, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchio", None)
    with pytest.raises(ConfigError, match=r"needs TorchIO: pip install 'labelgan\[torchio\]'"):
        labelgan.torchio_subjects(phantom_cohort)


def test_subjects_hold_images_labels_and_names(phantom_cohort):
    torchio = pytest.importorskip("torchio")
    subjects = labelgan.torchio_subjects(phantom_cohort)
    cohort = labelgan.Cohort.load(phantom_cohort)
    assert len(subjects) == len(cohort) == 3
    for number, case in enumerate(cohort):
        subject: Any = subjects[number]
        assert (subject["id"], subject["patient"], subject["synthetic"]) == (case.id, case.patient, False)
        volume, mask = case.load_image("FLAIR"), case.load_mask()
        assert mask is not None
        assert isinstance(subject["FLAIR"], torchio.ScalarImage)
        assert isinstance(subject["label"], torchio.LabelMap)
        assert np.array_equal(subject["FLAIR"].numpy()[0], volume.data)
        assert np.array_equal(subject["label"].numpy()[0], mask.data)
        np.testing.assert_allclose(subject["FLAIR"].affine, volume.affine)


def test_torchios_own_transforms_take_them(phantom_cohort):
    torchio = pytest.importorskip("torchio")
    subject: Any = labelgan.torchio_subjects(phantom_cohort)[0]
    flipped: Any = torchio.RandomFlip(axes=(0,), flip_probability=1.0)(subject)
    assert np.array_equal(flipped["label"].numpy(), subject["label"].numpy()[:, ::-1])


def test_synthetic_archives_become_subjects_too(tiny_samples):
    pytest.importorskip("torchio")
    subjects = labelgan.torchio_subjects(labelgan.Cohort.load(tiny_samples))
    assert len(subjects) == 6
    assert all(subject["synthetic"] for subject in subjects.dry_iter())
    first: Any = subjects[0]
    case = labelgan.Cohort.load(tiny_samples)[first["id"]]
    assert np.array_equal(first["T1"].numpy()[0], case.load_image("T1").data)
