"""Scans and synthetic slices to export, made in a moment: nothing is trained."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from trees import AFFINE, SHAPE, save, voxels

from labelgan.core.rng import generator_for
from labelgan.data.export.records import LabelledVolume
from labelgan.data.export.write import CohortFacts, LabelledSlice, export_cohort
from labelgan.data.layouts.detect import read_cohort
from labelgan.data.reading.read import voxel_hash

FACTS = CohortFacts(("FLAIR", "T1"), (16, 24), (3.0, 1.25, 0.75))
INTENSITY = {"FLAIR": {"mean": 100.0, "sd": 30.0}, "T1": {"mean": 80.0, "sd": 20.0}}


def a_slice(identifier: str, lesion: bool = True) -> LabelledSlice:
    """A synthetic slice of noise on the scale of `INTENSITY`."""
    z_scores = generator_for(0, identifier).normal(size=(2, 16, 24)).astype(np.float32)
    mask = np.zeros((16, 24), np.uint8)
    mask[3:6, 10:14] = lesion
    scale = np.array([list(entry.values()) for entry in INTENSITY.values()], np.float32)[:, :, None, None]
    return LabelledSlice(identifier, np.maximum(z_scores * scale[:, 1] + scale[:, 0], 0), z_scores, mask)


def synthetic_cohort(root: Path, seen: Path | None, exclude: Sequence[str] = (), format: str = "wmh") -> Path:
    """Three slices whose manifest says that their generator saw a cohort but for some patients."""
    manifest: dict = {"kind": "synthetic-slices", "seed": 0, "intensity": INTENSITY}
    manifest["samples"] = [{"id": f"syn{n}", "seed": 0, "index": n, "lesion_voxels": 12} for n in range(3)]
    if seen is not None:
        cases = [
            {
                "id": case.id,
                "patient": case.patient,
                "hashes": {name: voxel_hash(case.load_image(name)) for name in case.images},
            }
            for case in read_cohort(seen).cases
            if case.patient not in exclude
        ]
        generator = {"model": "r3gan", "steps": 6, "sha256": "0" * 64, "training_cases": cases}
        manifest["generator"] = generator | {"excluded": list(exclude)}
    export_cohort(format, [a_slice(f"syn{n}") for n in range(3)], root, FACTS, lambda: manifest)
    return root


def scans(root: Path, ids: Sequence[str], other: bool = True) -> Path:
    """Scans in the wmh layout, stored to the left, to the front and up; every mask has a lesion, some label 2."""
    for identifier in ids:
        folder = root / "Utrecht" / identifier
        for channel in ("FLAIR", "T1"):
            save(folder / "pre" / f"{channel}.nii.gz", voxels(channel, identifier))
        save(folder / "wmh.nii.gz", scan_mask(identifier, other))
    return root


def scan_mask(identifier: str, other: bool = True) -> np.ndarray:
    """The mask of one of `scans`, (X, Y, Z) uint8."""
    mask = (generator_for(8, identifier).random(SHAPE) > 0.8).astype(np.uint8)
    mask[0, 0, 0], mask[1, 0, 0] = 1, 2 * other
    return mask


def a_volume(identifier: str = "p1", **facts) -> LabelledVolume:
    """A scan of noise with lesions and other pathology; its z-scores are its intensities over 100."""
    images = {name: voxels(name, identifier).astype(np.float32) for name in ("FLAIR", "T1")}
    given = {
        "id": identifier,
        "patient": identifier,
        "images": images,
        "mask_XYZ": scan_mask(identifier),
        "affine": AFFINE,
        "z_scores": lambda: np.stack(list(images.values())) / 100,
    }
    return LabelledVolume(**(given | facts))
