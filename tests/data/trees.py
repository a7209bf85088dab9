"""Tiny cohorts on disk for the tests of reading, layouts and checking."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np

from labelgan.core.rng import generator_for
from labelgan.data.case import Cohort
from labelgan.data.check.problems import CheckReport

SHAPE = (6, 7, 5)
AFFINE = np.array([[-1.0, 0, 0, 4], [0, 1.5, 0, -5], [0, 0, 3, 6], [0, 0, 0, 1]])


def voxels(*name: str | int, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    """Integers of a named stream, int16."""
    return generator_for(7, *name).integers(1, 1000, shape).astype(np.int16)


def lesion_mask(*name: str | int, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    """A mask with some 1 and a 2, uint8."""
    mask = (generator_for(8, *name).random(shape) > 0.8).astype(np.uint8)
    mask.flat[:2] = (1, 2)
    return mask


def save(path: Path, data: np.ndarray, affine: np.ndarray = AFFINE) -> Path:
    """Writes a NIfTI with equal qform and sform."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(data, affine)
    image.set_sform(affine, 1)
    image.set_qform(affine, 1)
    nib.save(image, path)
    return path


def header_of(data: np.ndarray, **fields) -> bytes:
    """An uncompressed NIfTI-1 of the voxels, with header fields overwritten."""
    image = nib.Nifti1Image(data, AFFINE)
    content = bytearray(image.to_bytes())
    header = nib.Nifti1Header(bytes(content[:348]), check=False)
    for name, value in fields.items():
        header[name] = value
    content[:348] = header.binaryblock
    return bytes(content)


def save_picture(path: Path, data: np.ndarray) -> Path:
    """Writes a PNG or TIFF of (rows, columns[, components])."""
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(data).save(path)
    return path


def wmh_case(folder: Path, *name: str | int, ending: str = ".nii.gz", mask: bool = True) -> Path:
    """One case of the challenge's tree."""
    seed = name or (folder.as_posix(),)
    save(folder / "pre" / f"FLAIR{ending}", voxels("FLAIR", *seed))
    save(folder / "pre" / f"T1{ending}", voxels("T1", *seed))
    if mask:
        save(folder / f"wmh{ending}", lesion_mask(*seed))
    return folder


def wmh_cohort(root: Path, ids: tuple[str, ...] = ("p1", "p2", "p3"), site: str = "Utrecht") -> Path:
    """A sound cohort in the wmh layout."""
    for identifier in ids:
        wmh_case(root / site / identifier, site, identifier)
    return root


def nnunet_cohort(root: Path, labels: dict[str, object] | None = None, ids: tuple[str, ...] = ("c1", "c2")) -> Path:
    """A sound cohort in nnU-Net's raw layout, T1 as channel 0 and FLAIR as 1."""
    for identifier in ids:
        save(root / "imagesTr" / f"{identifier}_0000.nii.gz", voxels("T1", identifier))
        save(root / "imagesTr" / f"{identifier}_0001.nii.gz", voxels("FLAIR", identifier))
        save(root / "labelsTr" / f"{identifier}.nii.gz", np.minimum(lesion_mask(identifier), 1))
    content = {
        "channel_names": {"0": "T1w", "1": "flair"},
        "labels": labels or {"background": 0, "lesion": 1},
        "numTraining": len(ids),
        "file_ending": ".nii.gz",
    }
    (root / "dataset.json").write_text(json.dumps(content))
    return root


def bids_subject(root: Path, subject: str, session: str | None = None, mask: str | None = "label-lesion_mask") -> None:
    """One subject, or one session of it, of a BIDS cohort; ``mask`` ends the name of its mask."""
    name = f"sub-{subject}" + (f"_ses-{session}" if session else "")
    folder = Path(f"sub-{subject}", *([f"ses-{session}"] if session else []), "anat")
    save(root / folder / f"{name}_T1w.nii.gz", voxels("T1", name))
    save(root / folder / f"{name}_FLAIR.nii.gz", voxels("FLAIR", name))
    if mask:
        save(root / "derivatives" / "manual" / folder / f"{name}_{mask}.nii.gz", lesion_mask(name))


def picture_pair(root: Path, name: str, images: str = "images", masks: str = "masks", ending: str = "png") -> None:
    """A grey picture and its mask of 0 and 255, of one name."""
    save_picture(root / images / f"{name}.{ending}", (voxels(name, shape=(5, 6)) % 250).astype(np.uint8))
    save_picture(root / masks / f"{name}.{ending}", (lesion_mask(name, shape=(5, 6)) == 1).astype(np.uint8) * 255)


def ids(cohort: Cohort) -> list[str]:
    """The ids of a cohort's cases."""
    return [case.id for case in cohort.cases]


def mask_name(cohort: Cohort, index: int = 0) -> str | None:
    """Where a case's mask lies below the cohort's root."""
    mask = cohort.cases[index].mask
    return None if mask is None else mask.path.relative_to(cohort.root).as_posix()


def mask_of(*values: float) -> np.ndarray:
    return np.resize(np.array(values, dtype=np.float32), SHAPE)


def rows(report: CheckReport) -> list[tuple[str | None, str | None, str]]:
    """Case, file and severity of every problem."""
    return [(p["case"], p["file"], p["severity"]) for p in report.to_json()["problems"]]
