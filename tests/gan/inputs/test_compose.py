from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from labelgan.config.gan import ContentConfig
from labelgan.core.errors import ConfigError
from labelgan.gan.inputs.compose import LOADS, Composer, Conditions
from labelgan.gan.inputs.content import Content
from tiny import tiny_content, tiny_slices


def rng(number: int = 0) -> np.random.Generator:
    return np.random.default_rng(number)


def dilated(mask_HW: np.ndarray, pixels: int = 1) -> np.ndarray:
    return np.asarray(ndimage.binary_dilation(mask_HW, iterations=pixels))


def composer(content: Content | None = None, **settings: float) -> Composer:
    return Composer(content or tiny_content(), ContentConfig(**settings))  # pyright: ignore[reportArgumentType]


def test_the_same_draws_give_the_same_slice():
    one, other = (composer().compose(rng(3)) for _ in range(2))
    assert np.array_equal(one.image_CHW, other.image_CHW)
    assert np.array_equal(one.lesion_HW, other.lesion_HW)
    assert not np.array_equal(one.image_CHW, composer().compose(rng(4)).image_CHW)


def test_lesions_lie_in_the_brain_and_are_brighter_than_around():
    made = [composer(lesion_free=0.0, contrast=0.0).compose(rng(number)) for number in range(30)]
    made = [item for item in made if item.lesion_HW.any()]
    assert len(made) > 20
    for item in made:
        assert not (item.lesion_HW & ~item.brain_HW).any()
        ring = dilated(item.lesion_HW, 5) & ~dilated(item.lesion_HW) & item.brain_HW
        # the donors' lesions are two z-scores above their surroundings
        assert (item.image_CHW[:, item.lesion_HW].mean(axis=1) - item.image_CHW[:, ring].mean(axis=1) > 1).all()


def test_a_lesion_keeps_its_contrast_on_a_brighter_anatomy():
    content = tiny_content()
    bright = replace(content.phantoms, images_NCHW=content.phantoms.images_NCHW + 5)
    for phantoms in (content.phantoms, bright):
        item = composer(Content(content.patients, phantoms), phantoms=1.0, lesion_free=0.0, contrast=0.0).compose(
            rng(1)
        )
        around = item.brain_HW & ~dilated(item.lesion_HW, 5)
        rise = (
            item.image_CHW[:, np.asarray(ndimage.binary_erosion(item.lesion_HW), bool)].mean()
            - item.image_CHW[:, around].mean()
        )
        assert rise == pytest.approx(2, abs=0.4)


def test_the_gain_scales_the_contrast():
    spread = [
        np.std(
            [np.max(composer(lesion_free=0.0, contrast=c, phantoms=1.0).compose(rng(n)).image_CHW) for n in range(40)]
        )
        for c in (0.0, 0.4, 0.8)
    ]
    assert spread == sorted(spread)


def test_shares_are_kept():
    made = [composer(lesion_free=0.4, lesioned=0.0).compose(rng(number)) for number in range(300)]
    assert np.mean([not item.lesion_HW.any() for item in made]) == pytest.approx(0.4, abs=0.09)
    assert not any(composer(lesion_free=1.0, lesioned=0.0).compose(rng(n)).lesion_HW.any() for n in range(20))


def test_phantoms_alone_show_no_patients_anatomy():
    content = tiny_content()
    marked = replace(content.patients, images_NCHW=content.patients.images_NCHW + 100)
    only = composer(Content(marked, content.phantoms), phantoms=1.0)
    for number in range(20):
        item = only.compose(rng(number))
        outside = ~dilated(item.lesion_HW, 5)
        assert item.image_CHW[:, outside].max() < 50


def test_without_phantoms_patients_take_their_place():
    content = tiny_content()
    none = tiny_slices(0, 0, lesions=False)
    item = composer(Content(content.patients, none), phantoms=1.0).compose(rng())
    assert item.image_CHW.shape == (2, 32, 32)


def test_where_every_slice_has_a_lesion_anatomies_keep_theirs():
    content = tiny_content()
    ill = content.patients.lesions_NHW.any(axis=(1, 2))
    patients = content.patients.select(ill)
    made = [composer(Content(patients, tiny_slices(0, 0, lesions=False))).compose(rng(n)) for n in range(10)]
    assert all(item.lesion_HW.any() for item in made)


def test_a_wish_for_a_load_is_granted():
    content = tiny_content()
    areas = {}
    for load in LOADS:
        made = [composer(content).compose(rng(n), Conditions(load=load)) for n in range(20)]
        areas[load] = np.mean([item.lesion_HW.sum() for item in made])
    assert areas["none"] == 0
    assert min(areas[load] for load in ("low", "medium", "high")) > 0


def test_higher_loads_are_larger():
    content = tiny_content()
    masks = content.patients.masks_NHW.copy()
    masks[0, 12:22, 12:22] = 1
    grown = replace(content.patients, masks_NHW=masks)
    low, high = (
        np.mean(
            [
                composer(Content(grown, content.phantoms)).compose(rng(n), Conditions(load=load)).lesion_HW.sum()
                for n in range(30)
            ]
        )
        for load in ("low", "high")
    )
    assert high > 1.4 * low


def test_a_wish_for_a_height_is_granted():
    for height in (0.15, 0.5, 0.9):
        made = [composer().compose(rng(n), Conditions(height=height)) for n in range(10)]
        # six phantoms and four healthy slices span the heights: the nearest is at most a quarter away
        assert all(abs(item.height - height) < 0.25 for item in made)


def test_a_given_mask_is_painted_where_it_is():
    mask = np.zeros((32, 32), bool)
    mask[10:16, 12:20] = True
    item = composer(contrast=0.0).compose(rng(), Conditions(mask_HW=mask))
    assert np.array_equal(item.lesion_HW, mask)
    elsewhere = item.brain_HW & ~dilated(mask, 5)
    assert item.image_CHW[:, mask].mean() > item.image_CHW[:, elsewhere].mean() + 1


@pytest.mark.parametrize("conditions", [{"load": "heavy"}, {"height": 1.5}, {"height": -0.1}])
def test_conditions_without_a_meaning_are_refused(conditions):
    with pytest.raises(ConfigError):
        Conditions(**conditions)


def of_two_sites() -> Content:
    """Patients of A are the first four, of B the other four, who are ten z-scores brighter."""
    content = tiny_content()
    images_NCHW = content.patients.images_NCHW.copy()
    images_NCHW[4:] += 10
    site_of_N = np.repeat(np.array([0, 1], np.int16), 4)
    return replace(
        content, patients=replace(content.patients, images_NCHW=images_NCHW), sites=("A", "B"), site_of_N=site_of_N
    )


def test_a_site_lends_its_own_anatomies_and_lesions():
    for site, low, high in (("A", -2, 2), ("B", 8, 12)):
        made = [composer(of_two_sites(), phantoms=0.0).compose(rng(n), Conditions(site=site)) for n in range(10)]
        for item in made:
            healthy = item.brain_HW & ~dilated(item.lesion_HW, 5)
            assert low < item.image_CHW[:, healthy].mean() < high
        assert any(item.lesion_HW.any() for item in made)
    with pytest.raises(ConfigError, match="--site C"):
        composer(of_two_sites()).compose(rng(), Conditions(site="C"))


def test_a_site_can_be_asked_for_with_a_load():
    for n in range(5):
        assert not composer(of_two_sites()).compose(rng(n), Conditions(site="B", load="none")).lesion_HW.any()
