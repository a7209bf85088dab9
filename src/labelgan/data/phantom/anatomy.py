"""The anatomy that phantoms are made from: MNI152 tissue maps, ventricles, and a modelled head around the brain."""

from __future__ import annotations

import functools
import warnings
from dataclasses import dataclass

import numpy as np

# The coarse grid of the head: 2 mm voxels, first voxel's centre and size in MNI millimetres.
HEAD_SPACING_MM = 2.0
HEAD_ORIGIN_MM = (-110.0, -150.0, -106.0)
HEAD_SHAPE = (111, 135, 116)

HULL_CLOSING_MM = 10.0
SCALP_DEPTH_MM = 12.0
VENTRICLE_REACH_MM = 45


@dataclass(frozen=True)
class Anatomy:
    """Maps of one average head. Fine maps are 1 mm MNI152 (197, 233, 189); coarse ones are 2 mm and reach into the air.

    Attributes:
        affine: (4, 4), index of the fine maps to MNI millimetres.
        head_affine: (4, 4), index of the coarse maps to MNI millimetres.
        white: fine, white-matter fraction, 0 to 1.
        grey: fine, grey-matter fraction, 0 to 1.
        residual: fine, what the template T1 shows beyond a mixture of the tissues (iron, vessels, thalamic nuclei),
            in units of the difference between white matter and fluid.
        ventricle_mm: fine, distance to the lateral and third ventricles, mm; 0 inside, and constant from 45 mm on.
        host: fine, bool, where white-matter lesions may grow.
        deep: (N, 3) fine indices in deep white matter, where punctate lesions have their centres.
        cortex: (N, 3) fine indices in the grey matter of the hemispheres.
        core: (N, 3) fine indices around the ventricles, where lacunes are found.
        hull_mm: coarse, signed distance to the inside of the skull, mm; negative inside.
        skin_mm: coarse, signed distance to the skin, mm; negative inside the head.
        eye, orbit, sinus: coarse, signed distance to eyeballs, orbital fat and air cells, mm; negative inside.
        push: coarse (X, Y, Z, 3), unit vectors away from the ventricles that fade with distance: a displacement of
            ``-a * push`` in the map from patient to template widens the ventricles by about ``a`` mm.
    """

    affine: np.ndarray
    head_affine: np.ndarray
    white: np.ndarray
    grey: np.ndarray
    residual: np.ndarray
    ventricle_mm: np.ndarray
    host: np.ndarray
    deep: np.ndarray
    cortex: np.ndarray
    core: np.ndarray
    hull_mm: np.ndarray
    skin_mm: np.ndarray
    eye: np.ndarray
    orbit: np.ndarray
    sinus: np.ndarray
    push: np.ndarray

    def millimetres(self, index: np.ndarray) -> np.ndarray:
        """Converts (N, 3) indices of the fine maps to MNI millimetres."""
        return index @ self.affine[:3, :3].T + self.affine[:3, 3]


@functools.lru_cache(maxsize=1)
def load_anatomy() -> Anatomy:
    """Builds the anatomy from the maps inside the nilearn package; once per process, no download.

    The template is the ICBM 2009a non-linear symmetric average (Fonov et al., NeuroImage 2011).
    """
    from scipy import ndimage

    t1, grey, white, affine = _template()
    brain = t1 > 0
    fluid = np.clip(1 - grey - white, 0, 1)
    residual = _residual(t1, grey, white, fluid, brain)
    ventricles = _ventricles(t1, white, affine)
    closed = ndimage.binary_closing((white > 0.5) | ventricles, iterations=2)
    host = closed & ~ventricles & (_axis_mm(affine, brain.shape, 2) > -30)
    ventricle_mm = _ventricle_distance(ventricles)
    above = _axis_mm(affine, brain.shape, 2) > -12

    head_affine = np.diag([HEAD_SPACING_MM] * 3 + [1.0])
    head_affine[:3, 3] = HEAD_ORIGIN_MM
    hull_mm = _hull(_to_head(brain, affine))
    x, y, z = (_axis_mm(head_affine, HEAD_SHAPE, axis) for axis in range(3))
    eye, orbit, sinus = _face(x, y, z)
    return Anatomy(
        affine=affine,
        head_affine=head_affine,
        white=white,
        grey=grey,
        residual=residual,
        ventricle_mm=ventricle_mm,
        host=host,
        deep=np.argwhere(host & (ventricle_mm > 6) & (white > 0.85)),
        cortex=np.argwhere((grey > 0.6) & (ventricle_mm > 15) & above),
        core=np.argwhere((ventricle_mm > 4) & (ventricle_mm < 22) & (white + grey > 0.95) & above),
        hull_mm=hull_mm,
        skin_mm=_skin(hull_mm, x, y, z),
        eye=eye,
        orbit=orbit,
        sinus=sinus,
        push=_push(_to_head(ventricles, affine)),
    )


def _template() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from nilearn import datasets

        images = [
            datasets.load_mni152_template(resolution=1),
            datasets.load_mni152_gm_template(resolution=1),
            datasets.load_mni152_wm_template(resolution=1),
        ]
        t1, grey, white = (np.asarray(image.dataobj, dtype=np.float32) for image in images)
    return t1, grey, white, np.asarray(images[0].affine, dtype=float)


def _axis_values(affine: np.ndarray, shape: tuple[int, ...], axis: int) -> np.ndarray:
    return affine[axis, axis] * np.arange(shape[axis]) + affine[axis, 3]


def _axis_mm(affine: np.ndarray, shape: tuple[int, ...], axis: int) -> np.ndarray:
    values = _axis_values(affine, shape, axis)
    return values.reshape([-1 if k == axis else 1 for k in range(3)])


def _residual(t1: np.ndarray, grey: np.ndarray, white: np.ndarray, fluid: np.ndarray, brain: np.ndarray) -> np.ndarray:
    mixture = np.stack([grey[brain], white[brain], fluid[brain]], axis=1)
    means = np.linalg.lstsq(mixture[::7], t1[brain][::7], rcond=None)[0]
    residual = np.zeros_like(t1)
    residual[brain] = (t1[brain] - mixture @ means) / (means[1] - means[2])
    return np.clip(residual, -0.5, 0.5)


def _ventricles(t1: np.ndarray, white: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Dark fluid connected to the bodies of the lateral ventricles, inside a box that keeps the cisterns out."""
    from scipy import ndimage

    x, y, z = (_axis_mm(affine, t1.shape, axis) for axis in range(3))
    box = (np.abs(x) < 38) & (y > -50) & (y < 36) & (z > -4) & (z < 36)
    dark = (t1 > 0) & (t1 < 0.5) & (white < 0.4) & box
    labels = np.zeros(t1.shape, dtype=np.int32)
    ndimage.label(dark, output=labels)
    seeds = labels[(np.abs(np.abs(x) - 10) < 6) & (np.abs(y - 5) < 12) & (np.abs(z - 16) < 6)]
    largest = np.bincount(seeds[seeds > 0]).argsort()[-2:]
    return np.isin(labels, largest)


def _distance(mask: np.ndarray, spacing_mm: float) -> np.ndarray:
    """Distance of each true voxel to the nearest false one, mm."""
    from scipy import ndimage

    return np.asarray(ndimage.distance_transform_edt(mask, sampling=spacing_mm))


def _ventricle_distance(ventricles: np.ndarray) -> np.ndarray:
    distance = np.full(ventricles.shape, VENTRICLE_REACH_MM, dtype=np.float32)
    near = box_around(ventricles, VENTRICLE_REACH_MM)
    distance[near] = np.minimum(_distance(~ventricles[near], 1.0), VENTRICLE_REACH_MM)
    return distance


def box_around(mask: np.ndarray, margin: int) -> tuple[slice, ...]:
    """Smallest box of slices around the true voxels, grown by a margin; an empty mask gives an empty box."""
    box = []
    for axis in range(mask.ndim):
        hits = np.flatnonzero(mask.any(axis=tuple(k for k in range(mask.ndim) if k != axis)))
        if not hits.size:
            return tuple(slice(0, 0) for _ in range(mask.ndim))
        box.append(slice(max(int(hits[0]) - margin, 0), min(int(hits[-1]) + 1 + margin, mask.shape[axis])))
    return tuple(box)


def _to_head(mask: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Nearest-voxel copy of a fine mask on the coarse grid; outside the fine grid is empty."""
    inside = np.zeros(HEAD_SHAPE, dtype=bool)
    picks = []
    for axis in range(3):
        wanted = HEAD_ORIGIN_MM[axis] + HEAD_SPACING_MM * np.arange(HEAD_SHAPE[axis])
        index = np.rint((wanted - affine[axis, 3]) / affine[axis, axis]).astype(int)
        keep = (index >= 0) & (index < mask.shape[axis])
        picks.append((np.flatnonzero(keep), index[keep]))
    inside[np.ix_(*(to for to, _ in picks))] = mask[np.ix_(*(source for _, source in picks))]
    return inside


def _signed_distance(mask: np.ndarray, smoothing_mm: float) -> np.ndarray:
    from scipy import ndimage

    outside = _distance(~mask, HEAD_SPACING_MM)
    inside = _distance(mask, HEAD_SPACING_MM)
    return ndimage.gaussian_filter(outside - inside, smoothing_mm / HEAD_SPACING_MM).astype(np.float32)


def _hull(brain: np.ndarray) -> np.ndarray:
    """Closes the brain's sulci by dilation and erosion, as the skull does."""
    from scipy import ndimage

    outside = _distance(~brain, HEAD_SPACING_MM)
    grown = outside <= HULL_CLOSING_MM
    inside = _distance(grown, HEAD_SPACING_MM)
    signed = np.where(grown, HULL_CLOSING_MM - inside, outside)
    return ndimage.gaussian_filter(signed, 3.0 / HEAD_SPACING_MM).astype(np.float32)


def _skin(hull_mm: np.ndarray, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    """The scalp follows the skull above; below, an oval column stands for the face and neck."""
    forward = np.clip((-20 - z) / 60, 0, 1)
    back, front, width = -112 + 25 * forward, 88 + 0 * z, 72 - 4 * forward
    middle, depth = (front + back) / 2, (front - back) / 2
    column = (np.hypot(x / width, (y - middle) / depth) < 1) & (z < 0)
    nose = (np.hypot(x / 13, (z + 62) / 28) < 1) & (y > 60) & (y < 104 + 0.35 * np.minimum(-62 - z, 0))
    ears = np.hypot(np.hypot((np.abs(x) - 80) / 6, (y + 22) / 13), (z + 38) / 26) < 1
    return _signed_distance((hull_mm < SCALP_DEPTH_MM) | column | nose | ears, 3.0)


def _face(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    side = np.abs(x)
    eye = np.sqrt((side - 32) ** 2 + (y - 66) ** 2 + (z + 40) ** 2) - 12
    # The orbit is a cone from the optic canal to the eye.
    along = np.clip((y - 26) / 46, 0, 1)
    orbit = np.hypot(side - (14 + 18 * along), z + 38 + 2 * along) - (3 + 15 * along)
    orbit = np.maximum(orbit, np.maximum(26 - y, y - 76))
    turbinates = 1.5 * np.sin(x * 1.1) * np.cos(y * 0.25)
    ethmoid = np.maximum.reduce(np.broadcast_arrays(side - 12 + turbinates, 28 - y, y - 82, z + 32, -90 - z))
    frontal = 6 * (np.sqrt((x / 17) ** 2 + ((y - 79) / 3.5) ** 2 + ((z + 10) / 9) ** 2) - 1)
    maxillary = 14 * (np.sqrt(((side - 29) / 15) ** 2 + ((y - 58) / 18) ** 2 + ((z + 74) / 16) ** 2) - 1)
    sphenoid = 10 * (np.sqrt((x / 13) ** 2 + ((y - 22) / 12) ** 2 + ((z + 42) / 10) ** 2) - 1)
    cells = 2.5 * np.sin(x * 0.9) * np.sin(y * 0.8) * np.sin(z * 0.7)
    mastoid = 12 * (np.sqrt(((side - 58) / 11) ** 2 + ((y + 32) / 14) ** 2 + ((z + 52) / 16) ** 2) - 1) + cells
    air = np.minimum.reduce(np.broadcast_arrays(ethmoid, frontal, maxillary, sphenoid, mastoid))
    return tuple(np.broadcast_to(each, HEAD_SHAPE).astype(np.float32) for each in (eye, orbit, air))  # type: ignore[return-value]


def _push(ventricles: np.ndarray) -> np.ndarray:
    distance = _signed_distance(ventricles, 4.0)
    gradient = np.stack([np.gradient(distance, HEAD_SPACING_MM, axis=axis) for axis in range(3)], axis=-1)
    length = np.linalg.norm(gradient, axis=-1, keepdims=True)
    fade = np.exp(-np.maximum(distance, 0) / 14.0)[..., None]
    return (gradient / np.maximum(length, 0.5) * fade).astype(np.float32)
