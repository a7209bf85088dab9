from __future__ import annotations

import numpy as np
import pytest

from labelgan.core.rng import generator_for
from labelgan.data.phantom.scanner import SCANNERS, SmoothField, acquire, grid_affine, scan

# Shape, and voxel size in mm.
GEOMETRY = {
    "Alpha": ((240, 240, 48), (0.96, 0.95, 3.0)),
    "Beta": ((256, 232, 48), (1.0, 1.0, 3.0)),
    "Gamma": ((132, 256, 83), (0.98, 0.98, 1.2)),
}


@pytest.mark.parametrize("name", GEOMETRY)
def test_geometry_of_each_scanner(name: str) -> None:
    shape, spacing = GEOMETRY[name]
    assert SCANNERS[name].shape == shape
    assert SCANNERS[name].spacing_mm == spacing


@pytest.mark.parametrize("name", GEOMETRY)
def test_fewer_voxels_cover_the_same_field_of_view(name: str) -> None:
    shape, spacing = GEOMETRY[name]
    affine = grid_affine(SCANNERS[name], (48, 40, 12))
    np.testing.assert_allclose(np.linalg.norm(affine[:3, :3], axis=0) * (48, 40, 12), np.multiply(shape, spacing))
    corners = np.array([[-0.5, -0.5, -0.5, 1], [47.5, 39.5, 11.5, 1]]) @ affine.T
    np.testing.assert_allclose(corners.sum(axis=0)[:3], 0, atol=1e-9)


def test_correction_leaves_a_little_of_the_shading() -> None:
    machine = SCANNERS["Gamma"]
    flat = np.ones((30, 60, 20), dtype=np.float32)
    affine = grid_affine(machine, (30, 60, 20))
    corrected, scanned = acquire(machine, flat, 4000.0, affine, generator_for(4, "shading"))
    assert corrected.dtype == scanned.dtype == np.int16
    # Means over slabs are almost free of noise.
    spread = [np.ptp(np.log(image.mean(axis=(0, 2)))) for image in (corrected, scanned)]
    assert 0 < spread[0] < 0.5 * spread[1]


def test_intensities_beyond_int16_are_held_at_its_limit() -> None:
    flat = np.full((6, 6, 6), 100.0, dtype=np.float32)
    machine = SCANNERS["Gamma"]
    corrected, _ = acquire(machine, flat, 4000.0, grid_affine(machine, (6, 6, 6)), generator_for(5, "limit"))
    assert corrected.max() == np.iinfo(np.int16).max


def test_rician_noise_follows_its_second_moment() -> None:
    # E[m²] = s² + 2σ² holds for every signal s.
    for signal in (0.0, 0.5, 2.0):
        flat = np.full((40, 40, 40), signal, dtype=np.float32)
        image = scan(flat, np.ones_like(flat), (0.0, 0.0, 0.0), 0.3, generator_for(2, "rice"))
        assert image.min() >= 0
        assert np.mean(image.astype(float) ** 2) == pytest.approx(signal**2 + 2 * 0.3**2, rel=0.02)


def test_shading_multiplies_signal_and_not_noise() -> None:
    dark = np.zeros((30, 30, 30), dtype=np.float32)
    quiet = scan(dark, np.full_like(dark, 1.0), (0.0, 0.0, 0.0), 0.1, generator_for(3, "shade"))
    shaded = scan(dark, np.full_like(dark, 9.0), (0.0, 0.0, 0.0), 0.1, generator_for(3, "shade"))
    np.testing.assert_array_equal(quiet, shaded)


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
