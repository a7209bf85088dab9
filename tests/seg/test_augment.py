from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from labelgan.config.seg import SegAugmentConfig
from labelgan.core.rng import generator_for
from labelgan.seg.augment import AffineParams, apply_affine, draw_affine


def moves_of(
    flip: bool = False, angle: float = 0.0, shear: float = 0.0, zoom: float = 1.0, count: int = 1
) -> AffineParams:
    zooms = np.full((count, 2), float(zoom))
    return AffineParams(np.full(count, flip), np.full(count, np.deg2rad(angle)), np.full(count, shear), zooms)


def slices(count: int = 2, size: tuple[int, int] = (24, 32)) -> tuple[torch.Tensor, torch.Tensor]:
    rng = generator_for(0, "slices")
    images = torch.from_numpy(rng.standard_normal((count, 2, *size), dtype=np.float32))
    return images, torch.from_numpy(rng.integers(0, 3, (count, *size), dtype=np.uint8))


def test_doing_nothing_is_the_identity():
    images, masks = slices()
    same, same_masks = apply_affine(images, masks, moves_of(count=2))
    assert same is images
    assert same_masks is masks


@pytest.mark.parametrize("name", ["flip", "angle", "shear", "zoom"])
def test_one_moved_slice_leaves_the_others_in_place(name):
    images, masks = slices()
    still = moves_of(count=2)
    value = getattr(still, name)
    moves = dataclasses.replace(still, **{name: (value.T + np.array([0, 0.2])).T})
    if name == "flip":
        moves = dataclasses.replace(still, flip=np.array([False, True]))
    moved, moved_masks = apply_affine(images, masks, moves)
    torch.testing.assert_close(moved[0], images[0], rtol=0, atol=1e-4)
    assert torch.equal(moved_masks[0], masks[0])
    assert not torch.equal(moved_masks[1], masks[1])


def test_a_flip_turns_columns_round():
    images, masks = slices()
    flipped, flipped_masks = apply_affine(images, masks, moves_of(flip=True, count=2))
    torch.testing.assert_close(flipped, images.flip(3), rtol=0, atol=1e-4)
    assert torch.equal(flipped_masks, masks.flip(2))


def test_a_quarter_turn_is_a_quarter_turn():
    images, masks = slices(size=(24, 24))
    turned, turned_masks = apply_affine(images, masks, moves_of(angle=90, count=2))
    torch.testing.assert_close(turned, torch.rot90(images, 1, (2, 3)), rtol=0, atol=1e-4)
    assert torch.equal(turned_masks, torch.rot90(masks, 1, (1, 2)))


@pytest.mark.parametrize("size", [(40, 40), (32, 56)])
def test_a_rotation_keeps_shapes_on_oblong_slices(size):
    """A disc about the centre stays that disc: pixels are turned, not shares of the sides."""
    rows, columns = np.indices(size) + 0.5
    disc = (rows - size[0] / 2) ** 2 + (columns - size[1] / 2) ** 2 < 100
    mask = torch.from_numpy(disc.astype(np.uint8))[None]
    _, turned = apply_affine(torch.zeros(1, 1, *size), mask, moves_of(angle=30))
    assert (turned != mask).float().sum() < 0.06 * disc.sum()


def test_zoom_and_shear():
    mask = torch.zeros(1, 40, 40, dtype=torch.uint8)
    mask[0, 14:26, 14:26] = 1  # at a zoom of a half pixels are read at odd edges: none of these lies on the square's
    image = mask[:, None].float()
    assert apply_affine(image, mask, moves_of(zoom=2))[1].sum() == 24**2
    assert apply_affine(image, mask, moves_of(zoom=0.5))[1].sum() == 6**2
    sheared = apply_affine(image, mask, moves_of(shear=0.5))[1]
    assert sheared.sum() == pytest.approx(144, abs=6)
    first = [int(row.nonzero()[0]) for row in sheared[0] if row.any()]
    assert first[0] - first[-1] == pytest.approx(6, abs=1)  # columns move with the row, half a pixel each


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10_000))
def test_image_and_mask_move_together_and_labels_stay_labels(seed):
    rows, columns = np.indices((48, 48))
    blob = ((rows - 20) ** 2 + (columns - 30) ** 2 < 60).astype(np.uint8)
    blob[10:14, 10:20] = 2
    masks = torch.from_numpy(blob)[None].repeat(3, 1, 1)
    images = masks[:, None].float()
    moved, moved_masks = apply_affine(images, masks, draw_affine(generator_for(seed, "m"), 3, SegAugmentConfig()))
    assert moved_masks.dtype == torch.uint8
    assert set(moved_masks.unique().tolist()) <= {0, 1, 2}
    # where the moved image is sure, the moved mask says the same
    for label in (0, 1, 2):
        sure = (moved[:, 0] - label).abs() < 1e-3
        if label == 1:  # between 0 and 2 lies 1
            sure &= moved_masks != 0
            sure &= moved_masks != 2
        assert (moved_masks[sure] == label).all()
    assert float((moved_masks == 1).sum()) > 100


def test_what_comes_in_from_outside_is_edge_and_background():
    image, mask = torch.full((1, 1, 16, 16), 3.0), torch.ones(1, 16, 16, dtype=torch.uint8)
    moved, moved_mask = apply_affine(image, mask, moves_of(zoom=0.5))
    assert bool((moved == 3).all())
    assert int(moved_mask.sum()) == 64


def test_columns_and_rows_are_zoomed_apart():
    mask = torch.zeros(1, 40, 40, dtype=torch.uint8)
    mask[0, 14:26, 14:26] = 1
    moves = dataclasses.replace(moves_of(), zoom=np.array([[2.0, 1.0]]))
    _, wide = apply_affine(mask[:, None].float(), mask, moves)
    assert wide[0].any(dim=0).sum() == 24  # columns
    assert wide[0].any(dim=1).sum() == 12  # rows


def test_draws_keep_to_their_ranges_and_their_stream():
    config = SegAugmentConfig(flip=0.25, rotate=10, shear=0.2, zoom=(0.5, 2.0))
    moves = draw_affine(generator_for(0, "a"), 4000, config)
    assert len(moves) == 4000
    assert moves.flip.mean() == pytest.approx(0.25, abs=0.03)
    for values, low, high in (
        (np.rad2deg(moves.angle), -10, 10),
        (moves.shear, -0.2, 0.2),
        (moves.zoom, 0.5, 2.0),
    ):
        assert low <= values.min() < low + 0.01 * (high - low)
        assert high - 0.01 * (high - low) < values.max() <= high
    again = draw_affine(generator_for(0, "a"), 4000, config)
    assert np.array_equal(moves.matrices, again.matrices)
    assert not np.array_equal(moves.matrices, draw_affine(generator_for(1, "a"), 4000, config).matrices)


def test_a_share_is_moved_and_the_rest_is_as_it_was():
    config = SegAugmentConfig(moved=0.5)
    moves = draw_affine(generator_for(0, "a"), 4000, config)
    moved = moves.angle != 0
    assert moved.mean() == pytest.approx(0.5, abs=0.03)
    assert np.array_equal(moves.shear != 0, moved)
    assert np.array_equal(moves.zoom != 1, np.repeat(moved[:, None], 2, axis=1))
    for part in (moved, ~moved):  # both are mirrored as often
        assert moves.flip[part].mean() == pytest.approx(0.5, abs=0.04)
    everything = draw_affine(generator_for(0, "a"), 4000, SegAugmentConfig())
    assert np.array_equal(moves.angle[moved], everything.angle[moved])


def test_the_two_zooms_are_one_draw_or_two_that_know_nothing_of_each_other():
    one = draw_affine(generator_for(0, "a"), 4000, SegAugmentConfig())
    assert np.array_equal(one.zoom[:, 0], one.zoom[:, 1])
    two = draw_affine(generator_for(0, "a"), 4000, SegAugmentConfig(zoom_apart=True))
    assert abs(np.corrcoef(two.zoom.T)[0, 1]) < 0.05  # 3 standard errors
    assert 0.9 <= two.zoom.min() < 0.901
    assert 1.099 < two.zoom.max() <= 1.1


def test_settings_that_do_nothing():
    still = SegAugmentConfig(flip=0, rotate=0, shear=0, zoom=(1, 1))
    moves = draw_affine(generator_for(0, "a"), 5, still)
    assert moves.is_identity
    assert np.array_equal(moves.matrices, np.tile(np.eye(2), (5, 1, 1)))
