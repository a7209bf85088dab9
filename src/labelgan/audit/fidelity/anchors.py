"""Real slices, degraded: what the bad anchor of a distance is measured on."""

from __future__ import annotations

import dataclasses

import numpy as np

from labelgan.audit.slices import AuditSlices
from labelgan.config.audit import FidelityConfig
from labelgan.core.rng import generator_for

_BLOCK = 256


def noisy(slices: AuditSlices, config: FidelityConfig, seed: int) -> AuditSlices:
    """Adds noise of every scale alike to the images, and moves each mask by up to an eighth of the slice."""
    images_NCHW = slices.images_NCHW.copy()
    masks_NHW = np.empty_like(slices.masks_NHW)
    height, width = slices.size
    for row in range(len(slices)):
        draw = generator_for(seed, "spoilt", "noise", row)
        noise_CHW = np.float32(config.noise) * octave_noise(images_NCHW.shape[1:], draw)
        images_NCHW[row] = slices.z_scores(row) + noise_CHW
        down, right = (int(draw.integers(-side // 8, side // 8 + 1)) for side in (height, width))
        masks_NHW[row] = shifted(slices.masks_NHW[row], down, right)
    return dataclasses.replace(slices, images_NCHW=images_NCHW, masks_NHW=masks_NHW)


def blurred(slices: AuditSlices, config: FidelityConfig) -> AuditSlices:
    """Blurs the images by a Gaussian, and gives the masks what lies within its standard deviation of them."""
    from scipy import ndimage

    sd = config.blur * slices.size[1]
    images_NCHW = np.empty_like(slices.images_NCHW)
    for rows in slices.blocks(_BLOCK):
        images_NCHW[rows] = ndimage.gaussian_filter(slices.z_scores(rows), (0, 0, sd, sd), mode="nearest")
    wider = [
        np.asarray(ndimage.distance_transform_edt(mask != 1)) <= max(1.0, sd) if (mask == 1).any() else mask == 1
        for mask in slices.masks_NHW
    ]
    masks_NHW = np.where(np.stack(wider) & (slices.masks_NHW != 2), 1, slices.masks_NHW).astype(np.uint8)
    return dataclasses.replace(slices, images_NCHW=images_NCHW, masks_NHW=masks_NHW)


def repeated(slices: AuditSlices, seed: int) -> AuditSlices:
    """One slice in fifty, and these over and over: what a generator gives that has lost most of its modes."""
    count = max(1, len(slices) // 50)
    few = generator_for(seed, "spoilt", "repeated").permutation(len(slices))[:count]
    return slices.select(np.resize(few, len(slices)))


def octave_noise(shape: tuple[int, ...], draw: np.random.Generator) -> np.ndarray:
    """Gaussian noise (..., H, W) of variance 1: white noise on grids of 1, 2, 4, ... pixels in equal parts, float32."""
    *others, height, width = shape
    octaves = max(1, int(np.log2(min(height, width))) - 2)
    total = np.zeros(shape, np.float32)
    for octave in range(octaves):
        step = 2**octave
        coarse = draw.standard_normal((*others, -(-height // step), -(-width // step)), dtype=np.float32)
        total += coarse.repeat(step, axis=-2).repeat(step, axis=-1)[..., :height, :width]
    return total / np.float32(np.sqrt(octaves))


def shifted(plane_HW: np.ndarray, down: int, right: int) -> np.ndarray:
    """Moves a plane by whole pixels; zeros come in."""
    height, width = plane_HW.shape
    moved = np.zeros_like(plane_HW)
    rows, columns = slice(max(0, down), height + min(0, down)), slice(max(0, right), width + min(0, right))
    moved[rows, columns] = plane_HW[max(0, -down) : height - max(0, down), max(0, -right) : width - max(0, right)]
    return moved
