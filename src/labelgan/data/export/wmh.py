"""Export in the WMH Segmentation Challenge's tree."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from labelgan.data.export.files import require_flair_t1, write_nifti
from labelgan.data.export.records import ExportFacts, Fold, LabelledVolume


class WmhWriter:
    """``[training|test/]SITE/ID/pre/{FLAIR,T1}.nii.gz`` and ``wmh.nii.gz``."""

    def __init__(self, root: Path, facts: ExportFacts) -> None:
        require_flair_t1("wmh", facts.channels)
        self.root = root

    def write(self, volume: LabelledVolume) -> None:
        """Writes a case's folder."""
        site = "synthetic" if volume.synthetic else volume.site or "site"
        folder = self.root / (volume.split or "") / site / volume.id
        for channel, image_XYZ in volume.images.items():
            write_nifti(folder / "pre" / f"{channel}.nii.gz", image_XYZ, volume.affine)
        if volume.mask_XYZ is not None:
            # float32: on integer references the challenge's scorer truncates its thresholds, and background counts
            # as lesion
            write_nifti(folder / "wmh.nii.gz", volume.mask_XYZ.astype(np.float32), volume.affine)

    def end(self, folds: Sequence[Fold]) -> None:
        """Nothing stands around the cases."""
