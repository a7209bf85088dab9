from __future__ import annotations

import json
from pathlib import Path

import pytest

from labelgan.core.errors import DataError
from labelgan.report.study_files import read_study
from labelgan.scoring.metrics import METRICS
from studies import ARMS, change_json, write_study


@pytest.fixture
def study(tmp_path) -> Path:
    return write_study(tmp_path / "study", undefined=0.2)


def test_a_study_is_read_as_it_was_written(study):
    files = read_study(study)
    assert files.study.arms == ARMS
    assert files.patients == files.tested == [f"P{i:03d}" for i in range(1, 11)]
    assert len(files.rows) == 50
    row = files.rows[0]
    assert (row.fold, row.n_train, row.repeat, row.arm, row.patient) == ("fold-00", 9, 0, "real", "P001")
    assert (row.site, row.lesion_voxels) == ("Utrecht", 1500)
    assert set(row.scores) == set(METRICS)
    assert any(score is None for row in files.rows for score in row.scores.values())
    assert files.verdict is not None
    assert len(files.verdict.summary) == 5 * 5
    assert len(files.verdict.comparisons) == 2 * 4 * 5


def test_keys_of_a_later_version_are_passed_over(study):
    change_json(study / "study.json", colour="red")
    change_json(study / "verdict.json", colour="red")
    assert read_study(study).study.data == "ms3seg-wmh"


def test_only_an_incomplete_study_may_lack_its_verdict(study):
    (study / "verdict.json").unlink()
    with pytest.raises(DataError, match=r"verdict\.json: cannot be read as JSON"):
        read_study(study)
    change_json(study / "study.json", status="incomplete")
    assert read_study(study).verdict is None


@pytest.mark.parametrize("name", ["study.json", "scores.csv", "verdict.json"])
@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe\x00", b"[1]", b"nonsense"])
def test_a_missing_or_damaged_file_is_named_in_one_line(study, name, content):
    path = study / name
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    with pytest.raises(DataError) as told:
        read_study(study)
    assert told.value.subject == str(path)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("name", "values", "reason"),
    [
        ("study.json", {"status": "done"}, "status: Input should be"),
        ("study.json", {"format": 2}, "format: Input should be 1"),
        ("study.json", {"arms": []}, "arms: Tuple should have at least 1 item"),
        ("study.json", {"arms": ["real", "real"]}, "names an arm twice"),
        ("study.json", {"arms": ["real"]}, "arm 'classical' is none of the study's"),
        ("study.json", {"folds": [{"name": "other", "n_train": 1}]}, "fold 'fold-00' is none of the study's"),
        ("study.json", {"cost": [{"kind": "x", "jobs": 1, "seconds": -1}]}, "cost.0.seconds"),
        ("verdict.json", {"headline": None}, "headline: Input should be a valid string"),
    ],
)
def test_values_that_cannot_be_are_told(study, name, values, reason):
    change_json(study / name, **values)
    with pytest.raises(DataError, match=reason.replace(".", r"\.")):
        read_study(study)


COMPARISON = {
    "arm": "real",
    "reference": "classical",
    "n_train": 9,
    "metric": "dsc",
    "difference": 0.1,
    "interval": [0.05, 0.2],
    "n": 10,
    "verdict": "helps",
    "sentence": "",
}


def compare(study: Path, **values) -> None:
    change_json(study / "verdict.json", comparisons=[COMPARISON | values])
    read_study(study)


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"interval": [-0.2, -0.1], "verdict": "harms"},
        {"metric": "hd95_mm", "interval": [-0.2, -0.1]},
        {"metric": "hd95_mm", "verdict": "harms"},
        {"verdict": "no evidence"},  # Holm may ask for more than the interval
        {"interval": None, "difference": None, "verdict": "no evidence"},
    ],
)
def test_a_verdict_that_its_interval_bears_out_is_taken(study, values):
    compare(study, **values)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"interval": [-0.01, 0.2]}, "the interval does not lie on that side"),
        ({"interval": [0.0, 0.2]}, "the interval does not lie on that side"),
        ({"interval": None}, "the interval does not lie on that side"),
        ({"metric": "avd_percent"}, "'real' helps by avd_percent, but the interval"),
        ({"verdict": "harms"}, "'real' harms by dsc, but the interval"),
        ({"interval": [0.2, 0.1]}, "upside down"),
        ({"metric": "accuracy"}, "metric 'accuracy' is none"),
        ({"arm": "stranger"}, "arm 'stranger' is none"),
        ({"verdict": "maybe"}, "comparisons.0.verdict"),
        ({"difference": "NaN"}, "comparisons.0.difference"),
    ],
)
def test_a_verdict_that_its_interval_belies_is_refused(study, values, reason):
    with pytest.raises(DataError, match=reason):
        compare(study, **values)


def test_json_without_nan_is_asked_for(study):
    path = study / "verdict.json"
    values = json.loads(path.read_text())
    values["summary"][0]["mean"] = float("nan")
    path.write_text(json.dumps(values))
    with pytest.raises(DataError, match=r"summary\.0\.mean"):
        read_study(study)


def test_a_file_in_place_of_a_folder(tmp_path):
    with pytest.raises(DataError, match="is not a folder"):
        read_study(tmp_path / "nowhere")
