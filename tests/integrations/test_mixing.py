from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

import labelgan
from labelgan.core.errors import ConfigError, DataError, LeakError
from labelgan.data.volume import LESION
from labelgan.gan.sample import Generator, sample_cohort
from labelgan.gan.train import train_generator
from labelgan.integrations.mixing import MixedSlices, SyntheticPool
from tiny import tiny_config


@pytest.fixture(scope="module")
def held_out_run(phantom_store, tmp_path_factory):
    """A generator that has not seen P001."""
    out = tmp_path_factory.mktemp("held out") / "run"
    return train_generator(phantom_store, out, tiny_config("r3gan", "train.collapse_ratio=0"), exclude=["P001"]).run


def synthetic_ids(slices: MixedSlices) -> list[str]:
    return [slices[index]["id"] for index in range(len(slices.rows), len(slices))]


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5])
def test_the_share_is_of_all_items(phantom_store, tiny_samples, share):
    slices = MixedSlices(phantom_store, tiny_samples, share=share)
    items = [slices[index] for index in range(len(slices))]
    synthetic = sum(item["synthetic"] for item in items)
    assert abs(synthetic - share * len(items)) <= 0.5
    assert len(items) - synthetic == len(phantom_store)


def test_real_items_are_the_stores_slices_and_their_patients(phantom_store, tiny_samples):
    slices = MixedSlices(phantom_store, tiny_samples, share=0.1)
    for index, row in enumerate(slices.rows):
        item, batch = slices[index], phantom_store.read([row])
        assert item["image"].dtype == torch.float32
        assert np.array_equal(item["image"].numpy(), batch.images_NCHW[0])
        assert np.array_equal(item["label"][0].numpy(), batch.masks_NHW[0])
        assert (item["patient"], item["synthetic"]) == (phantom_store.case_of(row).patient, False)


def test_synthetic_slices_come_in_rounds_and_epochs_move_on(phantom_store, tiny_samples):
    slices = MixedSlices(phantom_store, tiny_samples, share=0.05, seed=3)
    count = len(slices) - len(slices.rows)
    assert 0 < count < 6
    seen = []
    for epoch in range(6):
        slices.set_epoch(epoch)
        seen += synthetic_ids(slices)
    assert len(seen) == 6 * count
    for start in range(0, 6 * count, 6):  # every round of six shows each of the six once
        assert len(set(seen[start : start + 6])) == 6
    again = MixedSlices(phantom_store, tiny_samples, share=0.05, seed=3)
    assert synthetic_ids(again) == seen[:count]
    again.set_epoch(2)
    assert synthetic_ids(again) == seen[2 * count : 3 * count]


def test_a_folder_and_its_generator_give_the_same_slices(phantom_store, tiny_run, tmp_path):
    folder = sample_cohort(tiny_run, tmp_path / "samples", 5, format="npz", seed=7, device="cpu")
    generator = Generator.load(tiny_run, device="cpu")
    read = SyntheticPool.load(folder, phantom_store.path)
    made = SyntheticPool.load(generator, phantom_store, samples=5, seed=7)
    assert np.array_equal(read.images_NCHW, made.images_NCHW)
    assert np.array_equal(read.masks_NHW, made.masks_NHW)
    assert read.seen is not None
    assert made.seen is not None
    assert [(case.id, case.hashes) for case in read.seen.own] == [(case.id, case.hashes) for case in made.seen.own]


def test_share_1_is_the_pool_alone(phantom_store, tiny_samples):
    slices = MixedSlices(phantom_store, tiny_samples, share=1)
    assert len(slices) == 6
    assert all(item["synthetic"] for item in (slices[index] for index in range(6)))


def test_a_loader_collates_items_with_a_transform(phantom_store, held_out_run):
    def mark(item):
        return item | {"lesion": bool((item["label"] == LESION).any())}

    generator = labelgan.Generator.load(held_out_run, device="cpu")
    slices = labelgan.MixedSlices(phantom_store, generator, share=0.5, exclude=["P001"], transform=mark)
    (batch,) = DataLoader(slices, batch_size=len(slices))
    assert batch["image"].shape == (len(slices), 2, 32, 32)
    assert batch["label"].shape == (len(slices), 1, 32, 32)
    assert set(batch["patient"]) == {"P002", "P003", ""}
    assert int(batch["synthetic"].sum()) * 2 == len(slices)
    assert batch["lesion"].dtype == torch.bool


@pytest.mark.parametrize("as_pool", [False, True])
def test_slices_made_from_held_out_patients_are_refused(phantom_store, tiny_run, tiny_samples, as_pool):
    for source in (tiny_samples, Generator.load(tiny_run, device="cpu")):
        given = SyntheticPool.load(source, phantom_store, samples=4) if as_pool else source
        with pytest.raises(LeakError, match="was made from the held-out case P001"):
            MixedSlices(phantom_store, given, exclude=["P001"])


def test_wrong_requests(phantom_store, tiny_samples, tiny_run):
    with pytest.raises(ConfigError, match=r"^share: 1.5 is not a share between 0 and 1$"):
        MixedSlices(phantom_store, tiny_samples, share=1.5)
    with pytest.raises(ConfigError, match="no such case or patient"):
        MixedSlices(phantom_store, tiny_samples, exclude=["P009"])
    slices = MixedSlices(phantom_store, tiny_samples)
    with pytest.raises(IndexError):
        slices[len(slices)]
    generator = Generator.load(tiny_run, device="cpu")
    generator.channels = ("FLAIR", "T2")
    with pytest.raises(DataError, match=r"makes slices of \(\('FLAIR', 'T2'\), \(32, 32\)\)"):
        SyntheticPool.load(generator, phantom_store)
