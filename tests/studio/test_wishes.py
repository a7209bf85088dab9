from __future__ import annotations

import numpy as np
import pytest

from labelgan.gan.inputs.compose import Wish
from labelgan.gan.sample import Generator
from labelgan.gan.train import train_generator
from labelgan.studio.live import LiveSampler, MaskConditioned, controls_of
from labelgan.studio.wishes import LOAD_STEPS, WishingSampler
from tiny import tiny_config


@pytest.fixture(scope="module")
def sampler(phantom_store, tmp_path_factory) -> WishingSampler:
    run = tmp_path_factory.mktemp("wishes") / "run"
    train_generator(phantom_store, run, tiny_config("refiner", "train.steps=1", "train.collapse_ratio=0"))
    return WishingSampler(Generator.load(run))


def test_is_what_the_live_page_wants(sampler):
    assert isinstance(sampler, LiveSampler)
    assert isinstance(sampler, MaskConditioned)
    assert [control.name for control in controls_of(sampler)] == ["height", "load", "site"]


def test_sliders_at_rest_change_nothing(sampler):
    plain = sampler.generator.sample(3, seed=4)
    assert np.array_equal(sampler.sample(3, 4).images_NCHW, plain.images_NCHW)


def test_no_lesions_can_be_asked_for(sampler):
    assert not sampler.sample(8, 1, load=LOAD_STEPS.index("none")).masks_NHW.any()
    assert sampler.sample(8, 1, load=LOAD_STEPS.index("high")).masks_NHW.any()


def test_a_site_can_be_asked_for(sampler):
    assert sampler.sites == ("Alpha", "Beta", "Gamma")
    one, other = (sampler.sample(2, 1, site=number).images_NCHW for number in (1, 3))
    assert not np.array_equal(one, other)
    assert np.array_equal(one, sampler.generator.sample(2, 1, wish=Wish(site="Alpha")).images_NCHW)


def test_an_image_is_made_for_a_mask(sampler):
    masks = np.zeros((2, 32, 32), np.uint8)
    masks[0, 13:17, 13:17] = masks[1, 15:19, 15:19] = 1
    made = sampler.from_mask(masks, 3)
    assert not (made.masks_NHW & ~masks).any()
    assert made.masks_NHW.sum() > 0.5 * masks.sum()
    assert np.array_equal(made.images_NCHW, sampler.from_mask(masks, 3).images_NCHW)
