from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from labelgan.core.errors import DataError
from labelgan.data.layouts.detect import read_cohort
from labelgan.data.manifests import manifest_content
from labelgan.studio.images import load_case, load_stored
from labelgan.studio.real import Grid, real_cases
from labelgan.studio.session import Session
from tiny import sealed


def found(session):
    source = next(s for s in session.index.sources.values() if s.kind == "synthetic")
    return real_cases(session.index, source, Grid.of(source.manifest))


def test_training_cases_are_found_in_the_store_by_their_hashes(session):
    real = found(session)
    assert [case.id for case in real.training] == ["P001", "P002", "P003"]
    assert {case.source.kind for case in (*real.training, *real.beside)} == {"store"}


def test_without_a_store_they_are_found_in_the_cohort(phantom_cohort, samples):
    session = Session([phantom_cohort, samples])
    session.fill()
    real = found(session)
    assert {case.source.kind for case in real.training} == {"cohort"}
    assert len(real.training) == len(real.beside) == 3


def test_who_was_held_out_stands_beside_the_training_cases(session, samples):
    source = next(s for s in session.index.sources.values() if s.kind == "synthetic")
    seen = source.manifest["generator"]["training_cases"]
    source.manifest["generator"]["training_cases"] = [case for case in seen if case["id"] != "P002"]
    (samples / "manifest.json").write_text(json.dumps(sealed(source.manifest)))
    real = found(session)
    assert [case.id for case in real.training] == ["P001", "P003"]
    assert [case.id for case in real.beside] == ["P001", "P002", "P003"]


def test_a_name_alone_makes_no_training_case(phantom_cohort, samples, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(phantom_cohort, other)
    mask = next(other.rglob("wmh.nii.gz"))
    for name in ("FLAIR", "T1"):  # names stay, voxels do not
        for image in other.rglob(f"{name}.nii.gz"):
            shutil.copy(mask, image)
    session = Session([other, samples])
    session.fill()
    real = found(session)
    assert real.training == ()
    assert len(real.beside) == 3


MANIFEST = {"channels": ["FLAIR", "T1"], "size": [32, 32], "spacing_mm": [3.0, 6.0, 6.0]}


def test_a_store_is_on_the_grid_of_its_generator_already(phantom_store, tiny_samples):
    grid = Grid.of(manifest_content(tiny_samples))
    images_ZCHW, masks_ZHW = grid.bring(load_stored(phantom_store, "P001"))
    batch = phantom_store.volume("P001")
    np.testing.assert_allclose(images_ZCHW, batch.images_NCHW)
    np.testing.assert_array_equal(masks_ZHW, batch.masks_NHW)


def test_a_scan_comes_as_the_store_has_it_but_for_scale(phantom_cohort, phantom_store):
    case = read_cohort(phantom_cohort).cases[0]
    images_ZCHW, masks_ZHW = Grid.of(MANIFEST).bring(load_case(case))
    batch, z = phantom_store.volume(case.id), phantom_store.index["z"][: phantom_store.case(case.id).count]
    np.testing.assert_array_equal(masks_ZHW[z], batch.masks_NHW)
    for channel, name in enumerate(("FLAIR", "T1")):
        scale = phantom_store.case(case.id).intensity[name]
        # the store keeps half precision
        expected = batch.images_NCHW[:, channel] * scale.sd + scale.mean
        np.testing.assert_allclose(images_ZCHW[z, channel], expected, atol=3e-3 * scale.sd)


def test_a_channel_that_is_missing_is_told(phantom_cohort):
    case = load_case(read_cohort(phantom_cohort).cases[0])
    with pytest.raises(DataError, match="has no T2 image"):
        Grid(("FLAIR", "T2"), (32, 32), (1, 1)).bring(case)


@pytest.mark.parametrize(
    "change",
    [{"channels": None}, {"channels": []}, {"size": [32]}, {"size": [0, 32]}, {"size": [10**6, 32]},
     {"spacing_mm": "x"}, {"spacing_mm": [1, -1, 1]}],
)  # fmt: skip
def test_a_manifest_that_makes_no_sense_is_told(change):
    with pytest.raises(DataError, match=r"manifest\.json"):
        Grid.of(MANIFEST | change)
