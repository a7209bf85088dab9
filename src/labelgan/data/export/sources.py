"""Cohorts on disk as cases to export: scans as they are, synthetic slices in intensities and z-scores."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from labelgan.config.base import PrepareConfig
from labelgan.core.errors import DataError
from labelgan.data.case import Case
from labelgan.data.check.leaks import KnownScan
from labelgan.data.curation import read_curation, require_as_written
from labelgan.data.export.records import LabelledVolume
from labelgan.data.layouts.detect import read_cohort, require_unmixed
from labelgan.data.manifests import CohortManifest, SeenCases
from labelgan.data.prepare.case import prepare_case, require_same_grid
from labelgan.data.synthetic_slices import slice_affine, to_z_scores
from labelgan.data.volume import BACKGROUND, OTHER_PATHOLOGY, Volume


@dataclass(frozen=True, eq=False)
class Source:
    """A cohort to export.

    Attributes:
        root: its folder.
        cases: those that are exported.
        channels: channels that its cases have, in store order.
        manifest: its ``manifest.json``, empty where there is none.
        known: ids of all its cases and patients, those that are left out too.
    """

    root: Path
    cases: tuple[Case, ...]
    channels: tuple[str, ...]
    manifest: CohortManifest
    known: frozenset[str]

    @classmethod
    def open(cls, root: Path, exclude: Sequence[str] = ()) -> Self:
        """Reads a cohort's paths; slices that were rejected in ``studio`` are left out, and so is ``exclude``.

        Raises:
            DataError: the folder holds no cohort.
            LeakError: it is an export of scans and synthetic slices together.
        """
        root = Path(root)
        cohort = read_cohort(root)
        require_unmixed(cohort)
        cases = read_curation(root).keep(root, cohort.cases) if cohort.manifest.is_synthetic else cohort.cases
        cases = tuple(case for case in cases if case.id not in exclude and case.patient not in exclude)
        known = frozenset(name for case in cohort.cases for name in (case.id, case.patient))
        return cls(root, cases, cohort.channels, cohort.manifest, known)

    @property
    def synthetic(self) -> bool:
        """Whether ``labelgan sample`` wrote it."""
        return self.manifest.is_synthetic

    @property
    def seen(self) -> SeenCases | None:
        """Cases that its generator has seen; None where that is not known, or nothing was generated."""
        return self.manifest.seen if self.synthetic else None

    def read(self, case: Case, channels: Sequence[str], *, keep_other: bool = True) -> tuple[LabelledVolume, KnownScan]:
        """Reads a case's voxels.

        Args:
            case: one of `cases`.
            channels: which, in order.
            keep_other: keep other pathology (2); else it becomes background.

        Returns:
            The case, and by what it is known.

        Raises:
            DataError: a channel is missing, a file cannot be read, its grids differ, or a slice is not the one that
                ``labelgan sample`` wrote.
        """
        if missing := [name for name in channels if name not in case.images]:
            raise DataError(case.id, f"has no {' and no '.join(missing)} image; choose with --channels")
        if self.synthetic:
            require_as_written(self.root, self.manifest, case)
        volumes = {name: case.load_image(name) for name in channels}
        for name, volume in volumes.items():
            if not np.isfinite(volume.data).all():
                raise DataError(case.images[name].path, "holds values that are not finite (NaN or Inf)")
        grid = volumes[channels[0]]
        mask = case.load_mask()
        for ref, volume in [*((case.images[name], volumes[name]) for name in channels), (case.mask, mask)]:
            if ref is not None and volume is not None:
                require_same_grid(volume, grid, ref.path)
        labels = None if mask is None else mask.data
        if labels is not None and not keep_other:
            labels = np.where(labels == OTHER_PATHOLOGY, np.uint8(BACKGROUND), labels)
        # nobody asks by what else a slice that was made is known
        known = KnownScan.of(case.id, case.patient, volumes, mask, prints=not self.synthetic)
        facts: dict[str, Any] = {"id": case.id, "mask_XYZ": labels, "synthetic": self.synthetic}
        if self.synthetic:
            z_scores = {name: to_z_scores(case, name, volume.data, self.manifest) for name, volume in volumes.items()}
            read = LabelledVolume(
                **facts,
                patient=case.id,
                images={name: self._intensity(case, name, volumes[name].data, z) for name, z in z_scores.items()},
                affine=self._affine(case, grid),
                z_scores=lambda: np.stack(list(z_scores.values())),
            )
        else:
            read = LabelledVolume(
                **facts,
                patient=case.patient,
                images={name: volume.data for name, volume in volumes.items()},
                affine=grid.affine,
                z_scores=lambda: _scan_z_scores(case, channels),
                site=case.site,
                session=case.session,
                split=case.split,
            )
        return read, known

    def _intensity(self, case: Case, name: str, stored: np.ndarray, z_scores: np.ndarray) -> np.ndarray:
        """Intensities of a synthetic slice: as stored in a NIfTI, else on the scale in the manifest, 0 at the least."""
        if case.images[name].path.suffix not in (".npz", ".png"):
            return stored
        scale = self.manifest.scale_of(name)
        if scale is None:
            raise DataError(self.root / "manifest.json", f"gives no mean and sd of {name}")
        return np.maximum(z_scores * np.float32(scale.sd) + np.float32(scale.mean), np.float32(0))

    def _affine(self, case: Case, grid: Volume) -> np.ndarray:
        path = next(iter(case.images.values())).path
        try:
            return slice_affine(grid, path.suffix == ".png", self.manifest)
        except ValueError as error:
            raise DataError(path, str(error)) from None


def _scan_z_scores(case: Case, channels: Sequence[str]) -> np.ndarray:
    """(C, X, Y, Z) z-scores inside the brain, on the native grid, as `prepare` has them."""
    shape = case.load_image(channels[0]).data.shape
    side = 8 * math.ceil(max(shape) / 8)
    config = PrepareConfig.build({"size": (side, side), "drop_empty": False})
    prepared = prepare_case(case, config, channels)
    return np.stack(
        [
            prepared.geometry.to_native(prepared.images_ZCHW[:, channel], order="image")
            for channel in range(len(channels))
        ]
    )
