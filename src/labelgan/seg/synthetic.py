"""Synthetic slices for a training: read from a cohort, and refused where they come from held-out patients."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from labelgan.data.case import Case, Volume
from labelgan.data.geometry import SliceGeometry
from labelgan.data.layouts import SYNTHETIC_SLICES, read_cohort
from labelgan.data.layouts_common import manifest_of
from labelgan.data.preprocess import from_unit, prepare_case
from labelgan.data.reading import voxel_hash
from labelgan.data.store import SliceStore, StoredCase
from labelgan.errors import DataError, LeakError
from labelgan.files import sha256_file
from labelgan.seg.batches import ExtraSlices


@dataclass(frozen=True)
class SyntheticCohort:
    """What a training takes from a synthetic cohort: its slices, and where they come from for the manifest."""

    slices: ExtraSlices
    facts: dict[str, Any]


def read_synthetic(
    root: Path,
    store: SliceStore,
    held_out: Iterable[StoredCase],
    progress: Callable[[int, int, str], None] | None = None,
) -> SyntheticCohort:
    """Reads a labelled cohort as slices on the store's grid and scale.

    Slices that ``labelgan sample`` wrote are turned back into the generator's z-scores by the intensities in their
    manifest; any other labelled cohort is prepared as the store was.

    Args:
        root: folder of the cohort.
        store: the store that the slices will be mixed with.
        held_out: the cases that the training must know nothing of.
        progress: called as (cases done, cases, case id).

    Raises:
        LeakError: the generator has seen a held-out case or patient, a slice is one of theirs, or with cases held out
            the manifest does not tell what the generator has seen.
        DataError: the cohort cannot be read or has other channels; a case has no mask.
    """
    held_out = tuple(held_out)
    manifest = manifest_of(root)
    require_no_leak(root, seen_by_generator(root), held_out, store.cases)
    cohort = read_cohort(root)
    synthetic = manifest.get("kind") == SYNTHETIC_SLICES
    forbidden = {value: case.id for case in held_out for value in case.hashes.values()}
    images, masks = [], []
    for number, case in enumerate(cohort.cases):
        if progress is not None:
            progress(number, len(cohort.cases), case.id)
        if case.mask is None:
            raise DataError(case.id, f"has no mask; every case of {root} must have one")
        if missing := [name for name in store.channels if name not in case.images]:
            raise DataError(case.id, f"has no {' and no '.join(missing)} image, the store has")
        if synthetic:
            images_ZCHW, masks_ZHW, hashes = _read_slice(case, store, manifest)
        else:
            prepared = prepare_case(case, store.config, store.channels)
            images_ZCHW, masks_ZHW, hashes = prepared.images_ZCHW, prepared.masks_ZHW, prepared.hashes
        for value in hashes.values():
            if value in forbidden:
                raise LeakError(root, f"case {case.id} has the voxels of the held-out case {forbidden[value]}")
        images.append(images_ZCHW.astype(np.float16))
        masks.append(masks_ZHW.astype(np.uint8))
    if progress is not None:
        progress(len(cohort.cases), len(cohort.cases), "")
    slices = ExtraSlices(np.concatenate(images), np.concatenate(masks))
    generator = manifest.get("generator")
    facts: dict[str, Any] = {"name": root.resolve().name, "cases": len(cohort.cases), "slices": len(slices)}
    if isinstance(generator, dict):
        facts |= {key: generator[key] for key in ("model", "sha256", "excluded") if key in generator}
        facts |= {key: list(generator.get(key, [])) for key in ("training_cases", "inherited_cases")}
    if (root / "manifest.json").is_file():
        facts["manifest_sha256"] = sha256_file(root / "manifest.json")
    return SyntheticCohort(slices, facts)


@dataclass(frozen=True)
class SeenCases:
    """Manifest entries of the cases that a generator has seen: its own, and those of the one it was tuned from."""

    own: tuple[Mapping[str, Any], ...]
    inherited: tuple[Mapping[str, Any], ...] = ()


def seen_by_generator(root: Path) -> SeenCases | None:
    """The cases that a synthetic cohort's generator has seen, or None where its manifest does not tell.

    Raises:
        DataError: the manifest names cases without their hashes.
    """
    generator = manifest_of(root).get("generator")
    if not isinstance(generator, dict) or not isinstance(generator.get("training_cases"), list):
        return None
    own, inherited = generator["training_cases"], generator.get("inherited_cases") or []
    if not isinstance(inherited, list) or not all(
        isinstance(case, dict) and isinstance(case.get("hashes"), dict) for case in [*own, *inherited]
    ):
        raise DataError(root / "manifest.json", "is damaged: its generator's training cases have no hashes")
    return SeenCases(tuple(own), tuple(inherited))


def require_no_leak(
    root: Path, seen: SeenCases | None, held_out: Iterable[StoredCase], cohort: Iterable[StoredCase]
) -> None:
    """Raises LeakError when a generator has seen a held-out case or patient, by voxels or by name.

    A name says who a patient is inside one cohort alone. The cases of a generator that this one was tuned from are
    compared by name only where they share voxels with ``cohort``: the phantoms of a shipped generator have names too.

    Args:
        root: the synthetic cohort, for the message.
        seen: what its generator has seen; None where that is not known.
        held_out: the cases that must not be among them.
        cohort: all cases of the store.
    """
    held_out = tuple(held_out)
    if not held_out:
        return
    if seen is None:
        raise LeakError(
            root,
            "its manifest does not tell which cases its generator has seen, so it cannot be used with cases held out",
        )
    hashes = {value: case for case in held_out for value in case.hashes.values()}
    for entry in (*seen.own, *seen.inherited):
        for value in entry["hashes"].values():
            if value in hashes:
                raise LeakError(
                    root, f"was made from the held-out case {hashes[value].id} (the same voxels as {entry.get('id')})"
                )
    known = {value for case in cohort for value in case.hashes.values()}
    related = any(value in known for entry in seen.inherited for value in entry["hashes"].values())
    names = {name: case for case in held_out for name in (case.id, case.patient)}
    for entry in (*seen.own, *(seen.inherited if related else ())):
        for name in (entry.get("id"), entry.get("patient")):
            if name in names:
                held = names[name]
                raise LeakError(root, f"was made from the held-out patient {held.patient} (case {held.id})")


def _read_slice(
    case: Case, store: SliceStore, manifest: Mapping[str, Any]
) -> tuple[np.ndarray, np.ndarray, dict[str, str]]:
    """One synthetic slice: z-scores (Z, C, H, W), mask (Z, H, W), and the voxels' hashes."""
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
        z_scores = _z_scores(case, name, volume.data, manifest)
        planes.append(geometry.to_store(z_scores, order="image", fill=float(z_scores.min())))
    masks_ZHW = geometry.to_store(mask.data, order="label", fill=0)
    return np.stack(planes, axis=1), masks_ZHW, {name: voxel_hash(volume) for name, volume in volumes.items()}


def _geometry(grid: Volume, picture: bool, store: SliceStore, manifest: Mapping[str, Any]) -> SliceGeometry:
    affine, spacing = grid.affine.copy(), store.config.spacing_mm
    if picture:  # pictures hold no millimetres; the manifest does
        try:
            _, row_mm, column_mm = (float(length) for length in manifest["spacing_mm"])
        except (KeyError, TypeError, ValueError):
            raise ValueError("the cohort's manifest.json gives no spacing_mm") from None
        affine[:3, 0] *= column_mm
        affine[:3, 1] *= row_mm
    geometry = SliceGeometry.of(grid.data.shape, affine, store.size)
    if spacing is None or np.allclose(geometry.spacing_mm[1:], spacing, rtol=1e-3):
        return geometry  # a NIfTI header rounds millimetres to single precision
    return SliceGeometry.of(grid.data.shape, affine, store.size, spacing)


def _z_scores(case: Case, name: str, values: np.ndarray, manifest: Mapping[str, Any]) -> np.ndarray:
    """Undoes what the export formats do to z-scores; see `data.export`."""
    path = case.images[name].path
    if path.suffix == ".npz":
        return values
    if path.suffix == ".png":
        return from_unit(values / np.float32(127.5) - 1)
    try:
        scale = manifest["intensity"][name]
        mean, sd = float(scale["mean"]), float(scale["sd"])
    except (KeyError, TypeError, ValueError):
        raise DataError(path, f"the cohort's manifest.json gives no mean and sd of {name}") from None
    if not (np.isfinite([mean, sd]).all() and sd > 0):
        raise DataError(path, f"the cohort's manifest.json gives no mean and sd of {name}")
    return (values - np.float32(mean)) / np.float32(sd)
