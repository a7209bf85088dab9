"""Material of an export: cases as volumes on their grid, and what all of them share."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from labelgan.data.geometry import SliceGeometry

Origin = Literal["real", "synthetic", "mixed"]


@dataclass(frozen=True, eq=False)
class LabelledSlice:
    """One synthetic slice to write.

    Attributes:
        id: fit for a file name.
        images_CHW: float32 intensities, air at 0.
        z_scores_CHW: the same as z-scores, for formats that keep them.
        mask_HW: uint8 in {0, 1}.
    """

    id: str
    images_CHW: np.ndarray
    z_scores_CHW: np.ndarray
    mask_HW: np.ndarray


@dataclass(frozen=True)
class CohortFacts:
    """Shared by all slices of a cohort: channels, (rows, columns), and spacing along (slices, rows, columns) in mm."""

    channels: tuple[str, ...]
    size: tuple[int, int]
    spacing_mm: tuple[float, float, float]

    @property
    def affine(self) -> np.ndarray:
        """(4, 4), RAS+, of the array [column, row, slice]: rows run to posterior, columns to the left, centre at 0."""
        thickness, row, column = self.spacing_mm
        affine = np.diag([-column, -row, thickness, 1.0])
        affine[:2, 3] = column * (self.size[1] - 1) / 2, row * (self.size[0] - 1) / 2
        return affine


@dataclass(frozen=True)
class AxialSlice:
    """One axial slice as picture formats keep it: rows to posterior, columns to the patient's left.

    Attributes:
        name: the case's id, with the slice's number where the case has several.
        z_scores_CHW: float32.
        mask_HW: uint8 of 0, 1 and 2, or None.
        affine: (4, 4), RAS+, of the array [column, row, 0].
    """

    name: str
    z_scores_CHW: np.ndarray
    mask_HW: np.ndarray | None
    affine: np.ndarray


@dataclass(frozen=True, eq=False)
class LabelledVolume:
    """One case to write: a scan, or a synthetic slice as a volume of one slice.

    Nothing of a source file's header is in it but the affine.

    Attributes:
        id: unique in the export, fit for a file name.
        patient: who was scanned; of a synthetic slice its own id, as it shows nobody.
        images: channel to (X, Y, Z) float32 intensities.
        mask_XYZ: uint8, 0 background, 1 lesion, 2 other pathology; None without annotation.
        affine: (4, 4), voxel index to mm, RAS+.
        z_scores: gives the channels as (C, X, Y, Z) float32 z-scores; called by formats that keep them.
        synthetic: whether a generator made it.
        site: scanner or centre, where it is known.
        session: session label, likewise.
        split: ``training`` or ``test``, likewise.
    """

    id: str
    patient: str
    images: Mapping[str, np.ndarray]
    mask_XYZ: np.ndarray | None
    affine: np.ndarray
    z_scores: Callable[[], np.ndarray]
    synthetic: bool = False
    site: str | None = None
    session: str | None = None
    split: str | None = None

    @classmethod
    def of_slice(cls, slice_: LabelledSlice, facts: CohortFacts) -> LabelledVolume:
        """A synthetic slice as a volume of one slice, [column, row, 0]."""
        return cls(
            id=slice_.id,
            patient=slice_.id,
            images={name: image.T[:, :, None] for name, image in zip(facts.channels, slice_.images_CHW, strict=True)},
            mask_XYZ=slice_.mask_HW.T[:, :, None],
            affine=facts.affine,
            z_scores=lambda: slice_.z_scores_CHW.transpose(0, 2, 1)[..., None],
            synthetic=True,
        )

    @property
    def for_test(self) -> bool:
        """Whether the cohort's own split keeps it for testing."""
        return self.split == "test"

    def axial_geometry(self) -> SliceGeometry:
        """The way to axial slices that keeps every voxel: axes are turned, nothing is cropped or resampled."""
        shape = next(iter(self.images.values())).shape
        turned = SliceGeometry.of(shape, self.affine, (1, 1))
        return SliceGeometry.of(shape, self.affine, (turned.y.count, turned.x.count))

    def axial(self) -> LabelledVolume:
        """The same voxels stored as [column, row, slice], rows to posterior, columns to the left, slices upwards.

        Every voxel stays where it is in mm. Synthetic slices are stored so; beside them, scans must be too, because
        tools that cut volumes into slices cut along a stored axis.
        """
        geometry = self.axial_geometry()

        def turn(volume_XYZ: np.ndarray) -> np.ndarray:
            return geometry.to_axial(volume_XYZ).transpose(2, 1, 0)

        return dataclasses.replace(
            self,
            images={name: turn(image) for name, image in self.images.items()},
            mask_XYZ=None if self.mask_XYZ is None else turn(self.mask_XYZ),
            affine=geometry.store_affine(),
            z_scores=lambda: np.stack([turn(channel) for channel in self.z_scores()]),
        )

    def axial_slices(self) -> list[AxialSlice]:
        """The case slice by slice, from the lowest up."""
        geometry = self.axial_geometry()
        channels = [geometry.to_axial(channel) for channel in self.z_scores()]
        mask = None if self.mask_XYZ is None else geometry.to_axial(self.mask_XYZ)
        count = len(channels[0])
        return [
            AxialSlice(
                name=self.id if count == 1 else f"{self.id}_z{k:03d}",
                z_scores_CHW=np.stack([channel[k] for channel in channels]).astype(np.float32, copy=False),
                mask_HW=None if mask is None else mask[k],
                affine=geometry.store_affine(k),
            )
            for k in range(count)
        ]


@dataclass(frozen=True)
class Fold:
    """One fold of a cross-validation by patient: ids of the cases to train on and to validate on."""

    train: tuple[str, ...]
    validation: tuple[str, ...]


@dataclass(frozen=True)
class ExportFacts:
    """Facts that a format needs before the first case: channels in order, and where the cases come from."""

    channels: tuple[str, ...]
    origin: Origin


class Writer(Protocol):
    """Writes one cohort in one format, case by case."""

    def write(self, volume: LabelledVolume) -> None:
        """Writes a case."""
        ...

    def end(self, folds: Sequence[Fold]) -> None:
        """Writes what stands around the cases."""
        ...


@dataclass(frozen=True)
class ExportFormat:
    """One format.

    Attributes:
        layout: as ``check`` calls it; None where LabelGAN does not read it back.
        description: one line.
        open: begins a cohort in a folder.
        folds: whether it can tell which cases to validate on.
    """

    layout: str | None
    description: str
    open: Callable[[Path, ExportFacts], Writer]
    folds: bool = False
