from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelgan.core.rng import generator_for
from labelgan.data.store import SliceStore
from labelgan.seg.copypaste import CopyPaste, Paste, paste_lesions

SIZE = (24, 24)
STAY = Paste(flip=False, shift=(0, 0), margin=2.0)


def slice_with(value: float, lesion: tuple[slice, slice] | None = None) -> tuple[np.ndarray, np.ndarray]:
    """A slice of one value, its lesion 10 above it."""
    image, mask = np.full((2, *SIZE), value, np.float32), np.zeros(SIZE, np.uint8)
    if lesion is not None:
        image[:, *lesion] += 10
        mask[lesion] = 1
    return image, mask


def square(top: int, left: int, side: int = 4) -> tuple[slice, slice]:
    return slice(top, top + side), slice(left, left + side)


HEAD = np.ones(SIZE, bool)


def test_the_lesion_arrives_whole_and_its_surroundings_fade():
    source, target = slice_with(1, square(10, 10)), slice_with(0)
    image, mask = paste_lesions(source, target, HEAD, STAY)
    assert np.array_equal(mask, source[1])
    assert (image[:, *square(10, 10)] == 11).all()
    # margin 2: the weight one and two pixels away is 2/3 and 1/3, and 0 from there on
    np.testing.assert_allclose(image[0, 12, 14:18], [2 / 3, 1 / 3, 0, 0], atol=1e-6)
    assert (target[0] == 0).all()
    assert not target[1].any()


@given(flip=st.booleans(), down=st.integers(-9, 9), right=st.integers(-9, 9))
def test_it_goes_where_it_is_sent(flip, down, right):
    source = slice_with(1, (slice(8, 11), slice(9, 14)))
    image, mask = paste_lesions(source, slice_with(0), HEAD, Paste(flip, (down, right), 1.0))
    expected = source[1][:, ::-1] if flip else source[1]
    wide = np.pad(expected, 12)
    expected = wide[12 - down : 36 - down, 12 - right : 36 - right]
    assert np.array_equal(mask, expected)
    assert (image[0][mask == 1] == 11).all()


def test_masks_are_united():
    target = slice_with(0, square(2, 2))
    image, mask = paste_lesions(slice_with(1, square(14, 14)), target, HEAD, STAY)
    assert mask.sum() == 32
    assert (image[:, *square(2, 2)] == 10).all()


def test_nothing_is_pasted_outside_the_head_or_on_other_pathology():
    head = HEAD.copy()
    head[:, 12:] = False
    target = slice_with(0)
    target[1][10, :] = 2
    source = slice_with(1, square(10, 10))
    source[1][14, 10] = 2
    image, mask = paste_lesions(source, target, head, STAY)
    assert np.argwhere(mask == 1).tolist() == [[row, column] for row in (11, 12, 13) for column in (10, 11)]
    assert (mask[10] == 2).all()
    assert (image[:, :, 12:] == 0).all()
    assert (image[:, 10] == 0).all()
    assert (image[:, 14, 10] == 0).all()


def test_other_pathology_of_the_source_does_not_fade_into_the_target():
    source = slice_with(1, square(2, 2))
    source[1][square(16, 16)] = 2
    image, mask = paste_lesions(source, slice_with(0), HEAD, STAY)
    assert (image[:, 12:, 12:] == 0).all()
    assert not mask[12:, 12:].any()


def test_a_slice_without_lesion_gives_nothing():
    target = slice_with(0, square(2, 2))
    image, mask = paste_lesions(slice_with(1), target, HEAD, STAY)
    assert np.array_equal(image, target[0])
    assert np.array_equal(mask, target[1])


def pasted(store: SliceStore, share: float = 1.0, rows: np.ndarray | None = None, seed: int = 0):
    rows = store.select() if rows is None else rows
    part = store.read(rows)
    return part, CopyPaste(store, rows).paste(part, rows, share, generator_for(seed, "paste"))


def test_a_share_of_the_slices_gets_lesions_more(phantom_store):
    before, half = pasted(phantom_store, 0.5)
    changed = (before.images_NCHW != half.images_NCHW).any(axis=(1, 2, 3))
    assert 0.3 * len(before) < changed.sum() <= len(before) // 2
    assert np.array_equal(before.masks_NHW[~changed], half.masks_NHW[~changed])
    assert (half.masks_NHW[before.masks_NHW == 1] == 1).all()
    assert (half.masks_NHW == 1).sum() > 1.2 * (before.masks_NHW == 1).sum()
    outside = (before.brains_NHW == 0)[:, None] & np.ones_like(before.images_NCHW, bool)
    assert np.array_equal(before.images_NCHW[outside], half.images_NCHW[outside])
    none_before, none = pasted(phantom_store, 0.0)
    assert np.array_equal(none.images_NCHW, none_before.images_NCHW)


def test_the_stream_alone_decides(phantom_store):
    first, again, other = (pasted(phantom_store, 0.5, seed=seed)[1] for seed in (0, 0, 1))
    assert np.array_equal(first.images_NCHW, again.images_NCHW)
    assert not np.array_equal(first.images_NCHW, other.images_NCHW)


def test_lesions_come_from_other_patients_of_the_training_alone(phantom_store, monkeypatch):
    rows = phantom_store.select(exclude=["P003"])
    part, copypaste = phantom_store.read(rows), CopyPaste(phantom_store, rows)
    read: list[int] = []
    plain = SliceStore.read
    monkeypatch.setattr(SliceStore, "read", lambda self, rows: (read.extend(rows), plain(self, rows))[1])
    of_first = np.array([phantom_store.case_of(row).id == "P001" for row in rows])
    for chosen, donor in ((of_first, "P002"), (~of_first, "P001")):
        read.clear()
        copypaste.paste(
            dataclasses.replace(part, **{name: getattr(part, name)[chosen] for name in vars(part)}),
            rows[chosen],
            1.0,
            generator_for(0, "p"),
        )
        assert {phantom_store.case_of(row).id for row in read} == {donor}
        assert all(phantom_store.index["lesion_voxels"][row] > 0 for row in read)


def test_one_patient_alone_has_nobody_to_take_from(phantom_store):
    before, after = pasted(phantom_store, 1.0, phantom_store.select(exclude=["P002", "P003"]))
    assert np.array_equal(before.images_NCHW, after.images_NCHW)


def test_lesions_come_from_about_the_same_height(phantom_store):
    rows = phantom_store.select()
    copypaste, heights = CopyPaste(phantom_store, rows), phantom_store.index["z_fraction"]
    row = int(copypaste.donors[0])
    rng = generator_for(0, "height")
    donors = [copypaste._donor(row, rng) for _ in range(50)]
    assert all(abs(heights[donor] - heights[row]) <= 0.15 for donor in donors if donor is not None)
    assert len(set(donors)) > 1


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_what_was_read_is_not_changed(phantom_store, share):
    part, _ = pasted(phantom_store, share)
    fresh = phantom_store.read(phantom_store.select())
    assert np.array_equal(part.images_NCHW, fresh.images_NCHW)
    assert np.array_equal(part.masks_NHW, fresh.masks_NHW)
