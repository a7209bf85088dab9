from __future__ import annotations

import numpy as np
import pytest

from labelgan.data.phantom.anatomy import HEAD_ORIGIN_MM, HEAD_SHAPE, HEAD_SPACING_MM, Anatomy, box_around, load_anatomy


@pytest.fixture(scope="module")
def anatomy() -> Anatomy:
    return load_anatomy()


def test_built_once() -> None:
    assert load_anatomy() is load_anatomy()


def test_tissue_fractions_are_fractions(anatomy: Anatomy) -> None:
    for each in (anatomy.white, anatomy.grey):
        assert each.min() >= 0
        assert each.max() <= 1
    assert 300 < anatomy.white.sum() / 1000 < 900  # ml, at 1 mm


def test_ventricles_are_paired_fluid_in_the_middle(anatomy: Anatomy) -> None:
    inside = np.argwhere(anatomy.ventricle_mm == 0)
    places = anatomy.millimetres(inside)
    assert 12 < len(inside) / 1000 < 50
    assert abs(places[:, 0].mean()) < 3
    assert np.mean(places[:, 0] > 2) > 0.3
    assert anatomy.white[tuple(inside.T)].mean() < 0.2


def test_lesions_have_hosts_outside_the_ventricles(anatomy: Anatomy) -> None:
    assert anatomy.host.sum() > 300_000
    assert not (anatomy.host & (anatomy.ventricle_mm == 0)).any()
    assert anatomy.white[anatomy.host].mean() > 0.75
    # The rim between white matter and ventricle belongs to the hosts: bands touch the wall.
    assert (anatomy.host & (anatomy.ventricle_mm <= 1)).any()
    assert anatomy.host[tuple(anatomy.deep.T)].all()


def test_head_encloses_the_brain(anatomy: Anatomy) -> None:
    assert anatomy.hull_mm.shape == anatomy.skin_mm.shape == HEAD_SHAPE
    assert (anatomy.skin_mm[anatomy.hull_mm < 0] < 0).all()
    for side in (anatomy.skin_mm[0], anatomy.skin_mm[-1], anatomy.skin_mm[:, 0], anatomy.skin_mm[:, -1]):
        assert (side > 0).all()
    centre = tuple(((np.array([0, -20, 30]) - HEAD_ORIGIN_MM) // HEAD_SPACING_MM).astype(int))
    assert anatomy.hull_mm[centre] < -30


def test_eyes_lie_in_front_of_the_brain_and_under_the_skin(anatomy: Anatomy) -> None:
    eye = anatomy.eye < 0
    assert (anatomy.hull_mm[eye] > 0).all()
    assert (anatomy.skin_mm[eye] < 2).mean() > 0.9


def test_push_points_away_from_the_ventricles(anatomy: Anatomy) -> None:
    index = np.rint((np.array([[30.0, -10, 20], [-30.0, -10, 20]]) - HEAD_ORIGIN_MM) / HEAD_SPACING_MM).astype(int)
    right, left = anatomy.push[tuple(index.T)][:, 0]
    assert right > 0 > left


def test_box_around() -> None:
    mask = np.zeros((9, 9, 9), dtype=bool)
    assert box_around(mask, 2) == (slice(0, 0),) * 3
    mask[1, 4, 8] = True
    assert box_around(mask, 2) == (slice(0, 4), slice(2, 7), slice(6, 9))
