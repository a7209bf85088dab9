"""Reading a labelled cohort, synthetic or real, as slices on a store's grid and scale; and what its generator saw."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from labelgan.core.errors import DataError
from labelgan.core.progress import Report
from labelgan.data.case import Case, Cohort
from labelgan.data.check.leaks import KnownScan
from labelgan.data.curation import require_as_written
from labelgan.data.geometry import SliceGeometry
from labelgan.data.manifests import CohortManifest
from labelgan.data.prepare.case import from_unit, prepare_case
from labelgan.data.slices import Slices
from labelgan.data.store import SliceStore
from labelgan.data.volume import Volume

LAST_GREY = np.float32(254.5 / 127.5 - 1)  # a z-score of 12.5: what is rounded to 255 lies there or above


@dataclass(frozen=True, eq=False)
class LabelledCase:
    """The slices of one case of a cohort, on the store's grid.

    Attributes:
        case: where they come from.
        slices: its slices; of synthetic ones no brain, height or patient is known.
        known: by what the case is known, whatever its names.
    """

    case: Case
    slices: Slices
    known: KnownScan


def read_labelled_slices(
    cohort: Cohort,
    cases: Sequence[Case],
    store: SliceStore,
    progress: Report | None = None,
) -> Iterator[LabelledCase]:
    """Reads cases one by one as slices on the store's grid and scale.

    Slices that ``labelgan sample`` wrote are turned back into the generator's z-scores by the intensities in their
    manifest; those of any other cohort are prepared as the store was.

    Args:
        cohort: the cohort.
        cases: those of its cases that are wanted.
        store: whose size, spacing, channels and settings count.
        progress: called as (cases done, cases, case id).

    Raises:
        DataError: a case cannot be read, has no mask, or lacks a channel of the store.
    """
    manifest = cohort.manifest
    for number, case in enumerate(cases):
        if progress is not None:
            progress(number, len(cases), case.id)
        if manifest.is_synthetic:
            require_as_written(cohort.root, manifest, case)
        if case.mask is None:
            raise DataError(case.id, f"has no mask; every case of {cohort.root} must have one")
        if missing := [name for name in store.channels if name not in case.images]:
            raise DataError(case.id, f"has no {' and no '.join(missing)} image, the store has")
        if manifest.is_synthetic:
            images_NCHW, masks_NHW, known = _read_slice(case, store, manifest)
            slices = Slices(images_NCHW, masks_NHW, **_ids(case, len(images_NCHW)))
            yield LabelledCase(case, slices, known)
        else:
            prepared = prepare_case(case, store.config, store.channels)
            count = len(prepared.images_ZCHW)
            slices = Slices(
                prepared.images_ZCHW,
                prepared.masks_ZHW,
                prepared.brains_ZHW,
                prepared.z_fraction,
                patients=np.array([case.patient] * count),
                **_ids(case, count),
            )
            yield LabelledCase(case, slices, prepared.known)
    if progress is not None:
        progress(len(cases), len(cases), "")


def _ids(case: Case, count: int) -> dict[str, np.ndarray]:
    names = [case.id] if count == 1 else [f"{case.id}/{number}" for number in range(count)]
    return {"cases": np.array([case.id] * count), "names": np.array(names)}


def _read_slice(case: Case, store: SliceStore, manifest: CohortManifest) -> tuple[np.ndarray, np.ndarray, KnownScan]:
    """One synthetic slice: float32 z-scores (1, C, H, W), uint8 mask (1, H, W), and by what it is known."""
    volumes = {name: case.load_image(name) for name in store.channels}
    grid = next(iter(volumes.values()))
    mask = case.load_mask()
    assert case.mask is not None
    assert mask is not None
    if any(volume.data.shape != grid.data.shape for volume in (*volumes.values(), mask)):
        raise DataError(case.mask.path, "the shapes of the images and of the mask differ")
    try:
        geometry = _geometry(grid, case.mask.path.suffix == ".png", store, manifest)
    except ValueError as error:
        raise DataError(case.mask.path, str(error)) from None
    planes = []
    for name, volume in volumes.items():
        z_scores = to_z_scores(case, name, volume.data, manifest)
        planes.append(geometry.to_store(z_scores, order="image", fill=float(z_scores.min())))
    masks_ZHW = geometry.to_store(mask.data, order="label", fill=0)
    return np.stack(planes, axis=1), masks_ZHW, KnownScan.of(case.id, case.patient, volumes, mask, prints=False)


def slice_affine(grid: Volume, picture: bool, manifest: CohortManifest) -> np.ndarray:
    """A synthetic slice's affine: pictures hold no millimetres, the manifest does. Raises ValueError without them."""
    if not picture:
        return grid.affine
    if manifest.spacing_mm is None:
        raise ValueError("the cohort's manifest.json gives no spacing_mm")
    slice_mm, row_mm, column_mm = manifest.spacing_mm
    return grid.affine @ np.diag([column_mm, row_mm, slice_mm, 1.0])


def _geometry(grid: Volume, picture: bool, store: SliceStore, manifest: CohortManifest) -> SliceGeometry:
    affine, spacing = slice_affine(grid, picture, manifest), store.config.spacing_mm
    geometry = SliceGeometry.of(grid.data.shape, affine, store.size)
    assert spacing != "auto"  # a store's own is resolved
    if spacing is None or np.allclose(geometry.spacing_mm[1:], spacing, rtol=1e-3):
        return geometry  # a NIfTI header rounds millimetres to single precision
    return SliceGeometry.of(grid.data.shape, affine, store.size, spacing)


def to_z_scores(case: Case, name: str, values: np.ndarray, manifest: CohortManifest) -> np.ndarray:
    """Undoes what the export formats do to z-scores; see `data.export`.

    Raises:
        DataError: the cohort's manifest gives no scale of the channel, and the file is of a format that needs one.
    """
    path = case.images[name].path
    if path.suffix == ".npz":
        return values
    if path.suffix == ".png":
        # the first and the last grey value stand for all that lies beyond: their inner edge is meant
        unit = np.clip(values / np.float32(127.5) - 1, -LAST_GREY, LAST_GREY)
        return np.clip(from_unit(unit), *manifest.range_of(name))
    scale = manifest.scale_of(name)
    if scale is None:
        raise DataError(path, f"the cohort's manifest.json gives no mean and sd of {name}")
    return (values - np.float32(scale.mean)) / np.float32(scale.sd)
