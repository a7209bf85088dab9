from __future__ import annotations

import numpy as np
import pytest

from labelgan.core.rng import generator_for
from labelgan.data.phantom.anatomy import load_anatomy
from labelgan.data.phantom.lesions import LOAD_LIMITS_ML, draw_load_ml, plant_pathology


def test_loads_are_heavy_tailed_within_limits() -> None:
    rng = generator_for(0, "loads")
    loads = np.array([draw_load_ml(rng) for _ in range(2000)])
    assert loads.min() >= LOAD_LIMITS_ML[0]
    assert loads.max() <= LOAD_LIMITS_ML[1]
    assert np.mean(loads < 0.6) == pytest.approx(0.07, abs=0.03)
    assert loads.mean() > 1.4 * np.median(loads)


@pytest.mark.parametrize("load_ml", [0.5, 5.0, 40.0])
def test_load_is_met(load_ml: float) -> None:
    planted = plant_pathology(load_anatomy(), generator_for(1, "load", int(load_ml)), load_ml)
    assert 0.6 * load_ml < planted.lesion.sum() / 1000 < 1.3 * load_ml
    assert planted.lesion.min() >= 0
    assert planted.lesion.max() <= 1 + 1e-6


def test_lesions_are_periventricular_and_deep() -> None:
    anatomy = load_anatomy()
    lesion = plant_pathology(anatomy, generator_for(2, "places"), 20.0).lesion > 0.5
    assert anatomy.host[lesion].mean() > 0.8
    distance = anatomy.ventricle_mm[lesion]
    assert (distance < 4).mean() > 0.2
    assert (distance > 10).mean() > 0.02
    # Lesions prefer the ventricles far more than white matter as a whole does.
    assert np.median(distance) < 0.6 * np.median(anatomy.ventricle_mm[anatomy.host])


def test_other_pathology_has_its_core_inside_and_displaces_lesions() -> None:
    anatomy = load_anatomy()
    planted = [plant_pathology(anatomy, generator_for(3, "other", k), 3.0) for k in range(8)]
    ill = [each for each in planted if each.other is not None]
    assert 0 < len(ill) < len(planted)
    for each in ill:
        assert each.other is not None
        assert each.core is not None
        assert each.other.max() > 0.5
        assert (each.core <= each.other + 1e-6).all()
        assert (each.lesion + each.other).max() <= 1 + 1e-5
