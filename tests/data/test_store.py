from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from heads import CONFIG, write_case

from labelgan.core.errors import ConfigError, DataError
from labelgan.data.prepare.cohort import prepare_store
from labelgan.data.store import SliceStore


def test_store_holds_every_case_with_its_rows(store):
    assert store.channels == ("FLAIR", "T1")
    assert store.size == (16, 16)
    assert [case.patient for case in store.cases] == ["11", "12", "13"]
    assert len(store) == sum(case.count for case in store.cases) == len(store.images) == len(store.index)
    for number, case in enumerate(store.cases):
        rows = store.rows_of([case.id])
        assert (store.index["case"][rows] == number).all()
        assert (np.diff(store.index["z"][rows]) > 0).all()
        assert store.case_of(rows[-1]) == case
        assert case.pixel_mm == (1.0, 1.0)
        assert case.slice_mm == 3.0
        assert case.site == "Site"
    fractions = store.index["z_fraction"]
    assert fractions.min() == 0
    assert fractions.max() == 1


def test_index_counts_what_the_masks_hold(store):
    np.testing.assert_array_equal(store.index["lesion_voxels"], (store.masks == 1).sum(axis=(1, 2)))
    np.testing.assert_array_equal(store.index["other_voxels"], (store.masks == 2).sum(axis=(1, 2)))
    np.testing.assert_array_equal(store.index["brain_voxels"], store.brains.sum(axis=(1, 2)))
    assert store.index["lesion_voxels"].max() > 0
    assert store.index["other_voxels"].max() == 1


def test_read_gives_the_rows_asked_for_in_their_order(store):
    batch = store.read([5, 0, 5])
    assert batch.images_NCHW.shape == (3, 2, 16, 16)
    assert batch.images_NCHW.dtype == np.float32
    assert (batch.masks_NHW.dtype, batch.brains_NHW.dtype) == (np.uint8, bool)
    np.testing.assert_array_equal(batch.images_NCHW[0], batch.images_NCHW[2])
    np.testing.assert_array_equal(batch.masks_NHW[1], store.masks[0])
    batch.images_NCHW[:] = 0  # a copy: the store is read-only
    assert store.read([0]).images_NCHW.any()


def test_volume_returns_to_the_scan(store, cohort):
    for case in store.cases:
        arrays = cohort[1][case.id]
        volume = store.volume(case.id)
        np.testing.assert_array_equal(volume.masks_NHW, store.masks[store.rows_of([case.id])])
        native = store.to_native(case.id, volume.masks_NHW)
        np.testing.assert_array_equal(native == 1, arrays["mask"] == 1)
        intensity = case.intensity["T1"]
        z_scores = store.to_native(case.id, volume.images_NCHW[:, 1], fill=np.nan, order="image")
        seen = np.isfinite(z_scores)
        assert seen.any()
        expected = (arrays["T1"][seen] - intensity.mean) / intensity.sd
        np.testing.assert_allclose(z_scores[seen], expected, rtol=2**-10, atol=1e-3)  # float16 in the store


def test_select_leaves_out_cases_and_patients(store):
    assert len(store.select()) == len(store)
    rows = store.select(exclude=["12"])
    assert {store.case_of(row).patient for row in rows} == {"11", "13"}
    assert set(store.training_hashes(["12"])) == {"11", "13"}
    assert set(store.training_hashes()["11"]) == {"FLAIR", "T1"}
    with pytest.raises(ConfigError, match="nobody"):
        store.select(exclude=["nobody"])
    with pytest.raises(ConfigError, match="nobody"):
        store.rows_of(["nobody"])
    with pytest.raises(TypeError):
        store.select(exclude="12")


def test_case_without_mask_is_kept_and_not_selected(cohort, tmp_path):
    root = tmp_path / "cohort"
    write_case(root / "Site" / "1", 1)
    write_case(root / "Site" / "2", 2, labelled=False)
    store = prepare_store(root, tmp_path / "store", CONFIG)
    assert [case.labelled for case in store.cases] == [True, False]
    assert {store.case_of(row).id for row in store.select()} == {"1"}
    assert len(store.select(labelled_only=False)) == len(store)
    assert not store.volume("2").masks_NHW.any()


def copy_store(store: SliceStore, target: Path) -> Path:
    target.mkdir()
    for file in store.path.iterdir():
        (target / file.name).write_bytes(file.read_bytes())
    return target


@pytest.mark.parametrize("name", ["images.npy", "masks.npy", "brains.npy", "index.npy", "manifest.json"])
def test_truncated_or_missing_file_is_named(store, tmp_path, name):
    path = copy_store(store, tmp_path / "store")
    (path / name).write_bytes((path / name).read_bytes()[:-20])
    with pytest.raises(DataError, match=name):
        SliceStore.open(path)
    (path / name).unlink()
    with pytest.raises(DataError, match=str(path)):
        SliceStore.open(path)


def test_array_of_another_type_is_refused(store, tmp_path):
    path = copy_store(store, tmp_path / "store")
    np.save(path / "masks.npy", np.asarray(store.masks, dtype=np.int16))
    with pytest.raises(DataError, match=r"masks\.npy.*int16"):
        SliceStore.open(path)


@pytest.mark.parametrize(
    ("key", "value"),
    [("slices", 3), ("size", [16, 17]), ("channels", ["FLAIR"]), ("format", "other"), ("surprise", 1)],
)
def test_manifest_that_lies_is_refused(store, tmp_path, key, value):
    path = copy_store(store, tmp_path / "store")
    content = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps({**content, key: value}))
    with pytest.raises(DataError):
        SliceStore.open(path)


def test_opening_needs_none_of_the_heavy_packages(store):
    code = f"""
import sys
from pathlib import Path
from labelgan.data.store import SliceStore
store = SliceStore.open(Path({str(store.path)!r}))
store.volume(store.cases[0].id)
store.to_native(store.cases[0].id, store.volume(store.cases[0].id).masks_NHW)
heavy = set(sys.modules) & {{"nibabel", "scipy", "SimpleITK", "torch", "pandas", "nilearn", "matplotlib"}}
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", code], check=True)
