"""Which real cases a synthetic cohort is compared with: those that its generator learned from, where they are here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from labelgan.core.errors import DataError, LabelganError
from labelgan.data.geometry import SliceGeometry
from labelgan.data.manifests import CohortManifest, read_manifest
from labelgan.studio.images import CaseImages
from labelgan.studio.index import CaseEntry, Index
from labelgan.studio.sources import Source


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


@dataclass(frozen=True)
class RealCases:
    """Real cases of the channels of a synthetic cohort.

    Attributes:
        training: those whose voxels its generator learned from; in a store rather than in their cohort.
        beside: the real cases of the folders that hold these; of all folders where there are none.
    """

    training: tuple[CaseEntry, ...]
    beside: tuple[CaseEntry, ...]


def real_cases(index: Index, source: Source, grid: Grid) -> RealCases:
    """Finds the training cases by the hashes of their voxels.

    A store lists hashes; of a cohort the cases that bear the name of a training case are read.

    Args:
        index: everything that was found.
        source: the synthetic cohort.
        grid: whose channels a case must have.

    Raises:
        DataError: the cohort's manifest is damaged.
    """
    seen = read_manifest(source.path, CohortManifest).seen
    known = set() if seen is None else {value for case in seen.own for value in case.hashes.values()}
    names = set() if seen is None else {case.id for case in seen.own}
    real = [
        case for case in list(index.cases.values()) if not case.synthetic and set(grid.channels) <= set(case.channels)
    ]
    training = [case for case in real if case.hashes and not known.isdisjoint(case.hashes.values())]
    if not training:
        training = [case for case in real if case.hashes is None and case.id in names and _is(index, case, known)]
    folders = {case.source.key for case in training[:1]}
    beside = [case for case in real if not folders or case.source.key in folders]
    return RealCases(tuple(case for case in training if case.source.key in folders), tuple(beside))


def _is(index: Index, case: CaseEntry, known: set[str]) -> bool:
    try:
        return not known.isdisjoint(index.images(case).hashes().values())
    except (LabelganError, OSError):
        return False
