from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from labelgan.config.seg import SegConfig
from labelgan.core.rng import generator_for
from labelgan.data.slices import Slices
from labelgan.seg.batches import SegBatches, split_batch, steps_of, with_each_others_masks

STILL = ["augment.flip=0", "augment.rotate=0", "augment.shear=0", "augment.zoom=[1, 1]"]


def config_of(*settings: str) -> SegConfig:
    return SegConfig.for_segmenter("li2018", ["train.batch_size=5", *settings])


def batches_of(store, config, extra=None, member=0) -> SegBatches:
    return SegBatches(store, store.select(), extra, config, member, torch.device("cpu"))


def extra_of(store, count: int = 7) -> Slices:
    """Slices that are told by their first pixel: 100, 101, ..."""
    images = np.zeros((count, len(store.channels), *store.size), np.float16)
    images += 100 + np.arange(count)[:, None, None, None]
    return Slices(images, np.ones((count, *store.size), np.uint8))


def test_batches_have_the_stores_shapes_and_types(phantom_store):
    images, masks = batches_of(phantom_store, config_of()).batch(0)
    assert images.shape == (5, 2, 32, 32)
    assert (images.dtype, masks.dtype, masks.shape) == (torch.float32, torch.uint8, (5, 32, 32))
    assert set(masks.unique().tolist()) <= {0, 1, 2}


def test_a_round_shows_every_slice_once(phantom_store):
    config = config_of(*STILL)
    batches = batches_of(phantom_store, config)
    count = len(batches.rows)
    shown = torch.cat([batches.batch(step)[0] for step in range(count)])  # five rounds
    keys = [tuple(np.round(image[:, 10:20, 16].flatten().numpy(), 2)) for image in shown]
    for number in range(5):
        assert len(set(keys[number * count : (number + 1) * count])) == count
    assert keys[:count] != keys[count : 2 * count]


def test_a_step_depends_on_seed_member_and_number_alone(phantom_store):
    batches = batches_of(phantom_store, config_of())
    images = batches.batch(9)[0]
    torch.manual_seed(3)
    assert torch.equal(batches_of(phantom_store, config_of()).batch(9)[0], images)
    others = [batches.batch(8), batches_of(phantom_store, config_of(), member=1).batch(9)]
    others.append(batches_of(phantom_store, config_of("train.seed=1")).batch(9))
    assert not any(torch.equal(other[0], images) for other in others)


def test_a_stated_share_is_synthetic(phantom_store):
    batches = batches_of(phantom_store, config_of(*STILL, "train.batch_size=9"), extra_of(phantom_store))
    assert (batches.synthetic, batches.real) == (3, 6)
    shown = []
    for step in range(7):
        images, masks = batches.batch(step)
        ids = images[:, 0, 0, 0] >= 100 - 1e-3
        assert ids.tolist() == [False] * 6 + [True] * 3
        assert bool((masks[6:] == 1).all())
        shown += images[6:, 0, 0, 0].round().int().tolist()
    assert sorted(shown) == sorted([*range(100, 107)] * 3)  # rounds here too


def test_real_slices_are_the_same_with_synthetic_ones_beside_them(phantom_store):
    """Arms differ in what is added, not in the order of what is shared."""
    with_extra = batches_of(phantom_store, config_of(*STILL, "train.batch_size=6"), extra_of(phantom_store))
    alone = batches_of(phantom_store, config_of(*STILL, "train.batch_size=4"))
    torch.testing.assert_close(with_extra.batch(3)[0][:4], alone.batch(3)[0], rtol=0, atol=1e-4)


def with_lesion(masks) -> list[bool]:
    return (masks == 1).any(dim=(1, 2)).tolist()


def test_a_share_of_lesion_slices_is_sure(phantom_store):
    batches = batches_of(phantom_store, config_of(*STILL, "train.batch_size=8", "train.lesion_share=0.75"))
    plain = batches_of(phantom_store, config_of(*STILL, "train.batch_size=2"))
    for step in range(6):
        images, masks = batches.batch(step)
        assert with_lesion(masks)[:6] == [True] * 6
        assert torch.equal(images[6:], plain.batch(step)[0])  # the rest comes from rounds of all
    count = len(batches.lesion_rows)
    shown = torch.cat([batches.batch(step)[0][:6] for step in range(count)])  # six rounds
    for number in range(6):
        assert len({image.numpy().tobytes() for image in shown[number * count : (number + 1) * count]}) == count


def test_where_no_slice_has_a_lesion_none_is_sure(phantom_store):
    rows = phantom_store.select()
    rows = rows[phantom_store.index["lesion_voxels"][rows] == 0]
    config = config_of("train.lesion_share=1")
    assert not any(with_lesion(SegBatches(phantom_store, rows, None, config, 0, torch.device("cpu")).batch(0)[1]))


def test_synthetic_slices_alone(phantom_store, monkeypatch):
    extra = extra_of(phantom_store)
    monkeypatch.setattr(type(phantom_store), "read", lambda *unused: pytest.fail("a real slice was read"))
    images, masks = batches_of(phantom_store, config_of(*STILL, "train.synthetic_share=1"), extra).batch(0)
    assert bool((images >= 100).all())
    assert masks.shape == (5, 32, 32)


def test_lesion_slices_are_sure_among_synthetic_ones_too(phantom_store):
    extra = extra_of(phantom_store, 9)
    extra.masks_NHW[2:] = 0
    settings = ["train.batch_size=4", "train.synthetic_share=0.5", "train.lesion_share=0.5"]
    batches = batches_of(phantom_store, config_of(*STILL, *settings), extra)
    for step in range(5):
        images, masks = batches.batch(step)
        assert with_lesion(masks)[0]
        assert with_lesion(masks)[2]
        assert float(images[2, 0, 0, 0]) in (100, 101)


@pytest.mark.parametrize("count", [2, 3, 50])
def test_shuffled_masks_are_all_there_and_all_elsewhere(count):
    masks = np.broadcast_to(np.arange(count, dtype=np.uint8)[:, None, None], (count, 2, 2))
    extra = Slices(np.zeros((count, 1, 2, 2), np.float16), masks)
    for seed in range(20):
        handed = with_each_others_masks(extra, generator_for(seed, "ring")).masks_NHW[:, 0, 0]
        assert sorted(handed) == list(range(count))
        assert (handed != np.arange(count)).all()


def test_one_slice_alone_keeps_its_mask(phantom_store):
    with pytest.raises(ValueError, match="no other one"):
        with_each_others_masks(extra_of(phantom_store, 1), generator_for(0, "ring"))


def test_the_control_differs_in_synthetic_masks_alone(phantom_store):
    extra = extra_of(phantom_store)
    extra.masks_NHW[:, 0] = 2 * (np.arange(7) % 2)[:, None]
    own = batches_of(phantom_store, config_of(*STILL), extra)
    control = batches_of(phantom_store, config_of(*STILL, "train.shuffle_synthetic_masks=true"), extra)
    pairs = [(own.batch(step), control.batch(step)) for step in range(7)]
    assert all(torch.equal(a[0], b[0]) and torch.equal(a[1][:4], b[1][:4]) for a, b in pairs)
    assert any(not torch.equal(a[1][4:], b[1][4:]) for a, b in pairs)
    again = batches_of(phantom_store, config_of(*STILL, "train.shuffle_synthetic_masks=true"), extra)
    assert torch.equal(again.batch(3)[1], pairs[3][1][1])


def test_copy_paste_adds_lesions_and_changes_nothing_else(phantom_store):
    settings = [*STILL, "train.batch_size=8"]
    plain = batches_of(phantom_store, config_of(*settings))
    pasting = batches_of(phantom_store, config_of(*settings, "train.copypaste=0.5"))
    changed = 0
    for step in range(4):
        (images, masks), (pasted, pasted_masks) = plain.batch(step), pasting.batch(step)
        different = (images != pasted).flatten(1).any(1)
        assert int(different.sum()) <= 4
        assert torch.equal(masks[~different], pasted_masks[~different])
        assert bool((pasted_masks[masks == 1] == 1).all())
        changed += int(different.sum())
    assert changed >= 8
    assert torch.equal(pasting.batch(2)[0], batches_of(phantom_store, pasting.config).batch(2)[0])
    other = batches_of(phantom_store, config_of(*settings, "train.copypaste=0.5"), member=1)
    assert not torch.equal(pasting.batch(2)[0], other.batch(2)[0])


def test_no_augmentation_gives_the_stores_own_values(phantom_store):
    batches = batches_of(phantom_store, config_of(*STILL))
    stored = {image.astype(np.float32).tobytes() for image in phantom_store.images}
    assert all(image.numpy().tobytes() in stored for image in batches.batch(0)[0])


@pytest.mark.parametrize(
    ("size", "share", "expected"),
    [(30, 1 / 3, (10, 20)), (8, 1 / 3, (2, 6)), (10, 0.99, (9, 1)), (1, 0.5, (0, 1)), (6, 1.0, (6, 0))],
)
def test_the_share_is_at_most_what_is_set(size, share, expected):
    config = config_of(f"train.batch_size={size}", f"train.synthetic_share={share}")
    assert split_batch(config, True) == expected
    assert split_batch(config, False) == (0, size)


def test_steps_come_from_epochs_unless_they_are_set():
    config = SegConfig()
    assert steps_of(config, 30) == 50
    assert steps_of(config, 31) == 100
    published = SegConfig.for_segmenter("li2018")  # 4 N slices an epoch, 30 a step, 50 epochs
    assert steps_of(published, 30) == 200
    assert steps_of(published, 31) == 250
    assert steps_of(published, 59 * 38) == 50 * 299
    assert steps_of(config_of("train.steps=7"), 31) == 7


def test_a_batch_may_be_larger_than_the_store(phantom_store):
    rows = phantom_store.select()[:2]
    batches = dataclasses.replace(phantom_store)
    few = SegBatches(batches, rows, None, config_of(*STILL), 0, torch.device("cpu"))
    assert few.batch(0)[0].shape[0] == 5
