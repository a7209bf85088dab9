"""Lesions of phantoms: white-matter lesions placed as in life, and now and then something else (label 2)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from labelgan.data.phantom.anatomy import Anatomy, box_around

# Total lesion load over patients: log-normal, as in cohorts of older people, and a few almost free of lesions.
MEDIAN_LOAD_ML = 10.0
LOAD_SPREAD = 1.15
LOAD_LIMITS_ML = (0.15, 75.0)
LOW_LOAD_SHARE = 0.07
OTHER_PATHOLOGY_SHARE = 0.3
MIDLINE_MM = 5.0
MAX_PUNCTATE = 70
HALO_MM = 1.6
HALO_STRENGTH = 0.3


@dataclass(frozen=True)
class Pathology:
    """Soft maps on the fine grid of `Anatomy`, 0 to 1.

    Attributes:
        lesion: white-matter lesions (label 1).
        other: infarcts and lacunes with their rim (label 2), or None in patients without.
        core: their fluid-filled core, inside ``other``, or None.
    """

    lesion: np.ndarray
    other: np.ndarray | None = None
    core: np.ndarray | None = None


def draw_load_ml(rng: np.random.Generator) -> float:
    """Draws a patient's total lesion load in ml: heavy-tailed, sometimes very low."""
    if rng.random() < LOW_LOAD_SHARE:
        return float(rng.uniform(LOAD_LIMITS_ML[0], 0.6))
    return float(np.clip(MEDIAN_LOAD_ML * np.exp(LOAD_SPREAD * rng.standard_normal()), *LOAD_LIMITS_ML))


def plant_pathology(anatomy: Anatomy, rng: np.random.Generator, load_ml: float) -> Pathology:
    """Grows lesions of about ``load_ml`` in template space, and label 2 in some patients.

    Caps and bands take the voxels that are cheapest to reach from the ventricles until their share of the load is
    spent; deep punctate lesions are warped ellipsoids; where the load is high the two grow together.
    """
    from scipy import ndimage

    lesion = np.zeros(anatomy.white.shape, dtype=np.float32)
    punctate_share = float(np.clip(rng.beta(2.5, 3.5) - 0.06 * np.log(load_ml / MEDIAN_LOAD_ML), 0.1, 0.9))
    spent_mm3 = _plant_punctate(anatomy, rng, lesion, 1000 * load_ml * punctate_share)
    _plant_periventricular(anatomy, rng, lesion, 1000 * load_ml - spent_mm3)
    box = box_around(lesion > 0, 4)
    sharp = ndimage.gaussian_filter(lesion[box], 0.6)
    # Tissue around a lesion is a little ill too; it stays below what is labelled.
    halo = ndimage.gaussian_filter(lesion[box], HALO_MM, truncate=2.0)
    lesion[box] = sharp + HALO_STRENGTH * halo * (1 - sharp)
    if rng.random() >= OTHER_PATHOLOGY_SHARE:
        return Pathology(lesion)
    other, core = _plant_other(anatomy, rng)
    box = box_around(other > 0, 0)
    lesion[box] *= 1 - other[box]
    return Pathology(lesion, other, core)


def _plant_periventricular(anatomy: Anatomy, rng: np.random.Generator, lesion: np.ndarray, volume_mm3: float) -> None:
    """Caps around the horns and bands along the bodies of the lateral ventricles."""
    from scipy import ndimage

    box = box_around(anatomy.ventricle_mm == 0, 24)
    free = anatomy.host[box] & (lesion[box] == 0) & (anatomy.ventricle_mm[box] < 24)
    index = np.argwhere(free)
    place = anatomy.millimetres(index + np.array([part.start for part in box]))
    keep = np.abs(place[:, 0]) > MIDLINE_MM
    index, place = index[keep], place[keep]
    count = min(round(volume_mm3), len(index))
    if count < 1:
        return
    side = np.where(place[:, :1] < 0, -1, 1)
    frontal = np.exp(-(((place - side * [17, 0, 0] - [0, 33, 8]) / [11, 10, 12]) ** 2).sum(axis=1))
    occipital = np.exp(-(((place - side * [30, 0, 0] - [0, -48, 13]) / [11, 12, 12]) ** 2).sum(axis=1))
    caps = rng.uniform(0.6, 2.0) * frontal + rng.uniform(0.6, 2.0) * occipital
    rough = 0.25 * _noise(rng, free.shape, index, 2) + 0.55 * _noise(rng, free.shape, index, 6)
    reach = (0.6 + caps) * np.exp(rough)
    cost = anatomy.ventricle_mm[box][tuple(index.T)] / reach
    chosen = index[np.argpartition(cost, count - 1)[:count]]
    grown = np.zeros(free.shape, dtype=bool)
    grown[tuple(chosen.T)] = True
    if count > 200:
        grown = ndimage.uniform_filter(grown.astype(np.float32), 3) > 0.5
    lesion[box] = np.maximum(lesion[box], grown)


def _noise(rng: np.random.Generator, shape: tuple[int, ...], index: np.ndarray, scale: int) -> np.ndarray:
    """Smooth noise with unit standard deviation and a correlation length in voxels, at (N, 3) voxels of a box."""
    from scipy import ndimage

    coarse = rng.standard_normal([n // scale + 3 for n in shape], dtype=np.float32)
    coarse = ndimage.gaussian_filter(coarse, 1.0)
    values = ndimage.map_coordinates(coarse, index.T / scale + 1, order=1, mode="nearest")
    return values / coarse.std()


def _plant_punctate(anatomy: Anatomy, rng: np.random.Generator, lesion: np.ndarray, volume_mm3: float) -> float:
    """Deep punctate lesions, most of them a few millimetres wide; gives the volume that they took, mm³."""
    spent = 0.0
    for _ in range(MAX_PUNCTATE):
        if spent >= volume_mm3:
            break
        remaining = volume_mm3 - spent
        radius = float(np.clip(2.0 * np.exp(0.45 * rng.standard_normal()), 1.0, 7.0))
        radius = min(radius, max(1.0, (remaining / 4.2) ** (1 / 3)))
        centre = anatomy.deep[rng.integers(len(anatomy.deep))]
        box, blob = _blob(rng, centre, radius, lesion.shape, 0.2)
        added = blob & anatomy.host[box] & (lesion[box] == 0)
        lesion[box] = np.maximum(lesion[box], added)
        spent += float(added.sum())
    return spent


def _plant_other(anatomy: Anatomy, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A cortical infarct or a lacune: a core of fluid and a gliotic rim."""
    from scipy import ndimage

    if rng.random() < 0.6:
        home, radius, core_share = anatomy.cortex, float(rng.uniform(8, 19)), float(rng.uniform(0.5, 0.8))
    else:
        home, radius, core_share = anatomy.core, float(rng.uniform(3, 6)), float(rng.uniform(0.5, 0.75))
    centre = home[rng.integers(len(home))]
    other = np.zeros(anatomy.white.shape, dtype=np.float32)
    core = np.zeros_like(other)
    box, blob, inner = _blob_with_core(rng, centre, radius, core_share, other.shape)
    tissue = anatomy.white[box] + anatomy.grey[box] > 0.5
    other[box] = ndimage.gaussian_filter((blob & tissue).astype(np.float32), 0.6)
    core[box] = ndimage.gaussian_filter((inner & tissue).astype(np.float32), 1.0) * other[box]
    return other, core


def _blob(
    rng: np.random.Generator, centre: np.ndarray, radius_mm: float, shape: tuple[int, ...], roughness: float
) -> tuple[tuple[slice, ...], np.ndarray]:
    box, level = _warped_ellipsoid(rng, centre, radius_mm, shape, roughness)
    return box, level < 1


def _blob_with_core(
    rng: np.random.Generator, centre: np.ndarray, radius_mm: float, core_share: float, shape: tuple[int, ...]
) -> tuple[tuple[slice, ...], np.ndarray, np.ndarray]:
    box, level = _warped_ellipsoid(rng, centre, radius_mm, shape, 0.35)
    return box, level < 1, level < core_share


def _warped_ellipsoid(
    rng: np.random.Generator, centre: np.ndarray, radius_mm: float, shape: tuple[int, ...], roughness: float
) -> tuple[tuple[slice, ...], np.ndarray]:
    """Level set of a randomly turned ellipsoid with a rough surface: below 1 inside; 1 mm voxels."""
    reach = int(np.ceil(1.9 * radius_mm)) + 3
    box = tuple(slice(max(int(c) - reach, 0), min(int(c) + reach + 1, n)) for c, n in zip(centre, shape, strict=True))
    offsets = np.stack(
        np.meshgrid(*(np.arange(b.start, b.stop) - c for b, c in zip(box, centre, strict=True)), indexing="ij"), axis=-1
    )
    turn = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    axes = radius_mm * np.exp(rng.normal(0, 0.25, 3))
    level = np.linalg.norm((offsets @ turn) / axes, axis=-1)
    for _ in range(4):
        wave = rng.standard_normal(3) * 2.2 / radius_mm
        level *= 1 + roughness / 2 * np.cos(offsets @ wave + rng.uniform(0, 2 * np.pi))
    return box, level
