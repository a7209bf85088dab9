from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelgan.core.rng import generator_for
from labelgan.data.prepare.brain_search import find_brain, find_brains, otsu_threshold

SHAPE = (9, 96, 80)


def scan(scalp: bool = True, noise: float = 20.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A brain of nested ellipsoids with ventricles and a bright lesion; dark skull and bright scalp around it.

    Returns the image, whole numbers from 0, and the true brain.
    """
    z, y, x = np.indices(SHAPE)
    shell = np.sqrt(((x - 39.5) / 34) ** 2 + ((y - 47.5) / 42) ** 2 + ((z - 4) / 7) ** 2)
    brain = shell < 0.78
    image = np.where(brain, 400.0, 0.0)
    image[((x - 39.5) / 5) ** 2 + ((y - 47.5) / 9) ** 2 + ((z - 4) / 2) ** 2 < 1] = 90
    image[((x - 55) / 4) ** 2 + ((y - 40) / 4) ** 2 + ((z - 5) / 2) ** 2 < 1] = 750
    if scalp:
        image[(shell >= 0.78) & (shell < 0.9)] = 60
        image[(shell >= 0.9) & (shell < 1.0)] = 900
        image += np.abs(generator_for(seed, "air").normal(0, noise, SHAPE))
    return np.floor(image), brain


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * float((a & b).sum()) / float(a.sum() + b.sum())


@pytest.mark.parametrize("scalp", [True, False])
def test_finds_the_brain_with_and_without_scalp(scalp):
    image, brain = scan(scalp)
    found = find_brain(image)
    assert found.dtype == bool
    assert dice(found, brain) > 0.93
    assert found[4, 47, 40]  # ventricles are part of it
    assert found[5, 40, 55]  # and so are lesions
    shell = image > 850
    assert not (found & shell)[3:6].any()


@settings(max_examples=30, deadline=None)
@given(st.floats(1e-4, 1e4), st.booleans())
def test_a_gain_changes_nothing(gain, scalp):
    image, _ = scan(scalp)
    np.testing.assert_array_equal(find_brain(image * gain), find_brain(image))


def test_one_slice_is_enough():
    image, brain = scan()
    assert dice(find_brain(image[4:5]), brain[4:5]) > 0.93


def test_turning_the_head_round_turns_the_mask():
    image, _ = scan()
    np.testing.assert_array_equal(find_brain(image[:, :, ::-1]), find_brain(image)[:, :, ::-1])


@settings(max_examples=40, deadline=None)
@given(st.tuples(st.integers(1, 4), st.integers(1, 20), st.integers(1, 20)), st.integers(0, 1000), st.booleans())
def test_never_empty_on_an_image_with_two_values(shape, seed, sparse):
    random = generator_for(seed)
    image = random.normal(0, 1, shape) * (random.random(shape) < 0.1 if sparse else 1)
    image.flat[0] += 1.0
    if image.min() < image.max():
        assert find_brain(image).any()


def test_otsu_splits_two_classes():
    grey = np.array([10] * 50 + [12] * 50 + [200] * 30 + [210] * 20)
    assert 12 <= otsu_threshold(grey) < 200


# Many single slices


def heads(count: int, side: int) -> np.ndarray:
    """Brains inside a dark skull and a bright scalp that bridges touch in some of them, under noise."""
    rows, columns = np.mgrid[:side, :side] / (side - 1) - 0.5
    planes = np.zeros((count, side, side), np.float32)
    for number in range(count):
        draw = generator_for(3, "heads", number)
        down, right, size = *draw.uniform(-0.03, 0.03, 2), draw.uniform(0.8, 1.0)
        radius = np.hypot((rows - down) / 0.46, (columns - right) / 0.38) / size
        image = np.where(radius < 1, 1.4, 0.0)
        image[radius < 0.9] = 0.2
        image[radius < 0.8] = 1.0
        image[radius < draw.uniform(0.1, 0.2)] = 0.3
        if number % 3 == 0:
            image[(np.abs(columns - right) < 0.06) & (radius < 0.95) & (rows > 0)] = 1.0
        planes[number] = image + draw.normal(0, 0.05, image.shape)
    return planes


def one_by_one(planes_NHW: np.ndarray) -> np.ndarray:
    return np.stack([find_brain(plane[None])[0] for plane in planes_NHW])


def test_small_slices_are_searched_as_volumes_of_one():
    planes = heads(6, 64)
    assert np.array_equal(find_brains(planes), one_by_one(planes))


@pytest.mark.parametrize("side", [128, 130, 200])
def test_larger_slices_are_searched_coarsely_and_agree(side):
    planes = heads(6, side)
    found = find_brains(planes)
    assert found.shape == (6, side, side)
    assert all(dice(a, b) > 0.95 for a, b in zip(found, one_by_one(planes), strict=True))


def test_stripped_slices_are_their_foreground():
    rows, columns = np.mgrid[:64, :64] - 31.5
    inside = np.hypot(rows / 27, columns / 22) < 1
    noise = 0.1 * generator_for(0, "stripped").standard_normal((4, 64, 64)).astype(np.float32)
    found = find_brains(np.where(inside, 1 + noise, np.float32(-2)))
    assert all(np.array_equal(plane, inside) for plane in found)


def test_a_slice_of_one_value_has_no_brain_and_noise_has_all_of_it():
    noise = generator_for(3, "noise").standard_normal((2, 64, 64), np.float32)
    found = find_brains(np.concatenate([np.ones_like(noise), noise]))
    assert not found[:2].any()
    assert found[2:].mean() > 0.9  # all that is brighter than the background
    assert find_brains(noise[:0]).shape == (0, 64, 64)


def test_brains_are_found_where_the_signal_is(phantom_store):
    slices = phantom_store.read(phantom_store.select())
    middle = slices.select((slices.heights_N > 0.3) & (slices.heights_N < 0.7))
    assert dice(find_brains(middle.images_NCHW[:, 0]), middle.brains_NHW) > 0.85
