"""One case's voxels as axial slices: of a scan, of a synthetic slice, or of a slice store."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np

from labelgan.core.errors import DataError
from labelgan.data.case import Case
from labelgan.data.export.write import nifti_bytes
from labelgan.data.geometry import SliceGeometry
from labelgan.data.pictures import grey_window
from labelgan.data.reading.read import read_header, voxel_hash
from labelgan.data.store import SliceStore
from labelgan.data.volume import Volume


@dataclass(frozen=True, eq=False)
class CaseImages:
    """Letters: X, Y, Z the native axes; z, y, x axial slices as radiologists see them.

    Attributes:
        volumes: channel to (X, Y, Z) float32.
        mask_XYZ: uint8 of 0, 1 and 2, or None where there is none.
        affine: (4, 4), voxel index to millimetres, RAS+.
    """

    volumes: Mapping[str, np.ndarray]
    mask_XYZ: np.ndarray | None
    affine: np.ndarray

    @cached_property
    def geometry(self) -> SliceGeometry:
        """The way to axial slices, without crop or resampling."""
        return native_geometry(next(iter(self.volumes.values())).shape, self.affine)

    @property
    def pixel_mm(self) -> tuple[float, float]:
        """Size of a pixel of an axial slice along rows and columns, mm."""
        _, row, column = self.geometry.spacing_mm
        return row, column

    @property
    def bytes(self) -> int:
        """Size in memory, bytes."""
        masks = 0 if self.mask_XYZ is None else self.mask_XYZ.nbytes
        return masks + sum(volume.nbytes for volume in self.volumes.values())

    @cached_property
    def windows(self) -> dict[str, tuple[float, float]]:
        """The values that are shown black and white, one pair a channel for the whole case."""
        return {name: grey_window(volume) for name, volume in self.volumes.items()}

    def plane(self, channel: str, z: int) -> np.ndarray:
        """(rows, columns) of one axial slice."""
        return self.geometry.to_axial(self.volumes[channel])[z]

    def mask_plane(self, z: int) -> np.ndarray | None:
        """(rows, columns) uint8 of one axial slice's mask."""
        return None if self.mask_XYZ is None else self.geometry.to_axial(self.mask_XYZ)[z]

    def hashes(self) -> dict[str, str]:
        """Per channel the hash of the voxels, as manifests of generators list them."""
        return {name: voxel_hash(Volume(volume, self.affine)) for name, volume in self.volumes.items()}


def native_geometry(shape: tuple[int, ...], affine: np.ndarray) -> SliceGeometry:
    """A grid's axial slices as they are; raises ValueError where the affine spans no space."""
    rough = SliceGeometry.of(shape, affine, (1, 1))
    return SliceGeometry.of(shape, affine, (rough.y.count, rough.x.count))


def scaled_affine(affine: np.ndarray, path: Path, manifest: Mapping[str, Any]) -> np.ndarray:
    """Gives a picture the millimetres that its cohort's manifest tells; a NIfTI file has its own."""
    spacing = manifest.get("spacing_mm")
    plain = path.suffix.lower() in (".png", ".tif", ".tiff")
    if not plain or not isinstance(spacing, list) or len(spacing) != 3:
        return affine
    try:
        slice_mm, row_mm, column_mm = (float(length) for length in spacing)
    except (TypeError, ValueError):
        return affine
    lengths = np.array([column_mm, row_mm, slice_mm])
    if not (np.isfinite(lengths).all() and (lengths > 0).all()):
        return affine
    scaled = affine.copy()
    scaled[:3, :3] *= lengths
    return scaled


def load_case(case: Case, manifest: Mapping[str, Any] | None = None) -> CaseImages:
    """Reads the channels and the mask of a case of a cohort.

    Raises:
        DataError: a file cannot be read, or shapes differ.
    """
    volumes = {name: case.load_image(name) for name in case.images}
    mask = case.load_mask()
    first = next(iter(volumes.values()))
    path = next(iter(case.images.values())).path
    affine = scaled_affine(first.affine, path, manifest or {})
    for volume in (*volumes.values(), *([] if mask is None else [mask])):
        if volume.data.shape != first.data.shape:
            raise DataError(path, "the shapes of the images and of the mask differ")
    finite = {name: np.nan_to_num(volume.data, nan=0.0, posinf=0.0, neginf=0.0) for name, volume in volumes.items()}
    images = CaseImages(finite, None if mask is None else mask.data, affine)
    try:
        _ = images.geometry
    except ValueError as error:
        raise DataError(path, str(error)) from None
    return images


def load_stored(store: SliceStore, case_id: str) -> CaseImages:
    """The slices of a case of a store as one volume of z-scores."""
    case, batch = store.case(case_id), store.volume(case_id)
    z = int(store.index["z"][case.first])
    volumes = {
        name: np.ascontiguousarray(batch.images_NCHW[:, number].transpose(2, 1, 0))
        for number, name in enumerate(store.channels)
    }
    mask = np.ascontiguousarray(batch.masks_NHW.transpose(2, 1, 0)) if case.labelled else None
    return CaseImages(volumes, mask, case.geometry.store_affine(z))


def lesion_areas(case: Case, manifest: Mapping[str, Any] | None = None) -> list[float | None]:
    """Lesion area of every axial slice, mm², from the lowest up; None for each where there is no mask.

    Raises:
        DataError: the mask, or the header of an image, cannot be read.
    """
    mask = case.load_mask()
    path = next(iter(case.images.values())).path
    try:
        if mask is None:
            header = read_header(next(iter(case.images.values())))
            return [None] * native_geometry(header.shape, header.affine).z.count
        affine = scaled_affine(mask.affine, path, manifest or {})
        geometry = native_geometry(mask.data.shape, affine)
    except ValueError as error:
        raise DataError(path, str(error)) from None
    _, row_mm, column_mm = geometry.spacing_mm
    pixels = (geometry.to_axial(mask.data) == 1).sum(axis=(1, 2))
    return [float(count) * row_mm * column_mm for count in pixels]


MASK = "mask"


def volume_bytes(images: CaseImages, channel: str) -> bytes:
    """A channel, or the mask, as gzipped NIfTI.

    Raises:
        DataError: the case has no such channel, or no mask.
    """
    if channel == MASK:
        if images.mask_XYZ is None:
            raise DataError(MASK, "this case has no mask")
        return nifti_bytes(images.mask_XYZ, images.affine, compresslevel=1)
    if channel not in images.volumes:
        raise DataError(channel, "this case has no such channel")
    return nifti_bytes(_compact(images.volumes[channel]), images.affine, compresslevel=1)


def _compact(volume: np.ndarray) -> np.ndarray:
    """Whole numbers as int16: half the bytes, and they pack better."""
    limits = np.iinfo(np.int16)
    if volume.min() >= limits.min and volume.max() <= limits.max and (volume == np.rint(volume)).all():
        return volume.astype(np.int16)
    return volume.astype(np.float32)


Value = TypeVar("Value")


class Cache(Generic[Value]):
    """Values by key. Several threads may ask at once; one value may then be made twice, and one of them is kept."""

    def __init__(self, most_bytes: int, size: Callable[[Value], int]) -> None:
        self.most_bytes, self._size = most_bytes, size
        self._values: OrderedDict[Hashable, Value] = OrderedDict()
        self._lock = threading.Lock()
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._values)

    def get(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """The value of a key, made where it is not there. The newest stays even where it alone is too large."""
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
                return self._values[key]
        value = make()
        with self._lock:
            if key not in self._values:
                self._values[key] = value
                self.bytes += self._size(value)
            while self.bytes > self.most_bytes and len(self._values) > 1:
                _, old = self._values.popitem(last=False)
                self.bytes -= self._size(old)
        return value
