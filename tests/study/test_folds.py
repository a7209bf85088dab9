from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelgan.config.study import StudyConfig
from labelgan.core.errors import ConfigError
from labelgan.study.folds import Fold, draw_order, inner_split, make_folds, split_evenly
from study_cohorts import cohort_of, patients


def test_leave_one_out_tests_every_patient_once():
    folds = make_folds(StudyConfig(), cohort_of(patients(5), cases=2))
    assert [fold.test for fold in folds] == [(f"P00{i}",) for i in range(5)]
    assert all(set(fold.train) | set(fold.test) == set(patients(5)) for fold in folds)
    assert all(not set(fold.train) & set(fold.test) for fold in folds)


@given(count=st.integers(3, 40), folds=st.integers(2, 10), seed=st.integers(0, 5), sites=st.integers(1, 3))
def test_groups_are_a_partition_into_even_parts(count, folds, seed, sites):
    cohort = cohort_of(patients(count), {p: f"S{i % sites}" for i, p in enumerate(patients(count))})
    config = StudyConfig(folds=folds, seed=seed)
    if folds > count:
        with pytest.raises(ConfigError, match="there are only"):
            make_folds(config, cohort)
        return
    made = make_folds(config, cohort)
    assert sorted(p for fold in made for p in fold.test) == sorted(patients(count))
    assert all(set(fold.train) == set(patients(count)) - set(fold.test) for fold in made)
    sizes = [len(fold.test) for fold in made]
    assert max(sizes) - min(sizes) <= 1
    assert made == make_folds(config, cohort)


def test_groups_have_their_share_of_sites_and_loads():
    loads = {f"P{i:02d}": float(i) for i in range(20)}
    sites = {p: "A" if i % 2 else "B" for i, p in enumerate(loads)}
    groups = split_evenly(cohort_of(loads, sites), list(loads), 5, seed=3, repeat=0)
    for group in groups:
        assert sum(sites[p] == "A" for p in group) == 2
    # In each site's order of load, the first five go to five groups, and so do the next five.
    low = sorted((p for p in loads if sites[p] == "A"), key=loads.__getitem__)[:5]
    assert sorted(sum(p in group for p in low) for group in groups) == [1] * 5


def test_repeats_split_anew():
    folds = make_folds(StudyConfig(folds=2, repeats=3), cohort_of(patients(12)))
    assert [fold.repeat for fold in folds] == [0, 0, 1, 1, 2, 2]
    assert len({fold.name for fold in folds}) == 6
    assert len({folds[0].test, folds[2].test, folds[4].test}) > 1


def test_a_larger_draw_holds_the_smaller_one_and_all_others_are_tested():
    cohort = cohort_of(patients(12))
    folds = make_folds(StudyConfig(patients=(2, 4, 8), repeats=2), cohort)
    assert [(len(fold.train), fold.repeat) for fold in folds] == [(2, 0), (4, 0), (8, 0), (2, 1), (4, 1), (8, 1)]
    assert set(folds[0].train) < set(folds[1].train) < set(folds[2].train)
    assert all(set(fold.train) | set(fold.test) == set(patients(12)) for fold in folds)
    assert folds[2].train != folds[5].train


@given(seed=st.integers(0, 30))
def test_draws_are_stratified_by_site_and_load(seed):
    loads = {f"P{i:02d}": float(i) for i in range(18)}
    sites = {p: "AB"[i // 9] for i, p in enumerate(loads)}
    order = draw_order(cohort_of(loads, sites), list(loads), seed, 0, "site+load")
    # Six strata of three patients: the first twelve are two of each, the first six one of each.
    for count, each in ((6, 1), (12, 2)):
        strata = [(sites[p], int(loads[p]) % 9 // 3) for p in order[:count]]
        assert sorted(strata.count(stratum) for stratum in set(strata)) == [each] * 6


@given(seed=st.integers(0, 30))
def test_draws_of_a_learning_curve_know_no_mask(seed):
    sites = {p: "AB"[i // 6] for i, p in enumerate(patients(12))}
    config = StudyConfig(patients=(2, 6), seed=seed)
    drawn = make_folds(config, cohort_of({p: float(i) for i, p in enumerate(sites)}, sites))
    assert drawn == make_folds(config, cohort_of({p: float(-i % 5) for i, p in enumerate(sites)}, sites))
    for fold in drawn:  # each site has its half
        assert sum(sites[p] == "A" for p in fold.train) == len(fold.train) // 2


def test_draws_balanced_by_load_can_be_asked_for():
    loads = {p: float(i) for i, p in enumerate(patients(9))}
    for fold in make_folds(StudyConfig(patients=(3,), strata="site+load"), cohort_of(loads)):
        assert sorted(int(loads[p]) // 3 for p in fold.train) == [0, 1, 2]


def test_a_learning_curve_has_five_draws_unless_told():
    cohort = cohort_of(patients(6))
    assert [fold.repeat for fold in make_folds(StudyConfig(patients=(2,)), cohort)] == [0, 1, 2, 3, 4]
    assert len(make_folds(StudyConfig(patients=(2,), repeats=2), cohort)) == 2
    assert len(make_folds(StudyConfig(), cohort)) == 6  # leave one out: once


def test_a_second_cohort_is_tested_whole():
    test = cohort_of({"T1": 1.0, "T2": 2.0})
    folds = make_folds(StudyConfig(patients=(5,), repeats=1), cohort_of(patients(5)), test)
    assert folds == (Fold("n005-draw0", 0, tuple(patients(5)), ("T1", "T2")),)


@pytest.mark.parametrize(
    ("config", "count", "words"),
    [
        (StudyConfig(), 2, "2 annotated patients are too few"),
        (StudyConfig(patients=(5,)), 5, "leave at most 4 to train on and one to test on"),
    ],
)
def test_too_few_patients(config, count, words):
    with pytest.raises(ConfigError, match=words):
        make_folds(config, cohort_of(patients(count)))


def test_a_test_cohort_needs_numbers_of_patients():
    with pytest.raises(ConfigError, match="--test: belongs to a learning curve"):
        make_folds(StudyConfig(), cohort_of(patients(5)), cohort_of(patients(5)))


def test_an_inner_split_is_of_the_training_patients():
    cohort = cohort_of(patients(9))
    fold = make_folds(StudyConfig(), cohort)[0]
    train, judges = inner_split(cohort, fold, seed=1)
    assert sorted(train + judges) == sorted(fold.train)
    assert len(judges) == 2
    with pytest.raises(ConfigError, match="three are needed"):
        inner_split(cohort, Fold("n002-draw0", 0, ("P000", "P001"), ("P002",)), seed=1)
