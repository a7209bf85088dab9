from __future__ import annotations

import shutil
from pathlib import Path

from trees import ids, lesion_mask, mask_name, save, voxels, wmh_case, wmh_cohort

from labelgan.data.layouts.detect import read_cohort
from labelgan.data.volume import ImageRef


def test_as_published(tmp_path: Path) -> None:
    """The challenge's own tree: numbers are given per site, and test sites share names with training sites."""
    for way in ("training/Utrecht/0", "training/Singapore/50", "training/Amsterdam/GE3T/100", "test/Utrecht/3"):
        wmh_case(tmp_path / way)
        save(tmp_path / way / "orig" / "FLAIR.nii.gz", voxels("orig"))
        save(tmp_path / way / "orig" / "3DT1.nii.gz", voxels("3d", shape=(3, 3, 3)))
    wmh_case(tmp_path / "test" / "Amsterdam" / "Philips_VU .PETMR_01." / "160")
    save(
        tmp_path / "additional_annotations" / "observer_o3" / "training" / "Utrecht" / "0" / "result.nii.gz", voxels(1)
    )
    cohort = read_cohort(tmp_path)
    assert cohort.layout == "wmh"
    assert cohort.channels == ("FLAIR", "T1")
    assert not cohort.notes
    assert {case.id: (case.site, case.split) for case in cohort.cases} == {
        "0": ("Utrecht", "training"),
        "3": ("Utrecht", "test"),
        "50": ("Singapore", "training"),
        "100": ("Amsterdam_GE3T", "training"),
        "160": ("Amsterdam_Philips_VU_.PETMR_01.", "test"),
    }
    assert all(list(case.images) == ["FLAIR", "T1"] for case in cohort.cases)
    assert all(ref.path.parent.name == "pre" for case in cohort.cases for ref in case.images.values())
    assert [case.id for case in cohort.cases] == [
        case.id for case in sorted(cohort.cases, key=lambda case: (case.site or "", case.id))
    ]


def test_without_site_without_split_and_alone(tmp_path: Path) -> None:
    wmh_case(tmp_path / "flat" / "p1")
    wmh_case(tmp_path / "flat" / "p2")
    assert [(case.id, case.site) for case in read_cohort(tmp_path / "flat").cases] == [("p1", None), ("p2", None)]
    alone = read_cohort(tmp_path / "flat" / "p1").cases
    assert [(case.id, case.site, list(case.images)) for case in alone] == [("p1", None, ["FLAIR", "T1"])]
    wmh_case(tmp_path / "test" / "Utrecht" / "9")
    assert read_cohort(tmp_path / "test").cases[0].split == "test"


def test_falls_back_to_orig_and_to_uncompressed_files(tmp_path: Path) -> None:
    case = wmh_case(tmp_path / "S" / "p1", ending=".nii")
    (case / "pre").rename(case / "orig")
    cohort = read_cohort(tmp_path)
    assert mask_name(cohort) == "S/p1/wmh.nii"
    assert cohort.cases[0].images["T1"].path == case / "orig" / "T1.nii"
    save(case / "brain_mask.nii.gz", lesion_mask("b"))
    assert read_cohort(tmp_path).cases[0].brain_mask == ImageRef(case / "brain_mask.nii.gz")


def test_equal_numbers_at_two_sites_are_two_patients(tmp_path: Path) -> None:
    for way in ("training/Utrecht/1", "training/Singapore/1", "training/Singapore/2", "test/Singapore/1"):
        wmh_case(tmp_path / way)
    cohort = read_cohort(tmp_path)
    assert sorted(ids(cohort)) == ["2", "Utrecht_1", "test_Singapore_1", "training_Singapore_1"]
    assert len(cohort.patients) == 4


def test_incomplete_cases_stay_in_sight(tmp_path: Path) -> None:
    wmh_cohort(tmp_path)
    shutil.rmtree(tmp_path / "Utrecht" / "p2" / "pre")
    (tmp_path / "Utrecht" / "p3" / "pre" / "T1.nii.gz").unlink()
    (tmp_path / "Amsterdam" / "GE3T").mkdir(parents=True)
    cohort = read_cohort(tmp_path)
    assert [(case.id, list(case.images)) for case in cohort.cases] == [
        ("p1", ["FLAIR", "T1"]),
        ("p2", []),
        ("p3", ["FLAIR"]),
    ]
    assert [note.path for note in cohort.notes] == [tmp_path / "Amsterdam"]
