"""Export as NIfTI pairs with MONAI datalists, one for everything and one for each fold."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from labelgan.data.export.files import write_json, write_nifti
from labelgan.data.export.pairs import channel_marks
from labelgan.data.export.records import ExportFacts, Fold, LabelledVolume

DATALIST = "datalist.json"


def fold_datalist(fold: int) -> str:
    """Name of a fold's datalist."""
    return f"datalist_fold{fold}.json"


class MonaiWriter:
    """``images/ID_FLAIR.nii.gz``, ``masks/ID.nii.gz``, ``datalist.json``, ``datalist_foldK.json``.

    The lists have the sections *training*, *validation* (of a fold) and *test*, each entry ``image`` (a list, one file
    a channel), ``label``, ``id``, ``patient`` and ``synthetic``: what ``monai.data.load_decathlon_datalist`` reads.
    """

    def __init__(self, root: Path, facts: ExportFacts) -> None:
        self.root, self.facts, self.marks = root, facts, channel_marks(facts.channels)
        self.entries: dict[str, dict[str, Any]] = {}
        self.test: list[str] = []

    def write(self, volume: LabelledVolume) -> None:
        """Writes a case's files."""
        if self.facts.origin == "mixed":
            volume = volume.axial()
        images = [f"images/{volume.id}{mark}.nii.gz" for mark in self.marks]
        for channel, name in zip(self.facts.channels, images, strict=True):
            write_nifti(self.root / name, volume.images[channel], volume.affine)
        entry: dict[str, Any] = {"image": images, "id": volume.id, "patient": volume.patient}
        entry["synthetic"] = volume.synthetic
        if volume.mask_XYZ is not None:
            entry["label"] = f"masks/{volume.id}.nii.gz"
            write_nifti(self.root / entry["label"], volume.mask_XYZ.astype(np.uint8), volume.affine)
        if volume.for_test or volume.mask_XYZ is None:
            self.test.append(volume.id)
        self.entries[volume.id] = entry

    def end(self, folds: Sequence[Fold]) -> None:
        """Writes the datalists."""
        training = [name for name in self.entries if name not in set(self.test)]
        self._list(DATALIST, training=training)
        for number, fold in enumerate(folds):
            self._list(fold_datalist(number), training=fold.train, validation=fold.validation)

    def _list(self, name: str, **sections: Sequence[str]) -> None:
        facts = {
            "name": "LabelGAN export",
            "modality": {str(number): channel for number, channel in enumerate(self.facts.channels)},
            "labels": {"0": "background", "1": "lesion", "2": "other pathology, to be ignored"},
        }
        listed = {
            section: [self.entries[name] for name in names]
            for section, names in (*sections.items(), ("test", self.test))
        }
        write_json(self.root / name, {**facts, "numTraining": len(listed["training"]), **listed})
