"""Finding the brain in one volume by shape and relative brightness, without a trained model.

The volume is first brought to 1,024 grey levels between its own percentiles, so that nothing depends on the scanner's
scale; all lengths are shares of the head's width, since voxel sizes in headers are not always true.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self, cast

import numpy as np

LEVELS = 1023
ERODE, CLOSE, CORE = 0.02, 0.03, 0.2  # shares of the head's width: about 3, 5 and 35 mm
STRIPPED = 0.85  # a central piece that fills this much of the head has no skull around it
INF = float("inf")
SIDE = 64  # single slices are averaged down by whole factors to about this many pixels a side
# Tried in turn: least and greatest brightness of tissue beside the core's, and the erosion beside ERODE.
STRICTER = ((0.5, INF, 1.0), (0.6, INF, 1.0), (0.6, INF, 1.5), (0.7, INF, 1.5), (0.6, 1.8, 1.0), (0.6, 1.5, 1.5))
RIM, FREE = 0.05, 0.1  # scalp and skull, a share of the head's width; a piece with less of the rim is free of scalp


def find_brain(image_ZYX: np.ndarray) -> np.ndarray:
    """Gives the brain of a volume, skull on or stripped, in any T1- or FLAIR-like contrast.

    Tissue is what has at least half of the brightness of the head's core. Eroding it slice by slice detaches the scalp;
    the central piece of a slice at mid height is followed upwards and downwards, each slice inside the one before, and
    grown back. Where scalp stays attached, the least brightness and the erosion are raised, and at last what is
    much brighter than the core is left out first (a bright lesion inside comes back as a hole that is filled). A
    volume of constant background whose foreground is nearly all brain is stripped already: the foreground is the brain.

    Args:
        image_ZYX: axial slices from the lowest up; one slice is enough. Any scale.

    Returns:
        Boolean mask, the same for the image times any positive number. Never empty unless the image is constant: where
        no brain is found, whatever is brighter than the background.
    """
    foreground = image_ZYX > image_ZYX.min()
    grey = _grey_levels(image_ZYX)
    if grey.max() == 0:
        return foreground
    head, box = _whole_head(grey)
    inner = _Head.of(grey[box], head[box])
    if _stripped(foreground, head, inner):
        return fill_holes(_largest(foreground))
    brain = np.zeros(head.shape, dtype=bool)
    brain[box] = _in_head(inner)
    return brain if brain.any() else foreground


def find_brains(planes_NHW: np.ndarray) -> np.ndarray:
    """Finds the brain of every slice by itself, on the slice averaged down to about `SIDE` pixels and brought back.

    A slice alone tells less than a volume: where scalp touches the brain, some of it is taken along.

    Returns:
        (N, H, W) bool; all False for a slice of one value.
    """
    from scipy import ndimage

    height, width = planes_NHW.shape[1:]
    factor = max(1, round(max(height, width) / SIDE))
    margin = ((0, -height % factor), (0, -width % factor))
    found_NHW = np.zeros(planes_NHW.shape, bool)
    for plane, found in zip(planes_NHW, found_NHW, strict=True):
        padded = np.pad(plane, margin, mode="edge")
        rows, columns = padded.shape[0] // factor, padded.shape[1] // factor
        coarse = padded.reshape(rows, factor, columns, factor).mean((1, 3), dtype=np.float64)
        brain = find_brain(coarse[None])[0]
        if factor > 1:  # bilinear, between the centres of pixels
            share = ndimage.zoom(brain.astype(np.float32), factor, order=1, mode="nearest", grid_mode=True)
            brain = np.asarray(share) > 0.5
        found[:] = brain[:height, :width]
    return found_NHW


def find_head(image_ZYX: np.ndarray) -> np.ndarray | None:
    """Gives the head of a volume, holes filled in each axial slice; None where the image holds one value."""
    grey = _grey_levels(image_ZYX)
    return None if grey.max() == 0 else _whole_head(grey)[0]


def is_stripped(image_ZYX: np.ndarray) -> bool:
    """Tells whether the skull was taken off: constant outside, and the foreground is nearly all brain."""
    grey = _grey_levels(image_ZYX)
    if grey.max() == 0:
        return False
    head, box = _whole_head(grey)
    return _stripped(image_ZYX > image_ZYX.min(), head, _Head.of(grey[box], head[box]))


def _whole_head(grey: np.ndarray) -> tuple[np.ndarray, tuple[slice, ...]]:
    """The head, and the box that just holds it."""
    head = fill_holes(_largest(grey > otsu_threshold(grey) // 2))
    return head, tuple(_extent(np.asarray(head.any(axis=tuple({0, 1, 2} - {axis})))) for axis in range(3))


def _stripped(foreground: np.ndarray, head: np.ndarray, inner: _Head) -> bool:
    constant_outside = not head.all() and foreground[~head].mean() < 0.1
    return bool(constant_outside and _coverage(inner) > STRIPPED)


def otsu_threshold(grey: np.ndarray) -> int:
    """Otsu's threshold (1979) of grey levels: values above it are the bright class of the most distinct two."""
    counts = np.bincount(grey.ravel(), minlength=LEVELS + 1).astype(np.float64)
    below = np.cumsum(counts)
    above = below[-1] - below
    sums = np.cumsum(counts * np.arange(len(counts)))
    with np.errstate(invalid="ignore", divide="ignore"):
        between = below * above * (sums / below - (sums[-1] - sums) / above) ** 2
    return int(np.nanargmax(between[:-1]))


def fill_holes(mask_ZYX: np.ndarray) -> np.ndarray:
    """Fills the holes of each axial slice by itself."""
    from scipy import ndimage

    return np.stack([np.asarray(ndimage.binary_fill_holes(plane)) for plane in mask_ZYX])


def _grey_levels(image: np.ndarray) -> np.ndarray:
    """Whole levels 0 to 1023 from the 1st to the 99.5th percentile."""
    values = image.astype(np.float64)
    low, high = np.percentile(values, (1.0, 99.5))
    if high <= low:
        return np.zeros(image.shape, dtype=np.int32)
    # The uneven offset keeps whole-numbered intensities off the borders between levels, where a gain could tip them.
    return np.floor(np.clip((values - low) / (high - low), 0, 1) * LEVELS + 0.50123).astype(np.int32)


@dataclass(frozen=True)
class _Head:
    """A box that just holds the head.

    ``middle`` are the slices 40 to 80 % up, ``depths`` the distance of their pixels to the outside of the head,
    ``width`` the diameter of a disk as large as the head's largest slice, ``level`` the median grey of its core.
    """

    grey: np.ndarray
    mask: np.ndarray
    middle: slice
    depths: np.ndarray
    width: float
    level: float

    @classmethod
    def of(cls, grey: np.ndarray, mask: np.ndarray) -> Self:
        width = 2 * float(np.sqrt(mask.sum(axis=(1, 2)).max() / np.pi))
        middle = slice(int(0.4 * (len(mask) - 1)), int(np.ceil(0.8 * (len(mask) - 1))) + 1)
        depths = np.stack([_depth(plane) for plane in mask[middle]])
        core = depths > CORE * width
        level = float(np.median(grey[middle][core if core.any() else mask[middle]]))
        return cls(grey, mask, middle, depths, width, level)

    @property
    def core_depth(self) -> float:
        return CORE * self.width


@dataclass(frozen=True)
class _Start:
    """A slice, its central piece, how much of the head's rim the piece touches (0 to 1), and how it was found."""

    z: int
    piece: np.ndarray
    touch: float
    least: float
    greatest: float
    radius: float


def _coverage(head: _Head) -> float:
    """Share of the head that the central piece of tissue fills, the median over the middle slices."""
    shares = []
    radius = max(1.0, ERODE * head.width)
    for z, depth in enumerate(head.depths, head.middle.start):
        tissue = head.mask[z] & (head.grey[z] > STRICTER[0][0] * head.level)
        piece = _central_piece(tissue, depth > head.core_depth, radius)
        if piece is not None:
            filled = _close(_near(piece, 1.3 * radius) & tissue, CLOSE * head.width) & head.mask[z]
            shares.append(filled.sum() / head.mask[z].sum())
    return float(np.median(shares)) if shares else 0.0


def _in_head(head: _Head) -> np.ndarray:
    """The brain, by the first of `STRICTER` that detaches the scalp."""
    starts: list[_Start] = []
    for least, greatest, erosion in STRICTER:
        radius = max(1.0, ERODE * head.width * erosion)
        start = _best_start(head, least * head.level, greatest * head.level, radius)
        if start is not None:
            starts.append(start)
            if start.touch < FREE:
                break
    if not starts:
        return np.zeros_like(head.mask)
    best = min(starts, key=lambda start: start.touch)
    if best.touch > 0.5:
        best = starts[0]  # no scalp to detach, or no way to: the first is the fullest
    tissue = head.mask & (head.grey > best.least) & (head.grey < best.greatest)
    seeds = np.stack([_depth(plane) > best.radius for plane in tissue])
    followed = _follow(seeds, best.z, best.piece, max(1.0, 0.5 * head.width / len(seeds)))
    grown = np.stack([_near(seed, 1.3 * best.radius) & plane for seed, plane in zip(followed, tissue, strict=True)])
    return np.stack([_close(plane, CLOSE * head.width) for plane in grown]) & head.mask


def _best_start(head: _Head, least: float, greatest: float, radius: float) -> _Start | None:
    """The middle slice whose central piece is large and keeps off the head's rim."""
    best: tuple[float, _Start] | None = None
    for z, depth in enumerate(head.depths, head.middle.start):
        tissue = head.mask[z] & (head.grey[z] > least) & (head.grey[z] < greatest)
        piece = _central_piece(tissue, depth > head.core_depth, radius)
        if piece is None or np.count_nonzero(piece) <= 0.25 * np.count_nonzero(depth > radius):
            continue
        rim = (depth > radius) & (depth <= max(RIM * head.width, radius + 1))
        touch = float(np.count_nonzero(piece & rim) / max(1, np.count_nonzero(rim)))
        score = np.count_nonzero(piece) * (1 - touch) ** 2
        if best is None or score > best[0]:
            best = score, _Start(z, piece, touch, least, greatest, radius)
    return None if best is None else best[1]


def _central_piece(tissue: np.ndarray, core: np.ndarray, radius: float) -> np.ndarray | None:
    """Of the pieces that erosion leaves of a slice, the one that holds most of the core."""
    labels, count = _pieces(_depth(tissue) > radius)
    in_core = np.bincount(labels[core], minlength=count + 1)
    in_core[0] = 0
    return labels == in_core.argmax() if in_core.any() else None


def _follow(seeds: np.ndarray, start: int, piece: np.ndarray, step: float) -> np.ndarray:
    """From one slice to its neighbours, each no more than ``step`` pixels outside the one before."""
    found = np.zeros_like(seeds)
    found[start] = piece
    for rows in (range(start + 1, len(seeds)), range(start - 1, -1, -1)):
        previous = piece
        for z in rows:
            labels, _ = _pieces(seeds[z] & _near(previous, step))
            sizes = np.bincount(labels.ravel())
            sizes[0] = 0
            if not sizes.any():
                break
            previous = np.isin(labels, np.flatnonzero(sizes >= 0.1 * sizes.max()))
            found[z] = previous
    return found


def _pieces(mask: np.ndarray) -> tuple[np.ndarray, int]:
    from scipy import ndimage

    return cast(tuple[np.ndarray, int], ndimage.label(mask))


def _largest(mask: np.ndarray) -> np.ndarray:
    labels, count = _pieces(mask)
    if count == 0:
        return mask
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return labels == sizes.argmax()


def _extent(along: np.ndarray) -> slice:
    """From the first to the last True."""
    hits = np.flatnonzero(along)
    return slice(int(hits[0]), int(hits[-1]) + 1)


def _depth(plane: np.ndarray) -> np.ndarray:
    """Distance of each pixel to the outside of the mask, pixels; beyond the picture is outside."""
    from scipy import ndimage

    return np.asarray(ndimage.distance_transform_edt(np.pad(plane, 1)))[1:-1, 1:-1]


def _near(plane: np.ndarray, radius: float) -> np.ndarray:
    """Pixels no further than ``radius`` from the mask."""
    from scipy import ndimage

    return np.asarray(ndimage.distance_transform_edt(~plane)) <= radius if plane.any() else plane


def _close(plane: np.ndarray, radius: float) -> np.ndarray:
    """Morphological closing with a disk, then holes filled."""
    from scipy import ndimage

    margin = int(radius) + 2
    closed = _depth(_near(np.pad(plane, margin), radius)) > radius
    return np.asarray(ndimage.binary_fill_holes(closed))[margin:-margin, margin:-margin]
