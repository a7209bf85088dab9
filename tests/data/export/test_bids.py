from __future__ import annotations

import json

import numpy as np
import pytest
from mixes import FACTS, a_slice, a_volume, scan_mask

from labelgan.core.errors import DataError
from labelgan.core.files import bids_label
from labelgan.data.export.bids import BidsWriter, shows_brain_alone
from labelgan.data.export.records import ExportFacts, LabelledVolume
from labelgan.data.layouts.detect import read_cohort

MIXED = ExportFacts(("FLAIR", "T1"), "mixed")


def test_labels_have_letters_and_digits_and_the_table_the_ids(tmp_path):
    writer = BidsWriter(tmp_path, MIXED)
    writer.write(a_volume("sub-p_01", site="Utrecht"))
    writer.write(LabelledVolume.of_slice(a_slice("syn-1"), FACTS))
    writer.end(())
    assert [case.id for case in read_cohort(tmp_path).cases] == ["sub-p01", "sub-syn1"]
    rows = [line.split("\t") for line in (tmp_path / "participants.tsv").read_text().splitlines()]
    assert rows == [
        ["participant_id", "labelgan_id", "synthetic", "site"],
        ["sub-p01", "sub-p_01", "false", "Utrecht"],
        ["sub-syn1", "syn-1", "true", "n/a"],
    ]
    assert bids_label("TCGA_CS_4941") == "TCGACS4941"


def test_cases_of_one_patient_are_sessions_of_one_subject(tmp_path):
    writer = BidsWriter(tmp_path, MIXED)
    writer.write(a_volume("sub-1_ses-a", patient="sub-1", session="a"))
    writer.write(a_volume("sub-1_ses-b", patient="sub-1", session="b"))
    writer.write(a_volume("p2_slice3", patient="p2"))
    writer.end(())
    cohort = read_cohort(tmp_path)
    assert [(case.id, case.patient) for case in cohort.cases] == [
        ("sub-1_ses-a", "sub-1"),
        ("sub-1_ses-b", "sub-1"),
        ("sub-p2_ses-p2slice3", "sub-p2"),
    ]
    mask = cohort.cases[1].load_mask()
    assert mask is not None
    assert np.array_equal(mask.data, scan_mask("sub-1_ses-b"))


@pytest.mark.parametrize("ids", [("p-1", "p_1"), ("sub-p1", "p1"), ("---",)])
def test_ids_that_become_one_label_or_none_are_refused(tmp_path, ids):
    writer = BidsWriter(tmp_path, MIXED)
    for identifier in ids[:-1]:
        writer.write(a_volume(identifier))
    with pytest.raises(DataError, match=rf"^{ids[-1]}: has no BIDS label of its own"):
        writer.write(a_volume(ids[-1]))


def test_masks_say_what_they_were_drawn_on(tmp_path):
    writer = BidsWriter(tmp_path, MIXED)
    writer.write(a_volume("p1"))
    writer.end(())
    folder = tmp_path / "derivatives" / "labelgan"
    told = json.loads((folder / "sub-p1" / "anat" / "sub-p1_space-orig_label-lesion_mask.json").read_text())
    links = json.loads((folder / "dataset_description.json").read_text())["DatasetLinks"]
    for source in told["Sources"]:
        scheme, name, path = source.split(":")
        assert scheme == "bids"
        assert (folder / links[name] / path).is_file()
    for path in (tmp_path, folder):
        about = json.loads((path / "dataset_description.json").read_text())
        assert about["DatasetType"] == "derivative"
        assert about["GeneratedBy"][0]["Name"] == "LabelGAN"
    assert json.loads((tmp_path / "sub-p1" / "anat" / "sub-p1_T1w.json").read_text())["SkullStripped"] is False


def head(scalp: float) -> LabelledVolume:
    """A brain of 100 in a ring of dark skull, in a ring of scalp of the given brightness."""
    x, y, _ = np.indices((64, 64, 5)) - 31.5
    radius = np.hypot(x, y)
    image = np.where(radius < 20, 100.0, 0.0) + np.where((radius > 24) & (radius < 29), scalp, 0.0)
    return a_volume(images={"FLAIR": image.astype(np.float32)}, affine=np.diag([3.0, 3.0, 5.0, 1.0]))


def test_whether_the_skull_was_stripped_is_seen():
    assert shows_brain_alone(head(0))
    assert not shows_brain_alone(head(90))
    assert not shows_brain_alone(a_volume(images={"FLAIR": np.zeros((6, 7, 5), np.float32)}))
