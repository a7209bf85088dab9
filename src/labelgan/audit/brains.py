"""The brains of many single slices at once, fast: what `data.brain_search.find_brain` finds one by one.

The same search, on slices averaged down to about `SIDE` pixels, with all slices in step; its result is brought back
smoothly. A slice alone tells less than a volume: where scalp touches the brain, some of it is taken along.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from labelgan.data.prepare.brain_search import CLOSE, CORE, ERODE, FREE, LEVELS, RIM, STRICTER, STRIPPED

SIDE = 64
"""Slices are averaged down by whole factors to about this many pixels a side."""

_BLOCK = 128
_PLANE = np.array([[[0] * 3] * 3, [[0, 1, 0], [1, 1, 1], [0, 1, 0]], [[0] * 3] * 3])  # neighbours, in one slice only


def estimate_brains(images_NCHW: np.ndarray) -> np.ndarray:
    """Finds the brain in the first channel of every slice by itself.

    Returns:
        (N, H, W) uint8, the same whatever other slices are asked for; all 0 for a slice of one value.
    """
    height, width = images_NCHW.shape[2:]
    factor = max(1, round(max(height, width) / SIDE))
    found_NHW = np.zeros((len(images_NCHW), height, width), np.uint8)
    for start in range(0, len(images_NCHW), _BLOCK):
        rows = slice(start, start + _BLOCK)
        brains_Nhw = _find(_averaged(images_NCHW[rows, 0], factor))
        fine_NHW = brains_Nhw
        if factor > 1:
            coarse = torch.from_numpy(brains_Nhw.astype(np.float32))[:, None]
            fine_NHW = (F.interpolate(coarse, scale_factor=factor, mode="bilinear")[:, 0] > 0.5).numpy()
        found_NHW[rows] = fine_NHW[:, :height, :width]
    return found_NHW


def _averaged(planes_NHW: np.ndarray, factor: int) -> np.ndarray:
    count, height, width = planes_NHW.shape
    rows, columns = -(-height // factor), -(-width // factor)
    margin = ((0, 0), (0, rows * factor - height), (0, columns * factor - width))
    padded = np.pad(planes_NHW, margin, mode="edge")
    return padded.reshape(count, rows, factor, columns, factor).mean((2, 4), dtype=np.float64)


class _Heads(NamedTuple):
    """Grey levels, heads, squared depth in them, their width, core, and median grey in the core: (N, h, w) or (N,)."""

    grey: np.ndarray
    mask: np.ndarray
    depth2: np.ndarray
    width: np.ndarray
    core: np.ndarray
    level: np.ndarray

    def select(self, rows: np.ndarray) -> _Heads:
        return _Heads(*(part[rows] for part in self))

    def tissue(self, least: float, greatest: float) -> np.ndarray:
        bright = self.mask & (self.grey > _each(np.floor(least * self.level).astype(np.int16)))
        if greatest == np.inf:
            return bright
        return bright & (self.grey < _each(np.ceil(greatest * self.level).astype(np.int16)))


def _find(planes_NHW: np.ndarray) -> np.ndarray:
    """(N, h, w) bool: the steps of `find_brain` for volumes of one slice."""
    foreground = planes_NHW > _each(planes_NHW.min((1, 2)))
    grey = _grey_levels(planes_NHW)
    mask = _filled(_largest(grey > _each(_otsu_thresholds(grey) // 2)))
    varied = _count(grey) > 0
    brains = foreground.copy()
    if not varied.any():
        return brains
    heads = _heads(grey[varied], mask[varied])
    front = foreground[varied]
    outside = ~heads.mask
    constant = (_count(outside) > 0) & (_count(front & outside) < 0.1 * _count(outside))
    stripped = np.zeros(len(front), bool)
    if constant.any():
        stripped[constant] = _coverage(heads.select(constant)) > STRIPPED
    found = front.copy()
    if stripped.any():
        found[stripped] = _filled(_largest(front[stripped]))
    if not stripped.all():
        inside = _in_heads(heads.select(~stripped))
        found[~stripped] = np.where(_each(_count(inside) > 0), inside, front[~stripped])
    brains[varied] = found
    return brains


def _grey_levels(planes_NHW: np.ndarray) -> np.ndarray:
    """Whole levels from the 1st to the 99.5th percentile of each slice; all 0 where these are one."""
    low, high = (_each(part) for part in np.percentile(planes_NHW, (1.0, 99.5), axis=(1, 2)))
    span = np.where(high > low, high - low, np.inf)
    return np.floor(np.clip((planes_NHW - low) / span, 0, 1) * LEVELS + 0.50123).astype(np.int16)


def _otsu_thresholds(grey_NHW: np.ndarray) -> np.ndarray:
    """(N,) Otsu's thresholds, as `brain_search.otsu_threshold`."""
    count = len(grey_NHW)
    keys = grey_NHW.reshape(count, -1) + (LEVELS + 1) * np.arange(count, dtype=np.intp)[:, None]
    counts = np.bincount(keys.ravel(), minlength=count * (LEVELS + 1)).reshape(count, -1).astype(np.float64)
    below = counts.cumsum(1)
    above = below[:, -1:] - below
    sums = (counts * np.arange(LEVELS + 1)).cumsum(1)
    with np.errstate(invalid="ignore", divide="ignore"):
        between = below * above * (sums / below - (sums[:, -1:] - sums) / above) ** 2
    return np.nan_to_num(between[:, :-1], nan=-1.0).argmax(1)


def _heads(grey: np.ndarray, mask: np.ndarray) -> _Heads:
    width = 2 * np.sqrt(_count(mask) / np.pi)
    depth2 = _squared_depth(mask, int(max(CORE, RIM) * width.max()) + 3)
    core = depth2 > _each((CORE * width) ** 2)
    middle = np.where(_each(_count(core) > 0), core, mask)
    level = np.array([np.median(values[inside]) for values, inside in zip(grey, middle, strict=True)])
    return _Heads(grey, mask, depth2, width, core, level)


def _squared_depth(mask_NHW: np.ndarray, most: int) -> np.ndarray:
    """Squared distance to the outside, exact up to ``most`` pixels; beyond the picture is outside: (N, h, w).

    By Saito and Toriwaki (1994): the distance along columns first, then the least sum of squares along rows.
    """
    height, width = mask_NHW.shape[1:]
    padded = np.pad(mask_NHW, ((0, 0), (1, 1), (most, most)))
    row = np.arange(height + 2, dtype=np.int32)[None, :, None]
    above = np.maximum.accumulate(np.where(padded, 0, row), 1)
    below = np.minimum.accumulate(np.where(padded, height + 1, row)[:, ::-1], 1)[:, ::-1]
    along = np.minimum(np.minimum(row - above, below - row), most + 1)[:, 1:-1] ** 2
    found = along[:, :, most : most + width].copy()
    for right in range(-most, most + 1):
        if right:
            np.minimum(found, along[:, :, most + right : most + right + width] + right**2, out=found)
    return found


def _coverage(heads: _Heads) -> np.ndarray:
    """(N,) share of the head that the central piece of tissue fills; 0 where there is none."""
    radius = np.maximum(1.0, ERODE * heads.width)
    tissue = heads.tissue(STRICTER[0][0], np.inf)
    piece = _central(_eroded(tissue, radius), heads.core)
    whole = _closed(_near(piece, 1.3 * radius) & tissue, CLOSE * heads.width) & heads.mask
    return np.where(_count(piece) > 0, _count(whole) / np.maximum(_count(heads.mask), 1), 0.0)


def _in_heads(heads: _Heads) -> np.ndarray:
    """The brains, each by the first of `STRICTER` that detaches the scalp, else as `brain_search` chooses."""
    count = len(heads.mask)
    tries = len(STRICTER)
    touch = np.full((tries, count), np.inf)
    pieces = np.zeros((tries, *heads.mask.shape), bool)
    left = np.arange(count)
    for number, (least, greatest, erosion) in enumerate(STRICTER):
        part = heads.select(left)
        radius = np.maximum(1.0, ERODE * part.width * erosion)
        piece = _central(_eroded(part.tissue(least, greatest), radius), part.core)
        inner = part.depth2 > _each(radius**2)
        large = _count(piece) > 0.25 * _count(inner)
        rim = inner & (part.depth2 <= _each(np.maximum(RIM * part.width, radius + 1) ** 2))
        touched = _count(piece & rim) / np.maximum(_count(rim), 1)
        touch[number, left] = np.where(large, touched, np.inf)
        pieces[number, left] = piece
        left = left[touch[number, left] >= FREE]
        if not len(left):
            break
    chosen = touch.argmin(0)
    least_touch = touch.min(0)
    first = np.isfinite(touch).argmax(0)
    chosen = np.where(least_touch > 0.5, first, chosen)
    brains = np.zeros_like(heads.mask)
    has_piece = np.isfinite(least_touch)  # noise has none
    for number in np.unique(chosen[has_piece]):
        rows = np.flatnonzero((chosen == number) & has_piece)
        part = heads.select(rows)
        least, greatest, erosion = STRICTER[number]
        radius = np.maximum(1.0, ERODE * part.width * erosion)
        grown = _near(pieces[number, rows], 1.3 * radius) & part.tissue(least, greatest)
        brains[rows] = _closed(grown, CLOSE * part.width) & part.mask
    return brains


def _each(values_N: np.ndarray) -> np.ndarray:
    return values_N[:, None, None]


def _count(mask_NHW: np.ndarray) -> np.ndarray:
    """(N,) pixels that are not 0."""
    return np.array([np.count_nonzero(plane) for plane in mask_NHW])


def _labelled(mask_NHW: np.ndarray) -> tuple[np.ndarray, int]:
    """Numbers the 4-connected pieces of all slices from 1."""
    from scipy.ndimage import label

    labels_NHW, count = label(mask_NHW, _PLANE)  # pyright: ignore[reportGeneralTypeIssues]
    return np.asarray(labels_NHW), int(count)


def _most(mask_NHW: np.ndarray, sizes: Callable[[np.ndarray, int], np.ndarray]) -> np.ndarray:
    """Keeps of each slice the piece of greatest size, the first of several; none where all sizes are 0."""
    labels_NHW, count = _labelled(mask_NHW)
    # pieces are numbered slice by slice
    last = np.maximum.accumulate(labels_NHW.reshape(len(labels_NHW), -1).max(1))
    owner = np.searchsorted(last, np.arange(count + 1))
    size = sizes(labels_NHW, count)
    order = np.argsort(-size, kind="stable")[::-1]
    order = order[(size[order] > 0) & (order > 0)]
    best = np.full(len(mask_NHW), -1)
    best[owner[order]] = order  # the last entered stands
    return labels_NHW == _each(best)


def _largest(mask_NHW: np.ndarray) -> np.ndarray:
    return _most(mask_NHW, lambda labels, count: np.bincount(labels.ravel(), minlength=count + 1))


def _central(mask_NHW: np.ndarray, core_NHW: np.ndarray) -> np.ndarray:
    """The piece of each slice that holds most of the core."""
    return _most(mask_NHW, lambda labels, count: np.bincount(labels[core_NHW], minlength=count + 1))


def _filled(mask_NHW: np.ndarray) -> np.ndarray:
    """Fills the holes of each slice."""
    air = np.pad(~mask_NHW, ((0, 0), (1, 1), (1, 1)), constant_values=True)
    labels, _ = _labelled(air)
    return (labels != labels[:, :1, :1])[:, 1:-1, 1:-1]


def _near(mask_NHW: np.ndarray, radius_N: np.ndarray, beyond: bool = False) -> np.ndarray:
    """Pixels no further than a slice's radius from its mask; beyond the picture is mask, or is not."""
    reach = int(radius_N.max())
    height, width = mask_NHW.shape[1:]
    padded = np.pad(mask_NHW, ((0, 0), (reach, reach), (reach, reach)), constant_values=beyond)
    found = mask_NHW.copy()
    for down in range(-reach, reach + 1):
        for right in range(-reach, reach + 1):
            within_N = np.hypot(down, right) <= radius_N
            if not within_N.any():
                continue
            moved = padded[:, reach + down : reach + down + height, reach + right : reach + right + width]
            found |= moved if within_N.all() else moved & _each(within_N)
    return found


def _eroded(mask_NHW: np.ndarray, radius_N: np.ndarray) -> np.ndarray:
    """Pixels further than a slice's radius from the outside of its mask; beyond the picture is outside."""
    return ~_near(~mask_NHW, radius_N, beyond=True)


def _closed(mask_NHW: np.ndarray, radius_N: np.ndarray) -> np.ndarray:
    """Morphological closing with a disk, then holes filled."""
    margin = int(radius_N.max()) + 2
    padded = np.pad(mask_NHW, ((0, 0), (margin, margin), (margin, margin)))
    return _filled(_eroded(_near(padded, radius_N), radius_N))[:, margin:-margin, margin:-margin]
