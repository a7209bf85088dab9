from __future__ import annotations

import pytest

from labelgan.data.layouts_slices import patient_names


@pytest.mark.parametrize(
    ("names", "patients"),
    [
        (["p1_slice01", "p1_slice02", "p2_slice1"], ["p1", "p1", "p2"]),
        (["p1-z3", "p1_s4"], ["p1", "p1"]),
        (["img_001", "img_002"], ["img_001", "img_002"]),
        (["100_1", "100_2", "101_1"], ["100", "100", "101"]),
        (["2019_1", "2019_2"], ["2019_1", "2019_2"]),
        (["a", "b"], ["a", "b"]),
        ([], []),
    ],
)
def test_slices_of_one_patient_stay_one_patient(names: list[str], patients: list[str]) -> None:
    assert patient_names(names) == patients


def test_volumes_are_taken_for_slices_only_when_they_say_so() -> None:
    names = ["BraTS19_A_1", "BraTS19_A_2", "BraTS19_B_1", "p_slice1", "p_slice2"]
    assert patient_names(names, volumes=True) == [*names[:3], "p", "p"]
