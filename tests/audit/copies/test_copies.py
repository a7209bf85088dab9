from __future__ import annotations

import numpy as np
import pytest

from labelgan.audit.copies.copies import (
    CERTAIN,
    PRIVACY_NOTE,
    Comparable,
    CopyAudit,
    Limit,
    Neighbours,
    PatientCopies,
    audit_copies,
    closeness_of,
    limits_of,
    neighbours,
)
from labelgan.audit.copies.nearest import nearest_features
from labelgan.core.rng import generator_for
from plants import DISGUISES, flipped, heads


def found(**distances: np.ndarray) -> Neighbours:
    count = len(next(iter(distances.values())))
    rows = {space: np.arange(count) for space in distances}
    return Neighbours(rows, distances, np.zeros(count, bool), np.zeros((count, 2), int))  # pyright: ignore


def patients(count: int, slices: int, name: str) -> np.ndarray:
    return np.array([f"{name}{number}" for number in range(count) for _ in range(slices)])


@pytest.fixture(scope="module")
def phantoms(phantoms_of, tmp_path_factory: pytest.TempPathFactory) -> tuple[np.ndarray, np.ndarray]:
    """Slices of ten phantoms and whose they are."""
    from labelgan.config.base import PrepareConfig
    from labelgan.data.prepare.cohort import prepare_store

    root = tmp_path_factory.mktemp("copies")
    config = PrepareConfig.build({"size": (48, 48), "spacing_mm": 4.0})
    eleventh = [f"P{number:03d}" for number in range(11, 15)]
    store = prepare_store(phantoms_of(14, 5), root / "store", config, exclude=eleventh)
    return store.images.astype(np.float32), np.array([store.case_of(row).patient for row in range(len(store))])


@pytest.fixture(scope="module")
def parts(phantoms) -> dict[str, np.ndarray]:
    """Rows of the training patients, of those that set the limits, and of those presented as samples."""
    numbers = np.array([int(patient[1:]) for patient in phantoms[1]])
    return {"train": numbers <= 4, "held out": (numbers > 4) & (numbers <= 7), "unseen": numbers > 7}


def of(phantoms: tuple[np.ndarray, np.ndarray], rows: np.ndarray) -> Comparable:
    return Comparable.of(phantoms[0][rows], phantoms[1][rows])


def test_what_lies_below_the_limit_is_a_copy_and_what_lies_at_it_is_none():
    near = np.array([0.3, 0.7, 0.999, 1.0, 2.0])
    audit = CopyAudit(
        closeness=near,
        space=np.full(5, "whole"),
        row=np.zeros(5, int),
        closer_than_any=np.zeros(5, bool),
        limits={},
        held_out_closeness=near[1:],
        held_out_patients=2,
        held_out_patient_share=0.0,
        patients=(),
        pairs=(),
        authenticity=None,
        held_out_authenticity=None,
    )
    assert audit.copies.tolist() == [True, True, True, False, False]
    assert (audit.share, audit.certain_share, audit.held_out_share) == (0.6, 0.2, 0.5)


@pytest.mark.slow
@pytest.mark.parametrize("disguise", DISGUISES)
def test_training_slices_in_disguise_are_copies(phantoms, parts, disguise):
    train, held_out = of(phantoms, parts["train"]), of(phantoms, parts["held out"])
    rows = np.flatnonzero(parts["train"])[::2]
    samples = Comparable.of(DISGUISES[disguise](phantoms[0][rows]))
    audit = audit_copies(samples, train, held_out)
    assert audit.share >= 0.99
    assert audit.certain_share >= 0.95
    assert audit.closer_than_any.mean() >= 0.99
    assert (phantoms[1][parts["train"]][audit.row] == phantoms[1][rows]).mean() >= 0.99
    assert {entry.patient for entry in audit.patients} == {f"P{number:03d}" for number in range(1, 5)}
    assert audit.authenticity is not None
    assert audit.authenticity < 0.01


@pytest.mark.slow
def test_independent_patients_are_not(phantoms, parts):
    train, held_out = of(phantoms, parts["train"]), of(phantoms, parts["held out"])
    audit = audit_copies(of(phantoms, parts["unseen"]), train, held_out)
    assert audit.share <= 0.05
    assert audit.certain_share == 0
    assert audit.held_out_share <= 0.05
    assert not audit.shared_patients
    assert audit.authenticity is not None
    assert audit.authenticity > 0.25


def test_copies_are_told_by_patient_and_pair():
    base, theirs = heads(60), patients(6, 10, "p")
    samples = heads(40, 10)
    samples[[3, 17, 30]] = DISGUISES["flipped"](DISGUISES["noisy"](base[[21, 25, 52]]))
    held_out = Comparable.of(heads(100, 3), patients(5, 20, "h"))
    audit = audit_copies(Comparable.of(samples), Comparable.of(base, theirs), held_out, pairs=5)
    assert np.flatnonzero(audit.copies).tolist() == [3, 17, 30]
    assert audit.share == audit.certain_share == 3 / 40
    assert audit.patients == (PatientCopies("p2", 10, 2, 2), PatientCopies("p5", 10, 1, 1))
    assert str(audit.patients[0]) == "patient p2: 2 samples closer than any held-out patient would be"
    assert str(audit.patients[1]) == "patient p5: 1 sample closer than any held-out patient would be"
    assert len(audit.pairs) == 5
    assert {(pair.sample, pair.train, pair.patient) for pair in audit.pairs[:3]} == {
        (3, 21, "p2"),
        (17, 25, "p2"),
        (30, 52, "p5"),
    }
    assert all(pair.flip and pair.shift == (0, 0) and pair.closeness < CERTAIN for pair in audit.pairs[:3])
    assert [pair.closeness for pair in audit.pairs] == sorted(pair.closeness for pair in audit.pairs)
    assert "not proof" in PRIVACY_NOTE


def test_a_patient_in_both_sets_is_noticed_and_does_not_hide_copies():
    base, theirs = heads(60), patients(6, 10, "p")
    strangers = heads(50, 3)
    strangers[:3] = base[7:10]
    held_out = Comparable.of(strangers, patients(5, 10, "h"))
    audit = audit_copies(Comparable.of(DISGUISES["noisy"](base[:20])), Comparable.of(base, theirs), held_out)
    assert audit.shared_patients
    assert audit.held_out_patient_share == 1 / 5
    assert audit.share == 1


def test_a_twin_alone_held_out_is_noticed_and_does_not_hide_copies():
    train = Comparable.of(heads(60), patients(6, 10, "p"))
    twin = Comparable.of(heads(60)[:10] * 1.1, patients(1, 10, "h"))
    strangers = Comparable.of(heads(60, 3), patients(6, 10, "h"))
    copied, free = (Comparable.of(DISGUISES["noisy"](images)) for images in (heads(60)[20:40], heads(20, 7)))
    audit, sound = (audit_copies(copied, train, held_out) for held_out in (twin, strangers))
    assert audit.shared_patients
    assert (audit.share, audit.certain_share) == (1, 1)
    for space, limit in audit.limits.items():
        assert limit.closest < 1e-6
        assert limit.limit == limit.floor == pytest.approx(sound.limits[space].floor)
        assert 0.5 * limit.floor < sound.limits[space].limit < 4 * limit.floor
        assert sound.limits[space].limit > limit.floor
    assert not sound.shared_patients
    assert audit_copies(free, train, twin).share == 0


def test_one_training_patient_holds_no_limit_up():
    train = Comparable.of(heads(10), patients(1, 10, "p"))
    audit = audit_copies(Comparable.of(heads(5, 4)), train, Comparable.of(heads(20, 3), patients(2, 10, "h")))
    assert {limit.floor for limit in audit.limits.values()} == {0.0}


def test_with_one_training_patient_there_is_no_authenticity():
    base = Comparable.of(heads(10), patients(1, 10, "p"))
    held_out = Comparable.of(heads(20, 3), patients(2, 10, "h"))
    audit = audit_copies(Comparable.of(heads(5, 4)), base, held_out)
    assert audit.authenticity is None
    assert audit.held_out_authenticity is None


def test_the_encoder_alone_can_tell_a_copy():
    base, generator = heads(40), generator_for(0, "encoder")
    features = generator.standard_normal((40, 16))
    train = Comparable.of(base, patients(4, 10, "p"), features)
    held_out = Comparable.of(heads(40, 3), patients(4, 10, "h"), generator.standard_normal((40, 16)))
    samples = Comparable.of(heads(10, 4), None, generator.standard_normal((10, 16)))
    assert samples.features_ND is not None
    samples.features_ND[4] = features[33]
    audit = audit_copies(samples, train, held_out)
    assert np.flatnonzero(audit.copies).tolist() == [4]
    assert audit.space[4] == "encoder"
    assert audit.pairs[0].train == 33
    assert audit.pairs[0].flip is None


@pytest.mark.parametrize("spaces", [("whole",), ("whole", "parts", "encoder")])
@pytest.mark.parametrize("count", [60, 400, 4000])
def test_the_limits_are_crossed_by_one_percent_at_most(spaces, count):
    """Distances of a known lower tail: P(d < x) = x^6."""
    flagged = []
    for seed in range(40):
        generator = generator_for(seed, "tail", count)
        draw = lambda: {space: generator.uniform(size=count) ** (1 / 6) for space in spaces}  # noqa: B023, E731
        limits = limits_of(found(**draw()))
        flagged.append((closeness_of(found(**draw()), limits).closeness < 1).mean())
    assert 0.001 < np.mean(flagged) < 0.0125
    assert np.quantile(flagged, 0.9) < 0.04


def test_a_limit_follows_the_scale_of_its_space():
    distances = generator_for(0, "scale").uniform(0.5, 1, 200)
    (limit,), (scaled,) = (limits_of(found(whole=d)).values() for d in (distances, 100 * distances))
    assert scaled.limit == pytest.approx(100 * limit.limit)
    assert limit.closest == distances.min()
    assert limit.slices == 200


def test_closeness_is_the_least_of_the_spaces():
    limits = {"whole": Limit(0.1, 0.1, 9), "parts": Limit(0.2, 0.2, 9)}
    near = closeness_of(found(whole=np.array([0.3, 0.05]), parts=np.array([0.1, 0.4])), limits)  # pyright: ignore
    np.testing.assert_allclose(near.closeness, [0.5, 0.5])
    assert near.space.tolist() == ["parts", "whole"]


def test_without_a_reference_nothing_is_a_copy():
    none = found(whole=np.full(3, np.inf))
    assert limits_of(none) == {}
    assert np.isinf(closeness_of(none, {}).closeness).all()


def test_equal_distances_make_an_equal_limit():
    assert limits_of(found(whole=np.full(30, 0.4)))["whole"].limit == 0.4
    zeros = limits_of(found(whole=np.zeros(30)))
    assert zeros["whole"].limit == 0
    assert (closeness_of(found(whole=np.array([0.0, 0.1])), zeros).closeness < 1).tolist() == [True, False]


def test_a_copy_that_is_no_closer_than_held_out_ones_is_told_as_such():
    told = "patient p1: 1 sample counts as a copy, none closer than a held-out patient came"
    assert str(PatientCopies("p1", 9, 1, 0)) == told
    assert str(PatientCopies("p1", 9, 2, 0)).startswith("patient p1: 2 samples count as copies, none")


PATIENTS = np.repeat(["a", "b", "c", "d"], 5)


def test_every_space_has_its_own_nearest():
    images = heads(20)
    features = np.eye(20)
    base = Comparable.of(images, PATIENTS, features)
    samples = Comparable.of(images[[3, 9]], features_ND=features[[14, 2]] * 0.9)
    found = neighbours(samples, base)
    assert found.rows["whole"].tolist() == found.rows["parts"].tolist() == [3, 9]
    assert found.rows["encoder"].tolist() == [14, 2]
    np.testing.assert_allclose(found.distances["encoder"], 0.1)


def test_without_features_on_both_sides_there_is_no_encoder_space():
    base = Comparable.of(heads(6), PATIENTS[:6])
    assert set(neighbours(base, base).rows) == {"whole", "parts"}
    assert set(neighbours(Comparable.of(heads(6), None, np.eye(6)), base).rows) == {"whole", "parts"}


def test_features_of_the_flipped_slice_count_too():
    images, features = heads(6), generator_for(0, "features").standard_normal((12, 4))
    base = Comparable.of(images, PATIENTS[:6], features[:6])
    samples = Comparable.of(flipped(images), None, features[6:], features[:6])
    found = neighbours(samples, base)
    assert found.rows["encoder"].tolist() == list(range(6))
    assert not found.distances["encoder"].any()


def test_patients_kept_apart_are_never_their_own_neighbours():
    everyone = Comparable.of(heads(20), PATIENTS, np.repeat(np.eye(4), 5, axis=0))
    found = neighbours(everyone, everyone, apart=True)
    for rows in found.rows.values():
        assert (PATIENTS[rows] != PATIENTS).all()
    np.testing.assert_allclose(found.distances["encoder"], 2**0.5)


def test_work_is_reported_by_title():
    said = []
    some = Comparable.of(heads(3))
    neighbours(some, some, title="samples", report=lambda *now: said.append(now))
    assert said == [(1, 3, "samples"), (2, 3, "samples"), (3, 3, "samples")]


def test_select_takes_all_that_is_there():
    everyone = Comparable.of(heads(4), PATIENTS[:4], np.eye(4), np.eye(4)[::-1])
    some = everyone.select(np.array([2, 0]))
    assert len(some) == 2
    assert np.array_equal(some.patterns_NCHW, everyone.patterns_NCHW[[2, 0]])
    assert some.patients is not None
    assert some.patients.tolist() == ["a", "a"]
    assert np.array_equal(np.asarray(some.features_ND), np.eye(4)[[2, 0]])
    assert np.array_equal(np.asarray(some.flipped_ND), np.eye(4)[[1, 3]])
    assert Comparable.of(heads(4)).select(np.array([1])).patients is None


@pytest.mark.parametrize("block", [3, 1024])
def test_nearest_features_are_those_of_all_distances(monkeypatch, block):
    monkeypatch.setattr("labelgan.audit.copies.nearest._BLOCK", block)
    queries, base = (generator_for(0, name).standard_normal((8, 5)) for name in ("queries", "base"))
    every = np.linalg.norm(queries[:, None] - base, axis=2)
    rows, distances = nearest_features(queries, base)
    assert np.array_equal(rows, every.argmin(1))
    np.testing.assert_allclose(distances, every.min(1))
    groups = np.arange(8) % 2
    rows, distances = nearest_features(queries, base, groups, groups)
    apart = np.where(groups[:, None] == groups, np.inf, every)
    assert np.array_equal(rows, apart.argmin(1))
    rows, distances = nearest_features(queries, base, groups * 0, groups * 0)
    assert (rows == -1).all()
    assert np.isinf(distances).all()
