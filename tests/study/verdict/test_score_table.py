from __future__ import annotations

import numpy as np
import pandas
import pytest

from labelgan.core.errors import DataError
from labelgan.scoring.metrics import METRICS
from labelgan.study.verdict.score_table import COLUMNS, check_scores, read_scores, tables_of
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


def test_scores_are_laid_out_by_site_then_patient() -> None:
    (table,) = tables_of(check_scores(CROSS))
    assert table.n_train == 2
    assert table.patients.tolist() == ["p01", "p02", "p00"]
    assert table.sites.tolist() == ["A", "A", "B"]
    assert table.draws == 3
    assert set(table.values) == {"classical", "real"}
    laid = table.by_patient(table.values["real"]["dsc"])
    assert np.array_equal(laid, [[0.5], [np.nan], [0.4]], equal_nan=True)


def test_a_patient_with_two_scans_is_their_mean() -> None:
    second = CROSS.assign(case=CROSS["case"] + "-b", dsc=0.1)
    (table,) = tables_of(check_scores(pandas.concat([CROSS, second])))
    assert table.by_patient(table.values["classical"]["dsc"]).ravel().tolist() == pytest.approx([0.35, 0.4, 0.3])


def test_an_arm_without_rows_is_missing_and_not_scored() -> None:
    (table,) = tables_of(check_scores(CROSS[(CROSS["arm"] != "real") | (CROSS["patient"] != "p01")]))
    assert table.scored["real"].tolist() == [True, False, True]
    assert np.isnan(table.values["real"]["dsc"]).tolist() == [False, True, True]


def test_folds_of_unequal_size_make_one_table() -> None:
    frame = CROSS.assign(n_train=[2, 2, 1] * 2)
    (table,) = tables_of(check_scores(frame))
    assert table.n_train == 2
    assert len(table.patients) == 3


def test_a_learning_curve_makes_a_table_for_each_size() -> None:
    small = make_scores({"classical": [[0.1, 0.3], [0.2, 0.4]]}, n_train=3, curve=True)
    large = make_scores({"classical": [[0.5, 0.7], [0.6, None]]}, n_train=10, curve=True)
    first, last = tables_of(check_scores(pandas.concat([large, small])))
    assert (first.n_train, last.n_train) == (3, 10)
    assert first.folds.tolist() == [[0, 1], [0, 1]]
    laid = last.by_patient(last.values["classical"]["dsc"])
    assert np.array_equal(laid, [[0.5, 0.7], [0.6, np.nan]], equal_nan=True)


def test_nothing_said_of_nothing_is_told() -> None:
    frame = CROSS.assign(lesion_voxels=[0, 0, 5] * 2, predicted_voxels=[0, 3, 0] * 2)
    (table,) = tables_of(check_scores(frame))
    by_patient = dict(zip(table.patients[table.owner].tolist(), table.nothing["real"].tolist(), strict=True))
    assert by_patient == {"p00": True, "p01": False, "p02": False}


def test_the_columns_hold_every_metric() -> None:
    assert set(METRICS) < set(COLUMNS)
