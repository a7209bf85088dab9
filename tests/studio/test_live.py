from __future__ import annotations

import io
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from labelgan.core.errors import CheckpointError, DataError
from labelgan.gan.inputs.compose import Conditions
from labelgan.gan.sample import Generator
from labelgan.gan.train import train_generator
from labelgan.studio.live import (
    BLOCK,
    LOAD_STEPS,
    ConditionalSampler,
    LiveRun,
    LiveSampler,
    MaskConditioned,
    controls_of,
    mask_from_rows,
)
from tiny import tiny_config


class Painter:
    """A sampler that paints what it was asked for: brightness is the control, the mask the seed's column."""

    channels = ("T1",)
    size = (16, 16)
    controls = ({"name": "load", "label": "Lesion load", "low": 0, "high": 10, "step": 1, "default": 2, "unit": "%"},)

    def __init__(self) -> None:
        self.asked: list[tuple[int, int, dict[str, float]]] = []

    def sample(self, count, seed=0, *, start=0, **settings) -> Any:
        self.asked.append((seed, start, settings))
        images = np.zeros((count, 1, *self.size), np.float32)
        masks = np.zeros((count, *self.size), np.uint8)
        for row in range(count):
            images[row, 0, start + row] = 1 + settings.get("load", 0)
            masks[row, :, seed] = 1
        return SimpleNamespace(images_NCHW=images, masks_NHW=masks)


class MaskPainter(Painter):
    """The same, with images for masks."""

    def from_mask(self, masks_NHW, seed=0) -> Any:
        return SimpleNamespace(images_NCHW=masks_NHW[:, None] * (seed + 1.0), masks_NHW=masks_NHW)


def pixels(png):
    return np.asarray(Image.open(io.BytesIO(png)))


def test_a_live_sample_is_the_one_that_sampling_makes(tiny_run):
    run = LiveRun.open(tiny_run)
    assert isinstance(run.sampler, LiveSampler)
    made = Generator.load(tiny_run).sample(1, 5, start=11)
    picture = run.sample(5, 11, {}, 64)
    np.testing.assert_array_equal(pixels(picture.mask)[::2, ::2] > 0, made.masks_NHW[0] == 1)
    assert picture.lesion_pixels == (made.masks_NHW[0] == 1).sum()
    assert picture.lesion_mm2 == pytest.approx(picture.lesion_pixels * 36)
    assert len(picture.plain) == 2


def test_todays_families_take_no_masks_and_say_so(tiny_run):
    run = LiveRun.open(tiny_run)
    assert run.offers()["from_mask"] is False
    assert run.offers()["controls"] == []
    with pytest.raises(DataError, match="it takes no mask"):
        run.from_mask(np.zeros((32, 32), np.uint8), 0, 64)


def test_what_a_sampler_offers_is_asked_of_it():
    run = LiveRun(MaskPainter(), (1.0, 1.0))
    offers = run.offers()
    assert offers["from_mask"] is True
    (control,) = offers["controls"]
    assert (control["name"], control["default"], control["unit"]) == ("load", 2.0, "%")
    assert not isinstance(Painter(), MaskConditioned)


def test_controls_reach_the_sampler():
    painter = Painter()
    LiveRun(painter).sample(3, 9, {"load": 7}, 64)
    assert painter.asked == [(3, 8, {"load": 7.0})]


def test_neighbours_are_made_once():
    painter = Painter()
    run = LiveRun(painter)
    first, pictures = run.strip(0, 5, {}, 64)
    assert (first, len(pictures)) == (0, BLOCK)
    for row, picture in enumerate(pictures):
        assert pixels(picture.plain[0])[row * 4 + 2].min() > 200
    run.sample(0, 7, {}, 64)
    assert len(painter.asked) == 1


def test_a_drawn_mask_comes_back_as_an_image():
    mask = np.zeros((16, 16), np.uint8)
    mask[2:5, 3:9] = 1
    picture = LiveRun(MaskPainter(), (2.0, 1.0)).from_mask(mask, 1, 64)
    assert (picture.lesion_pixels, picture.lesion_mm2) == (18, 36.0)
    assert pixels(picture.plain[0]).max() == 255
    np.testing.assert_array_equal(pixels(picture.mask)[::4, ::4] > 0, mask == 1)


@pytest.mark.parametrize(
    ("seed", "index", "settings", "said"),
    [
        (-1, 0, {}, "seed: is not a whole number"),
        (0, 10**7, {}, "index: is not a whole number"),
        (True, 0, {}, "seed: is not a whole number"),
        (0, 0, {"temperature": 1}, "temperature: is no control"),
        (0, 0, {"load": 11}, "load: is not between 0 and 10"),
        (0, 0, {"load": float("nan")}, "load: is not between 0 and 10"),
    ],
)
def test_what_is_out_of_range_is_refused(seed, index, settings, said):
    with pytest.raises(DataError, match=said):
        LiveRun(Painter()).sample(seed, index, settings, 64)


def test_a_mask_of_another_shape_is_refused():
    with pytest.raises(DataError, match="has shape"):
        LiveRun(MaskPainter()).from_mask(np.zeros((8, 8), np.uint8), 0, 64)


def test_controls_that_make_no_sense_are_left_out():
    sound = SimpleNamespace(name="a", label="", low=0, high=1, step=0.1, default=1, unit=None)
    bad = [{"name": "b"}, {**vars(sound), "name": "b c"}, {**vars(sound), "default": 2}, {**vars(sound), "step": 0}]
    found = controls_of(SimpleNamespace(controls=[sound, *bad]))
    assert [(control.name, control.label, control.unit) for control in found] == [("a", "a", "")]
    assert controls_of(object()) == ()


def test_masks_are_read_from_rows_of_digits():
    np.testing.assert_array_equal(mask_from_rows(["01", "10"], (2, 2)), [[0, 1], [1, 0]])
    for rows in ([], ["01"], ["01", "1"], ["01", "12"], ["01", 5], "0110"):
        with pytest.raises(DataError, match="expected 2 rows of 2 letters"):
            mask_from_rows(rows, (2, 2))


def test_a_run_that_is_none_is_told(tmp_path):
    with pytest.raises(CheckpointError):
        LiveRun.open(tmp_path)


@pytest.fixture(scope="module")
def sampler(phantom_store, tmp_path_factory) -> ConditionalSampler:
    run = tmp_path_factory.mktemp("conditions") / "run"
    train_generator(phantom_store, run, tiny_config("refiner", "train.steps=1", "train.collapse_ratio=0"))
    return ConditionalSampler(Generator.load(run))


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
    assert np.array_equal(one, sampler.generator.sample(2, 1, conditions=Conditions(site="Alpha")).images_NCHW)


def test_an_image_is_made_for_a_mask(sampler):
    masks = np.zeros((2, 32, 32), np.uint8)
    masks[0, 13:17, 13:17] = masks[1, 15:19, 15:19] = 1
    made = sampler.from_mask(masks, 3)
    assert not (made.masks_NHW & ~masks).any()
    assert made.masks_NHW.sum() > 0.5 * masks.sum()
    assert np.array_equal(made.images_NCHW, sampler.from_mask(masks, 3).images_NCHW)
