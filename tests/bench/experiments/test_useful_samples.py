from __future__ import annotations

import numpy as np
import pytest
import torch

from bench.experiments.useful_samples import Trial, agreement, dsc, gradient, half_of
from labelgan.data.slices import Slices
from labelgan.gan.sample import sample_cohort
from labelgan.seg.predict import Ensemble
from labelgan.seg.synthetic import read_synthetic
from tiny import tiny_seg_config


@pytest.fixture(scope="module")
def network(tiny_segmenter) -> torch.nn.Module:
    return Ensemble.load(tiny_segmenter, device="cpu").networks[0]


def test_a_patients_own_slices_are_the_most_useful_to_it(network, phantom_store):
    """One sample that is the patient's lesion slices themselves agrees wholly, and its negative not at all."""
    case = phantom_store.cases[0]
    rows = phantom_store.rows_of([case.id])
    row = rows[np.argmax(phantom_store.index["lesion_voxels"][rows])]
    part = phantom_store.read([row, rows[0]])
    samples = Slices(part.images_NCHW.astype(np.float16), part.masks_NHW)
    found = agreement(network, phantom_store, case.patient, samples)
    assert found.shape == (2,)
    assert found[0] > 0.2
    assert found[0] > found[1]
    assert gradient(network, part.images_NCHW, part.masks_NHW).ndim == 1


def test_a_half_keeps_the_mix_of_slices_with_and_without_lesions():
    with_lesion = np.array([True, False, True, True, False, False, True, False])
    kept = half_of(np.arange(8), with_lesion)
    assert sorted(kept.tolist()) == [0, 1, 2, 4]
    assert half_of(np.arange(8)[::-1], with_lesion).tolist()[:2] == [6, 3]


def test_samples_that_are_not_chosen_are_rejected_as_in_studio(phantom_store, tiny_run, tmp_path):
    samples = sample_cohort(tiny_run, tmp_path / "samples", 6, format="npz", device="cpu")
    patients = sorted(case.patient for case in phantom_store.cases)
    trial = Trial(phantom_store, patients, samples, tmp_path, tiny_seg_config())
    chosen = trial.chosen(np.array([1, 4]), "some")
    kept = read_synthetic(chosen, phantom_store, ()).slices
    assert np.array_equal(kept.images_NCHW, trial.extra.images_NCHW[[1, 4]])


def test_overlap_is_one_where_nothing_is_there_and_nothing_is_found(tiny_segmenter, phantom_store, monkeypatch):
    ensemble = Ensemble.load(tiny_segmenter, device="cpu")
    patient = phantom_store.cases[0].patient
    empty = lambda images: np.zeros((len(images), *images.shape[2:]), np.float32)  # noqa: E731
    monkeypatch.setattr(ensemble, "probabilities", empty)
    assert dsc(ensemble, phantom_store, patient) == 0.0
    assert dsc(ensemble, phantom_store, "nobody") == 1.0
