from __future__ import annotations

import math

import numpy as np
import pytest

from labelgan.audit.copies.membership import attack
from labelgan.core.rng import generator_for


def cohort(patients: int, slices: int, name: str, between: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Scores that differ between patients, and whose they are."""
    generator = generator_for(0, "membership test", name)
    centres = between * generator.standard_normal(patients)
    scores = np.repeat(centres, slices) + generator.standard_normal(patients * slices)
    return scores, np.repeat([f"{name}{number}" for number in range(patients)], slices)


def test_the_area_is_the_share_of_pairs_won():
    members, others = np.array([1.0, 2.0, 2.0, 5.0]), np.array([2.0, 0.0, 7.0])
    result = attack(members, np.array(list("aabb")), others, np.array(list("xyy")))
    won = np.mean([(m > o) + 0.5 * (m == o) for m in members for o in others])
    assert result.auc == pytest.approx(won)
    assert (result.members, result.others, result.member_patients, result.other_patients) == (4, 3, 2, 2)


@pytest.mark.parametrize(("shift", "area"), [(100.0, 1.0), (-100.0, 0.0)])
def test_scores_that_never_meet_give_the_ends(shift, area):
    (members, mine), (others, theirs) = cohort(6, 5, "m"), cohort(4, 5, "o")
    result = attack(members + shift, mine, others, theirs)
    assert result.auc == result.low == result.high == area
    assert result.succeeds == (area == 1.0)


def test_equal_scores_are_a_guess():
    result = attack(np.ones(6), np.arange(6), np.ones(4), np.arange(4))
    assert result.auc == result.low == result.high == result.control_low == result.control_high == 0.5
    assert not result.succeeds


def test_patients_that_differ_are_no_success():
    """Slices are plenty, patients few: an interval over slices would be far too narrow."""
    (members, mine), (others, theirs) = cohort(8, 200, "m", 3.0), cohort(4, 200, "o", 3.0)
    result = attack(members, mine, others, theirs)
    assert result.low < 0.5 < result.high
    assert result.high - result.low > 0.3
    assert result.control_high - result.control_low > 0.3
    assert not result.succeeds


def test_a_leak_stands_out_of_the_control():
    (members, mine), (others, theirs) = cohort(20, 10, "m", 0.3), cohort(10, 10, "o", 0.3)
    result = attack(members + 1.5, mine, others, theirs)
    assert result.auc > 0.8
    assert result.auc > result.control_high
    assert result.succeeds
    assert result.control_low < 0.5 < result.control_high


def test_the_interval_covers_the_truth():
    """Ten times in a hundred at most, where it should miss in five."""
    missed = 0
    for seed in range(60):
        generator = generator_for(seed, "coverage")
        centres = generator.standard_normal(50)
        scores = np.repeat(centres, 4) + generator.standard_normal(200)
        names = np.repeat(np.arange(50), 4)
        result = attack(scores[:120], names[:120], scores[120:], names[120:], seed=seed, repeats=200)
        missed += not result.low <= 0.5 <= result.high
    assert missed <= 8


def test_it_is_the_same_twice_and_under_any_monotone_scale():
    (members, mine), (others, theirs) = cohort(5, 4, "m"), cohort(4, 4, "o")
    result = attack(members, mine, others, theirs, seed=3)
    assert attack(members, mine, others, theirs, seed=3) == result
    assert attack(np.exp(members), mine, np.exp(others), theirs, seed=3) == result
    assert attack(members, mine, others, theirs, seed=4) != result


def test_one_member_has_no_control_and_nothing_is_refused():
    result = attack(np.arange(3.0), np.array(["a"] * 3), np.arange(2.0), np.array(["x", "y"]))
    assert math.isnan(result.control_low)
    with pytest.raises(ValueError, match="both sides"):
        attack(np.array([]), np.array([]), np.ones(2), np.arange(2))
    with pytest.raises(ValueError, match="finite"):
        attack(np.array([np.nan]), np.arange(1), np.ones(2), np.arange(2))
