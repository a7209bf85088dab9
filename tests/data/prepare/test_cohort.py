from __future__ import annotations

import os

import numpy as np
import pytest
from heads import CONFIG, write_case

from labelgan.config.base import PrepareConfig
from labelgan.core.errors import ConfigError, DataError
from labelgan.data.prepare.cohort import ArrayWriter, prepare_store


def test_prepare_excludes_and_names_the_unknown(cohort, tmp_path):
    assert [case.id for case in prepare_store(cohort[0], tmp_path / "a", CONFIG, exclude=["11"]).cases] == ["12", "13"]
    with pytest.raises(ConfigError, match="ghost"):
        prepare_store(cohort[0], tmp_path / "b", CONFIG, exclude=["ghost"])
    with pytest.raises(DataError, match="no case"):
        prepare_store(cohort[0], tmp_path / "c", CONFIG, exclude=["11", "12", "13"])


def test_preparing_twice_gives_the_same_bytes(store, cohort, tmp_path):
    again = prepare_store(cohort[0], tmp_path / "again", CONFIG)
    for name in ("images.npy", "masks.npy", "brains.npy", "index.npy", "manifest.json", "config.toml"):
        assert (again.path / name).read_bytes() == (store.path / name).read_bytes(), name
    assert again.config == CONFIG


def test_progress_counts_to_the_end(cohort, tmp_path):
    seen = []
    prepare_store(cohort[0], tmp_path / "store", CONFIG, progress=lambda *state: seen.append(state))
    assert seen == [(0, 3, "11"), (1, 3, "12"), (2, 3, "13"), (3, 3, "")]


def test_bad_file_is_named_and_nothing_is_left(cohort, tmp_path):
    root = tmp_path / "cohort"
    write_case(root / "Site" / "1", 1)
    write_case(root / "Site" / "2", 2)
    broken = root / "Site" / "2" / "pre" / "T1.nii.gz"
    broken.write_bytes(broken.read_bytes()[:-400])
    with pytest.raises(DataError, match=r"2/pre/T1\.nii\.gz"):
        prepare_store(root, tmp_path / "out" / "store", CONFIG)
    assert os.listdir(tmp_path / "out") == []


def test_same_voxels_under_two_patients_are_refused(tmp_path):
    write_case(tmp_path / "cohort" / "Site" / "1", 1)
    write_case(tmp_path / "cohort" / "Site" / "2", 1)
    with pytest.raises(DataError, match="patient 2 has the voxels of case 1"):
        prepare_store(tmp_path / "cohort", tmp_path / "store", CONFIG)


def test_force_replaces_a_store_and_never_anything_else(cohort, tmp_path):
    prepare_store(cohort[0], tmp_path / "store", CONFIG)
    with pytest.raises(ConfigError, match="--force"):
        prepare_store(cohort[0], tmp_path / "store", CONFIG)
    replaced = prepare_store(cohort[0], tmp_path / "store", CONFIG, exclude=["11"], force=True)
    assert len(replaced.cases) == 2
    assert os.listdir(tmp_path) == ["store"]
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "dear.txt").write_text("keep me")
    with pytest.raises(ConfigError, match="left alone"):
        prepare_store(cohort[0], tmp_path / "letters", CONFIG, force=True)
    assert (tmp_path / "letters" / "dear.txt").read_text() == "keep me"


def test_a_file_in_the_way_is_left_alone(cohort, tmp_path):
    (tmp_path / "out").write_text("keep me")
    with pytest.raises(ConfigError, match="left alone"):
        prepare_store(cohort[0], tmp_path / "out", CONFIG, force=True)
    assert (tmp_path / "out").read_text() == "keep me"
    (tmp_path / "empty").mkdir()
    assert len(prepare_store(cohort[0], tmp_path / "empty", CONFIG).cases) == 3


def test_a_store_in_the_making_is_not_seen(cohort, tmp_path):
    """Until the last case is in, there is no folder of the store's name; an interrupt leaves none either."""

    def look(done: int, total: int, case: str) -> None:
        assert not (tmp_path / "store").exists()
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare_store(cohort[0], tmp_path / "store", CONFIG, progress=look)
    assert os.listdir(tmp_path) == []


def test_sessions_of_one_patient_may_share_their_voxels(tmp_path):
    for session in ("a", "b"):
        write_case(tmp_path / session, 1)
        anat = tmp_path / "bids" / "sub-01" / f"ses-{session}" / "anat"
        anat.mkdir(parents=True)
        for name, suffix in (("FLAIR", "FLAIR"), ("T1", "T1w")):
            (tmp_path / session / "pre" / f"{name}.nii.gz").rename(anat / f"sub-01_ses-{session}_{suffix}.nii.gz")
    store = prepare_store(tmp_path / "bids", tmp_path / "store", CONFIG)
    assert [(case.id, case.patient) for case in store.cases] == [("sub-01_ses-a", "sub-01"), ("sub-01_ses-b", "sub-01")]


def test_the_defaults_are_those_of_the_configuration(cohort, tmp_path):
    store = prepare_store(cohort[0], tmp_path / "store", exclude=["11", "12"])
    assert store.config == PrepareConfig.build({})
    assert store.size == (200, 200)


# Arrays of unknown length


def test_an_array_grows_row_by_row(tmp_path):
    path = tmp_path / "a.npy"
    parts = [np.arange(12).reshape(2, 2, 3), np.zeros((0, 2, 3)), np.ones((5, 2, 3), ">i4")]
    with ArrayWriter(path, (2, 3), np.float16) as writer:
        for part in parts:
            writer.append(part)
    assert writer.rows == 7
    found = np.load(path, mmap_mode="r")
    assert found.dtype == np.float16
    np.testing.assert_array_equal(found, np.concatenate(parts).astype(np.float16))


def test_an_array_of_no_rows_is_an_array(tmp_path):
    with ArrayWriter(tmp_path / "a.npy", (4,), np.uint8):
        pass
    assert np.load(tmp_path / "a.npy").shape == (0, 4)


def test_an_array_that_was_broken_off_claims_no_row(tmp_path):
    def break_off() -> None:
        with ArrayWriter(tmp_path / "a.npy", (4,), np.uint8) as writer:
            writer.append(np.ones((3, 4)))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        break_off()
    assert np.load(tmp_path / "a.npy").shape == (0, 4)
