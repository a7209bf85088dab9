from __future__ import annotations

import itertools
import json
import pickle

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from labelgan.core.rng import generator_for
from labelgan.scoring.metrics import METRICS, Scores, score_masks
from labelgan.scoring.pair import axial_axis, surface
from real_data import EXPECTED, VECTORS, needs_vectors

SPACING = (0.9, 1.1, 3.0)

few = settings(max_examples=40, deadline=None)
small_masks = arrays(np.uint8, (4, 5, 3), elements=st.integers(0, 1))


def box(shape: tuple[int, int, int], *corners: tuple[int, int, int, int, int, int]) -> np.ndarray:
    """A mask with boxes from (x, y, z) up to, without, (x, y, z)."""
    mask = np.zeros(shape, dtype=np.uint8)
    for x0, y0, z0, x1, y1, z1 in corners:
        mask[x0:x1, y0:y1, z0:z1] = 1
    return mask


def random_masks(*name: str | int, shape: tuple[int, int, int] = (14, 12, 6)) -> tuple[np.ndarray, np.ndarray]:
    """Two blotchy masks that agree in part; the reference holds some other pathology."""
    from scipy.ndimage import gaussian_filter

    random = generator_for(1, "metrics", *name)
    field = gaussian_filter(random.standard_normal(shape), 1)
    other = gaussian_filter(random.standard_normal(shape), 1)
    reference = (field > 0.25).astype(np.uint8)
    reference[other > 0.45] = 2
    return reference, (field + 0.3 * other > 0.25).astype(np.uint8)


def brute_force_hd95(reference: np.ndarray, prediction: np.ndarray, spacing: tuple[float, float, float]) -> float:
    """HD95 by its words, voxel by voxel."""

    def boundary(mask: np.ndarray) -> list[tuple[float, ...]]:
        points = []
        for x, y, z in np.ndindex(mask.shape):
            if not mask[x, y, z]:
                continue
            near = itertools.product(range(max(0, x - 1), x + 2), range(max(0, y - 1), y + 2))
            if any(i < mask.shape[0] and j < mask.shape[1] and not mask[i, j, z] for i, j in near):
                points.append((x * spacing[0], y * spacing[1], z * spacing[2]))
        return points

    def percentile(distances: list[float]) -> float:
        ordered = sorted(distances)
        place = 0.95 * (len(ordered) - 1)
        low = int(place)
        high = min(low + 1, len(ordered) - 1)
        return ordered[low] + (place - low) * (ordered[high] - ordered[low])

    first, second = boundary(reference == 1), boundary((prediction == 1) & (reference != 2))

    def directed(start: list[tuple[float, ...]], target: list[tuple[float, ...]]) -> float:
        return percentile([min(float(np.linalg.norm(np.subtract(p, q))) for q in target) for p in start])

    return max(directed(first, second), directed(second, first))


# The challenge's own values


@needs_vectors
@pytest.mark.parametrize("name", sorted(EXPECTED) or ["none"])
@pytest.mark.parametrize("as_float", [False, True])
def test_values_of_the_challenges_scorer(name: str, as_float: bool) -> None:
    with np.load(VECTORS / f"{name}.npz") as stored:
        reference, prediction = stored["gt"].T, stored["pred"].T
        affine = stored["direction"].reshape(3, 3) * stored["spacing"]
    scores = score_masks(reference.astype(np.float32) if as_float else reference, prediction, affine=affine)
    for metric in METRICS:
        expected = EXPECTED[name][metric]
        if expected is None:
            assert scores[metric] is None
        elif metric == "hd95_mm":
            assert scores[metric] == pytest.approx(expected, rel=0, abs=1e-6)
        else:
            assert scores[metric] == pytest.approx(expected, rel=1e-9, abs=0)


# By hand


def test_a_shifted_square() -> None:
    """4×4 in one slice, moved by two rows: half overlaps, and the farthest tenth lies two rows away."""
    reference = box((12, 12, 3), (2, 2, 1, 6, 6, 2))
    scores = score_masks(reference, np.roll(reference, 2, axis=0), spacing=(1.5, 1, 3))
    assert scores.to_json() == {
        "dsc": 0.5,
        "hd95_mm": 3.0,
        "avd_percent": 0.0,
        "lesion_recall": 1.0,
        "lesion_f1": 1.0,
    }


def test_lesions_are_counted_by_touch() -> None:
    """Three reference lesions, two of them touched; four predicted, three of which touch."""
    reference = box((20, 8, 4), (0, 0, 0, 4, 2, 2), (8, 0, 0, 10, 2, 2), (16, 0, 0, 18, 2, 2))
    prediction = box((20, 8, 4), (0, 0, 0, 1, 1, 1), (3, 0, 0, 4, 1, 1), (8, 1, 1, 12, 6, 2), (16, 5, 0, 18, 7, 2))
    scores = score_masks(reference, prediction, spacing=SPACING)
    assert scores.lesion_recall == pytest.approx(2 / 3)
    assert scores.lesion_f1 == pytest.approx(2 * (2 / 3) * (3 / 4) / (2 / 3 + 3 / 4))


def test_corners_connect_lesions() -> None:
    reference = box((6, 6, 4), (1, 1, 1, 2, 2, 2), (2, 2, 2, 3, 3, 3))
    prediction = box((6, 6, 4), (1, 1, 1, 2, 2, 2))
    assert score_masks(reference, prediction, spacing=SPACING).lesion_recall == 1.0


def test_volume_difference_is_of_the_reference() -> None:
    reference, prediction = box((8, 8, 2), (0, 0, 0, 2, 2, 1)), box((8, 8, 2), (0, 0, 0, 7, 1, 1))
    assert score_masks(reference, prediction, spacing=SPACING).avd_percent == pytest.approx(75)
    assert score_masks(prediction, reference, spacing=SPACING).avd_percent == pytest.approx(100 * 3 / 7)


def test_other_pathology_leaves_both_masks() -> None:
    reference, prediction = box((8, 8, 2), (0, 0, 0, 3, 3, 1)), box((8, 8, 2), (0, 0, 0, 3, 3, 1))
    reference[5:, 5:] = 2
    prediction[5:, 5:] = 1
    scores = score_masks(reference, prediction, spacing=SPACING)
    assert scores.to_json() == {
        "dsc": 1.0,
        "hd95_mm": 0.0,
        "avd_percent": 0.0,
        "lesion_recall": 1.0,
        "lesion_f1": 1.0,
    }


def test_the_farther_percentile_counts_and_is_not_pooled() -> None:
    """Two lines in one row: every voxel of the short one lies on the long one, not the other way."""
    reference, prediction = box((42, 3, 1), (1, 1, 0, 3, 2, 1)), box((42, 3, 1), (1, 1, 0, 41, 2, 1))
    # 40 voxels, of which the first two at 0 and the others at 1..38 mm: the 95th percentile is at rank 37.05.
    assert score_masks(reference, prediction, spacing=(1, 1, 1)).hd95_mm == pytest.approx(36.05)


# Undefined


def test_undefined_is_none() -> None:
    empty, some = np.zeros((6, 6, 2), np.uint8), box((6, 6, 2), (1, 1, 0, 3, 3, 1))
    assert list(score_masks(empty, empty, spacing=SPACING).values.values()) == [None, None, None, 1.0, 1.0]
    assert list(score_masks(empty, some, spacing=SPACING).values.values()) == [0.0, None, None, 1.0, 0.0]
    assert list(score_masks(some, empty, spacing=SPACING).values.values()) == [0.0, None, 100.0, 0.0, 0.0]


def test_a_prediction_inside_other_pathology_is_empty() -> None:
    reference = 2 * box((6, 6, 2), (1, 1, 0, 3, 3, 1))
    assert score_masks(reference, reference, spacing=SPACING).to_json() == {
        "dsc": None,
        "hd95_mm": None,
        "avd_percent": None,
        "lesion_recall": 1.0,
        "lesion_f1": 1.0,
    }


def test_a_mask_without_surface_is_at_no_distance() -> None:
    """All voxels lesion: the border is no surface, so nothing is there to measure between."""
    full = np.ones((4, 4, 2), dtype=np.uint8)
    scores = score_masks(full, full, spacing=SPACING)
    assert scores.dsc == 1.0
    assert scores.hd95_mm is None


# Properties


@few
@given(small_masks, small_masks)
def test_dsc_is_symmetric_and_between_0_and_1(first: np.ndarray, second: np.ndarray) -> None:
    there = score_masks(first, second, spacing=SPACING)
    back = score_masks(second, first, spacing=SPACING)
    assert there.dsc == back.dsc
    assert there.hd95_mm == back.hd95_mm
    assert there.lesion_f1 == pytest.approx(back.lesion_f1)
    assert there.dsc is None or 0 <= there.dsc <= 1


@few
@given(small_masks, small_masks, st.tuples(*[st.integers(-2, 2)] * 3))
def test_translation_changes_nothing(first: np.ndarray, second: np.ndarray, shift: tuple[int, int, int]) -> None:
    first, second = np.pad(first, 3), np.pad(second, 3)
    here = score_masks(first, second, spacing=SPACING)
    there = score_masks(np.roll(first, shift, (0, 1, 2)), np.roll(second, shift, (0, 1, 2)), spacing=SPACING)
    assert there == here


@few
@given(small_masks, small_masks, st.integers(1, 4))
def test_false_lesions_never_raise_f1(first: np.ndarray, second: np.ndarray, count: int) -> None:
    first, second = np.pad(first, ((0, 10), (0, 0), (0, 0))), np.pad(second, ((0, 10), (0, 0), (0, 0)))
    values = [score_masks(first, second, spacing=SPACING).lesion_f1 or 0.0]
    for number in range(count):
        second[6 + 2 * number, 2, 1] = 1
        values.append(score_masks(first, second, spacing=SPACING).lesion_f1 or 0.0)
    assert all(later <= sooner for sooner, later in itertools.pairwise(values))


@few
@given(small_masks, small_masks, st.floats(0.1, 10))
def test_hd95_scales_with_spacing(first: np.ndarray, second: np.ndarray, factor: float) -> None:
    once = score_masks(first, second, spacing=SPACING).hd95_mm
    scaled = score_masks(first, second, spacing=[size * factor for size in SPACING]).hd95_mm
    assert (once is None) == (scaled is None)
    assert once is None or scaled == pytest.approx(once * factor)


@few
@given(*[arrays(np.uint8, (3, 3, 2), elements=st.integers(0, 1))] * 2, st.booleans())
def test_hd95_is_zero_exactly_for_equal_surfaces(first: np.ndarray, second: np.ndarray, same: bool) -> None:
    """On 18 voxels: below 21, the 95th percentile sees every single distance."""
    first = np.pad(first, 1)
    second = first if same else np.pad(second, 1)
    assume(first.any() and second.any())
    equal = np.array_equal(surface(first == 1, 2), surface(second == 1, 2))
    assert (score_masks(first, second, spacing=SPACING).hd95_mm == 0) == equal


@pytest.mark.parametrize("seed", range(6))
def test_hd95_by_brute_force(seed: int) -> None:
    reference, prediction = random_masks("brute", seed, shape=(9, 8, 4))
    expected = brute_force_hd95(reference, prediction, SPACING)
    assert score_masks(reference, prediction, spacing=SPACING).hd95_mm == pytest.approx(expected, abs=1e-9)


# Geometry


def test_all_48_orientations_score_alike() -> None:
    reference, prediction = random_masks("orientations")
    affine = np.diag([*SPACING, 1.0])
    expected = score_masks(reference, prediction, affine=affine).to_json()
    assert None not in expected.values()
    for order in itertools.permutations(range(3)):
        for flips in itertools.product((False, True), repeat=3):
            turn = np.zeros((4, 4))
            turn[3, 3] = 1
            for stored, axis in enumerate(order):
                turn[axis, stored] = -1 if flips[stored] else 1
                turn[axis, 3] = reference.shape[axis] - 1 if flips[stored] else 0
            flipped = tuple(stored for stored in range(3) if flips[stored])
            stored_masks = [np.flip(mask.transpose(order), flipped) for mask in (reference, prediction)]
            scores = score_masks(*stored_masks, affine=affine @ turn).to_json()
            assert scores == {name: pytest.approx(value, rel=1e-12) for name, value in expected.items()}, (order, flips)


def test_the_stored_slices_can_be_asked_for() -> None:
    reference, prediction = (mask.transpose(2, 0, 1) for mask in random_masks("sagittal"))
    affine = np.array([[0, SPACING[0], 0], [0, 0, SPACING[1]], [SPACING[2], 0, 0]])
    assert axial_axis(affine) == 0
    by_geometry = score_masks(reference, prediction, affine=affine)
    assert score_masks(reference, prediction, affine=affine, slice_axis=0) == by_geometry
    as_stored = score_masks(reference, prediction, affine=affine, slice_axis=2)
    assert as_stored.dsc == by_geometry.dsc
    expected = score_masks(reference, prediction, spacing=(3.0, 0.9, 1.1)).hd95_mm
    assert as_stored.hd95_mm == pytest.approx(expected, rel=1e-12)


def test_oblique_rotation_keeps_distances() -> None:
    reference, prediction = random_masks("oblique")
    a, b = 0.4, -0.3
    turn = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    turn = turn @ np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    straight = score_masks(reference, prediction, spacing=SPACING)
    oblique = score_masks(reference, prediction, affine=turn * SPACING)
    assert oblique.hd95_mm == pytest.approx(straight.hd95_mm, rel=1e-12)


@pytest.mark.parametrize("order", ["C", "F"])
def test_memory_order_does_not_matter(order) -> None:
    reference, prediction = random_masks("memory")
    stored = np.array(reference, order=order), np.array(prediction, order="C")
    assert score_masks(*stored, spacing=SPACING) == score_masks(reference, prediction, spacing=SPACING)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"prediction": np.zeros((2, 2, 3))}, "shape"),
        ({"reference": np.zeros((2, 2)), "prediction": np.zeros((2, 2))}, "shape"),
        ({"reference": np.zeros((2, 2, 0)), "prediction": np.zeros((2, 2, 0))}, "shape"),
        ({"prediction": np.zeros((2, 2, 2), dtype=complex)}, "complex"),
        ({"spacing": None}, "either affine or spacing"),
        ({"affine": np.eye(4)}, "either affine or spacing"),
        ({"spacing": (1, 0, 1)}, "three positive numbers"),
        ({"spacing": None, "affine": np.zeros((4, 4))}, "singular"),
        ({"spacing": None, "affine": np.full((4, 4), np.nan)}, "finite"),
        ({"slice_axis": 3}, "slice axis 3"),
    ],
)
def test_wrong_arguments(changes, said) -> None:
    arguments = {"reference": np.zeros((2, 2, 2)), "prediction": np.zeros((2, 2, 2)), "spacing": (1, 1, 1)} | changes
    with pytest.raises(ValueError, match=said):
        score_masks(**arguments)


# Scores


def test_metrics_say_what_they_are() -> None:
    assert list(METRICS) == ["dsc", "hd95_mm", "avd_percent", "lesion_recall", "lesion_f1"]
    assert {metric.name: (metric.unit, metric.better) for metric in METRICS.values()} == {
        "dsc": ("", "higher"),
        "hd95_mm": ("mm", "lower"),
        "avd_percent": ("%", "lower"),
        "lesion_recall": ("", "higher"),
        "lesion_f1": ("", "higher"),
    }


def test_scores_travel_and_stay_as_they_are() -> None:
    scores = score_masks(*random_masks("travel"), spacing=SPACING)
    assert pickle.loads(pickle.dumps(scores)) == scores
    assert json.loads(json.dumps(scores.to_json())) == scores.to_json()
    with pytest.raises(TypeError):
        scores.values["dsc"] = 1.0  # type: ignore[index]
    with pytest.raises(AttributeError, match="metrics are dsc"):
        _ = Scores({}).dice
