from __future__ import annotations

from pathlib import Path

import pytest
from trees import bids_subject, ids, lesion_mask, mask_name, save, voxels

from labelgan.data.layouts.detect import read_cohort


def test_sessions_are_cases_of_one_patient(tmp_path: Path) -> None:
    bids_subject(tmp_path, "01", "01")
    bids_subject(tmp_path, "01", "02")
    bids_subject(tmp_path, "02", mask=None)
    cohort = read_cohort(tmp_path)
    assert ids(cohort) == ["sub-01_ses-01", "sub-01_ses-02", "sub-02"]
    assert [case.patient for case in cohort.cases] == ["sub-01", "sub-01", "sub-02"]
    assert [case.session for case in cohort.cases] == ["01", "02", None]
    assert cohort.channels == ("FLAIR", "T1")
    assert mask_name(cohort, 1) == "derivatives/manual/sub-01/ses-02/anat/sub-01_ses-02_label-lesion_mask.nii.gz"
    assert cohort.cases[2].mask is None


@pytest.mark.parametrize(
    "name",
    [
        "label-lesion_mask",
        "space-orig_label-lesion_mask",
        "label-L_mask",
        "label-L_desc-manual_mask",
        "space-T1w_label-L_mask",
        "dseg",
        "desc-lesion_dseg",
        "label-WMH_mask",
    ],
)
def test_mask_names(tmp_path: Path, name: str) -> None:
    bids_subject(tmp_path, "01", mask=name)
    assert (mask_name(read_cohort(tmp_path)) or "").endswith(f"sub-01_{name}.nii.gz")


@pytest.mark.parametrize("name", ["desc-brain_mask", "label-GM_mask", "desc-aseg_dseg", "label-L_probseg", "T1w"])
def test_what_is_no_lesion_mask(tmp_path: Path, name: str) -> None:
    bids_subject(tmp_path, "01", mask=name)
    case = read_cohort(tmp_path).cases[0]
    assert case.mask is None
    assert (case.brain_mask is not None) == (name == "desc-brain_mask")


def test_prefers_the_surest_mask_on_the_images_own_grid(tmp_path: Path) -> None:
    bids_subject(tmp_path, "01", mask="dseg")
    folder = tmp_path / "derivatives" / "manual" / "sub-01" / "anat"
    for name in ("label-L_mask", "space-MNI152NLin2009cAsym_label-lesion_mask", "label-lesion_mask"):
        save(folder / f"sub-01_{name}.nii.gz", lesion_mask(name))
    cohort = read_cohort(tmp_path)
    assert (mask_name(cohort) or "").endswith("/sub-01_label-lesion_mask.nii.gz")


def test_takes_the_first_run_and_says_so(tmp_path: Path) -> None:
    bids_subject(tmp_path, "01")
    anat = tmp_path / "sub-01" / "anat"
    (anat / "sub-01_FLAIR.nii.gz").rename(anat / "sub-01_run-2_FLAIR.nii.gz")
    save(anat / "sub-01_run-1_FLAIR.nii.gz", voxels("run 1"))
    cohort = read_cohort(tmp_path)
    assert cohort.cases[0].images["FLAIR"].path.name == "sub-01_run-1_FLAIR.nii.gz"
    assert [(note.case, "run-2" in note.reason) for note in cohort.notes] == [("sub-01", True)]
