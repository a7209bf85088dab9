from __future__ import annotations

import numpy as np
import pytest

from labelgan.audit import brains
from labelgan.audit.brains import estimate_brains
from labelgan.audit.slices import AuditSlices
from labelgan.core.rng import generator_for
from labelgan.data.prepare.brain_search import find_brain


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


def one_by_one(images_NCHW: np.ndarray) -> np.ndarray:
    return np.stack([find_brain(image_CHW[:1])[0] for image_CHW in images_NCHW])


def heads(count: int, side: int) -> np.ndarray:
    """Brains inside a dark skull and a bright scalp that bridges touch in some of them, under noise."""
    rows, columns = np.mgrid[:side, :side] / (side - 1) - 0.5
    images = np.zeros((count, 1, side, side), np.float32)
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
        images[number, 0] = image + draw.normal(0, 0.05, image.shape)
    return images


def test_on_its_own_grid_the_search_is_the_one_of_single_volumes(phantom_store):
    for images in (AuditSlices.from_store(phantom_store).images_NCHW, heads(12, 64)):
        assert np.array_equal(estimate_brains(images) > 0, one_by_one(images))


def test_stripped_slices_are_their_foreground():
    rows, columns = np.mgrid[:64, :64] - 31.5
    inside = np.hypot(rows / 27, columns / 22) < 1
    noise = 0.1 * generator_for(0, "stripped").standard_normal((4, 1, 64, 64)).astype(np.float32)
    images = np.where(inside, 1 + noise, np.float32(-2))
    found = estimate_brains(images) > 0
    assert np.array_equal(found, one_by_one(images))
    assert all(np.array_equal(plane, inside) for plane in found)


def test_larger_slices_are_searched_coarsely_and_agree():
    for side in (128, 130, 200):
        images = heads(6, side)
        found = estimate_brains(images) > 0
        assert found.shape == (6, side, side)
        assert all(dice(a, b) > 0.95 for a, b in zip(found, one_by_one(images), strict=True))


def test_a_slice_does_not_depend_on_the_others(monkeypatch):
    images = heads(9, 64)
    images[4] = 1
    whole = estimate_brains(images)
    assert not whole[4].any()
    assert whole[[0, 1, 2, 3, 5, 6, 7, 8]].any((1, 2)).all()
    assert all(np.array_equal(estimate_brains(images[[row]])[0], whole[row]) for row in range(9))
    monkeypatch.setattr(brains, "_BLOCK", 4)
    assert np.array_equal(estimate_brains(images), whole)
    assert estimate_brains(images[:0]).shape == (0, 64, 64)


def test_noise_has_no_brain_to_find_and_stands_in_nobodys_way():
    noise = generator_for(3, "noise").standard_normal((2, 1, 64, 64), np.float32)
    alone, real = estimate_brains(noise), estimate_brains(heads(2, 64))
    assert alone.mean() > 0.9  # all that is brighter than the background
    together = estimate_brains(np.concatenate([noise, heads(2, 64)]))
    assert np.array_equal(together, np.concatenate([alone, real]))


def test_brains_are_estimated_where_the_signal_is(phantom_store):
    slices = AuditSlices.from_store(phantom_store)
    middle = slices.select((slices.z_fraction > 0.3) & (slices.z_fraction < 0.7))
    assert dice(estimate_brains(middle.images_NCHW) > 0, middle.brains_NHW > 0) > 0.85


@pytest.mark.parametrize("most", [3, 40])
def test_squared_depth_is_the_distance_to_the_outside(most):
    from scipy.ndimage import distance_transform_edt

    mask = generator_for(1, "depth").random((5, 30, 21)) < 0.97
    mask[0] = True
    true = np.stack([np.asarray(distance_transform_edt(np.pad(plane, 1)))[1:-1, 1:-1] ** 2 for plane in mask])
    found = brains._squared_depth(mask, most)
    near = true <= most**2
    assert np.allclose(found[near], true[near])
    assert (found[~near] > most**2).all()
