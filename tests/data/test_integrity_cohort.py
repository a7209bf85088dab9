from __future__ import annotations

import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from trees import lesion_mask, mask_of, rows, save, save_picture, voxels, wmh_case, wmh_cohort

from labelgan.data.check.integrity import check_cohort
from labelgan.core.errors import DataError

CASE = Path("Utrecht/p2")


def test_faults_of_a_whole_cohort_are_told_with_their_cures(tmp_path: Path) -> None:
    twice, bare, empty = tmp_path / "twice", tmp_path / "bare", tmp_path / "empty"
    wmh_cohort(twice)
    shutil.copytree(twice / CASE, twice / "Utrecht" / "p9")
    (problem,) = check_cohort(twice).problems
    assert problem.reason.endswith(": remove one, or leave it out (`labelgan prepare --exclude ID`)")
    wmh_case(bare / "S" / "p1", mask=False)
    (problem,) = check_cohort(bare).problems
    assert problem.reason == "no case has a mask: look where the wmh layout wants masks (docs/guides/own-data.md)"
    empty.mkdir()
    with pytest.raises(DataError, match=r"`labelgan phantom EXAMPLE` writes one to compare$"):
        check_cohort(empty)


def test_ids_that_differ_in_case_alone_are_duplicates(tmp_path: Path) -> None:
    for name in ("scan", "Scan"):
        save_picture(tmp_path / "images" / f"{name}.png", (voxels(name, shape=(9, 9)) % 250).astype(np.uint8))
        save_picture(tmp_path / "masks" / f"{name}.png", np.eye(9, dtype=np.uint8))
    if len(list((tmp_path / "images").iterdir())) < 2:
        pytest.skip("this file system takes no notice of case")
    problems = check_cohort(tmp_path).problems
    assert len(problems) == 1
    assert "duplicate id" in problems[0].reason


def test_two_files_of_one_name_are_duplicate_ids(tmp_path: Path) -> None:
    for ending in ("png", "tif"):
        save_picture(tmp_path / "images" / f"a.{ending}", (voxels(ending, shape=(9, 9)) % 250).astype(np.uint8))
        save_picture(tmp_path / "masks" / f"a.{ending}", np.eye(9, dtype=np.uint8))
    problems = check_cohort(tmp_path).problems
    assert [(problem.case, problem.severity) for problem in problems] == [("a", "error")]
    assert "duplicate id" in problems[0].reason


def test_the_same_scan_under_two_ids(tmp_path: Path) -> None:
    wmh_cohort(tmp_path)
    shutil.copytree(tmp_path / CASE, tmp_path / "Singapore" / "p9")
    problems = check_cohort(tmp_path).problems
    assert len(problems) == 1
    told = problems[0]
    assert (told.case, told.severity) == ("p2", "error")  # Singapore is read before Utrecht
    assert told.file == tmp_path / CASE / "pre/FLAIR.nii.gz"
    for part in ("case p9", "FLAIR, T1", "Singapore/p9/pre/FLAIR.nii.gz", "patients p9 and p2"):
        assert part in told.reason


@pytest.mark.parametrize("flips", [(1, -1, -1), (-1, 1, 1), (-1, -1, -1)])
def test_the_same_scan_stored_in_another_way(tmp_path: Path, flips: tuple[int, int, int]) -> None:
    """Flipped and transposed storage, another type, no compression, other millimetres."""
    wmh_cohort(tmp_path, ("p1",))
    orientation = [[1, flips[0]], [0, flips[1]], [2, flips[2]]]
    folder = tmp_path / "Utrecht" / "p1"
    for name in ("pre/FLAIR", "pre/T1", "wmh"):
        image = nib.Nifti1Image.from_filename(folder / f"{name}.nii.gz").as_reoriented(orientation)
        save(
            tmp_path / "Other" / "q1" / f"{name}.nii",
            np.asarray(image.dataobj).astype(np.float64),
            np.array(image.affine),
        )
    problems = check_cohort(tmp_path).problems
    assert [(problem.case, problem.severity) for problem in problems] == [("p1", "error")]
    assert "same voxels as case q1" in problems[0].reason


def test_the_same_scan_as_two_sessions_of_one_patient(tmp_path: Path) -> None:
    for session in ("01", "02"):
        for suffix in ("T1w", "FLAIR"):
            folder = tmp_path / "sub-01" / f"ses-{session}" / "anat"
            save(folder / f"sub-01_ses-{session}_{suffix}.nii.gz", voxels(suffix))
        folder = tmp_path / "derivatives" / "x" / "sub-01" / f"ses-{session}" / "anat"
        save(folder / f"sub-01_ses-{session}_label-lesion_mask.nii.gz", lesion_mask(session))
    problems = check_cohort(tmp_path).problems
    assert [(problem.case, problem.severity) for problem in problems] == [("sub-01_ses-02", "error")]
    assert "the same patient, sub-01" in problems[0].reason


def test_one_channel_shared_under_another_name(tmp_path: Path) -> None:
    wmh_cohort(tmp_path)
    shutil.copy(tmp_path / "Utrecht/p1/pre/FLAIR.nii.gz", tmp_path / "Utrecht/p3/pre/T1.nii.gz")
    problems = check_cohort(tmp_path).problems
    assert [problem.case for problem in problems] == ["p3"]
    assert "(T1 as its FLAIR; Utrecht/p1/pre/FLAIR.nii.gz)" in problems[0].reason


def test_a_cohort_without_masks(tmp_path: Path) -> None:
    for name in ("p1", "p2"):
        wmh_case(tmp_path / "train" / "S" / name, mask=False)
    assert rows(check_cohort(tmp_path)) == [(None, ".", "error")]
    (tmp_path / "train").rename(tmp_path / "test")
    assert rows(check_cohort(tmp_path)) == [(None, ".", "warning")]


def test_a_cohort_without_a_lesion(tmp_path: Path) -> None:
    wmh_cohort(tmp_path, ("p1",))
    save(tmp_path / "Utrecht/p1/wmh.nii.gz", mask_of(0))
    problems = check_cohort(tmp_path).problems
    assert [problem.reason for problem in problems] == ["the mask is empty", "no mask of the cohort holds a lesion"]
