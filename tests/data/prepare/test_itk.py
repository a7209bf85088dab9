from __future__ import annotations

import numpy as np
import pytest

from labelgan.core.rng import generator_for
from labelgan.data.prepare.itk import correct_bias_field, from_itk, register_rigidly, to_itk
from labelgan.data.volume import Volume

AFFINE = np.array([[-1.2, 0.1, 0, 20], [0.1, 1.1, 0, -18], [0, 0, 2.0, -30], [0, 0, 0, 1.0]])


def head(shape: tuple[int, int, int] = (40, 44, 33)) -> np.ndarray:
    x, y, z = (axis - (count - 1) / 2 for axis, count in zip(np.indices(shape), shape, strict=True))
    image = np.where((x / 15) ** 2 + (y / 18) ** 2 + (z / 13) ** 2 < 1, 100.0, 0.0)
    image[((x - 5) / 4) ** 2 + ((y + 6) / 6) ** 2 + (z / 7) ** 2 < 1] = 180
    image[((x + 7) / 3) ** 2 + ((y - 5) / 5) ** 2 + ((z - 3) / 5) ** 2 < 1] = 40
    return image.astype(np.float32)


def test_itk_has_the_same_voxels_at_the_same_millimetres():
    volume = Volume(generator_for(0).random((3, 4, 5)).astype(np.float32), AFFINE)
    image = to_itk(volume)
    np.testing.assert_array_equal(from_itk(image), volume.data)
    assert image[2, 1, 4] == pytest.approx(volume.data[2, 1, 4])
    in_ras = np.array([-1, -1, 1]) * image.TransformIndexToPhysicalPoint((2, 1, 4))
    np.testing.assert_allclose(in_ras, (AFFINE @ [2, 1, 4, 1])[:3], atol=1e-9)


@pytest.mark.parametrize("flat", [False, True])
def test_bias_field_is_taken_out(flat):
    truth = head()[:, :, 16:17] if flat else head()
    brain = truth > 0
    x, y, _ = np.indices(truth.shape)
    field = np.exp(0.012 * (x - 20) + 0.008 * (y - 22))
    biased = (truth * field).astype(np.float32)
    corrected = correct_bias_field(Volume(biased, np.eye(4)), brain)
    assert corrected.data.shape == truth.shape
    plain = brain & (truth == 100)

    def unevenness(data: np.ndarray) -> float:
        return float(data[plain].std() / data[plain].mean())

    assert unevenness(corrected.data) < 0.5 * unevenness(biased)
    assert (corrected.data[~brain] == 0).all()


def test_registration_undoes_a_shift_and_keeps_the_fixed_grid():
    fixed = Volume(head(), np.diag([1.0, 1.0, 1.0, 1.0]))
    moved = fixed.affine.copy()
    moved[:3, 3] = (3.0, -2.0, 1.5)
    moving = Volume(200 - fixed.data, moved)  # another contrast, shifted in the scanner's coordinates
    registered = register_rigidly(moving, fixed)
    np.testing.assert_array_equal(registered.affine, fixed.affine)
    inside = (slice(6, -6),) * 3
    expected = 200 - fixed.data
    before = np.abs(register_error(moving, fixed) - expected)[inside].mean()
    after = np.abs(registered.data - expected)[inside].mean()
    assert after < 0.25 * before
    again = register_rigidly(moving, fixed)
    np.testing.assert_array_equal(again.data, registered.data)


def register_error(moving: Volume, fixed: Volume) -> np.ndarray:
    """The moving image on the fixed grid by the scanner's coordinates alone."""
    import SimpleITK

    image, target = to_itk(moving), to_itk(fixed)
    return from_itk(SimpleITK.Resample(image, target, SimpleITK.Transform(), SimpleITK.sitkLinear, 200.0))
