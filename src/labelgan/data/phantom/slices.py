"""Slices of healthy phantoms that come with the package: anatomies that belong to nobody, without lesions.

Made by tools/make_phantom_slices.py. They are kept in eight bits a pixel on a grid finer than most, and brought to a
store's grid at the size that its patients' heads have.
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, Self

import numpy as np

from labelgan.data.reading.header import untrusted
from labelgan.data.reading.npz import read_array
from labelgan.data.slices import Slices

ASSET = Path(__file__).parents[2] / "assets" / "phantom_slices.npz"
LOWEST, HIGHEST = -3.0, 7.0  # z-scores that 0 and 255 stand for
MIDDLE = (0.4, 0.8)  # heights of the slices that tell how large a head is


@dataclass(frozen=True, eq=False)
class PhantomSlices:
    """Healthy slices as the package ships them.

    Attributes:
        slices: images, brains and heights; all masks are empty.
        channels: what the channels show.
        pixel_mm: side of a pixel.
    """

    slices: Slices
    channels: tuple[str, ...]
    pixel_mm: float

    def write(self, stream: IO[bytes]) -> None:
        """Writes them as a compressed NumPy archive, the images in eight bits."""
        scaled = (self.slices.images_NCHW - LOWEST) / (HIGHEST - LOWEST) * 255
        np.savez_compressed(
            stream,
            images=np.rint(np.clip(scaled, 0, 255)).astype(np.uint8),
            brains=np.packbits(self.slices.brains_NHW, axis=-1),
            heights=self.slices.heights_N.astype(np.float32),
            channels=np.array(self.channels),
            pixel_mm=np.float32(self.pixel_mm),
        )

    @classmethod
    def read(cls, path: Path | IO[bytes] = ASSET) -> Self:
        """Reads what `write` wrote; raises DataError where the file is missing or damaged."""
        file = path if isinstance(path, Path) else Path("phantom slices")
        with untrusted(file, "the phantom slices of the package cannot be read"), zipfile.ZipFile(path) as archive:
            members = ("images", "brains", "heights", "channels", "pixel_mm")
            content = {name: read_array(file, archive, f"{name}.npy") for name in members}
            images = content["images"].astype(np.float32) / 255 * (HIGHEST - LOWEST) + LOWEST
            brains = np.unpackbits(content["brains"], axis=-1, count=images.shape[-1]).astype(bool)
            names = tuple(str(name) for name in content["channels"])
            return cls(_healthy(images, brains, content["heights"]), names, float(content["pixel_mm"]))

    def with_channels(self, channels: Sequence[str]) -> PhantomSlices | None:
        """The same slices with the channels named, in that order; None where phantoms lack one."""
        if not set(channels) <= set(self.channels):
            return None
        order = [self.channels.index(name) for name in channels]
        slices = replace(self.slices, images_NCHW=self.slices.images_NCHW[:, order])
        return PhantomSlices(slices, tuple(channels), self.pixel_mm)

    def on_grid(self, size: tuple[int, int], like: Slices) -> Slices:
        """Brings the slices to a grid, the heads as large as those of a cohort and where they are.

        Rows and columns are each scaled by the ratio of the median extents of the brain in the middle slices.

        Args:
            size: rows and columns.
            like: the cohort's slices, on that grid.
        """
        from scipy import ndimage

        own = self.slices
        mine, theirs = _extent(own), _extent(like)
        scale = [theirs.sides[axis] / mine.sides[axis] for axis in (0, 1)]
        # Output pixel o shows input (o - centre') / scale + centre; coarser grids are smoothed first.
        steps = np.array([1 / factor for factor in scale])
        offset = np.array([mine.centre[axis] - theirs.centre[axis] * steps[axis] for axis in (0, 1)])
        blur = [max(0.0, 0.4 * (step - 1)) for step in steps]
        place: dict[str, Any] = {"matrix": steps, "offset": offset, "output_shape": size, "order": 1}
        images = np.empty((*own.images_NCHW.shape[:2], *size), np.float32)
        brains = np.empty((len(own), *size), bool)
        for number in range(len(own)):
            for channel, plane in enumerate(own.images_NCHW[number]):
                smooth = ndimage.gaussian_filter(plane, blur) if max(blur) > 0 else plane
                images[number, channel] = ndimage.affine_transform(smooth, mode="nearest", **place)
            inside = own.brains_NHW[number].astype(np.float32)
            brains[number] = ndimage.affine_transform(inside, **place) > 0.5
        return _healthy(images, brains, own.heights_N)


def _healthy(images_NCHW: np.ndarray, brains_NHW: np.ndarray, heights_N: np.ndarray) -> Slices:
    return Slices(images_NCHW, np.zeros(brains_NHW.shape, np.uint8), brains_NHW, heights_N)


@dataclass(frozen=True)
class _Extent:
    """Rows and columns that a brain spans, and its middle."""

    sides: tuple[float, float]
    centre: tuple[float, float]


def _extent(slices: Slices) -> _Extent:
    """Medians over the middle slices, or over all where there are none."""
    brains_NHW, heights_N = slices.brains_NHW, slices.heights_N
    full = brains_NHW.any(axis=(1, 2))
    middle = full & (heights_N >= MIDDLE[0]) & (heights_N <= MIDDLE[1])
    spans = []
    for brain_HW in brains_NHW[middle if middle.any() else full]:
        edges = [np.flatnonzero(brain_HW.any(axis=1 - axis))[[0, -1]] for axis in (0, 1)]
        spans.append([(high - low + 1, (high + low) / 2) for low, high in edges])
    if not spans:
        height, width = brains_NHW.shape[1:]
        return _Extent((float(height), float(width)), ((height - 1) / 2, (width - 1) / 2))
    rows, columns = np.median(np.array(spans), axis=0)
    return _Extent((float(rows[0]), float(columns[0])), (float(rows[1]), float(columns[1])))
