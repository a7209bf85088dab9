from __future__ import annotations

import labelgan
from labelgan.data.layouts.detect import read_cohort


def test_one_cohort_or_several_by_any_kind_of_path(phantom_cohort, tiny_samples, tmp_path):
    done = labelgan.export(str(phantom_cohort), tmp_path / "one", format="monai")
    assert (done.real, done.synthetic, len(done.folds)) == (3, 0, 3)
    told: list[tuple[int, int, str]] = []
    done = labelgan.export(
        [phantom_cohort, str(tiny_samples)], str(tmp_path / "two"), format="wmh", report=lambda *now: told.append(now)
    )
    assert (done.real, done.synthetic) == (3, 6)
    assert len(read_cohort(tmp_path / "two").cases) == 9
    assert told[0][:2] == (0, 9)
    assert told[-1] == (9, 9, "")


def test_options_arrive(phantom_cohort, tmp_path):
    done = labelgan.export(
        phantom_cohort, tmp_path / "out", format="nnunet", folds=2, channels=["T1"], exclude=["P001"], drop_other=True
    )
    assert (done.real, len(done.folds)) == (2, 2)
    cohort = read_cohort(tmp_path / "out")
    assert cohort.channels == ("T1",)
    assert cohort.labels == {0: 0, 1: 1}
