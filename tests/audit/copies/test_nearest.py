from __future__ import annotations

import numpy as np
import pytest

from labelgan.audit.copies.nearest import MAX_SHIFT, find_nearest
from labelgan.audit.copies.patterns import patterns_of
from plants import heads


def brute_correlation(query: np.ndarray, base: np.ndarray) -> float:
    """Best mean correlation over all shifts and both sides, spelt out."""
    margin, best = MAX_SHIFT, -1.0
    side = (query.shape[-1] - 2 * margin) // 4 * 4
    for turned in (base, base[..., ::-1]):
        kept = turned[:, margin : margin + side, margin : margin + side].astype(float)
        for row in range(2 * margin + 1):
            for column in range(2 * margin + 1):
                seen = query[:, row : row + side, column : column + side].astype(float)
                products = (seen * kept).sum((1, 2))
                best = max(best, float((products / np.sqrt((seen**2).sum((1, 2)) * (kept**2).sum((1, 2)))).mean()))
    return best


def test_the_exact_stage_is_the_correlation_spelt_out():
    query, base = patterns_of(heads(3, 1)), patterns_of(heads(6, 2))
    found = find_nearest(query, base)
    for number in range(3):
        best = max(brute_correlation(query[number], other) for other in base)
        # half a pixel between can only make it likelier
        assert 1 - found.distance[number] >= best - 1e-5
        assert 1 - found.distance[number] < best + 0.1


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("shift", [(0, 0), (4, -3), (-1, 4)])
def test_a_moved_turned_brightened_slice_is_found_where_it_lies(shift, flip):
    base = heads(40)
    queries = np.roll(base[[7, 30, 12]][..., :: -1 if flip else 1], shift, (2, 3)) * 1.4 + 0.3
    found = find_nearest(patterns_of(queries), patterns_of(base))
    assert found.row.tolist() == found.part_row.tolist() == [7, 30, 12]
    assert (found.distance < 0.01).all()
    assert (found.part_distance < 0.01).all()
    assert found.flip.tolist() == [flip] * 3
    assert found.shift.tolist() == [list(shift)] * 3


def test_a_slice_moved_by_half_a_pixel_is_found():
    base = heads(40)
    queries = (base[:8] + np.roll(base[:8], 1, 3)) / 2
    found = find_nearest(patterns_of(queries), patterns_of(base))
    assert found.row.tolist() == list(range(8))
    assert found.distance.max() < 0.01


def test_half_a_slice_is_found_by_its_parts():
    base, others = heads(40), heads(8, 3)
    queries = base[:8].copy()
    queries[..., 24:] = others[..., 24:]
    found = find_nearest(patterns_of(queries), patterns_of(base))
    assert found.part_row.tolist() == list(range(8))
    assert found.part_distance.max() < 0.1
    strangers = find_nearest(patterns_of(others), patterns_of(base))
    assert strangers.part_distance.min() > 2 * found.part_distance.max()
    assert found.distance.min() > 0.1


def test_a_query_is_not_compared_with_its_own_patient():
    base = heads(12)
    patients = np.repeat(["a", "b", "c"], 4)
    patterns = patterns_of(base)
    found = find_nearest(patterns, patterns, patients, patients)
    assert (patients[found.row] != patients).all()
    assert (patients[found.part_row] != patients).all()
    assert (find_nearest(patterns, patterns).row == np.arange(12)).all()


def test_where_no_other_patient_is_there_is_no_nearest():
    patterns = patterns_of(heads(3))
    names = np.array(["a", "a", "a"])
    found = find_nearest(patterns, patterns, names, names)
    assert found.row.tolist() == found.part_row.tolist() == [-1] * 3
    assert np.isinf(found.distance).all()
    assert np.isinf(found.part_distance).all()


def test_every_query_is_answered_alone_and_the_same_twice(monkeypatch):
    queries, base = patterns_of(heads(9, 1)), patterns_of(heads(20, 2))
    done = []
    found = find_nearest(queries, base, report=lambda now, of, title: done.append((now, of)))
    assert done == [(number + 1, 9) for number in range(9)]
    monkeypatch.setattr("labelgan.audit.copies.nearest._BLOCK", 4)
    monkeypatch.setattr("labelgan.audit.copies.nearest._PIECE", 3)
    again = find_nearest(queries, base)
    alone = find_nearest(queries[5:6], base)
    for name in ("row", "flip", "shift", "part_row"):
        assert np.array_equal(getattr(again, name), getattr(found, name))
        assert np.array_equal(getattr(alone, name), getattr(found, name)[5:6])
    for name in ("distance", "part_distance"):  # products of other shapes may sum in another order
        np.testing.assert_allclose(getattr(again, name), getattr(found, name), atol=1e-6)
        np.testing.assert_allclose(getattr(alone, name), getattr(found, name)[5:6], atol=1e-6)


def test_a_flat_slice_is_like_nothing():
    base = patterns_of(heads(5))
    flat = patterns_of(np.zeros((1, 2, 48, 48), np.float32))
    assert find_nearest(flat, base).distance == pytest.approx([1.0])
    assert find_nearest(flat, flat).distance == pytest.approx([1.0])


@pytest.mark.parametrize("side", [8, 16, 20])
def test_small_slices_are_moved_by_less(side):
    base = heads(10, side=side)
    found = find_nearest(patterns_of(np.roll(base[:3], 1, 2)), patterns_of(base))
    assert found.row.tolist() == [0, 1, 2]
    assert np.abs(found.shift).max() <= side // 8


def test_a_channel_that_is_flat_in_the_base_slice_does_not_count():
    base = heads(10)
    base[:, 1] = 0
    queries = base[:3].copy()
    queries[:, 1] = heads(3, 5)[:, 1]
    found = find_nearest(patterns_of(queries), patterns_of(base))
    assert found.row.tolist() == [0, 1, 2]
    assert found.distance.max() < 1e-3
    assert find_nearest(patterns_of(base[:3]), patterns_of(heads(10))).distance.min() > 0.4


def test_looking_at_whole_slices_alone_finds_the_same_whole_slices():
    base = heads(30)
    queries = patterns_of(np.roll(base[5:15, ..., ::-1], (1, -2), (2, 3)))
    whole = find_nearest(queries, patterns_of(base), whole_only=True)
    assert whole.row.tolist() == list(range(5, 15))
    np.testing.assert_allclose(whole.distance, find_nearest(queries, patterns_of(base)).distance, atol=1e-6)
