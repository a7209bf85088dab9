from __future__ import annotations

import numpy as np
import pytest

from labelgan.audit.copies.nearest import nearest_features
from labelgan.audit.neighbours import Comparable, neighbours
from labelgan.core.rng import generator_for
from plants import flipped, heads

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
    assert said == [("samples", 1, 3), ("samples", 2, 3), ("samples", 3, 3)]


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
