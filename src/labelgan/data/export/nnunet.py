"""Export as an nnU-Net v2 raw data set, with the folds of its cross-validation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from labelgan.data.export.files import write_json, write_nifti
from labelgan.data.export.records import ExportFacts, Fold, LabelledVolume
from labelgan.data.volume import LESION, OTHER_PATHOLOGY

SPLITS = "splits_final.json"


class NnunetWriter:
    """``imagesTr/ID_0000.nii.gz``, ``labelsTr/ID.nii.gz``, ``dataset.json`` and, with folds, ``splits_final.json``.

    Other pathology (2) becomes nnU-Net's *ignore* label where any case of the training set holds it: ignored in loss
    and score, as the WMH challenge ignores it. It is declared only then, because nnU-Net trains otherwise with it.
    Synthetic slices beside scans are volumes of one slice; the scans are then stored axially as they are, see
    `LabelledVolume.axial`. Cases without a mask, or kept for testing, go to ``imagesTs`` (and ``labelsTs``).
    """

    def __init__(self, root: Path, facts: ExportFacts) -> None:
        self.root, self.facts = root, facts
        self.training, self.ignores = 0, False

    def write(self, volume: LabelledVolume) -> None:
        """Writes a case's files."""
        if self.facts.origin == "mixed":
            volume = volume.axial()
        train = volume.mask_XYZ is not None and not volume.for_test
        part = "Tr" if train else "Ts"
        for number, channel in enumerate(self.facts.channels):
            path = self.root / f"images{part}" / f"{volume.id}_{number:04d}.nii.gz"
            write_nifti(path, volume.images[channel], volume.affine)
        if volume.mask_XYZ is not None:
            write_nifti(
                self.root / f"labels{part}" / f"{volume.id}.nii.gz", volume.mask_XYZ.astype(np.uint8), volume.affine
            )
            self.ignores |= bool((volume.mask_XYZ == OTHER_PATHOLOGY).any())
        self.training += train

    def end(self, folds: Sequence[Fold]) -> None:
        """Writes ``dataset.json``, and ``splits_final.json`` where there are folds."""
        labels = {"background": 0, "lesion": LESION} | ({"ignore": OTHER_PATHOLOGY} if self.ignores else {})
        words = {"real": "LabelGAN export", "synthetic": "LabelGAN synthetic slices", "mixed": "LabelGAN mixed cohort"}
        write_json(
            self.root / "dataset.json",
            {
                "channel_names": {str(number): channel for number, channel in enumerate(self.facts.channels)},
                "labels": labels,
                "numTraining": self.training,
                "file_ending": ".nii.gz",
                "name": words[self.facts.origin],
            },
        )
        if folds:
            write_json(self.root / SPLITS, [{"train": list(f.train), "val": list(f.validation)} for f in folds])
