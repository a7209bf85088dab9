"""Fingerprints: some hundred bits of a scan by which its patient is known in another form, and which are no picture.

A hash of voxels finds a scan that is the same to the bit. A fingerprint finds it re-saved, rescaled, with other
brightness, noise or a bias field, mirrored, turned by 90 degrees, cropped or resampled. It is made in five steps:

1. The head's outline (and, for a second print, the brain's) gives each axis an origin and a length: the mean and the
   standard deviation of its voxels.
2. The scan is resampled to `GRID` cells in these coordinates, and every cell is divided by the contrast around it.
3. A cosine transform along each axis keeps the first `WAVES` waves. Mirroring changes the signs of the odd ones.
4. The waves that are alike under mirroring (odd or even along each of three axes, eight classes) are projected on
   64 fixed directions of entries +1 and -1, and the signs of the projections are the bits of that class (SimHash:
   Charikar, STOC 2002). Eight classes weigh alike, so that what differs between left and right, which is a person's
   own, is half of a print.
5. Two prints agree in a share of their bits, 1 - angle / 180 degrees of what they were made from in the mean; 0.5 is
   chance. Of mirrored scans the same classes agree in the opposite bits, of turned ones the classes change places.

The first step is uncertain from the lowest to the highest slice, where scans are often cut. So the prints of one scan
are also made with its slices moved and stretched (`_MOVES`), and compared with the unmoved print of another; and the
fourth step is made twice, with other directions. All this stays where the scan is. What travels with a generator is
one unmoved print of head and brain, ``2 × 512`` bits a channel: see docs/guides/privacy.md for what they show.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product

import numpy as np

from labelgan.data.volume import Volume

WARN_AT = 0.78
"""Share of equal bits from which two patients' scans are told as alike."""

REFUSE_AT = 0.82
"""Share of equal bits from which two patients' scans are taken for one scan in two forms."""

GRID = (24, 32, 32)  # cells along z, y, x
WAVES = (12, 16, 16)  # cosines kept along each
BITS = 512  # of a print
LEAST_SLICES = 5  # axial slices that are not of one value; fewer have no fingerprint

_SIZE = (40, 80, 80)  # voxels along z, y, x that a scan is averaged down to, about
_REACH, _CORE = 2.3, 1.8  # half the length of the grid, and of what the waves are taken from, standard deviations
_CELLS = 24  # that the waves are taken from, along each axis
_SMOOTH = 1.5  # cells: the neighbourhood whose mean and contrast are taken out
_MOVES = tuple(product((-0.3, -0.15, 0.0, 0.15, 0.3), (0.85, 1.0, 1.15)))  # of the slices: shift in sd, stretch
_PREFIX = "lg1:"  # of prints as text; another way to make them needs another
_HALVES = 2  # prints of one scan by different directions; the first travels
_CLASSES = tuple(product((0, 1), repeat=3))  # odd along z, y, x
_EACH = BITS // len(_CLASSES)  # bits of a class
_BLOCK = 256

PRINTS_SHAPE = (2, len(_MOVES), _HALVES, BITS // 8)
"""Of all the prints of an image, uint8."""

Prints = Mapping[str, np.ndarray]
"""Channel to (2, V, H, 64) uint8: of head and brain, V ways to move it, the unmoved one in the middle, H halves."""


def fingerprint(volume: Volume) -> np.ndarray | None:
    """Makes the prints of one image.

    Returns:
        (2, V, 2, 64) uint8, see `Prints`; None for an image of one value, with values that are not finite, or of fewer
        than `LEAST_SLICES` slices, of which too little is known.
    """
    from nibabel.orientations import apply_orientation, io_orientation

    image_ZYX = np.asarray(apply_orientation(volume.data, io_orientation(volume.affine))).T
    if min(image_ZYX.shape) < LEAST_SLICES or not np.isfinite(image_ZYX).all():
        return None
    image_ZYX = _without_empty(image_ZYX)
    if min(image_ZYX.shape) < LEAST_SLICES:
        return None
    from labelgan.data.prepare.brain_search import find_brain

    reduced = _averaged(image_ZYX, _SIZE)
    return np.stack([_bits(_pattern(reduced, _Frame.of(mask))) for mask in (_head(reduced), find_brain(reduced))])


def fingerprints(volumes: Mapping[str, Volume]) -> dict[str, np.ndarray]:
    """Makes the prints of a case, channel by channel; channels without one are left out."""
    found = {channel: fingerprint(volume) for channel, volume in volumes.items()}
    return {channel: prints for channel, prints in found.items() if prints is not None}


def unmoved(prints: np.ndarray) -> np.ndarray:
    """(2, 1, 1, 64): the part of an image's prints that may travel."""
    middle = prints.shape[1] // 2
    return prints[:, middle : middle + 1, :1]


def to_text(prints: np.ndarray) -> str:
    """Renders the part that may travel for JSON."""
    return _PREFIX + base64.b64encode(np.ascontiguousarray(unmoved(prints)).tobytes()).decode()


def from_text(text: str) -> np.ndarray:
    """Reads what `to_text` wrote; raises ValueError for anything else."""
    try:
        data = base64.b64decode(text.removeprefix(_PREFIX), validate=True)
        prints = np.frombuffer(data, np.uint8).reshape(2, 1, 1, BITS // 8)
    except (binascii.Error, ValueError):
        raise ValueError("is no fingerprint") from None
    if not text.startswith(_PREFIX):
        raise ValueError("is no fingerprint of this version's kind")
    return prints


@dataclass(frozen=True)
class Alike:
    """Two cases by their places in what was compared, the channel, and the share of equal bits there."""

    first: int
    second: int
    channel: str
    share: float


def alike_pairs(prints: Sequence[Prints], owners: Sequence[str], at_least: float = WARN_AT) -> list[Alike]:
    """Finds pairs of cases of two owners (patients) whose prints agree, the likest channel of each pair.

    Args:
        prints: of every case; no channel where nothing is known of it.
        owners: of every case.
        at_least: share of equal bits.
    """
    owner = np.unique(np.asarray(owners, dtype=str), return_inverse=True)[1] if owners else np.zeros(0, int)
    found: dict[tuple[int, int], Alike] = {}
    for channel in dict.fromkeys(name for entry in prints for name in entry):
        rows = np.array([number for number, entry in enumerate(prints) if channel in entry])
        every = [prints[row][channel] for row in rows]
        for start, shares in _shares(every, every, below_diagonal=True):
            near, other = np.nonzero(shares >= at_least)
            for i, j in zip(near + start, other, strict=True):
                first, second = sorted((int(rows[i]), int(rows[j])))
                if owner[first] != owner[second]:
                    _keep(found, Alike(first, second, channel, float(shares[i - start, j])))
    return sorted(found.values(), key=lambda pair: (pair.first, pair.second))


def alike_between(ours: Sequence[Prints], theirs: Sequence[Prints], at_least: float = REFUSE_AT) -> list[Alike]:
    """Finds pairs of one of ours and one of theirs whose prints agree, the likest channel of each pair.

    Channels are compared by name, and all with all where two cases have no name in common.
    """
    found: dict[tuple[int, int], Alike] = {}
    mine, others = _rows(ours), _rows(theirs)
    for name, other_name in product(mine, others):
        (rows, prints), (other_rows, other_prints) = mine[name], others[other_name]
        for start, shares in _shares(prints, other_prints):
            near, other = np.nonzero(shares >= at_least)
            for i, j in zip(near + start, other, strict=True):
                first, second = rows[i], other_rows[j]
                if name == other_name or not set(ours[first]) & set(theirs[second]):
                    _keep(found, Alike(first, second, name, float(shares[i - start, j])))
    return sorted(found.values(), key=lambda pair: (pair.first, pair.second))


def _rows(cases: Sequence[Prints]) -> dict[str, tuple[list[int], list[np.ndarray]]]:
    """By channel the cases that have it, and their prints."""
    rows: dict[str, tuple[list[int], list[np.ndarray]]] = {}
    for number, entry in enumerate(cases):
        for name, prints in entry.items():
            held = rows.setdefault(name, ([], []))
            held[0].append(number)
            held[1].append(prints)
    return rows


def _keep(found: dict[tuple[int, int], Alike], pair: Alike) -> None:
    known = found.get((pair.first, pair.second))
    if known is None or known.share < pair.share:
        found[pair.first, pair.second] = pair


def share_of_equal_bits(prints: np.ndarray, other: np.ndarray) -> float:
    """The likeness of two images' prints, whichever way one was moved, mirrored, turned or inverted."""
    return float(next(_shares([prints], [other]))[1][0, 0])


def _shares(
    prints: Sequence[np.ndarray], others: Sequence[np.ndarray], *, below_diagonal: bool = False
) -> Iterator[tuple[int, np.ndarray]]:
    """Gives the shares of equal bits in blocks: the first row and (rows, others), the best of all ways to compare.

    Args:
        prints: N times (2, V, H, 64).
        others: M times likewise; of these the unmoved ones count. Halves that are missing on a side do not.
        below_diagonal: compare each with those before it alone; the rest is 0.
    """
    halves = min((entry.shape[2] for entry in (*prints, *others)), default=1)
    still = [_signs(entry[:, entry.shape[1] // 2, :halves]) for entry in others]
    still = np.stack(still) if still else np.zeros((0, 2, halves, len(_CLASSES), _EACH), np.float32)
    for start in range(0, len(prints), _BLOCK):
        block = prints[start : start + _BLOCK]
        most = min(len(others), start + len(block)) if below_diagonal else len(others)
        best = np.zeros((len(block), len(others)), np.float32)
        for moves in {entry.shape[1] for entry in block}:
            rows = [row for row, entry in enumerate(block) if entry.shape[1] == moves]
            moved = _signs(np.stack([block[row][:, :, :halves] for row in rows]))
            for anchor, turned, move in product(range(2), (False, True), range(moves)):
                part = moved[:, anchor, move]
                part = part[:, :, _SWAPPED_CLASSES][..., _SWAPPED_BITS] if turned else part
                agree = [
                    part[:, :, k].reshape(len(rows), -1) @ still[:most, anchor, :, k].reshape(most, -1).T
                    for k in range(len(_CLASSES))
                ]
                best[rows, :most] = np.maximum(best[rows, :most], _largest_sum(agree))
        shares = 0.5 + best / (2 * BITS * halves)
        if below_diagonal:
            shares[np.arange(len(block))[:, None] + start <= np.arange(len(others))] = 0
        yield start, shares


def _largest_sum(agree: list[np.ndarray]) -> np.ndarray:
    """The greatest absolute sum over the classes, each with the sign that mirroring gives it (Walsh-Hadamard)."""
    for step in (1, 2, 4):
        agree = [agree[k] + agree[k + step] if not k & step else agree[k - step] - agree[k] for k in range(len(agree))]
    return np.abs(np.stack(agree)).max(0)


def _signs(prints: np.ndarray) -> np.ndarray:
    """(..., 64) bytes to (..., 8, 64) of +1 and -1, class by class."""
    bits = np.unpackbits(prints, axis=-1).reshape(*prints.shape[:-1], len(_CLASSES), _EACH)
    return bits.astype(np.float32) * 2 - 1


# Turning rows into columns, odd along y becomes odd along x; of classes alike along both, directions come in pairs.
_SWAPPED_CLASSES = [_CLASSES.index((z, x, y)) for z, y, x in _CLASSES]
_SWAPPED_BITS = np.roll(np.arange(_EACH), _EACH // 2)


@lru_cache(maxsize=1)
def _directions() -> np.ndarray:
    """(H, 8, 64, 384) of +1 and -1, the same for ever: bits of SHAKE-256.

    The second half of a class's directions are the first half with rows and columns changed, those of class (z, x, y)
    so changed, too: a turned image has the bits of the unturned one in other places.
    """
    waves = tuple(count // 2 for count in WAVES)
    shape = (_HALVES, len(_CLASSES), _EACH // 2, *waves)
    drawn = hashlib.shake_256(b"labelgan fingerprint 1").digest(int(np.prod(shape)) // 8)
    signs = np.unpackbits(np.frombuffer(drawn, np.uint8)).astype(np.float32).reshape(shape) * 2 - 1
    made = np.empty((_HALVES, len(_CLASSES), _EACH, *waves), np.float32)
    for number, swapped in enumerate(_SWAPPED_CLASSES):
        made[:, number, : _EACH // 2] = signs[:, number]
        made[:, swapped, _EACH // 2 :] = signs[:, number].swapaxes(-1, -2)
    return made.reshape(_HALVES, len(_CLASSES), _EACH, -1)


def _bits(pattern_ZYX: np.ndarray) -> np.ndarray:
    """(V, H, 64) uint8: the prints of a pattern, its slices moved in every way of `_MOVES`."""
    waves = np.einsum("bj,ck,ijk->ibc", _waves(1), _waves(2), pattern_ZYX, optimize=True)
    waves = np.stack([np.einsum("ai,ibc->abc", _waves(0, *move), waves, optimize=True) for move in _MOVES])
    classes = [waves[:, z::2, y::2, x::2].reshape(len(_MOVES), -1) for z, y, x in _CLASSES]
    signs = np.stack([np.einsum("vk,hbk->vhb", part, _directions()[:, n]) > 0 for n, part in enumerate(classes)], 2)
    return np.packbits(signs.reshape(len(_MOVES), _HALVES, BITS), axis=2)


@lru_cache(maxsize=64)
def _waves(axis: int, shift: float = 0.0, stretch: float = 1.0) -> np.ndarray:
    """(waves, cells of the grid): the grid between its cells, then cosines (DCT-II)."""
    from scipy.fft import dct

    cells = GRID[axis]
    places = (np.linspace(-_CORE, _CORE, _CELLS) * stretch + shift + _REACH) / (2 * _REACH) * (cells - 1)
    between = np.stack([np.interp(places, np.arange(cells), one) for one in np.eye(cells)], axis=1)
    cosines = np.asarray(dct(np.eye(_CELLS), norm="ortho", axis=0))[: WAVES[axis]]
    return (cosines @ between).astype(np.float32)


@dataclass(frozen=True)
class _Frame:
    """A mask, and where the cells of the grid lie along each axis, voxels: by mean and sd of the mask's voxels."""

    mask: np.ndarray
    places: list[np.ndarray]

    @classmethod
    def of(cls, mask: np.ndarray) -> _Frame:
        if mask.sum() < 8:
            mask = np.ones(mask.shape, bool)
        places = []
        for axis, (length, count) in enumerate(zip(mask.shape, GRID, strict=True)):
            share, at = mask.sum(axis=tuple({0, 1, 2} - {axis})) / mask.sum(), np.arange(length)
            middle = float(share @ at)
            spread = float(np.sqrt(share @ (at - middle) ** 2 + 1 / 12))  # a voxel's own is 1/12
            places.append(middle + spread * np.linspace(-_REACH, _REACH, count))
        return cls(mask, places)


def _pattern(image_ZYX: np.ndarray, frame: _Frame) -> np.ndarray:
    """The image on the grid, less the mean and over the contrast of each cell's neighbourhood inside the mask."""
    from scipy.ndimage import gaussian_filter

    low, high = np.percentile(image_ZYX, (0.5, 99.5))
    places = frame.places
    values = _at(np.clip(image_ZYX, low, high), places)
    z, y, x = ((place >= -0.5) & (place <= length - 0.5) for place, length in zip(places, image_ZYX.shape, strict=True))
    inside = z[:, None, None] & y[:, None] & x
    weights = np.clip(_at(frame.mask.astype(np.float32), places), 0, 1) * inside
    near = gaussian_filter(weights, _SMOOTH) + 1e-3
    rest = (values - gaussian_filter(values * weights, _SMOOTH) / near) * weights
    contrast = np.sqrt(gaussian_filter(rest**2, _SMOOTH) / near)
    usual = np.sqrt((rest**2).sum() / max(float(weights.sum()), 1e-6))
    rest = rest / (contrast + 0.25 * usual + 1e-9)
    return (rest - rest.sum() / max(float(weights.sum()), 1e-6) * weights).astype(np.float32)


def _at(image: np.ndarray, places: list[np.ndarray]) -> np.ndarray:
    """The image between its voxels, smoothed where cells are larger; beyond its border, the border."""
    from scipy.ndimage import gaussian_filter

    steps = [float(place[1] - place[0]) for place in places]
    image = gaussian_filter(image, [0.45 * step if step > 1.2 else 0 for step in steps], mode="nearest")
    for axis, place in enumerate(places):
        low = np.clip(np.floor(place).astype(int), 0, max(image.shape[axis] - 2, 0))
        high = np.minimum(low + 1, image.shape[axis] - 1)
        part = np.clip(place - low, 0, 1).reshape([-1 if a == axis else 1 for a in range(3)]).astype(np.float32)
        image = np.take(image, low, axis) * (1 - part) + np.take(image, high, axis) * part
    return image


def _without_empty(image: np.ndarray) -> np.ndarray:
    """Leaves out the planes along each axis that hold one value: what padding adds."""
    for axis in range(3):
        kept = np.ptp(image, axis=tuple({0, 1, 2} - {axis})) > 0
        if not kept.all():
            image = np.compress(kept, image, axis=axis)
        if not image.size:
            break
    return image


def _averaged(image: np.ndarray, target: tuple[int, ...]) -> np.ndarray:
    """Averages by whole factors down to about this many voxels along each axis; what is over at the end is lost."""
    factors = [
        -(-length // most) if length > 1.5 * most else 1 for length, most in zip(image.shape, target, strict=True)
    ]
    whole = [length // factor * factor for length, factor in zip(image.shape, factors, strict=True)]
    blocks = image[tuple(slice(length) for length in whole)].astype(np.float32)
    shape = [size for length, factor in zip(whole, factors, strict=True) for size in (length // factor, factor)]
    return blocks.reshape(shape).mean(axis=(1, 3, 5))


def _head(image_ZYX: np.ndarray) -> np.ndarray:
    """Finds what differs from the air at the image's sides: the largest piece, holes filled slice by slice."""
    from scipy import ndimage

    from labelgan.data.prepare.brain_search import LEVELS, fill_holes, otsu_threshold

    low, high = np.percentile(image_ZYX, (0.5, 99.5))
    values = np.clip(image_ZYX, low, high)
    sides = [values[:, [0, -1]].ravel(), values[:, :, [0, -1]].ravel()]
    apart = np.abs(values - np.median(np.concatenate(sides)))
    grey = np.floor(apart / max(float(apart.max()), 1e-30) * LEVELS).astype(np.int32)
    mask = grey > otsu_threshold(grey) / 2
    rim = np.concatenate([mask[:, 0], mask[:, -1], mask[:, :, 0], mask[:, :, -1]], axis=1).mean(axis=1) > 0.6
    if rim.mean() < 0.5:
        mask[rim] = False  # a slice without air among others that have it holds no head: a fault of the scanner
    labels, count = ndimage.label(mask)  # pyright: ignore[reportGeneralTypeIssues]
    if count > 1:
        sizes = np.bincount(labels.ravel())
        sizes[0] = 0
        mask = labels == sizes.argmax()
    return fill_holes(mask)
