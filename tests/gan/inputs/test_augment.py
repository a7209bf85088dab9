from __future__ import annotations

import pytest
import torch
from torch import Tensor

from labelgan.config.gan import AugmentConfig
from labelgan.core.rng import generator_for
from labelgan.gan.inputs.augment import AUGMENTATIONS, augment

EVERYTHING = AugmentConfig(policy=("flip", "translate", "cutout", "intensity"), translate=0.2)
GEOMETRIC = [name for name, augmentation in AUGMENTATIONS.items() if augmentation.geometric]


def slices(count: int = 16, channels: int = 3, height: int = 12, width: int = 10) -> Tensor:
    return torch.from_numpy(generator_for(1, "slices").uniform(-1, 1, (count, channels, height, width))).float()


def apply(name: str, images: Tensor, config: AugmentConfig = EVERYTHING, seed: int = 0) -> Tensor:
    return AUGMENTATIONS[name].apply(images, generator_for(seed, name), config)


def test_geometry_and_intensity_are_told_apart():
    assert GEOMETRIC == ["flip", "translate", "cutout"]


@pytest.mark.parametrize("name", GEOMETRIC)
def test_geometry_treats_all_channels_alike(name):
    stacked = slices(channels=1).expand(-1, 4, -1, -1)
    changed = apply(name, stacked)
    assert not torch.equal(changed, stacked)
    for channel in range(1, 4):
        assert torch.equal(changed[:, channel], changed[:, 0])


@pytest.mark.parametrize("channels", [2, 3, 5])
def test_intensity_never_touches_the_mask(channels):
    images = slices(channels=channels)
    changed = apply("intensity", images)
    assert torch.equal(changed[:, -1], images[:, -1])
    for channel in range(channels - 1):
        assert not torch.equal(changed[:, channel], images[:, channel])


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_the_same_stream_gives_the_same_result_and_another_one_another(name):
    images = slices()
    assert torch.equal(apply(name, images), apply(name, images))
    assert not torch.equal(apply(name, images), apply(name, images, seed=1))


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_gradients_are_those_of_the_applied_map(name):
    """Every augmentation is linear or affine in the slices: d/dx of v·A(x) along u is v·(A(x + u) - A(x))."""
    images, direction = slices().requires_grad_(True), slices().flip(0)
    weight = slices().roll(1, 0)
    (weight * apply(name, images)).sum().backward()
    assert images.grad is not None
    with torch.no_grad():
        difference = (weight * (apply(name, images + direction) - apply(name, images))).sum()
    assert float((images.grad * direction).sum()) == pytest.approx(float(difference), rel=1e-3, abs=1e-3)
    assert float(images.grad.abs().sum()) > 0


def test_a_flip_mirrors_columns_of_about_half_the_slices():
    images = slices(count=64)
    changed = apply("flip", images)
    mirrored = [torch.equal(after, before.flip(2)) for before, after in zip(images, changed, strict=True)]
    kept = [torch.equal(after, before) for before, after in zip(images, changed, strict=True)]
    assert all(one != other for one, other in zip(mirrored, kept, strict=True))
    assert 16 < sum(mirrored) < 48


def test_a_translation_shifts_whole_pixels_within_reach():
    """Pixels that carry their own position tell where they came from."""
    height, width = 20, 10
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    positions = torch.stack([rows, columns]).float().expand(32, -1, -1, -1)
    changed = apply("translate", positions)
    row_shifts, column_shifts = set(), set()
    for after in changed:
        shift_y, shift_x = int(after[0, 10, 5]) - 10, int(after[1, 10, 5]) - 5
        row_shifts.add(shift_y)
        column_shifts.add(shift_x)
        assert torch.equal(after[0], (rows + shift_y).clamp(0, height - 1).float())
        assert torch.equal(after[1], (columns + shift_x).clamp(0, width - 1).float())
    assert row_shifts <= set(range(-4, 5))
    assert column_shifts == set(range(-2, 3))
    assert max(map(abs, row_shifts)) > 2


def test_a_translation_of_nothing_is_the_identity():
    images = slices()
    assert torch.equal(apply("translate", images, AugmentConfig(translate=0.0)), images)


def test_a_cutout_empties_one_box_of_at_most_the_size_asked():
    images = torch.ones(32, 2, 20, 20)
    emptied = (apply("cutout", images, AugmentConfig(cutout=0.5)) == 0)[:, 0]
    assert int(emptied.sum(dim=(1, 2)).max()) == 100
    for box in emptied:
        rows, columns = box.any(dim=1), box.any(dim=0)
        assert torch.equal(box, rows[:, None] & columns[None, :])
        assert int((rows[1:] != rows[:-1]).sum()) <= 2


def test_intensity_stays_within_its_limits():
    images = slices(count=64)
    config = AugmentConfig(brightness=0.1, contrast=0.2)
    changed = apply("intensity", images, config)
    shifts = (changed - images)[:, :-1].mean(dim=(2, 3))
    gains = changed[:, :-1].std(dim=(2, 3)) / images[:, :-1].std(dim=(2, 3))
    assert 0.08 < float(shifts.abs().max()) <= 0.1 + 1e-6
    assert 0.8 - 1e-5 <= float(gains.min()) < 0.83
    assert 1.17 < float(gains.max()) <= 1.2 + 1e-5
    # every image channel has its own parameters
    assert not torch.allclose(shifts[:, 0], shifts[:, 1])


def test_augment_applies_the_policy_in_order():
    images = slices()
    assert augment(images, generator_for(0, "a"), AugmentConfig(policy=())) is images
    rng = generator_for(0, "a")
    expected = AUGMENTATIONS["intensity"].apply(AUGMENTATIONS["flip"].apply(images, rng, EVERYTHING), rng, EVERYTHING)
    config = EVERYTHING.model_copy(update={"policy": ("flip", "intensity")})
    assert torch.equal(augment(images, generator_for(0, "a"), config), expected)
