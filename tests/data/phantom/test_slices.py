from __future__ import annotations

import io

import numpy as np
import pytest

from labelgan.core.errors import DataError
from labelgan.data.phantom.slices import ASSET, HIGHEST, LOWEST, PhantomSlices
from labelgan.data.slices import Slices


def squares(side: int, half: int, centre: tuple[int, int]) -> PhantomSlices:
    brains = np.zeros((3, side, side), bool)
    brains[:, centre[0] - half : centre[0] + half, centre[1] - half : centre[1] + half] = True
    images = np.where(brains[:, None], 1.0, -1.0).astype(np.float32).repeat(2, axis=1)
    heights = np.array([0.4, 0.5, 0.6], np.float32)
    return PhantomSlices(Slices(images, np.zeros(brains.shape, np.uint8), brains, heights), ("FLAIR", "T1"), 2.0)


@pytest.fixture(scope="module")
def shipped() -> PhantomSlices:
    return PhantomSlices.read()


def test_the_shipped_slices_are_normalised_brains(shipped):
    assert shipped.channels == ("FLAIR", "T1")
    slices = shipped.slices
    assert slices.images_NCHW.shape[1:] == (2, 128, 128)
    assert not slices.masks_NHW.any()
    inside = slices.images_NCHW.transpose(1, 0, 2, 3)[:, slices.brains_NHW]
    # z-scores within each volume; every height is drawn from equally
    assert np.abs(inside.mean(axis=1)).max() < 0.3
    assert np.abs(inside.std(axis=1) - 1).max() < 0.3
    assert ASSET.stat().st_size < 8 * 2**20


def test_eight_bits_come_back_within_half_a_step():
    written, stream = squares(16, 4, (8, 8)), io.BytesIO()
    written.write(stream)
    stream.seek(0)
    back = PhantomSlices.read(stream)
    assert np.abs(back.slices.images_NCHW - written.slices.images_NCHW).max() <= (HIGHEST - LOWEST) / 255 / 2 + 1e-6
    assert np.array_equal(back.slices.brains_NHW, written.slices.brains_NHW)
    assert (back.channels, back.pixel_mm) == (written.channels, 2.0)


@pytest.mark.parametrize(("side", "half", "centre"), [(32, 8, (16, 16)), (16, 3, (8, 8)), (40, 10, (15, 22))])
def test_heads_become_as_large_as_the_cohorts_and_go_where_they_are(side, half, centre):
    target = squares(side, half, centre).slices
    moved = squares(16, 4, (8, 8)).on_grid((side, side), target)
    wrong = (moved.brains_NHW != target.brains_NHW).mean()
    assert wrong < 0.02
    assert moved.images_NCHW[moved.brains_NHW[:, None].repeat(2, axis=1)].mean() > 0.8


def test_channels_are_put_in_order_or_refused(shipped):
    swapped = shipped.with_channels(("T1", "FLAIR"))
    assert swapped is not None
    assert np.array_equal(swapped.slices.images_NCHW[:, 0], shipped.slices.images_NCHW[:, 1])
    assert shipped.with_channels(("FLAIR", "T2")) is None


def test_a_damaged_file_is_told(tmp_path):
    path = tmp_path / "slices.npz"
    path.write_bytes(ASSET.read_bytes()[:1000])
    with pytest.raises(DataError, match="cannot be read"):
        PhantomSlices.read(path)
