from __future__ import annotations

import numpy as np
import pytest

from labelgan.audit.labels.ring import ContrastFit, contrasts
from labelgan.core.rng import generator_for

AXIS = np.arange(40)
DISK = (AXIS[:, None] - 20) ** 2 + (AXIS - 20) ** 2
BRAIN = np.ones((1, 40, 40), np.uint8)


def disk(radius: float, value: float = 1.0) -> np.ndarray:
    return np.where(radius**2 >= DISK, value, 0.0)


def test_a_bright_disk_has_its_brightness_as_contrast():
    images = np.stack([disk(6, 2.5), disk(6, -1.0)])[None]
    ring, edge = contrasts(images, disk(6)[None].astype(np.uint8), BRAIN)
    np.testing.assert_allclose(ring, [[2.5, -1.0]])
    np.testing.assert_allclose(edge, [[2.5, -1.0]])


def test_across_the_edge_a_mask_that_is_too_large_has_no_contrast():
    images = disk(6)[None, None]
    ring, edge = contrasts(images, disk(9)[None].astype(np.uint8), BRAIN)
    assert edge.item() == 0
    inside = disk(9) > 0
    assert ring.item() == pytest.approx(images[0, 0][inside].mean())
    assert 0.3 < ring.item() < 0.6


def test_the_ring_lies_two_to_four_pixels_away_in_healthy_brain():
    mask = np.zeros((1, 40, 40), np.uint8)
    mask[0, 20, 20] = 1
    distance = np.sqrt(DISK)
    image = np.where((distance >= 2) & (distance <= 4), 1.0, 100.0)
    image[20, 20] = 5
    image[17, 20] = 50
    mask[0, 17, 20] = 2  # other pathology
    image[20, 23] = 50
    brain = BRAIN.copy()
    brain[0, 20, 23] = 0
    ring, edge = contrasts(image[None, None], mask, brain)
    assert ring.item() == 4
    near = (distance > 0) & (distance <= 2)
    assert edge.item() == pytest.approx(5 - image[near].mean())


def test_without_lesion_or_surroundings_there_is_no_contrast():
    images = np.zeros((3, 1, 40, 40))
    masks = np.zeros((3, 40, 40), np.uint8)
    masks[1] = 1
    masks[2, 5, 5] = 1
    masks[0, 5, 5] = 2
    brains = np.repeat(BRAIN, 3, axis=0)
    brains[2] = 0
    ring, edge = contrasts(images, masks, brains)
    assert np.isnan(ring).all()
    assert np.isnan(edge).all()


def test_brightness_shifts_leave_contrasts_and_scales_scale_them():
    images = generator_for(0, "ring").standard_normal((2, 2, 40, 40))
    masks = np.repeat(disk(5)[None].astype(np.uint8), 2, axis=0)
    brains = np.repeat(BRAIN, 2, axis=0)
    for now, then in zip(contrasts(3 * images + 7, masks, brains), contrasts(images, masks, brains), strict=True):
        np.testing.assert_allclose(now, 3 * then)


def test_agreement_runs_from_others_masks_to_ones_own():
    generator = generator_for(0, "fit")
    own = generator.normal([1.5, -0.5, 0.0], 0.4, (200, 3))
    others = generator.normal([0.0, 0.0, 0.0], 0.4, (200, 3))
    fit = ContrastFit.of(own, others)
    assert fit is not None
    assert fit.agreement(own).mean() == pytest.approx(1)
    assert fit.agreement(others).mean() == pytest.approx(0, abs=1e-12)
    assert fit.agreement((own + others) / 2).mean() == pytest.approx(0.5)
    assert fit.agreement(2 * own).mean() > 1
    # the channel that tells nothing hardly counts
    assert 4 * abs(fit.weights_C[2]) < abs(fit.weights_C[1]) < abs(fit.weights_C[0])
    assert np.isnan(fit.agreement(np.full((1, 3), np.nan))).all()


def test_masks_that_do_not_stand_out_tell_nothing():
    generator = generator_for(0, "none")
    assert ContrastFit.of(generator.standard_normal((300, 2)), generator.standard_normal((300, 2))) is None
    assert ContrastFit.of(np.full((5, 2), np.nan), np.zeros((5, 2))) is None
    assert ContrastFit.of(np.zeros((5, 2)), np.zeros((5, 2))) is None
