from __future__ import annotations

import json
from pathlib import Path

from labelgan.data.case import Case, Cohort
from labelgan.data.check.problems import CaseFacts, CheckReport, Problem
from labelgan.data.volume import ImageRef

ROOT = Path("/cohort")
CASES = (
    Case(
        "c1",
        "p1",
        {"FLAIR": ImageRef(ROOT / "S/c1/FLAIR.nii"), "T1": ImageRef(ROOT / "S/c1/T1.nii")},
        mask=ImageRef(Path("/elsewhere/mask.nii")),
        site="S",
        session="01",
        split="training",
    ),
    Case("c2", "p1", {"FLAIR": ImageRef(ROOT / "S/c2/FLAIR.nii")}),
)
FACTS = (CaseFacts((6, 7, 5), (1.0, 1.5, 10 / 3), 12, {"FLAIR": "sha256:a", "T1": "sha256:b"}), CaseFacts())
ERROR = Problem("c2", ROOT / "S/c2/FLAIR.nii", "is cut short")
WARNING = Problem(None, None, "no case has a mask", severity="warning")


def report(*problems: Problem) -> CheckReport:
    return CheckReport(Cohort(ROOT, "wmh", CASES), problems, FACTS)


def test_only_errors_make_a_cohort_unusable() -> None:
    assert report().ok
    assert report(WARNING).ok
    assert report(WARNING).errors == ()
    assert not report(WARNING, ERROR).ok
    assert report(WARNING, ERROR).errors == (ERROR,)
    assert Problem(None, None, "x").severity == "error"


def test_hashes_are_those_of_what_could_be_read() -> None:
    assert report().hashes == {"c1": {"FLAIR": "sha256:a", "T1": "sha256:b"}, "c2": {}}


def test_the_json_has_paths_below_the_root_and_null_for_what_is_not_known() -> None:
    found = report(ERROR, WARNING).to_json()
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found == {
        "layout": "wmh",
        "cases": [
            {
                "id": "c1",
                "patient": "p1",
                "site": "S",
                "session": "01",
                "split": "training",
                "channels": ["FLAIR", "T1"],
                "shape": [6, 7, 5],
                "spacing_mm": [1.0, 1.5, 3.333333],
                "images": {"FLAIR": "S/c1/FLAIR.nii", "T1": "S/c1/T1.nii"},
                "mask": "/elsewhere/mask.nii",
                "lesion_voxels": 12,
            },
            {
                "id": "c2",
                "patient": "p1",
                "site": None,
                "session": None,
                "split": None,
                "channels": ["FLAIR"],
                "shape": None,
                "spacing_mm": None,
                "images": {"FLAIR": "S/c2/FLAIR.nii"},
                "mask": None,
                "lesion_voxels": None,
            },
        ],
        "problems": [
            {"case": "c2", "file": "S/c2/FLAIR.nii", "reason": "is cut short", "severity": "error"},
            {"case": None, "file": None, "reason": "no case has a mask", "severity": "warning"},
        ],
    }
