from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from labelgan.core.rng import generator_for
from labelgan.study.verdict.statistics import (
    EXACT_TO,
    Part,
    Resamples,
    Spread,
    bootstrap_interval,
    bootstrap_intervals,
    holm,
    merge_strata,
    signed_rank_p,
    smallest_p,
    spread_of,
    student_p,
)

RNG = generator_for(0, "tests", "statistics")
DRAWN = Resamples(0, 2000)
steps = st.integers(-4, 4).map(lambda step: step / 12)


def lopo(table: np.ndarray) -> np.ndarray:
    """A fold of its own behind every value."""
    return np.arange(table.size).reshape(table.shape)


def interval(values: np.ndarray, sites: np.ndarray | None = None, resamples: Resamples = DRAWN) -> tuple[float, float]:
    table = values.reshape(len(values), -1)
    found = bootstrap_interval(
        table, np.zeros(len(table)) if sites is None else sites, lopo(table), resamples, confidence=0.95
    )
    assert found is not None
    return found


# The signed-rank test


@pytest.mark.parametrize("count", [5, 9, 30])
def test_without_ties_p_is_the_textbooks(count) -> None:
    values = RNG.normal(0.3, 1, count)
    wilcoxon: Any = stats.wilcoxon(values, method="exact")
    assert signed_rank_p(values) == pytest.approx(wilcoxon.pvalue)


@given(st.lists(steps, min_size=1, max_size=8))
def test_with_ties_and_zeros_p_is_that_of_all_signs(values) -> None:
    differences = np.array(values)
    ranks = stats.rankdata(np.round(np.abs(differences), 10)) * (differences != 0)  # Pratt
    signs = np.array(list(itertools.product([0, 1], repeat=len(values))))
    sums, seen = signs @ ranks, float(ranks[differences > 0].sum())
    expected = min(1.0, 2 * min((sums <= seen + 1e-9).mean(), (sums >= seen - 1e-9).mean()))
    assert signed_rank_p(differences) == pytest.approx(expected)


def test_p_knows_no_rounding() -> None:
    clean = np.array([0.25, -0.25, 0.5, 0.0, 0.25])
    assert signed_rank_p(clean) == signed_rank_p(clean + np.array([1e-16, 0, -1e-16, 1e-17, -1e-16]))


def test_nothing_but_zeros_is_no_evidence() -> None:
    assert signed_rank_p(np.zeros(10)) == 1.0


def test_all_of_one_sign_is_the_smallest_p() -> None:
    for count in (1, 5, 6, 10):
        assert signed_rank_p(np.arange(1.0, count + 1)) == pytest.approx(smallest_p(count))
    assert smallest_p(5) > 0.05 > smallest_p(6)


def test_the_exact_and_the_normal_p_agree_where_they_meet() -> None:
    values = np.round(RNG.normal(0.1, 1, EXACT_TO), 1)  # with ties and zeros
    exact = signed_rank_p(values)
    normal = signed_rank_p(np.append(values, 0.0))
    assert normal == pytest.approx(exact, rel=0.03)


# Holm


def test_holm_of_known_values() -> None:
    assert holm([0.01, None, 0.04, 0.03]) == pytest.approx([0.03, None, 0.06, 0.06])
    assert holm([0.9, 0.5]) == [1.0, 1.0]
    assert holm([None]) == [None]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6))
def test_holm_lies_between_p_and_bonferroni(values) -> None:
    for p, adjusted in zip(values, holm(list(values)), strict=True):
        assert adjusted is not None
        assert p <= adjusted <= 1
    smallest = min(range(len(values)), key=values.__getitem__)
    assert holm(list(values))[smallest] == min(1.0, values[smallest] * len(values))


# Strata and spread


@pytest.mark.parametrize(
    ("sites", "expected"),
    [
        ("aaabbb", [0, 0, 0, 1, 1, 1]),
        ("aaabcd", [0, 0, 0, 1, 1, 1]),  # three small ones together
        ("aaaabbbc", [0, 0, 0, 0, 1, 1, 1, 1]),  # one alone joins the smallest
        ("abc", [0, 0, 0]),
        ("a", [0]),
    ],
)
def test_small_sites_go_together(sites, expected) -> None:
    assert merge_strata(np.array(list(sites))).tolist() == expected


def test_patients_of_one_site_give_the_standard_error_of_a_mean() -> None:
    values = RNG.normal(0, 1, (9, 1))
    spread = spread_of(values, np.zeros(9, int), lopo(values))
    assert spread is not None
    assert spread.patients.variance == pytest.approx(stats.sem(values.ravel()) ** 2)
    assert (spread.patients.freedom, spread.draws) == (8, None)


def test_differences_between_sites_are_no_spread() -> None:
    values = np.repeat([[-1.0], [1.0]], 4, axis=0)
    spread = spread_of(values, np.repeat([0, 1], 4), lopo(values))
    assert spread is not None
    assert spread.patients == Part(0, 6)


def test_the_spread_of_draws_is_added_to_that_of_patients() -> None:
    patients, draws = RNG.normal(0, 1, (8, 1)), np.array([[-1.0, 0.0, 1.0]])
    folds = np.tile(np.arange(3), (8, 1))
    spread = spread_of(patients + draws, np.zeros(8, int), folds)
    assert spread is not None
    assert spread.draws is not None
    assert spread.added
    assert spread.patients.variance == pytest.approx(patients.var(ddof=1) / 8)
    assert (spread.draws.variance, spread.draws.freedom) == (pytest.approx(1 / 3), 2)
    assert spread.join(3, 4) == 5


def test_folds_that_divide_the_patients_count_where_they_differ_more() -> None:
    values = np.repeat([[0.0], [1.0], [5.0]], 4, axis=0)
    folds = np.repeat([[0], [1], [2]], 4, axis=0)
    spread = spread_of(values, np.zeros(12, int), folds)
    assert spread is not None
    assert spread.draws is not None
    assert (spread.draws.variance, spread.draws.freedom) == (pytest.approx(stats.sem([0, 1, 5]) ** 2), 2)
    assert not spread.added
    assert spread.join(3, 4) == 4


def test_one_patient_has_no_spread() -> None:
    assert spread_of(np.ones((1, 1)), np.zeros(1, int), np.zeros((1, 1), int)) is None


# Resamples and intervals


def test_resamples_keep_the_size_of_strata_and_come_from_the_seed() -> None:
    table = np.repeat([1.0, 7.0], [3, 5])
    assert (DRAWN.means(table, (3, 5)) == (3 + 5 * 7) / 8).all()
    values = RNG.normal(0, 1, 8)
    means = DRAWN.means(values, (8,))
    assert means.mean() == pytest.approx(values.mean(), abs=0.05)
    both = DRAWN.means(np.stack([values, 2 * values], axis=1), (8,))
    assert both == pytest.approx(np.stack([means, 2 * means], axis=1))
    assert np.array_equal(means, Resamples(0, 2000).means(values, (8,)))
    assert not np.array_equal(means, Resamples(1, 2000).means(values, (8,)))


def test_a_bootstrap_has_the_spread_of_its_patients() -> None:
    values = RNG.normal(0, 1, 30)
    means = Resamples(0, 20_000).means(values, (30,))
    assert means.std() == pytest.approx(values.std() / 30**0.5, rel=0.02)


def test_many_patients_are_resampled_in_blocks(monkeypatch) -> None:
    values = RNG.normal(0, 1, 50)
    whole = DRAWN.means(values, (50,))
    monkeypatch.setattr("labelgan.study.verdict.statistics.BLOCK", 50 * 300)
    drawn = Resamples(0, 2000)
    parts = drawn.means(values, (50,))
    assert parts.shape == (2000,)
    assert parts[:300] == pytest.approx(whole[:300], rel=1e-9, abs=1e-12)  # the first block is the stream's beginning
    assert len(np.unique(parts)) == 2000
    assert parts.std() == pytest.approx(whole.std(), rel=0.1)
    assert len(drawn._made) <= 8


def test_the_interval_has_students_width() -> None:
    values = generator_for(1, "tests", "interval").normal(0.02, 0.04, 10)
    low, high = interval(values, resamples=Resamples(0, 20_000))
    student = stats.t.interval(0.95, 9, values.mean(), stats.sem(values))
    assert low < values.mean() < high
    assert high - low == pytest.approx(student[1] - student[0], rel=0.06)


@settings(deadline=None, max_examples=20)
@given(
    st.lists(st.integers(-50, 50), min_size=3, max_size=12),
    st.floats(-2, 2),
    st.floats(0.1, 10),
    st.booleans(),
)
def test_intervals_move_and_stretch_with_the_values(values, shift, scale, mirrored) -> None:
    factor = -scale if mirrored else scale
    differences = np.array(values) / 50
    low, high = interval(differences)
    moved = interval(shift + factor * differences)
    expected = sorted([shift + factor * low, shift + factor * high])
    assert moved == pytest.approx(expected, abs=1e-8 * scale)


def test_an_interval_follows_skewness() -> None:
    low, high = interval(np.array([0.0] * 8 + [0.1, 0.9]))
    assert high - 0.1 > 0.1 - low


def test_equal_differences_leave_no_doubt() -> None:
    assert interval(np.full(10, 0.02)) == pytest.approx((0.02, 0.02), rel=1e-12)
    assert interval(np.zeros(10)) == (0.0, 0.0)


def test_repeated_repeats_tell_nothing_new() -> None:
    values = RNG.normal(0, 1, (10, 1))
    again = np.tile(values, (1, 4))
    assert interval(again) == pytest.approx(interval(values), rel=1e-9)
    everybody = np.tile(np.arange(4), (10, 1))
    assert bootstrap_interval(again, np.zeros(10), everybody, DRAWN, 0.95) == pytest.approx(interval(values))


def test_draws_that_disagree_widen_the_interval() -> None:
    values = RNG.normal(0, 1, (10, 1))
    everybody = np.tile(np.arange(3), (10, 1))
    found = bootstrap_interval(values + np.array([[-1.0, 0, 1]]), np.zeros(10), everybody, DRAWN, 0.95)
    alone = interval(values)
    assert found is not None
    assert found[1] - found[0] > 1.5 * (alone[1] - alone[0])


def test_sites_that_differ_narrow_the_interval() -> None:
    values = RNG.normal(0, 0.1, 20) + np.repeat([-1, 1], 10)
    low, high = interval(values, np.repeat([0, 1], 10))
    bottom, top = interval(values)
    assert high - low < 0.3 < 0.8 < top - bottom


def test_an_interval_of_draws_that_patients_agree_on_is_students_of_the_draws() -> None:
    draws = np.array([-0.02, 0.05, 0.09])
    table = np.tile(draws, (30, 1))
    found = bootstrap_interval(table, np.zeros(30), np.tile(np.arange(3), (30, 1)), DRAWN, 0.95)
    assert found == pytest.approx(stats.t.interval(0.95, 2, draws.mean(), stats.sem(draws)))


def test_students_p_of_patients_alone_is_the_textbooks() -> None:
    values = RNG.normal(0.5, 1, (10, 1))
    textbook: Any = stats.ttest_1samp(values.ravel(), 0)
    spread = spread_of(values, np.zeros(10), lopo(values))
    assert spread is not None
    assert student_p(values.mean(), spread) == pytest.approx(textbook.pvalue)
    certain = Spread(Part(0.0, 9), None, added=False)
    assert (student_p(1.0, certain), student_p(0.0, certain)) == (0, 1)


@given(st.floats(1e-12, 0.9), st.integers(2, 60), st.integers(1, 9), st.floats(0.01, 10))
def test_students_p_is_the_level_at_which_the_interval_ends_at_zero(alpha, patients, draws, ratio) -> None:
    parts = Part(1.0, patients), Part(ratio, draws)
    for added in (False, True):
        spread = Spread(*parts, added=added)
        end = spread.join(*(part.half_width(alpha) for part in parts))
        assert student_p(-end, spread) == pytest.approx(alpha, rel=1e-5)


@pytest.mark.parametrize(("luck", "draws"), [(0.0, 3), (0.02, 3), (0.05, 3), (0.05, 5), (0.02, 10)])
def test_intervals_of_few_draws_miss_the_truth_as_seldom_as_they_say(luck, draws) -> None:
    """One t of Satterthwaite's degrees of freedom missed 7 to 8 % with three draws and a luck of .02 to .05."""
    rng, studies, patients = generator_for(0, "tests", "coverage", draws), 2000, 40
    own = rng.normal(0, 0.028, (studies, patients, 1)) + rng.normal(0, 0.028, (studies, patients, draws))
    tables = own + rng.normal(0, luck, (studies, 1, draws))
    folds = np.tile(np.arange(draws), (patients, 1))
    ends = bootstrap_intervals(tables, np.zeros(patients), folds, Resamples(0, 300), 0.95)
    assert ends is not None
    missed = ((ends[:, 0] > 0) | (ends[:, 1] < 0)).mean()
    assert missed < 0.05 + 2.6 * (0.05 * 0.95 / studies) ** 0.5  # 6.3 %: at 5 % one in 200 by chance
    if luck >= 0.05:
        assert missed > 0.035


def test_one_patient_has_no_interval() -> None:
    assert bootstrap_interval(np.ones((1, 1)), np.zeros(1), np.zeros((1, 1), int), DRAWN, 0.95) is None
