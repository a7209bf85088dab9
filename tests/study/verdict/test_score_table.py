from __future__ import annotations

import numpy as np
import pandas
import pytest

from labelgan.scoring.scores_csv import check_scores
from labelgan.study.verdict.score_table import tables_of
from scores import make_scores

CROSS = make_scores({"classical": [0.5, 0.6, 0.7], "real": [0.4, 0.5, None]}, sites="BAA")


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
