"""Times `labelgan prepare` against the loop that a script would have: nibabel, SimpleITK, NumPy.

Run: ``python -m bench.speed.prepare_speed [--short]``. Prints one table.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before NumPy is imported

import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import nibabel as nib
import numpy as np
import SimpleITK
from scipy.ndimage import binary_fill_holes

from bench.speed.measure import Bench, Figure, main, median_ratio, take_turns
from labelgan import api

PATIENTS = 1
SIZE = (200, 200)
SPACINGS = (None, 1.5)  # mm
THRESHOLD = 70.0


def plain_loop(cohort: Path, out: Path, spacing_mm: float | None) -> None:
    """Reads, masks the brain by a threshold, normalises, resamples, crops or pads, and writes every case."""
    out.mkdir()
    for flair in sorted(cohort.glob("*/*/pre/FLAIR.nii.gz")):
        case = flair.parents[1]
        volumes: list[Any] = [nib.load(path) for path in (flair, case / "pre" / "T1.nii.gz", case / "wmh.nii.gz")]
        zooms = volumes[0].header.get_zooms()
        images = [volume.get_fdata(dtype=np.float32).T for volume in volumes]
        brain = np.stack([np.asarray(binary_fill_holes(plane)) for plane in images[0] >= THRESHOLD])
        for number in (0, 1):
            inside = images[number][brain]
            images[number] = (images[number] - inside.mean()) / inside.std()
        planes = [*images, brain.astype(np.float32)]
        if spacing_mm is not None:
            planes = [resampled(plane, zooms, spacing_mm, label=number > 1) for number, plane in enumerate(planes)]
        planes = [fitted(plane, SIZE) for plane in planes]
        np.save(out / f"{case.name}_images.npy", np.stack(planes[:2], axis=1).astype(np.float16))
        np.save(out / f"{case.name}_mask.npy", planes[2].astype(np.uint8))
        np.save(out / f"{case.name}_brain.npy", planes[3].astype(np.uint8))


def resampled(volume_ZYX: np.ndarray, zooms: tuple[float, ...], spacing_mm: float, *, label: bool) -> np.ndarray:
    """In-plane resampling by SimpleITK, linear or nearest."""
    image = SimpleITK.GetImageFromArray(volume_ZYX)
    image.SetSpacing([float(zoom) for zoom in zooms[:3]])
    columns, rows = (round(side * zoom / spacing_mm) for side, zoom in zip(image.GetSize()[:2], zooms, strict=False))
    how = SimpleITK.sitkNearestNeighbor if label else SimpleITK.sitkLinear
    return SimpleITK.GetArrayFromImage(
        SimpleITK.Resample(
            image,
            (columns, rows, image.GetSize()[2]),
            SimpleITK.Transform(),
            how,
            image.GetOrigin(),
            (spacing_mm, spacing_mm, float(zooms[2])),
            image.GetDirection(),
        )
    )


def fitted(volume_ZYX: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Crop or pad of every slice about its centre."""
    out = np.full((len(volume_ZYX), *size), volume_ZYX.min(), volume_ZYX.dtype)
    pairs = []
    for have, want in zip(volume_ZYX.shape[1:], size, strict=True):
        kept = min(have, want)
        pairs.append((slice((want - kept) // 2, (want - kept) // 2 + kept), (have - kept) // 2, kept))
    (rows, top, height), (columns, left, width) = pairs
    out[:, rows, columns] = volume_ZYX[:, top : top + height, left : left + width]
    return out


def figures(short: bool) -> list[Figure]:
    """Prepares a phantom again and again."""
    SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        api.phantom(folder / "cohort", PATIENTS, 0)
        count = 0

        def fresh(make: Callable[[Path], object]) -> Callable[[], None]:
            def run() -> None:
                nonlocal count
                count += 1
                make(folder / f"out{count}")

            return run

        for spacing in SPACINGS:
            settings = {"size": SIZE, "spacing_mm": spacing}
            alike = {**settings, "brain_mask": "li2018", "li2018_threshold": THRESHOLD}
            calls = [
                fresh(lambda out, given=given: api.prepare(folder / "cohort", out, **given))
                for given in (alike, settings)
            ]
            calls.append(fresh(lambda out, spacing=spacing: plain_loop(folder / "cohort", out, spacing)))
            thresholded, default, plain = take_turns(calls, 3 if short else 6)
            what = "native pixels" if spacing is None else f"pixels of {spacing} mm"
            for mask, ours in (("threshold", thresholded), ("default", default)):
                rows.append(
                    Figure(
                        name=f"`prepare`, {what}, {mask} brain mask",
                        against="plain nibabel loop, threshold brain mask",
                        ratio=median_ratio(ours, plain),
                        better="lower",
                        detail=f"{median(ours) / PATIENTS:.2f} s; {median(plain) / PATIENTS:.2f} s a case",
                    )
                )
    return rows


BENCH = Bench(
    name="prepare",
    title="Preparing a cohort",
    command="python -m bench.speed.prepare_speed",
    text="""
`labelgan prepare` on a phantom patient (FLAIR, T1, mask), against the loop that a script would
have: read with nibabel, brain mask by a threshold on FLAIR with holes filled slice by slice, z-score inside it,
`SimpleITK.Resample` where pixels change, crop or pad to 200×200, `np.save`. With its threshold mask, `prepare` makes
the same and also checks values, grids and sizes, hashes the voxels, finds the axial direction, smooths before it makes
pixels larger, drops empty slices, and syncs its files to disk. The default mask, which needs no threshold, costs more.
""",
    figures=figures,
)

if __name__ == "__main__":
    main(BENCH)
