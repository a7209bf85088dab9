from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelgan.core.rng import generator_for
from labelgan.data.prepare.brain_search import find_brain, otsu_threshold

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
