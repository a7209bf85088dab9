from __future__ import annotations

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from labelgan.config.gan import MaskChannelConfig
from labelgan.core.rng import generator_for
from labelgan.gan.inputs.mask_channel import ENCODINGS, decode_mask, encode_mask

masks = hnp.arrays(bool, st.tuples(st.integers(1, 2), st.integers(1, 12), st.integers(1, 12)))
reaches = st.integers(1, 5)


def config(encoding: str, reach: int = 3) -> MaskChannelConfig:
    return MaskChannelConfig.build({"encoding": encoding, "reach_px": reach})


def encode(mask: np.ndarray, encoding: str, reach: int = 3) -> torch.Tensor:
    noise = torch.from_numpy(generator_for(2, "noise").normal(0, 3, mask.shape)).float()
    return encode_mask(torch.from_numpy(mask), config(encoding, reach), noise if encoding == "gaussian" else None)


@pytest.mark.parametrize("encoding", ENCODINGS)
@given(mask=masks, reach=reaches)
@settings(max_examples=30, deadline=None)
def test_decoding_gives_the_mask_back(encoding, mask, reach):
    channel = encode(mask, encoding, reach)
    assert channel.shape == (len(mask), 1, *mask.shape[1:])
    assert channel.dtype == torch.float32
    assert float(channel.abs().max()) <= 1.0
    assert np.array_equal(decode_mask(channel[:, 0]).numpy(), mask)


def euclidean(mask: np.ndarray) -> np.ndarray:
    """Distance to the nearest True pixel by SciPy, slice by slice; infinite where a slice has none."""
    distances = np.full(mask.shape, np.inf)
    for distance, plane in zip(distances, mask, strict=True):
        if plane.any():
            ndimage.distance_transform_edt(~plane, distances=distance)
    return distances


@given(mask=masks, reach=reaches)
@settings(max_examples=60, deadline=None)
def test_the_distance_is_the_euclidean_one_truncated(mask, reach):
    outside, inside = euclidean(mask), euclidean(~mask)
    signed = np.where(
        mask, np.where(inside <= reach, inside - 0.5, reach), -np.where(outside <= reach, outside - 0.5, reach)
    )
    np.testing.assert_allclose(encode(mask, "distance", reach)[:, 0].numpy(), signed / reach, rtol=1e-6)


@given(mask=masks, axis=st.sampled_from([1, 2]))
@settings(max_examples=30, deadline=None)
def test_flips_commute_with_the_distance(mask, axis):
    flipped = encode(np.flip(mask, axis).copy(), "distance")
    assert torch.equal(flipped, encode(mask, "distance").flip(axis + 1))


@given(mask=masks)
@settings(max_examples=20, deadline=None)
def test_the_complement_has_the_opposite_distance(mask):
    assert torch.equal(encode(~mask, "distance"), -encode(mask, "distance"))


def test_a_straight_edge_rises_by_one_pixel_a_pixel():
    mask = np.zeros((1, 5, 10), bool)
    mask[..., 5:] = True
    profile = encode(mask, "distance", 4)[0, 0, 2] * 4
    assert profile.tolist() == [-4.0, -3.5, -2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 3.5, 4.0]


def test_a_slice_without_lesion_is_flat():
    assert torch.equal(encode(np.zeros((1, 8, 8), bool), "distance"), torch.full((1, 1, 8, 8), -1.0))


def test_the_hard_encoding_has_two_values_and_the_gaussian_those_of_2019():
    mask = generator_for(0, "mask").random((4, 64, 64)) < 0.5
    assert set(encode(mask, "hard").unique().tolist()) == {-1.0, 1.0}
    noise = torch.from_numpy(generator_for(0, "noise").standard_normal(mask.shape)).float()
    magnitude = encode_mask(torch.from_numpy(mask), config("gaussian"), noise).abs()
    assert float(magnitude.mean()) == pytest.approx(0.5, abs=0.01)
    assert float(magnitude.std()) == pytest.approx(0.1, abs=0.01)
