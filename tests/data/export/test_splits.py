from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelgan.core.errors import ConfigError, LeakError
from labelgan.data.check.leaks import KnownScan
from labelgan.data.export.records import Fold
from labelgan.data.export.splits import SyntheticGroup, make_folds, require_unseen_by_any
from labelgan.data.manifests import SeenCase, SeenCases


def patients(count: int, cases: int = 1) -> list[KnownScan]:
    return [
        KnownScan(f"p{n}-{k}" if cases > 1 else f"p{n}", f"p{n}", {"FLAIR": f"voxels {n} {k}"})
        for n in range(count)
        for k in range(cases)
    ]


def generator(name: str, *seen: KnownScan, names: bool = True) -> SyntheticGroup:
    """Two slices of a generator that saw some cases; without ``names`` it knows them by their voxels alone."""
    entries = [
        SeenCase(id=case.id if names else f"x{n}", patient=case.patient if names else f"x{n}", hashes=dict(case.hashes))
        for n, case in enumerate(seen)
    ]
    return SyntheticGroup(Path(name), SeenCases(tuple(entries)), (f"{name}-0", f"{name}-1"))


def validated(folds: tuple[Fold, ...]) -> list[set[str]]:
    return [set(fold.validation) for fold in folds]


def test_the_generators_held_out_patients_are_the_folds():
    cases = patients(5)
    groups = [generator("a", *cases[2:]), generator("b", *cases[:2], cases[4])]
    folds = make_folds(cases, groups)
    assert validated(folds) == [{"p0", "p1"}, {"p2", "p3"}]
    assert folds[0].train == ("p2", "p3", "p4", "a-0", "a-1")
    assert folds[1].train == ("p0", "p1", "p4", "b-0", "b-1")  # p4, which both have seen, is validated on by none


def test_a_generator_that_saw_nobody_here_serves_every_fold():
    cases = patients(7)
    folds = make_folds(cases, [generator("a")])
    assert len(folds) == 5
    assert all({"a-0", "a-1"} <= set(fold.train) for fold in folds)
    assert sorted(name for fold in folds for name in fold.validation) == [case.id for case in cases]


def test_patients_that_two_generators_have_not_seen_train_with_both():
    cases = patients(3)
    folds = make_folds(cases, [generator("a", cases[0]), generator("b", cases[2])])
    assert [(fold.validation, fold.train[2:]) for fold in folds] == [
        (("p0",), ("b-0", "b-1")),
        (("p1",), ("a-0", "a-1", "b-0", "b-1")),
        (("p2",), ("a-0", "a-1")),
    ]


@pytest.mark.parametrize("names", [True, False])
def test_a_patient_is_known_by_name_or_by_voxels_of_any_case(names):
    cases = patients(2, cases=2)
    (fold,) = make_folds(cases, [generator("a", cases[1], names=names)], count=1)
    assert fold.validation == ("p1-0", "p1-1")


def test_refusals():
    cases = patients(3)
    with pytest.raises(LeakError, match=r"^a: its generator has seen all 3 annotated patients"):
        make_folds(cases, [generator("a", *cases), generator("b")])
    with pytest.raises(LeakError, match=r"^c: its manifest does not tell which cases its generator has seen"):
        make_folds(cases, [SyntheticGroup(Path("c"), None, ("c-0",))])
    with pytest.raises(ConfigError, match=r"^--folds 3: there are 2 patients to validate on"):
        make_folds(cases, [generator("a", cases[0])], count=3)
    with pytest.raises(ConfigError, match=r"^--folds 2: .* make 3 groups"):
        make_folds(cases, [generator("a", cases[0]), generator("b", cases[2])], count=2)
    require_unseen_by_any(cases[1:], [generator("a", cases[0])])
    with pytest.raises(LeakError, match=r"^a: was made from the held-out case p0"):
        require_unseen_by_any(cases, [generator("a", cases[0])])


def test_without_scans_to_tell_apart_there_are_no_folds():
    assert make_folds([], [generator("a")]) == ()
    assert make_folds(patients(1, cases=3)) == ()
    assert len(make_folds(patients(3))) == 3


def test_folds_depend_on_the_seed_alone():
    cases = patients(20)
    assert make_folds(cases, seed=1) == make_folds(cases, seed=1)
    assert make_folds(cases, seed=1) != make_folds(cases, seed=2)


@given(
    seen=st.lists(st.sets(st.integers(0, 6), max_size=6), max_size=4),
    per_patient=st.integers(1, 2),
    extra=st.integers(0, 7),
    seed=st.integers(0, 5),
)
def test_no_fold_ever_validates_on_what_its_training_has_seen(seen, per_patient, extra, seed):
    cases = patients(7, per_patient)
    groups = [
        generator(f"g{number}", *(case for case in cases if int(case.patient[1:]) in numbers))
        for number, numbers in enumerate(seen)
    ]
    try:
        folds = make_folds(cases, groups, None if extra == 0 else extra, seed)
    except ConfigError:
        return
    owner = {name: set(numbers) for group, numbers in zip(groups, seen, strict=True) for name in group.ids}
    patient = {case.id: case.patient for case in cases}
    times = [name for fold in folds for name in fold.validation]
    assert len(times) == len(set(times))
    assert not owner.keys() & set(times)
    for fold in folds:
        held_out = {patient[name] for name in fold.validation}
        assert held_out
        real = [name for name in fold.train if name in patient]
        assert {patient[name] for name in real} == {case.patient for case in cases} - held_out
        for name in set(fold.train) - set(real):
            assert not {f"p{number}" for number in owner[name]} & held_out
        if groups:
            assert set(fold.train) & owner.keys()
