"""A cohort of heads so simple that what is stored of them can be told voxel by voxel."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np

from labelgan.config.base import PrepareConfig
from labelgan.core.rng import generator_for

SHAPE = (20, 24, 6)
CONFIG = PrepareConfig.build({"size": (16, 16)})


def write_case(folder: Path, number: int, labelled: bool = True) -> dict[str, np.ndarray]:
    """A round bright head with a brighter lesion, in an orientation of its own."""
    random = generator_for(7, "case", number)
    x, y, z = np.indices(SHAPE)
    head = ((x - 9.5) / 8) ** 2 + ((y - 11.5) / 9) ** 2 + ((z - 2.5) / 4) ** 2 < 1
    lesion = head & (abs(x - 11) < 2) & (abs(y - 12 - number % 10) < 2) & (abs(z - 3) < 2)
    arrays = {
        "FLAIR": (head * (100 + number) + lesion * 60 + random.normal(0, 3, SHAPE)).astype(np.float32),
        "T1": (head * (200 + number) - lesion * 40 + random.normal(0, 3, SHAPE)).astype(np.float32),
        "mask": lesion.astype(np.float32) + 2 * ((x == 5) & (y == 12) & (z == 2)).astype(np.float32),
    }
    affine = np.diag([1.0 if number % 2 else -1.0, 1.0, 3.0, 1.0])
    (folder / "pre").mkdir(parents=True)
    for name in ("FLAIR", "T1"):
        nibabel.save(nibabel.Nifti1Image(arrays[name], affine), folder / "pre" / f"{name}.nii.gz")
    if labelled:
        nibabel.save(nibabel.Nifti1Image(arrays["mask"], affine), folder / "wmh.nii.gz")
    return arrays
