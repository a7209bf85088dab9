from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from labelgan.config.gan import ContentConfig
from labelgan.core.errors import CheckpointError, ConfigError, DataError
from labelgan.core.files import sha256_file
from labelgan.gan.inputs.content import Content
from tiny import tiny_content


def gather(store, **settings) -> Content:
    return Content.gather(store, store.select(), ContentConfig(**settings), 0)


def test_takes_lesion_slices_and_healthy_ones_from_the_rows_given(phantom_store):
    content = gather(phantom_store)
    lesions = content.patients.lesions_NHW.any(axis=(1, 2))
    assert lesions.any()
    assert not lesions.all()
    first = phantom_store.rows_of([phantom_store.cases[0].id])
    images = phantom_store.read(first).images_NCHW
    alone = Content.gather(phantom_store, first, ContentConfig(), 0)
    for image in alone.patients.images_NCHW:
        assert any(np.array_equal(image, mine) for mine in images)


def test_keeps_at_most_so_many_of_each_kind(phantom_store):
    patients = gather(phantom_store, keep=2).patients
    lesions = patients.lesions_NHW.any(axis=(1, 2))
    assert (lesions.sum(), (~lesions).sum()) == (2, 2)


def test_phantoms_come_on_the_stores_grid(phantom_store):
    content = gather(phantom_store)
    assert content.phantoms.images_NCHW.shape[1:] == (2, 32, 32)
    assert len(content.phantoms) > 300
    assert not content.phantoms.lesions_NHW.any()


def test_survives_the_disk(phantom_store, tmp_path):
    content = gather(phantom_store)
    content.save(tmp_path / "content.safetensors")
    back = Content.load(tmp_path / "content.safetensors", phantom_store.channels, phantom_store.size)
    for part in ("patients", "phantoms"):
        for name in ("images_NCHW", "lesions_NHW", "brains_NHW", "heights_N"):
            assert np.array_equal(getattr(getattr(content, part), name), getattr(getattr(back, part), name)), (
                part,
                name,
            )


def test_sites_are_those_of_the_cases(phantom_store, tmp_path):
    content = gather(phantom_store)
    assert content.sites == ("Alpha", "Beta", "Gamma")
    alone = content.of_site("Beta")
    (case,) = (case for case in phantom_store.cases if case.site == "Beta")
    images = phantom_store.volume(case.id).images_NCHW
    assert 0 < len(alone.patients) < len(content.patients)
    assert all(any(np.array_equal(image, its) for its in images) for image in alone.patients.images_NCHW)
    assert alone.phantoms is content.phantoms
    content.save(tmp_path / "content.safetensors")
    back = Content.load(tmp_path / "content.safetensors", phantom_store.channels, phantom_store.size)
    assert back.sites == content.sites
    assert np.array_equal(back.site_of_N, content.site_of_N)


def test_a_site_without_patients_or_lesions_is_refused(phantom_store):
    content = gather(phantom_store)
    with pytest.raises(ConfigError, match="no training patient is from this site; there are Alpha, Beta, Gamma"):
        content.of_site("Madrid")
    with pytest.raises(ConfigError, match="the cohort's layout names none"):
        Content(content.patients, content.phantoms).of_site("Gamma")
    healthy = replace(content.patients, masks_NHW=np.zeros_like(content.patients.masks_NHW))
    with pytest.raises(ConfigError, match="none of the slices from this site has a lesion"):
        replace(content, patients=healthy).of_site("Gamma")


def test_a_content_without_sites_survives_the_disk_too(tmp_path):
    content = tiny_content()
    content.save(tmp_path / "content.safetensors")
    back = Content.load(tmp_path / "content.safetensors", ("FLAIR", "T1"), (32, 32))
    assert back.sites == ()
    assert (back.site_of_N == -1).all()


def test_what_was_saved_before_sites_were_knows_none(phantom_store, tmp_path):
    path = tmp_path / "content.safetensors"
    gather(phantom_store).save(path)
    tensors = load_file(path)
    old = {name: tensor for name, tensor in tensors.items() if not name.startswith("site")}
    save_file(old, path)
    assert Content.load(path, phantom_store.channels, phantom_store.size).sites == ()
    spoilt = (
        {"sites": tensors["sites"] + 9},
        {"sites": tensors["sites"][1:]},
        {"sites": tensors["sites"].float()},
        {"site_names": tensors["site_names"][1:]},
        {"site_names": tensors["site_names"].float() + 300},
    )
    for change in spoilt:
        save_file(tensors | change, path)
        with pytest.raises(CheckpointError, match="does not tell which site"):
            Content.load(path, phantom_store.channels, phantom_store.size)


def test_slices_without_lesions_are_refused(phantom_store):
    healthy = np.flatnonzero(phantom_store.index["lesion_voxels"] == 0)
    with pytest.raises(DataError, match="lesion of two pixels"):
        Content.gather(phantom_store, healthy, ContentConfig(), 0)


def test_damaged_or_foreign_files_are_refused(phantom_store, tmp_path):
    path = tmp_path / "content.safetensors"
    with pytest.raises(CheckpointError, match="missing"):
        Content.load(path, ("FLAIR", "T1"), (32, 32))
    gather(phantom_store).save(path)
    with pytest.raises(CheckpointError, match="64×64"):
        Content.load(path, ("FLAIR", "T1"), (64, 64))
    Content.load(path, ("FLAIR", "T1"), (32, 32), sha256_file(path))
    with pytest.raises(CheckpointError, match="SHA-256 is not the one"):
        Content.load(path, ("FLAIR", "T1"), (32, 32), "0" * 64)
    tensors = load_file(path)
    save_file(tensors | {"lesions": tensors["lesions"].float()}, path)
    with pytest.raises(CheckpointError, match="does not hold"):
        Content.load(path, ("FLAIR", "T1"), (32, 32))
    save_file({name: tensor for name, tensor in tensors.items() if name != "phantoms"}, path)
    with pytest.raises(CheckpointError, match="other phantoms"):
        Content.load(path, ("FLAIR", "T1"), (32, 32))
    tensors["phantoms"] = tensors["phantoms"].flip(0)
    save_file(tensors, path)
    with pytest.raises(CheckpointError, match="other phantoms"):
        Content.load(path, ("FLAIR", "T1"), (32, 32))
    del tensors["brains"]
    save_file(tensors, path)
    with pytest.raises(CheckpointError, match="does not hold"):
        Content.load(path, ("FLAIR", "T1"), (32, 32))
