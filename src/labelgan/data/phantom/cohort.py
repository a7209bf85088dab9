"""Phantom patients: labelled T1 and FLAIR of heads that never lived, with the truth known.

Built from the MNI152 maps that nilearn ships, for demos, tests and pre-training, where no patient may be used.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from labelgan.core.errors import ConfigError
from labelgan.core.files import is_free, make_folder, require_free, write_bytes_atomic, write_json_atomic
from labelgan.core.rng import generator_for
from labelgan.core.version import __version__
from labelgan.data.export.write import nifti_bytes
from labelgan.data.phantom.anatomy import load_anatomy
from labelgan.data.phantom.lesions import Pathology, draw_load_ml, plant_pathology
from labelgan.data.phantom.render import Head, Pose, render_head
from labelgan.data.phantom.scanner import SCANNERS, Scanner, acquire, grid_affine
from labelgan.data.volume import LESION, OTHER_PATHOLOGY

# An expert outlines what is visibly bright, which includes voxels that are ill in part.
LABEL_FRACTION = 0.4


@dataclass(frozen=True)
class PhantomPatient:
    """One phantom and its truth; arrays are (X, Y, Z) in storage order.

    Attributes:
        id: ``P001``, ``P002``, ...
        site: name in `SCANNERS`.
        t1, flair: int16, bias field mostly removed (``pre``).
        t1_orig, flair_orig: int16, as scanned (``orig``).
        mask: uint8, 0 background, 1 white-matter lesion, 2 other pathology.
        brain: bool, inside of the skull.
        tissue: uint8, 0 outside the brain, else the most frequent of 1 fluid, 2 grey, 3 white matter.
        affine: (4, 4), voxel index to millimetres, RAS+.
        lesion_ml: volume of label 1, ml.
        lesion_count: 26-connected components of label 1.
        other_ml: volume of label 2, ml.
    """

    id: str
    site: str
    t1: np.ndarray
    flair: np.ndarray
    t1_orig: np.ndarray
    flair_orig: np.ndarray
    mask: np.ndarray
    brain: np.ndarray
    tissue: np.ndarray
    affine: np.ndarray
    lesion_ml: float
    lesion_count: int
    other_ml: float


def phantom_patient(
    seed: int,
    index: int,
    *,
    scanner: str | None = None,
    shape: tuple[int, int, int] | None = None,
    healthy: bool = False,
) -> PhantomPatient:
    """Makes one phantom patient, which depends on the arguments alone.

    Args:
        seed: of the cohort.
        index: 0, 1, 2, ...; patient ``index`` has the id ``P{index + 1:03d}``.
        scanner: name in `SCANNERS`; None deals the scanners round-robin by index.
        shape: voxels that replace the scanner's and cover the same field of view, for instance (48, 48, 12) in tests.
        healthy: the same head without lesions or other pathology.

    Raises:
        ConfigError: for an unknown scanner, a negative index or an axis below two voxels.
    """
    if index < 0:
        raise ConfigError("index", f"must not be negative (got {index})")
    if scanner is not None and scanner not in SCANNERS:
        raise ConfigError("scanner", f"unknown scanner '{scanner}'; known: {', '.join(SCANNERS)}")
    if shape is not None and (len(shape) != 3 or min(shape) < 2):
        raise ConfigError("shape", f"must be three numbers of voxels, each at least 2 (got {shape})")
    machine = SCANNERS[scanner] if scanner is not None else list(SCANNERS.values())[index % len(SCANNERS)]
    grid = shape or machine.shape
    anatomy = load_anatomy()
    rng = generator_for(seed, "phantom", index, "patient")
    pose = _draw_pose(machine, rng)
    load_ml = draw_load_ml(rng) * float(np.linalg.det(pose.matrix[:, :3]))
    pathology = (
        Pathology(np.zeros(anatomy.white.shape, dtype=np.float32))
        if healthy
        else plant_pathology(anatomy, generator_for(seed, "phantom", index, "pathology"), load_ml)
    )
    severity = float(rng.uniform(0.0, 1.0))
    contrasts = (
        replace(machine.t1, lesion=1 - 0.04 - 0.14 * severity, grey=machine.t1.grey * float(rng.normal(1, 0.02))),
        replace(machine.flair, lesion=1.42 + 0.3 * severity, grey=machine.flair.grey * float(rng.normal(1, 0.02))),
    )
    affine = grid_affine(machine, grid)
    head = render_head(
        anatomy, pathology, pose, contrasts, grid, affine, generator_for(seed, "phantom", index, "folding")
    )
    images: list[np.ndarray] = []
    for name, signal, white in zip(("T1", "FLAIR"), head.images, (machine.t1_white, machine.flair_white), strict=True):
        images += acquire(machine, signal, white, affine, generator_for(seed, "phantom", index, name))
    return _with_truth(f"P{index + 1:03d}", machine.name, images, head, affine)


def _draw_pose(machine: Scanner, rng: np.random.Generator) -> Pose:
    from scipy.spatial.transform import Rotation

    turn = Rotation.from_euler("xyz", rng.normal(0, (4.0, 2.0, 2.5)), degrees=True).as_matrix()
    size = rng.normal(0.925, 0.02) * np.exp(rng.normal(0, 0.015, 3))  # the MNI152 head is larger than most
    matrix = np.zeros((3, 4))
    matrix[:, :3] = turn / size[:, None]
    matrix[:, 3] = np.asarray(machine.centre_mm) + rng.normal(0, 2.0, 3)
    age = float(rng.uniform(0, 1))
    return Pose(
        matrix=matrix,
        folding_mm=(2.2, 1.5, 0.9),
        widening_mm=-0.5 + 4.5 * age + float(rng.normal(0, 0.6)),
        atrophy=1.0 + 0.9 * age,
    )


def _with_truth(identifier: str, site: str, images: list[np.ndarray], head: Head, affine: np.ndarray) -> PhantomPatient:
    from scipy import ndimage

    fractions = np.stack([head.fluid, head.grey, head.white])
    brain = fractions.sum(axis=0) >= 0.5
    mask = np.zeros(brain.shape, dtype=np.uint8)
    mask[head.lesion >= LABEL_FRACTION] = LESION
    mask[head.other >= LABEL_FRACTION] = OTHER_PATHOLOGY
    mask *= brain
    lesions = np.zeros(mask.shape, dtype=np.int32)
    ndimage.label(mask == LESION, np.ones((3, 3, 3)), output=lesions)
    voxel_ml = float(np.abs(np.diag(affine)[:3]).prod()) / 1000
    t1, t1_orig, flair, flair_orig = images
    return PhantomPatient(
        id=identifier,
        site=site,
        t1=t1,
        flair=flair,
        t1_orig=t1_orig,
        flair_orig=flair_orig,
        mask=mask,
        brain=brain,
        tissue=np.where(brain, fractions.argmax(axis=0) + 1, 0).astype(np.uint8),
        affine=affine,
        lesion_ml=float((mask == LESION).sum()) * voxel_ml,
        lesion_count=int(lesions.max()),
        other_ml=float((mask == OTHER_PATHOLOGY).sum()) * voxel_ml,
    )


def write_phantom_cohort(
    out: Path,
    patients: int,
    seed: int,
    *,
    force: bool = False,
    shape: tuple[int, int, int] | None = None,
    healthy: bool = False,
    progress: Callable[[str], None] | None = None,
) -> list[str]:
    """Writes phantom patients as the WMH challenge publishes its scans, and what is true of them.

    Leaves ``OUT/SITE/ID/{pre,orig}/{T1,FLAIR}.nii.gz`` (int16), ``OUT/SITE/ID/wmh.nii.gz`` (float32, values 0, 1, 2)
    and ``OUT/manifest.json``. The same arguments give the same bytes.

    Args:
        out: folder, absent or empty.
        patients: how many, at least 1.
        seed: of the cohort; the first N patients of a larger cohort are those of a cohort of N.
        force: replace the phantom sites and the manifest in ``out``; other files there stay.
        shape: as in `phantom_patient`.
        healthy: likewise.
        progress: called with the id of each patient that is complete.

    Returns:
        The ids in order.

    Raises:
        ConfigError: when ``patients`` is below 1.
        DataError: when ``out`` is not empty and not ``force``.
    """
    if patients < 1:
        raise ConfigError("--patients", f"must be at least 1 (got {patients})")
    _make_room(out, force)
    rows = []
    for index in range(patients):
        patient = phantom_patient(seed, index, shape=shape, healthy=healthy)
        _write_patient(out / patient.site / patient.id, patient)
        rows.append(
            {
                "id": patient.id,
                "site": patient.site,
                "lesion_ml": round(patient.lesion_ml, 4),
                "lesion_count": patient.lesion_count,
                "other_ml": round(patient.other_ml, 4),
            }
        )
        if progress is not None:
            progress(patient.id)
    manifest = {"kind": "phantom", "labelgan": __version__, "seed": seed, "patients": rows}
    write_json_atomic(out / "manifest.json", manifest)
    return [row["id"] for row in rows]


def _make_room(out: Path, force: bool) -> None:
    if not (force and out.is_dir()):
        require_free(out, "choose another folder, or --force to replace the phantoms in it")
    if not is_free(out):
        for site in SCANNERS:
            if (out / site).is_dir() and not (out / site).is_symlink():
                shutil.rmtree(out / site)
        (out / "manifest.json").unlink(missing_ok=True)
    make_folder(out)


def _write_patient(folder: Path, patient: PhantomPatient) -> None:
    for name, data in (
        ("pre/T1", patient.t1),
        ("pre/FLAIR", patient.flair),
        ("orig/T1", patient.t1_orig),
        ("orig/FLAIR", patient.flair_orig),
        ("wmh", patient.mask.astype(np.float32)),
    ):
        write_bytes_atomic(folder / f"{name}.nii.gz", nifti_bytes(data, patient.affine, compresslevel=1))
