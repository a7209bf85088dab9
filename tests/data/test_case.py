from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from trees import lesion_mask, save, voxels

from labelgan.core.errors import DataError
from labelgan.core.files import is_safe_id
from labelgan.data.case import Case, Cohort
from labelgan.data.volume import ImageRef


@pytest.mark.parametrize("identifier", ["a", "sub-01_ses-02", "A.b-c_9", "x" * 64])
def test_safe_ids(identifier: str) -> None:
    assert is_safe_id(identifier)


@pytest.mark.parametrize("identifier", ["", ".", "..", "a/b", "a b", "é", "x" * 65, "a\n", "a\x00", "../../etc"])
def test_unsafe_ids(identifier: str) -> None:
    assert not is_safe_id(identifier)


def test_a_case_reads_its_voxels_only_when_asked(tmp_path: Path) -> None:
    flair, mask = voxels("FLAIR"), lesion_mask("m")
    case = Case(
        "p1", "p1", {"FLAIR": ImageRef(tmp_path / "FLAIR.nii.gz")}, mask=ImageRef(tmp_path / "wmh.nii.gz")
    )  # neither file is there yet
    with pytest.raises(DataError, match="no such file"):
        case.load_image("FLAIR")
    save(tmp_path / "FLAIR.nii.gz", flair)
    save(tmp_path / "wmh.nii.gz", mask)
    np.testing.assert_array_equal(case.load_image("FLAIR").data, flair)
    read = case.load_mask()
    assert read is not None
    assert read.data.dtype == np.uint8
    np.testing.assert_array_equal(read.data, mask)


def test_a_case_without_mask_gives_none() -> None:
    assert Case("p1", "p1", {}).load_mask() is None


def test_images_of_a_case_cannot_be_changed() -> None:
    images = {"FLAIR": ImageRef(Path("a.nii.gz"))}
    case = Case("p1", "p1", images)
    images["T1"] = ImageRef(Path("b.nii.gz"))
    assert list(case.images) == ["FLAIR"]
    with pytest.raises(TypeError):
        case.images["T1"] = ImageRef(Path("b.nii.gz"))  # type: ignore[index]


def test_patients_are_counted_once() -> None:
    cases = tuple(Case(f"{patient}_{session}", patient, {}) for patient in ("b", "a") for session in (1, 2))
    assert Cohort(Path(), "bids", cases).patients == ("b", "a")


def test_a_cohort_is_loaded_from_a_folder_counted_and_gone_through(tmp_path):
    from trees import wmh_cohort

    cohort = Cohort.load(str(wmh_cohort(tmp_path, ("p1", "p2"))))
    assert len(cohort) == 2
    assert [case.id for case in cohort] == ["p1", "p2"]
    assert cohort["p2"] is cohort.cases[1]
    with pytest.raises(KeyError, match="p3"):
        cohort["p3"]
