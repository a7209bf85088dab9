"""A phantom's head on a scanner's grid: deformed, sampled several times a voxel, and given its contrasts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from labelgan.data.phantom.anatomy import HEAD_ORIGIN_MM, HEAD_SPACING_MM, Anatomy
from labelgan.data.phantom.lesions import Pathology
from labelgan.data.phantom.scanner import Contrast, SmoothField

KNOT_MM = 8.0
SUBVOXEL_MM = 2.5
MAX_SUBVOXELS = 4
OUTER_TABLE_MM = 7.0
FLUID_LAYER_MM = 1.5


@dataclass(frozen=True)
class Pose:
    """One patient's geometry.

    Attributes:
        matrix: (3, 4), patient millimetres (RAS+) to template millimetres: rotation and head size.
        folding_mm: standard deviation of the smooth random displacement, at three scales from coarse to fine, mm.
        widening_mm: how far the ventricles' walls are pushed outwards, mm.
        atrophy: weight of fluid against tissue; above 1 the sulci are wide.
    """

    matrix: np.ndarray
    folding_mm: tuple[float, float, float]
    widening_mm: float
    atrophy: float


@dataclass(frozen=True)
class Head:
    """Noise-free images and truth on the scanner's grid, each (X, Y, Z) float32.

    Attributes:
        images: one image per contrast, healthy white matter near 1, air 0.
        white, grey, fluid: fractions inside the skull.
        lesion, other: fractions of label 1 and label 2.
    """

    images: tuple[np.ndarray, ...]
    white: np.ndarray
    grey: np.ndarray
    fluid: np.ndarray
    lesion: np.ndarray
    other: np.ndarray


def render_head(
    anatomy: Anatomy,
    pathology: Pathology,
    pose: Pose,
    contrasts: tuple[Contrast, ...],
    shape: tuple[int, int, int],
    affine: np.ndarray,
    rng: np.random.Generator,
) -> Head:
    """Samples the deformed head on a grid, several points per voxel, so that voxels mix tissues as real ones do.

    Args:
        anatomy: the template.
        pathology: lesions in template space.
        pose: the patient's geometry.
        contrasts: one per image wanted.
        shape: voxels of the grid.
        affine: (4, 4) diagonal-plus-translation, voxel index to patient millimetres.
        rng: draws the deformation and the tissue texture.
    """
    spacing = np.abs(np.diag(affine)[:3])
    parts = [int(np.clip(np.ceil(size / SUBVOXEL_MM), 1, MAX_SUBVOXELS)) for size in spacing]
    axes = tuple(
        affine[axis, axis] * ((np.arange(shape[axis] * parts[axis]) + 0.5) / parts[axis] - 0.5) + affine[axis, 3]
        for axis in range(3)
    )
    warp = SmoothField(np.array([a.min() for a in axes]), np.array([a.max() for a in axes]), KNOT_MM)
    control = _deformation(anatomy, pose, warp, rng)
    maps = np.zeros((len(contrasts) + 5, *shape), dtype=np.float32)
    for k in range(shape[2]):
        slab = (axes[0], axes[1], axes[2][k * parts[2] : (k + 1) * parts[2]])
        points = _to_template(pose, warp.evaluate(control[..., :3], slab), slab)
        texture = warp.evaluate(control[..., 3:], slab)[0]
        fine = _render_points(anatomy, pathology, pose, contrasts, points, texture)
        blocks = fine.reshape(len(fine), shape[0], parts[0], shape[1], parts[1], parts[2])
        maps[..., k] = blocks.mean(axis=(2, 4, 5))
    n = len(contrasts)
    return Head(tuple(maps[:n]), *maps[n:])


def _deformation(anatomy: Anatomy, pose: Pose, warp: SmoothField, rng: np.random.Generator) -> np.ndarray:
    """Control points: three displacement channels in template mm, and one of texture."""
    from scipy import ndimage

    control = np.zeros((*warp.shape, 4))
    for amplitude, scale_mm in zip(pose.folding_mm, (36.0, 16.0, 7.0), strict=True):
        control[..., :3] += amplitude * warp.noise(rng, scale_mm, 3)
    control[..., 3] = warp.noise(rng, 8.0, 1)[..., 0]
    knots = warp.knots() @ pose.matrix[:, :3].T + pose.matrix[:, 3]
    index = np.moveaxis((knots - HEAD_ORIGIN_MM) / HEAD_SPACING_MM, -1, 0)
    for axis in range(3):
        push = ndimage.map_coordinates(anatomy.push[..., axis], index, order=1, mode="nearest")
        control[..., axis] -= pose.widening_mm * push
    return control


def _to_template(pose: Pose, displacement: np.ndarray, axes: tuple[np.ndarray, ...]) -> np.ndarray:
    x, y, z = (axes[axis].reshape([-1 if k == axis else 1 for k in range(3)]) for axis in range(3))
    points = displacement
    for axis in range(3):
        row = pose.matrix[axis]
        points[axis] += (row[0] * x + row[1] * y + row[2] * z + row[3]).astype(np.float32)
    return points


def _sample(values: np.ndarray, index: np.ndarray) -> np.ndarray:
    from scipy import ndimage

    return ndimage.map_coordinates(values, index, output=np.float32, order=1, mode="nearest")


def _render_points(
    anatomy: Anatomy,
    pathology: Pathology,
    pose: Pose,
    contrasts: tuple[Contrast, ...],
    points: np.ndarray,
    texture: np.ndarray,
) -> np.ndarray:
    """Intensities and fractions at template points: (3, ...) mm to (contrasts + 5, ...)."""
    shape = points.shape[1:]
    out = np.zeros((len(contrasts) + 5, int(np.prod(shape))), dtype=np.float32)
    points = points.reshape(3, -1)
    texture = texture.reshape(-1)
    coarse = (points - np.asarray(HEAD_ORIGIN_MM, np.float32)[:, None]) / np.float32(HEAD_SPACING_MM)
    hull = _sample(anatomy.hull_mm, coarse)
    inside = np.flatnonzero(hull < FLUID_LAYER_MM)
    if inside.size:
        out[:, inside] = _render_brain(
            anatomy, pathology, pose, contrasts, points[:, inside], hull[inside], texture[inside]
        )
    outside = np.flatnonzero((hull >= FLUID_LAYER_MM) & (hull < 90))
    skin = _sample(anatomy.skin_mm, coarse[:, outside])
    outside, skin = outside[skin < 1], skin[skin < 1]
    if outside.size:
        out[: len(contrasts), outside] = _render_shell(
            anatomy, contrasts, coarse[:, outside], hull[outside], skin, texture[outside]
        )
    return out.reshape(-1, *shape)


def _render_brain(
    anatomy: Anatomy,
    pathology: Pathology,
    pose: Pose,
    contrasts: tuple[Contrast, ...],
    points: np.ndarray,
    hull: np.ndarray,
    texture: np.ndarray,
) -> np.ndarray:
    index = (points - anatomy.affine[:3, 3].astype(np.float32)[:, None]) / np.diag(anatomy.affine)[:3, None].astype(
        np.float32
    )
    white, grey = _sample(anatomy.white, index), _sample(anatomy.grey, index)
    residual = _sample(anatomy.residual, index)
    fluid = np.clip(1 - white - grey, 0, 1) * pose.atrophy
    # An average of many heads is blurred; a power above 1 gives the single head its edges back.
    white, grey, fluid = white**1.7, grey**1.7, fluid**1.7
    total = np.maximum(white + grey + fluid, 1e-6)
    white, grey, fluid = white / total, grey / total, fluid / total
    lesion = _sample(pathology.lesion, index)
    other = core = None
    if pathology.other is not None and pathology.core is not None:
        other, core = _sample(pathology.other, index), _sample(pathology.core, index)
    rows = []
    for contrast in contrasts:
        value = contrast.white * white + contrast.grey * grey
        value += value * 0.015 * texture + contrast.residual * residual * (white + grey)
        value += contrast.fluid * fluid
        value += lesion * (contrast.lesion * (1 + 0.06 * texture) - value)
        if other is not None and core is not None:
            value += other * (contrast.lesion - value)
            value += core * (contrast.fluid - value)
        rows.append(value)
    within = hull < 0
    rows += [white * within, grey * within, fluid * within, lesion, np.zeros_like(lesion) if other is None else other]
    return np.stack(rows)


def _render_shell(
    anatomy: Anatomy,
    contrasts: tuple[Contrast, ...],
    coarse: np.ndarray,
    hull: np.ndarray,
    skin: np.ndarray,
    texture: np.ndarray,
) -> np.ndarray:
    """Skull, scalp and face by depth: bone with marrow in its middle, then muscle or fat, then skin."""
    depth = hull * (1 + 0.07 * texture)
    marrow = np.clip(0.5 + 0.3 * texture, 0, 1)
    eye, orbit, sinus = (_sample(each, coarse) for each in (anatomy.eye, anatomy.orbit, anatomy.sinus))
    streak = np.clip(
        0.15 + 0.5 * np.sin(0.5 * coarse[0]) * np.sin(0.45 * coarse[1] + 0.3 * coarse[2]) + 0.1 * texture, 0, 1
    )
    rows = []
    for contrast in contrasts:
        c = contrast
        bone = np.interp(depth, (1.5, 2.2, 3.4, 4.6, 5.8, 7.0), (c.fluid, c.bone, c.bone, c.marrow, c.bone, c.bone))
        bone = c.bone + (bone - c.bone) * np.where(depth > 3, marrow, 1)
        deep = c.muscle + streak * 0.6 * (c.fat - c.muscle)
        shallow = np.interp(skin, (-2.6, -1.9, -0.4, 0.5), (c.fat * 0.95, c.skin, c.skin, 0.0))
        mix = np.clip((skin + 9) / 2.5, 0, 1)
        soft = deep + mix * (shallow * (1 + 0.06 * texture) - deep)
        value = soft + np.clip((OUTER_TABLE_MM - depth) / 1.2 + 0.5, 0, 1) * (bone - soft)
        value += np.clip(0.5 - orbit / 2, 0, 1) * (0.85 * c.fat - value) * (depth > 4)
        value += np.clip(0.5 - eye / 1.5, 0, 1) * (c.vitreous - value) * (depth > 4)
        value += np.clip(0.5 - sinus / 1.5, 0, 1) * (0.02 - value) * (depth > 3)
        rows.append(value)
    return np.stack(rows).astype(np.float32)
