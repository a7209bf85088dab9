from __future__ import annotations

import pytest

from labelgan.scoring.metrics import METRICS
from labelgan.report.study_files import Row
from labelgan.report.study_numbers import (
    Pair,
    draw_means,
    lost_to,
    patient_pairs,
    row_counts,
    undefined_counts,
    worst_rows,
)


def row(fold: str, arm: str, patient: str, dsc: float | None, *, case: str = "", n_train: int = 3) -> Row:
    scores = dict.fromkeys(METRICS, 1.0) | {"dsc": dsc}
    return Row(fold, n_train, 0, arm, patient, case or patient, scores)


def test_pairs_are_of_the_same_fold_and_case_and_averaged_by_patient():
    rows = [
        row("f0", "real", "A", 0.2, case="A1"),
        row("f0", "real", "A", 0.4, case="A2"),
        row("f0", "new", "A", 0.5, case="A1"),
        row("f0", "new", "A", None, case="A2"),  # so A2 is no pair
        row("f1", "real", "A", 0.6, case="A1"),
        row("f1", "new", "A", 0.9, case="A1"),
        row("f0", "real", "B", 0.5),
        row("f1", "new", "B", 0.6),  # another fold
    ]
    (pair,) = patient_pairs(rows, "real", "new", "dsc")
    assert pair.patient == "A"
    assert (pair.reference, pair.arm) == (pytest.approx(0.4), pytest.approx(0.7))
    assert patient_pairs(rows, "real", "absent", "dsc") == []
    assert patient_pairs(rows, "real", "new", "lesion_f1")[0] == Pair("A", 1.0, 1.0)


def test_a_draws_mean_is_over_patients_not_over_scans():
    rows = [
        row("d0", "new", "A", 0.0, case="A1"),
        row("d0", "new", "A", 0.2, case="A2"),
        row("d0", "new", "B", 0.5),
        row("d1", "new", "B", 0.9),
        row("d2", "new", "B", 0.7, n_train=5),
        row("d2", "new", "C", None, n_train=5),
        row("d0", "real", "A", 1.0),
    ]
    assert draw_means(rows, "new", "dsc") == {3: [pytest.approx(0.3), pytest.approx(0.9)], 5: [pytest.approx(0.7)]}


def test_what_is_undefined_is_counted_for_every_arm():
    rows = [row("f0", "a", "A", None), row("f0", "a", "B", 0.1)]
    nothing = dict.fromkeys(METRICS, 0)
    assert undefined_counts(rows, ("a", "b")) == {"a": nothing | {"dsc": 1}, "b": nothing}
    assert row_counts(rows, ("a", "b")) == {"a": 2, "b": 0}


def test_the_worst_come_first_and_undefined_is_not_worst():
    rows = [row("f0", "a", "A", 0.5), row("f0", "a", "B", None), row("f0", "b", "A", 0.1), row("f0", "b", "B", 0.5)]
    assert [(r.arm, r.patient) for r in worst_rows(rows)] == [("b", "A"), ("a", "A"), ("b", "B")]
    assert len(worst_rows(rows, 1)) == 1


def test_losses_are_against_the_same_case():
    rows = [
        row("f0", "classical", "A", 0.5),
        row("f0", "new", "A", 0.3),
        row("f0", "classical", "B", 0.5),
        row("f0", "new", "B", 0.6),  # a gain
        row("f0", "worse", "B", 0.1),
        row("f1", "new", "A", 0.1),  # no reference in this fold
    ]
    found = [(r.arm, r.patient, round(loss, 6), base) for r, loss, base in lost_to(rows, "classical")]
    assert found == [("worse", "B", 0.4, 0.5), ("new", "A", 0.2, 0.5)]
    assert lost_to(rows, "absent") == []
