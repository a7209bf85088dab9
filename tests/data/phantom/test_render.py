from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from labelgan.core.rng import generator_for
from labelgan.data.phantom.anatomy import load_anatomy
from labelgan.data.phantom.lesions import Pathology
from labelgan.data.phantom.render import Head, Pose, render_head
from labelgan.data.phantom.scanner import SCANNERS, grid_affine

SHAPE = (48, 44, 12)
ALPHA = SCANNERS["Alpha"]
UPRIGHT = Pose(
    matrix=np.hstack([np.eye(3), np.array(ALPHA.centre_mm)[:, None]]), folding_mm=(0, 0, 0), widening_mm=0, atrophy=1
)


def render(pose: Pose, lesion: np.ndarray | None = None) -> Head:
    anatomy = load_anatomy()
    pathology = Pathology(np.zeros_like(anatomy.white) if lesion is None else lesion)
    affine = grid_affine(ALPHA, SHAPE)
    return render_head(anatomy, pathology, pose, (ALPHA.t1, ALPHA.flair), SHAPE, affine, generator_for(0, "render"))


@pytest.fixture(scope="module")
def upright() -> Head:
    return render(UPRIGHT)


def test_fractions_add_up_to_the_inside_of_the_skull(upright: Head) -> None:
    total = upright.white + upright.grey + upright.fluid
    assert total.max() <= 1 + 1e-5
    assert total.min() == 0
    voxel_ml = np.prod(np.multiply(ALPHA.shape, ALPHA.spacing_mm) / SHAPE) / 1000
    assert 1300 < total.sum() * voxel_ml < 2300  # the template's head, unshrunk


def test_upright_head_is_symmetric_as_its_template(upright: Head) -> None:
    np.testing.assert_allclose(upright.white, upright.white[::-1], atol=0.05)


def test_air_is_empty(upright: Head) -> None:
    for image in upright.images:
        assert image[0].max() == image[-1].max() == image[:, 0].max() == 0
        assert image.min() >= 0


def test_folding_moves_tissue_and_repeats(upright: Head) -> None:
    pose = replace(UPRIGHT, folding_mm=(2.0, 1.5, 0.9))
    folded = render(pose)
    assert np.abs(folded.white - upright.white).max() > 0.2
    np.testing.assert_array_equal(folded.images[0], render(pose).images[0])


def test_age_widens_ventricles_and_sulci(upright: Head) -> None:
    middle = (slice(16, 32), slice(16, 30), slice(5, 8))
    assert render(replace(UPRIGHT, widening_mm=4.0)).fluid[middle].sum() > 1.3 * upright.fluid[middle].sum()
    assert render(replace(UPRIGHT, atrophy=1.8)).fluid.sum() > 1.1 * upright.fluid.sum()


def test_lesions_show_where_they_are_and_nowhere_else(upright: Head) -> None:
    anatomy = load_anatomy()
    lesion = np.zeros_like(anatomy.white)
    lesion[60:72, 120:135, 95:105] = 1
    ill = render(UPRIGHT, lesion)
    inside = ill.lesion > 0.5
    assert inside.any()
    assert (ill.images[1][inside] > upright.images[1][inside]).all()
    outside = ill.lesion == 0
    for image, healthy in zip(ill.images, upright.images, strict=True):
        np.testing.assert_array_equal(image[outside], healthy[outside])
