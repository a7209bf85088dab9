"""scores.csv: written and read again, damaged in every column and as a file."""

from __future__ import annotations

import numpy as np
import pandas
import pytest

from labelgan.core.errors import DataError
from labelgan.scoring.metrics import METRICS
from labelgan.scoring.scores_csv import COLUMNS, check_scores, read_scores
from scores import make_scores

CROSS = make_scores({"classical": [0.5, 0.6, 0.7], "real": [0.4, 0.5, None]}, sites="BAA")


def test_a_written_study_is_read_as_it_was(tmp_path) -> None:
    frame = CROSS.assign(patient=["001", "NA", "x"] * 2)  # ids that look like a number and like nothing
    frame.to_csv(tmp_path / "scores.csv", index=False)
    read = read_scores(tmp_path / "scores.csv")
    assert list(read.columns) == list(COLUMNS)
    assert read["patient"].tolist() == ["001", "NA", "x"] * 2
    assert np.isnan(read["dsc"].to_numpy()).sum() == 1
    pandas.testing.assert_frame_equal(read, check_scores(frame))
    pandas.testing.assert_frame_equal(read, check_scores(read))


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("dsc", "1.2", "line 3: dsc lies outside 0 to 1"),
        ("dsc", "good", "line 3: dsc is no number"),
        ("lesion_f1", "-0.1", "line 3: lesion_f1 lies outside 0 to 1"),
        ("hd95_mm", "-1", "line 3: hd95_mm is negative or not finite"),
        ("hd95_mm", "inf", "line 3: hd95_mm is negative or not finite"),
        ("n_train", "0", "line 3: n_train is not a whole number of at least 1"),
        ("n_train", "1e300", "line 3: n_train is not a whole number of at least 1"),
        ("repeat", "0.5", "line 3: repeat is not a whole number of at least 0"),
        ("repeat", "", "line 3: repeat is not a whole number of at least 0"),
        ("patient", "", "line 3: patient is empty"),
        ("predicted_voxels", "-3", "line 3: predicted_voxels is negative or not finite"),
    ],
)
def test_a_damaged_value_is_named(tmp_path, column, value, said) -> None:
    frame = CROSS.astype(object)
    frame.loc[1, column] = value
    path = tmp_path / "scores.csv"
    frame.to_csv(path, index=False)
    with pytest.raises(DataError, match=said) as raised:
        read_scores(path)
    assert raised.value.subject == str(path)


def test_damaged_files_are_refused(tmp_path) -> None:
    path = tmp_path / "scores.csv"
    with pytest.raises(DataError, match="cannot be read as CSV"):
        read_scores(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="cannot be read as CSV"):
        read_scores(path)
    path.write_text("")
    with pytest.raises(DataError, match="cannot be read as CSV"):
        read_scores(path)
    path.write_text(",".join(COLUMNS) + "\n")
    with pytest.raises(DataError, match="holds no score"):
        read_scores(path)
    path.write_text("fold,arm\nfold-00,real\n")
    with pytest.raises(DataError, match="has no column n_train, repeat"):
        read_scores(path)


def test_a_scan_scored_twice_is_refused() -> None:
    with pytest.raises(DataError, match="fold-000-0 has two scores of case p00 in arm classical"):
        check_scores(pandas.concat([CROSS, CROSS.head(1)]))
    again = CROSS.head(1).assign(fold="another", arm="real")
    with pytest.raises(DataError, match="patient p00 is tested by two folds of repeat 0, n_train 2"):
        check_scores(pandas.concat([CROSS, again]))


def test_the_columns_hold_every_metric() -> None:
    assert set(METRICS) < set(COLUMNS)


def test_a_study_that_has_just_begun_has_no_scores_yet(tmp_path) -> None:
    path = tmp_path / "scores.csv"
    path.write_text(",".join(COLUMNS) + "\n")
    assert list(read_scores(path, may_be_empty=True).columns) == list(COLUMNS)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda lines: [lines[0].replace("dsc,", "dice,"), *lines[1:]], "has no column dsc"),
        (lambda lines: [*lines, lines[-1] + ",1"], "cannot be read as CSV: .*Expected 14 fields in line 8, saw 15"),
        (lambda lines: [*lines, lines[-1]], "has two scores of case p02 in arm real"),
        (lambda lines: [*lines[:-1], lines[-1][:30]], "line 7: the row has too few cells"),
        (lambda lines: [lines[0], '"f,9'], "cannot be read as CSV: unexpected end of data"),
    ],
)
def test_a_damaged_line_is_named(tmp_path, damage, said) -> None:
    path = tmp_path / "scores.csv"
    CROSS.to_csv(path, index=False)
    path.write_text("\n".join(damage(path.read_text().splitlines())) + "\n")
    with pytest.raises(DataError, match=said):
        read_scores(path)
