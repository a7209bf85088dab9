from __future__ import annotations

import numpy as np
import pytest

from labelgan.data.phantom_field import SmoothField
from labelgan.core.rng import generator_for


@pytest.fixture
def field() -> SmoothField:
    return SmoothField(np.zeros(3), np.array([50.0, 40.0, 30.0]), 8.0)


AXES = (np.linspace(0, 50, 7), np.linspace(0, 40, 5), np.linspace(0, 30, 4))


def test_spline_reproduces_a_linear_field(field: SmoothField) -> None:
    slope = np.array([0.3, -0.2, 0.1])
    values = field.evaluate((field.knots() @ slope)[..., None], AXES)
    expected = slope[0] * AXES[0][:, None, None] + slope[1] * AXES[1][:, None] + slope[2] * AXES[2]
    assert values.shape == (1, 7, 5, 4)
    np.testing.assert_allclose(values[0], expected, atol=1e-4)


def test_grid_does_not_change_the_field(field: SmoothField) -> None:
    control = field.noise(generator_for(0, "field"), 8.0, 2)
    whole = field.evaluate(control, AXES)
    slab = field.evaluate(control, (AXES[0], AXES[1], AXES[2][1:3]))
    np.testing.assert_allclose(whole[..., 1:3], slab, atol=1e-6)


@pytest.mark.parametrize("scale_mm", [0.0, 8.0, 30.0])
def test_noise_has_unit_deviation_at_any_scale(scale_mm: float) -> None:
    wide = SmoothField(np.zeros(3), np.full(3, 300.0), 10.0)
    noise = wide.noise(generator_for(1, "unit"), scale_mm, 3)
    assert noise.std() == pytest.approx(1, abs=0.2)
