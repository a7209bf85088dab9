"""Real slices on a synthetic cohort's grid, so that the two can be compared: same size, same millimetres a pixel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from labelgan.data.geometry import SliceGeometry
from labelgan.core.errors import DataError
from labelgan.studio.images import CaseImages


@dataclass(frozen=True)
class Grid:
    """Channels, rows and columns, and millimetres a pixel of a synthetic cohort."""

    channels: tuple[str, ...]
    size: tuple[int, int]
    pixel_mm: tuple[float, float]

    @classmethod
    def of(cls, manifest: dict[str, Any]) -> Self:
        """Reads them from a manifest; raises DataError where it does not tell."""
        try:
            channels = tuple(str(name) for name in manifest["channels"])
            height, width = (int(length) for length in manifest["size"])
            _, row_mm, column_mm = (float(length) for length in manifest["spacing_mm"])
        except (KeyError, TypeError, ValueError):
            raise DataError("manifest.json", "does not tell channels, size and spacing_mm") from None
        if not channels or not (0 < height <= 4096 and 0 < width <= 4096 and row_mm > 0 and column_mm > 0):
            raise DataError("manifest.json", "channels, size or spacing_mm make no sense")
        return cls(channels, (height, width), (row_mm, column_mm))

    def bring(self, images: CaseImages) -> tuple[np.ndarray, np.ndarray]:
        """All axial slices of a case on this grid: (Z, C, H, W) float32 and masks (Z, H, W) uint8.

        Raises:
            DataError: the case lacks a channel.
        """
        if missing := [name for name in self.channels if name not in images.volumes]:
            raise DataError("case", f"has no {' and no '.join(missing)} image")
        shape = images.volumes[self.channels[0]].shape
        same = np.allclose(images.pixel_mm, self.pixel_mm, rtol=1e-2)
        spacing = None if same else float(np.mean(self.pixel_mm))
        geometry = SliceGeometry.of(shape, images.affine, self.size, spacing)
        planes = []
        for name in self.channels:
            volume = images.volumes[name]
            air = float(np.percentile(volume, 1.0))
            planes.append(geometry.to_store(volume, order="image", fill=air).astype(np.float32))
        mask = np.zeros(shape, np.uint8) if images.mask_XYZ is None else images.mask_XYZ
        return np.stack(planes, axis=1), geometry.to_store(mask, order="label", fill=0)
