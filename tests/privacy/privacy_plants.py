"""Cohorts whose headers, sidecars, folders and DICOM files name people: what a scan for leaks is to look for."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.nifti1 import Nifti1Extension

from labelgan.data.phantom.cohort import write_phantom_cohort

STEM = "Qxv"  # begins every planted name; no word, number or base64 of chance begins so and ends as they do
HEADER, ABOVE, WORK, ROOT, INSIDE = "header", "above", "work", "root", "inside"


@dataclass(frozen=True)
class Plant:
    """A name and where it stands.

    Attributes:
        place: in words.
        text: the name; its ASCII beginning up to the first other letter is what is looked for.
        kind: HEADER (text in files: may go nowhere), ABOVE (folders above the cohort: nowhere but into places.json),
            WORK (folders above what is written: may be printed back to who typed it), ROOT (the cohort's own folder:
            its name without a key) or INSIDE (folders and files of patients: their ids without a key).
    """

    place: str
    text: str
    kind: str


def _plant(place: str, word: str, kind: str) -> Plant:
    # Accents make the encodings differ; folders that become ids must do without.
    return Plant(place, f"{STEM}{word}" + ("é" if kind in (HEADER, ABOVE, WORK) else ""), kind)


DESCRIP = _plant("NIfTI `descrip`", "descrip", HEADER)
AUX_FILE = _plant("NIfTI `aux_file`", "auxfile", HEADER)
DB_NAME = _plant("NIfTI `db_name`", "dbname", HEADER)
INTENT_NAME = _plant("NIfTI `intent_name`", "intent", HEADER)
EXTENSION = _plant("NIfTI extensions (comment, DICOM)", "extension", HEADER)
DESCRIPTION = _plant("`dataset_description.json`", "authors", HEADER)
PARTICIPANTS = _plant("`participants.tsv`, `.json`", "participant", HEADER)
SIDECAR = _plant("BIDS sidecars", "sidecar", HEADER)
SCANS_TSV = _plant("`scans.tsv`", "scanstsv", HEADER)
DICOM = _plant("DICOM beside the scans", "dicom", HEADER)
FOLDER_ABOVE = _plant("folders above the cohort", "above", ABOVE)
FOLDER_WORK = _plant("folders above what is written", "desk", WORK)
FOLDER_ROOT = _plant("the cohort's own folder", "root", ROOT)
PATIENT = _plant("patients' folders (ids)", "patient", INSIDE)
SESSION = _plant("sessions", "session", INSIDE)
FILE = _plant("other words of file names", "acquisition", INSIDE)
UNUSED = _plant("files that are not used", "unused", INSIDE)

PLANTS = (
    *(DESCRIP, AUX_FILE, DB_NAME, INTENT_NAME, EXTENSION, DESCRIPTION, PARTICIPANTS, SIDECAR, SCANS_TSV, DICOM),
    *(FOLDER_ABOVE, FOLDER_WORK, FOLDER_ROOT, PATIENT, SESSION, FILE, UNUSED),
)  # fmt: skip


def planted_bids(parent: Path, patients: int = 4, shape: tuple[int, int, int] = (48, 48, 12)) -> Path:
    """Writes a BIDS cohort of phantoms with every name of ``PLANTS`` in its place, and gives its folder."""
    phantoms = parent / "phantoms"
    ids = write_phantom_cohort(phantoms, patients, 0, shape=shape)
    root = parent / f"{FOLDER_ABOVE.text} clinic" / FOLDER_ROOT.text
    for number, identifier in enumerate(ids):
        (source,) = phantoms.glob(f"*/{identifier}")
        subject, session = f"{PATIENT.text}{'ABCDEFGH'[number]}", f"{SESSION.text}{number}"
        below = Path(f"sub-{subject}", f"ses-{session}", "anat")
        stem = f"sub-{subject}_ses-{session}_acq-{FILE.text}"
        for channel, suffix in (("FLAIR", "FLAIR"), ("T1", "T1w")):
            named_nifti(source / "pre" / f"{channel}.nii.gz", root / below / f"{stem}_{suffix}.nii.gz")
            _sidecar(root / below / f"{stem}_{suffix}.json")
        shutil.copy(root / below / f"{stem}_FLAIR.nii.gz", root / below / f"{stem}_run-{UNUSED.text}_FLAIR.nii.gz")
        mask = root / "derivatives" / "manual" / below / f"{stem}_label-lesion_mask.nii.gz"
        named_nifti(source / "wmh.nii.gz", mask)
        _text(
            root / below.parent / f"sub-{subject}_ses-{session}_scans.tsv", f"filename\toperator\nx\t{SCANS_TSV.text}\n"
        )
        _dicom(root / "sourcedata" / f"sub-{subject}" / f"{UNUSED.text}.dcm")
    _json(
        root / "dataset_description.json",
        {"Name": DESCRIPTION.text, "Authors": [DESCRIPTION.text], "BIDSVersion": "1.9.0"},
    )
    _json(root / "participants.json", {"name": {"Description": PARTICIPANTS.text}})
    _text(root / "participants.tsv", f"participant_id\tname\nsub-01\t{PARTICIPANTS.text}\n")
    shutil.rmtree(phantoms)
    return root


def planted_wmh(parent: Path, patients: int = 3, shape: tuple[int, int, int] = (48, 48, 12)) -> Path:
    """Writes a cohort of phantoms in the challenge's layout, with names in headers, folders and a DICOM file."""
    phantoms = parent / "phantoms"
    ids = write_phantom_cohort(phantoms, patients, 1, shape=shape)
    root = parent / f"{FOLDER_ABOVE.text} clinic" / FOLDER_ROOT.text
    for number, identifier in enumerate(ids):
        (source,) = phantoms.glob(f"*/{identifier}")
        case = root / "Utrecht" / f"{PATIENT.text}{'ABCDEFGH'[number]}"
        for name in ("pre/FLAIR", "pre/T1", "wmh"):
            named_nifti(source / f"{name}.nii.gz", case / f"{name}.nii.gz")
        _dicom(case / "orig" / f"{UNUSED.text}.dcm")
    (root / "Utrecht" / f"{UNUSED.text}").mkdir()  # a folder without a case: check tells of it
    shutil.rmtree(phantoms)
    return root


def spoil(cohort: Path) -> None:
    """Makes three scans of a planted cohort unusable or suspect: a DICOM file by another name, a cut one, a twin."""
    images = sorted(cohort.rglob("*T1*.nii.gz"))
    _dicom(cohort.parent / "scan.dcm")
    (cohort.parent / "scan.dcm").replace(images[0])
    images[1].write_bytes(images[1].read_bytes()[:500])
    shutil.copy(images[2], images[-1].with_name(images[-1].name.replace("T1w", "FLAIR").replace("T1", "FLAIR")))


def named_nifti(source: Path, target: Path) -> None:
    """Copies a NIfTI and writes a name into every text field of its header, and into two extensions."""
    image = nib.Nifti1Image.from_filename(source)
    header = image.header
    for field, plant in (
        ("descrip", DESCRIP),
        ("aux_file", AUX_FILE),
        ("db_name", DB_NAME),
        ("intent_name", INTENT_NAME),
    ):
        header[field] = plant.text.encode("latin-1")
    header.extensions.append(Nifti1Extension(6, EXTENSION.text.encode("utf-8")))
    header.extensions.append(Nifti1Extension(4, f"<xml>{EXTENSION.text}</xml>".encode("utf-16")))
    target.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(np.asanyarray(image.dataobj), image.affine, header), target)


def _sidecar(path: Path) -> None:
    keys = ("PatientName", "InstitutionName", "DeviceSerialNumber", "ImageComments")
    _json(path, {**dict.fromkeys(keys, SIDECAR.text), "EchoTime": 0.1})


def _dicom(path: Path) -> None:
    """A DICOM file that names a patient, as pydicom writes it."""
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = MRImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset(str(path), {}, file_meta=meta, preamble=bytes(128))
    dataset.SpecificCharacterSet = "ISO_IR 100"
    dataset.PatientName = f"{DICOM.text}^Jane"
    dataset.PatientID = DICOM.text
    dataset.InstitutionName = DICOM.text
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)


def _json(path: Path, value: object) -> None:
    _text(path, json.dumps(value, ensure_ascii=False))


def _text(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
