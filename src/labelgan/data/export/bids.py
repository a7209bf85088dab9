"""Export as a BIDS derivative: images under ``sub-*/``, lesion masks under ``derivatives/labelgan/``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from labelgan.core.errors import DataError
from labelgan.core.files import bids_label
from labelgan.core.version import __version__
from labelgan.data.export.files import require_flair_t1, write_bytes, write_json, write_nifti, write_table
from labelgan.data.export.records import ExportFacts, Fold, LabelledVolume
from labelgan.data.prepare.brain_search import find_brain
from labelgan.data.volume import LESION, OTHER_PATHOLOGY

BIDS_VERSION = "1.9.0"

_REST = 0.05  # measured: 0 in skull-stripped scans, 0.3 to 2 with the skull on
_SUFFIX = {"FLAIR": "FLAIR", "T1": "T1w"}
_NAMES = {"real": "Scans", "synthetic": "Synthetic slices", "mixed": "Scans and synthetic slices"}
_SYNTHETIC = (
    "Synthetic slices with lesion masks, made by LabelGAN. They may show or repeat training patients: see card.md. "
    "Not for diagnosis."
)
_WORDS = {
    "real": "Scans with lesion masks, exported by LabelGAN with fresh headers.",
    "synthetic": _SYNTHETIC,
    "mixed": "Scans with lesion masks and synthetic slices, exported by LabelGAN with fresh headers. Where the column "
    "synthetic of participants.tsv says true, a generator made the images, which may show or repeat its patients.",
}
_IMAGE = {False: "A scan, exported by LabelGAN", True: "Made by a generator; may show or repeat its training patients"}
_MASK = f"0 background, {LESION} lesion, {OTHER_PATHOLOGY} other pathology, to be ignored"
_COLUMNS = {
    "labelgan_id": {"Description": "Patient id in the cohort that was exported"},
    "synthetic": {"Description": "Whether a generator made the images", "Levels": {"true": "made", "false": "scanned"}},
    "site": {"Description": "Scanner or centre"},
}


def shows_brain_alone(volume: LabelledVolume) -> bool:
    """Whether the skull was stripped, which BIDS wants to know: next to nothing is bright outside the brain.

    Bright is a tenth of the brain's mean in the first channel; next to nothing is `_REST` of the brain's voxels.
    """
    from scipy.ndimage import binary_dilation

    axial = volume.axial_geometry().to_axial(next(iter(volume.images.values())))
    if axial.min() == axial.max():
        return False
    brain = find_brain(axial)
    near = binary_dilation(brain, np.ones((1, 5, 5), bool))
    if not brain.any():
        return False
    outside = np.logical_and(axial > 0.1 * axial[brain].mean(), np.logical_not(near))
    return bool(outside.sum() < _REST * brain.sum())


class BidsWriter:
    """``sub-P/[ses-S/]anat/*_{FLAIR,T1w}.nii.gz`` and ``derivatives/labelgan/.../*_label-lesion_mask.nii.gz``.

    A patient's cases are sessions where there are several. BIDS labels have letters and digits alone; the ids as they
    were stand in ``participants.tsv``.
    """

    def __init__(self, root: Path, facts: ExportFacts) -> None:
        require_flair_t1("bids", facts.channels)
        self.root, self.facts = root, facts
        self.people: dict[str, Mapping[str, str]] = {}
        self.scans: dict[str, str] = {}

    def write(self, volume: LabelledVolume) -> None:
        """Writes a case's files.

        Raises:
            DataError: two ids are one without their signs.
        """
        subject = f"sub-{bids_label(volume.patient)}"
        session = bids_label(volume.session or ("" if volume.id == volume.patient else volume.id))
        person = {"participant_id": subject, "labelgan_id": volume.patient}
        person |= {"synthetic": str(volume.synthetic).lower(), "site": volume.site or ""}
        known = self.people.setdefault(subject, person)
        stem = f"{subject}_ses-{session}" if session else subject
        owner = self.scans.setdefault(stem, volume.id)
        if subject == "sub-" or known["labelgan_id"] != volume.patient or owner != volume.id:
            taken = known["labelgan_id"] if known["labelgan_id"] != volume.patient else owner
            raise DataError(
                volume.id, f"has no BIDS label of its own: {stem} is {taken}'s; BIDS allows letters and digits"
            )
        anat = Path(subject, *([f"ses-{session}"] if session else []), "anat")
        facts = {"Description": _IMAGE[volume.synthetic], "SkullStripped": shows_brain_alone(volume)}
        for channel, image_XYZ in volume.images.items():
            path = self.root / anat / f"{stem}_{_SUFFIX[channel]}"
            write_nifti(path.with_name(f"{path.name}.nii.gz"), image_XYZ, volume.affine)
            write_json(path.with_name(f"{path.name}.json"), facts)
        if volume.mask_XYZ is not None:
            mask = self.root / "derivatives" / "labelgan" / anat / f"{stem}_space-orig_label-lesion_mask"
            write_nifti(mask.with_name(f"{mask.name}.nii.gz"), volume.mask_XYZ.astype(np.uint8), volume.affine)
            sources = [
                f"bids:exported:{(anat / f'{stem}_{_SUFFIX[name]}.nii.gz').as_posix()}" for name in volume.images
            ]
            write_json(
                mask.with_name(f"{mask.name}.json"),
                {"Type": "Lesion", "Description": _MASK, "Sources": sources, "SpatialReference": sources[0]},
            )

    def end(self, folds: Sequence[Fold]) -> None:
        """Writes the descriptions and the table of participants."""
        made_by = [{"Name": "LabelGAN", "Version": __version__}]
        about = {"BIDSVersion": BIDS_VERSION, "DatasetType": "derivative", "GeneratedBy": made_by}
        name = f"LabelGAN: {_NAMES[self.facts.origin].lower()}"
        write_json(self.root / "dataset_description.json", {"Name": name, **about})
        masks = self.root / "derivatives" / "labelgan"
        links = {"exported": "../.."}
        write_json(
            masks / "dataset_description.json", {"Name": f"{name}, lesion masks", **about, "DatasetLinks": links}
        )
        for folder in (self.root, masks):
            write_bytes(folder / "README", f"{_WORDS[self.facts.origin]}\nMasks: {_MASK}.\n".encode())
        write_table(self.root / "participants.tsv", list(self.people.values()))
        write_json(self.root / "participants.json", _COLUMNS)
        write_bytes(self.root / ".bidsignore", b"manifest.json\ncard.md\ncuration.json\nblind_tests.json\n")
