from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from labelgan.core.errors import ConfigError, DataError
from labelgan.core.rng import generator_for
from labelgan.data.prepare.case import to_unit
from labelgan.gan.inputs.batches import BatchSource, training_rows
from tiny import tiny_config

CPU = torch.device("cpu")


def source_of(store, *settings: str) -> BatchSource:
    config = tiny_config("r3gan", *settings)
    return BatchSource(store, training_rows(store, config), config, CPU)


def test_rows_leave_out_other_pathology_and_excluded_patients(phantom_store):
    other = phantom_store.index["other_voxels"] > 0
    assert other.any()
    every = training_rows(phantom_store, tiny_config("r3gan", "train.drop_other_pathology=false"))
    assert np.array_equal(every, np.arange(len(phantom_store)))
    kept = training_rows(phantom_store, tiny_config())
    assert np.array_equal(kept, np.flatnonzero(~other))
    first = phantom_store.cases[0]
    rows = training_rows(phantom_store, tiny_config(), [first.id])
    assert {phantom_store.case_of(row).id for row in rows} == {case.id for case in phantom_store.cases[1:]}


def test_an_unknown_id_or_nothing_left_is_told(phantom_store):
    with pytest.raises(ConfigError, match=r"--exclude P999: no such case or patient"):
        training_rows(phantom_store, tiny_config(), ["P999"])
    with pytest.raises(DataError, match=r"0 labelled slices are left to train on"):
        training_rows(phantom_store, tiny_config(), [case.id for case in phantom_store.cases])


def test_a_slice_becomes_its_channels_and_its_mask(phantom_store):
    rows = np.array([3, 20, 3])
    images_NCHW = source_of(phantom_store).load(rows, generator_for(0))
    assert images_NCHW.shape == (3, 3, 32, 32)
    assert float(images_NCHW.abs().max()) <= 1
    batch = phantom_store.read(rows)
    np.testing.assert_allclose(images_NCHW[:, :-1].numpy(), to_unit(batch.images_NCHW), rtol=1e-5)  # two tanh
    assert np.array_equal(images_NCHW[:, -1].numpy() > 0, batch.masks_NHW == 1)
    assert torch.equal(images_NCHW[0], images_NCHW[2])


def test_other_pathology_is_no_lesion(phantom_store):
    rows = np.flatnonzero(phantom_store.index["other_voxels"] > 0)
    images_NCHW = source_of(phantom_store).load(rows, generator_for(0))
    other = phantom_store.read(rows).masks_NHW == 2
    assert other.any()
    assert not bool((images_NCHW[:, -1] > 0)[torch.from_numpy(other)].any())


@pytest.mark.parametrize(("fraction", "expected"), [("0.0", 0.0), ("0.25", 0.25), ("1.0", 1.0)])
def test_lesion_slices_come_as_often_as_asked(phantom_store, fraction, expected):
    source = source_of(phantom_store, "train.batch_size=2000", f"train.lesion_fraction={fraction}")
    drawn = source.draw(generator_for(0, "draw"))
    assert drawn.shape == (2000,)
    assert set(drawn) <= set(source.rows)
    rate = (phantom_store.index["lesion_voxels"][drawn] > 0).mean()
    assert rate == pytest.approx(expected, abs=0.04)


def test_without_a_fraction_slices_come_as_they_are(phantom_store):
    source = source_of(phantom_store, "train.batch_size=4000", "train.lesion_fraction=none")
    drawn = source.draw(generator_for(0, "draw"))
    assert set(drawn) == set(source.rows)
    natural = len(source.lesion_rows) / len(source.rows)
    assert (phantom_store.index["lesion_voxels"][drawn] > 0).mean() == pytest.approx(natural, abs=0.04)


def test_a_store_of_lesion_slices_alone_is_drawn_from_evenly(phantom_store):
    config = tiny_config("r3gan", "train.batch_size=500", "train.lesion_fraction=0.1")
    lesion_rows = source_of(phantom_store).lesion_rows
    source = BatchSource(phantom_store, lesion_rows, config, CPU)
    assert set(source.draw(generator_for(0))) == set(lesion_rows)


def test_a_batch_depends_on_seed_step_and_turn_alone(phantom_store):
    source = source_of(phantom_store, "mask.encoding=gaussian")
    images, rows = source.batch(5, 1)
    source.batch(0, 0)
    again, rows_again = source_of(phantom_store, "mask.encoding=gaussian").batch(5, 1)
    assert torch.equal(images, again)
    assert np.array_equal(rows, rows_again)
    for other in (
        source.batch(5, 0),
        source.batch(6, 1),
        source_of(phantom_store, "mask.encoding=gaussian", "train.seed=1").batch(5, 1),
    ):
        assert not torch.equal(images, other[0])


def test_the_gaussian_encoding_differs_in_every_batch_and_the_others_do_not(phantom_store):
    rows = np.arange(4)
    for encoding, alike in (("gaussian", False), ("hard", True), ("distance", True)):
        source = source_of(phantom_store, f"mask.encoding={encoding}")
        one, other = (source.load(rows, generator_for(seed, "noise"))[:, -1] for seed in (0, 1))
        assert torch.equal(one, other) == alike


def test_unlabelled_cases_are_never_trained_on(phantom_store):
    first = phantom_store.cases[0].model_copy(update={"labelled": False})
    manifest = phantom_store.manifest.model_copy(update={"cases": (first, *phantom_store.cases[1:])})
    rows = training_rows(dataclasses.replace(phantom_store, manifest=manifest), tiny_config())
    assert first.id not in {phantom_store.case_of(row).id for row in rows}
