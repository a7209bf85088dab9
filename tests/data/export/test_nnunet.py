from __future__ import annotations

import json

import nibabel as nib
import numpy as np
from mixes import FACTS, a_slice, a_volume, scan_mask
from nibabel import nifti1
from trees import AFFINE

from labelgan.data.export.nnunet import SPLITS, NnunetWriter
from labelgan.data.export.records import ExportFacts, Fold, LabelledVolume, Origin
from labelgan.data.layouts.detect import read_cohort


def write(root, *volumes: LabelledVolume, origin: Origin = "real", folds: tuple[Fold, ...] = ()) -> dict:
    writer = NnunetWriter(root, ExportFacts(("FLAIR", "T1"), origin))
    for volume in volumes:
        writer.write(volume)
    writer.end(folds)
    return json.loads((root / "dataset.json").read_text())


def test_other_pathology_is_the_ignore_label_where_there_is_any(tmp_path):
    clean = a_volume("p2", mask_XYZ=np.minimum(scan_mask("p2"), 1))
    assert write(tmp_path / "with", a_volume("p1"), clean)["labels"] == {"background": 0, "lesion": 1, "ignore": 2}
    assert write(tmp_path / "without", clean)["labels"] == {"background": 0, "lesion": 1}
    # nnU-Net wants every label of a file declared, and reads labelsTr alone
    assert read_cohort(tmp_path / "with").labels == {0: 0, 1: 1, 2: 2}


def test_what_is_for_test_or_has_no_mask_stays_out_of_training(tmp_path):
    told = write(tmp_path, a_volume("p1"), a_volume("p2", split="test"), a_volume("p3", mask_XYZ=None))
    assert told["numTraining"] == 1
    names = {part: sorted(path.name for path in (tmp_path / part).iterdir()) for part in ("imagesTr", "labelsTr")}
    assert names == {"imagesTr": ["p1_0000.nii.gz", "p1_0001.nii.gz"], "labelsTr": ["p1.nii.gz"]}
    assert sorted(path.name for path in (tmp_path / "labelsTs").iterdir()) == ["p2.nii.gz"]
    assert len(list((tmp_path / "imagesTs").iterdir())) == 4


def test_scans_beside_slices_are_stored_as_the_slices_are(tmp_path):
    alone, beside = tmp_path / "alone", tmp_path / "beside"
    write(alone, a_volume("p1"))
    write(beside, a_volume("p1"), LabelledVolume.of_slice(a_slice("s1"), FACTS), origin="mixed")
    image = nifti1.load(alone / "imagesTr" / "p1_0000.nii.gz")
    assert np.array_equal(np.asarray(image.affine), AFFINE)
    for name in ("p1", "s1"):
        for path in (beside / "imagesTr" / f"{name}_0000.nii.gz", beside / "labelsTr" / f"{name}.nii.gz"):
            assert nib.aff2axcodes(nifti1.load(path).affine) == ("L", "P", "S")
    assert nifti1.load(beside / "labelsTr" / "s1.nii.gz").shape == (24, 16, 1)


def test_folds_are_written_as_nnunet_reads_them(tmp_path):
    folds = (Fold(("p2", "s1"), ("p1",)), Fold(("p1",), ("p2",)))
    write(tmp_path, a_volume("p1"), a_volume("p2"), folds=folds)
    assert json.loads((tmp_path / SPLITS).read_text()) == [
        {"train": ["p2", "s1"], "val": ["p1"]},
        {"train": ["p1"], "val": ["p2"]},
    ]
    write(tmp_path / "none", a_volume("p1"))
    assert not (tmp_path / "none" / SPLITS).exists()
