from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest

from labelgan.audit.inputs import audited_cases, require_apart, require_same_grid, unseen_note
from labelgan.config.audit import AuditDataConfig
from labelgan.config.base import PrepareConfig
from labelgan.core.errors import ConfigError, DataError, LeakError
from labelgan.data.layouts.detect import read_cohort
from labelgan.data.manifests import SeenCase, SeenCases
from labelgan.data.phantom.cohort import write_phantom_cohort
from labelgan.data.prepare.cohort import prepare_store
from labelgan.data.store import SliceStore
from tiny import sealed

CONFIG = AuditDataConfig()
STRANGERS = AuditDataConfig(one_cohort=False)


@pytest.fixture(scope="module")
def others(tmp_path_factory) -> SliceStore:
    """Phantoms of other seeds under the same names."""
    root = tmp_path_factory.mktemp("others")
    write_phantom_cohort(root / "cohort", 1, 9, shape=(48, 48, 12))
    return prepare_store(root / "cohort", root / "store", PrepareConfig.build({"size": (32, 32), "spacing_mm": 6.0}))


def forgetful(samples: Path, folder: Path, *forgotten: str) -> Path:
    """The cohort of a generator that has not seen some cases."""
    shutil.copytree(samples, folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    seen = manifest["generator"]["training_cases"]
    manifest["generator"]["training_cases"] = [case for case in seen if case["id"] not in forgotten]
    (folder / "manifest.json").write_text(json.dumps(sealed(manifest)))
    return folder


def test_patients_of_the_training_store_are_held_out(tiny_samples, phantom_store, tmp_path):
    found = audited_cases(read_cohort(forgetful(tiny_samples, tmp_path / "s", "P003")), phantom_store, ["P003"], CONFIG)
    assert (found.train_ids, found.held_out_ids) == (("P001", "P002"), ("P003",))
    assert found.held_out_store is phantom_store
    assert found.pixel_mm == pytest.approx((6.0, 6.0))
    assert found.notes == []


def test_a_generator_that_saw_the_held_out_patient_is_refused(tiny_samples, phantom_store):
    with pytest.raises(LeakError, match="was made from the held-out case P003") as caught:
        audited_cases(read_cohort(tiny_samples), phantom_store, ["P003"], CONFIG)
    assert caught.value.exit_code == 3


def test_stores_with_the_same_voxels_are_refused(tiny_samples, phantom_store):
    with pytest.raises(LeakError, match="case P001 is the training case P001: the same voxels"):
        audited_cases(read_cohort(tiny_samples), phantom_store, phantom_store, STRANGERS)


def test_the_same_voxels_under_another_name_are_refused(phantom_store):
    case = phantom_store.cases[0]
    (known,) = phantom_store.known([case])
    renamed = dataclasses.replace(known, id="other", patient="other")
    with pytest.raises(LeakError, match="case other is the training case P001: the same voxels as P001"):
        require_apart([known], [renamed], Path("held"), one_cohort=False)


def test_names_count_inside_one_cohort(tiny_samples, phantom_store, others):
    with pytest.raises(LeakError, match=r"patient P001 is among the training patients too.*one_cohort=false"):
        audited_cases(read_cohort(tiny_samples), phantom_store, others, CONFIG)
    found = audited_cases(read_cohort(tiny_samples), phantom_store, others, STRANGERS)
    assert found.held_out_store is others
    assert found.held_out_ids == ("P001",)


def test_somebody_must_be_left_on_each_side(tiny_samples, phantom_store):
    for held_out in ([], ["P001", "P002", "P003"], ["P9"]):
        with pytest.raises(ConfigError):
            audited_cases(read_cohort(tiny_samples), phantom_store, held_out, CONFIG)


def test_stores_are_prepared_alike(phantom_store, others):
    require_same_grid(phantom_store, others)
    wider = dataclasses.replace(others, config=PrepareConfig.build({"size": (32, 32), "spacing_mm": 3.0}))
    with pytest.raises(DataError, match=r"has spacing_mm 3\.0, the training store 6\.0; prepare both alike"):
        require_same_grid(phantom_store, wider)


def test_cases_that_copies_are_not_looked_for_in_are_told(phantom_store):
    entries = [SeenCase(id=case.id, hashes=case.hashes) for case in phantom_store.cases]
    assert unseen_note(SeenCases(tuple(entries)), phantom_store.cases) is None
    note = unseen_note(SeenCases(tuple(entries[:2]), tuple(entries[2:])), phantom_store.cases[:2])
    assert note is not None
    assert note.startswith("1 of the 3 cases")
    assert "does not tell" in (unseen_note(None, phantom_store.cases) or "")
