from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from labelgan.core.errors import DataError
from labelgan.scoring.metrics import METRICS, Scores
from labelgan.scoring.report import CaseScores, ScoreReport, Summary


def row(case: str, site: str | None = None, **values: float | None) -> CaseScores:
    """A case whose metrics are undefined but for those named."""
    return CaseScores(case, f"patient of {case}", site, Scores(dict.fromkeys(METRICS) | values))


REPORT = ScoreReport(
    (row("c1", "B", dsc=0.5, hd95_mm=3.0), row("c2", "A", dsc=1.0), row("c3", dsc=0.0)),
    failures=(("c4", DataError("c4.nii", "is cut, short")),),
    missing=("c5",),
    extra=(Path("out/x.nii"),),
    notes=("one line",),
)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1.0, 2.0, 6.0], Summary(3.0, 7**0.5, 2.0, 3, 0)),
        ([1.0, None], Summary(1.0, None, 1.0, 1, 1)),
        ([None, None], Summary(None, None, None, 0, 2)),
        ([], Summary(None, None, None, 0, 0)),
    ],
)
def test_summaries_count_what_they_leave_out(values, expected) -> None:
    summary = Summary.of(values)
    assert summary.to_json() == {name: pytest.approx(value) for name, value in expected.to_json().items()}


def test_json_holds_no_number_that_json_cannot() -> None:
    report = ScoreReport((row("a"),))
    text = json.dumps(report.to_json(), allow_nan=False)
    assert json.loads(text)["summary"]["overall"]["dsc"]["undefined"] == 1


def test_summaries_are_over_all_cases_and_by_site() -> None:
    assert REPORT.sites == ("A", "B")
    assert REPORT.summary()["dsc"] == Summary(0.5, 0.5, 0.5, 3, 0)
    assert REPORT.summary()["hd95_mm"] == Summary(3.0, None, 3.0, 1, 2)
    assert REPORT.summary("A")["dsc"] == Summary(1.0, None, 1.0, 1, 0)
    assert list(REPORT.summary()) == list(METRICS)


def test_the_json_tells_everybody() -> None:
    found = REPORT.to_json()
    assert [one["case"] for one in found["cases"]] == ["c1", "c2", "c3"]
    assert found["cases"][0] == {
        "case": "c1",
        "patient": "patient of c1",
        "site": "B",
        "dsc": 0.5,
        "hd95_mm": 3.0,
        "avd_percent": None,
        "lesion_recall": None,
        "lesion_f1": None,
    }
    assert list(found["summary"]["sites"]) == ["A", "B"]
    assert found["failed"] == [{"case": "c4", "file": "c4.nii", "reason": "is cut, short"}]
    assert (found["missing"], found["extra"], found["notes"]) == (["c5"], ["out/x.nii"], ["one line"])


def test_two_files_give_the_five_metrics_alone() -> None:
    assert ScoreReport((row("a", dsc=0.25),), single=True).to_json() == dict.fromkeys(METRICS) | {"dsc": 0.25}


def test_the_csv_has_a_line_per_case_and_nothing_for_what_is_undefined() -> None:
    rows = list(csv.DictReader(io.StringIO(REPORT.to_csv())))
    assert list(rows[0]) == ["case", "patient", "site", *METRICS, "status"]
    assert [one["case"] for one in rows] == ["c1", "c2", "c3", "c4", "c5"]
    assert [one["status"] for one in rows] == [*["scored"] * 3, "failed: c4.nii: is cut, short", "no prediction"]
    assert [one["hd95_mm"] for one in rows] == ["3.0", "", "", "", ""]
    assert rows[2]["site"] == ""
