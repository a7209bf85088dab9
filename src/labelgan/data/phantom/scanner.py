"""The scanners of a phantom cohort: grids, contrasts, intensity scales, and the faults of an image."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np


class SmoothField:
    """A cubic B-spline field on a box of patient space; cheap to evaluate on axis-aligned grids.

    Args:
        low: (3,) corner of the box, mm.
        high: (3,) opposite corner, mm.
        knot_mm: distance of the control points, mm.
    """

    def __init__(self, low: np.ndarray, high: np.ndarray, knot_mm: float) -> None:
        self.low = np.asarray(low, dtype=float) - knot_mm
        self.knot_mm = knot_mm
        self.shape = tuple(int(n) for n in np.ceil((np.asarray(high) - self.low) / knot_mm) + 3)

    def knots(self) -> np.ndarray:
        """Places of the control points, (cx, cy, cz, 3), mm."""
        axes = (self.low[axis] + self.knot_mm * np.arange(self.shape[axis]) for axis in range(3))
        return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)

    def noise(self, rng: np.random.Generator, scale_mm: float, channels: int) -> np.ndarray:
        """Random control points with unit standard deviation and a correlation length, (cx, cy, cz, channels)."""
        from scipy import ndimage

        sigma = scale_mm / self.knot_mm
        margin = int(np.ceil(3 * sigma))
        white = rng.standard_normal((*(n + 2 * margin for n in self.shape), channels))
        smooth = ndimage.gaussian_filter(white, (sigma, sigma, sigma, 0))
        # A white field filtered by a kernel k along three axes has the standard deviation |k|³.
        impulse = np.zeros(2 * margin + 1)
        impulse[margin] = 1
        gain = np.sum(ndimage.gaussian_filter(impulse, sigma) ** 2) ** 1.5
        inner = tuple(slice(margin, margin + n) for n in self.shape)
        return smooth[inner] / gain

    def evaluate(self, control: np.ndarray, axes: tuple[np.ndarray, np.ndarray, np.ndarray]) -> np.ndarray:
        """Values at the grid of three axes in mm: (cx, cy, cz, C) to (C, X, Y, Z) float32."""
        x, y, z = (self._weights(places, axis) for axis, places in enumerate(axes))
        values = np.tensordot(control.astype(np.float32), z, axes=(2, 1))  # cx cy C Z
        values = np.tensordot(values, y, axes=(1, 1))  # cx C Z Y
        values = np.tensordot(values, x, axes=(0, 1))  # C Z Y X
        return np.ascontiguousarray(values.transpose(0, 3, 2, 1))

    def _weights(self, places: np.ndarray, axis: int) -> np.ndarray:
        position = (np.asarray(places, dtype=float) - self.low[axis]) / self.knot_mm
        distance = np.abs(position[:, None] - np.arange(self.shape[axis]))
        near = 2 / 3 - distance**2 + distance**3 / 2
        far = np.clip(2 - distance, 0, None) ** 3 / 6
        return np.where(distance < 1, near, far).astype(np.float32)


# What bias field correction leaves of the (logarithmic) coil shading in ``pre``.
BIAS_LEFT = 0.15
BIAS_KNOT_MM = 60.0


@dataclass(frozen=True)
class Contrast:
    """Intensity of each tissue in one sequence, in units of healthy white matter."""

    grey: float
    fluid: float
    fat: float
    muscle: float
    bone: float
    marrow: float
    skin: float
    vitreous: float
    lesion: float
    residual: float
    white: float = 1.0


@dataclass(frozen=True)
class Scanner:
    """A site's scanner: grid, intensity scale and contrasts.

    Attributes:
        name: site folder.
        shape: voxels.
        spacing_mm: voxel size.
        centre_mm: centre of the field of view in template millimetres.
        flip_x: True where the first axis runs from right to left (LAS).
        t1_white, flair_white: stored intensity of white matter.
        t1, flair: contrasts.
        noise: standard deviation of the noise in units of white matter.
        shading: standard deviation of the logarithm of the coil shading.
        blur_mm: standard deviation of the in-plane point spread.
    """

    name: str
    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    centre_mm: tuple[float, float, float]
    flip_x: bool
    t1_white: float
    flair_white: float
    t1: Contrast
    flair: Contrast
    noise: float
    shading: float
    blur_mm: float


_T1 = Contrast(
    grey=0.80,
    fluid=0.38,
    fat=1.75,
    muscle=0.62,
    bone=0.12,
    marrow=1.0,
    skin=0.9,
    vitreous=0.33,
    lesion=0.9,
    residual=0.5,
)
_FLAIR = Contrast(
    grey=1.12,
    fluid=0.2,
    fat=1.7,
    muscle=0.62,
    bone=0.12,
    marrow=0.75,
    skin=0.9,
    vitreous=0.2,
    lesion=1.5,
    residual=-0.08,
)


SCANNERS: dict[str, Scanner] = {
    scanner.name: scanner
    for scanner in (
        Scanner(
            "Alpha", (240, 240, 48), (0.96, 0.95, 3.0), (0.0, -16.0, 10.0), False, 310.0, 190.0,
            _T1, _FLAIR, 0.025, 0.10, 0.45,
        ),
        Scanner(
            "Beta", (256, 232, 48), (1.0, 1.0, 3.0), (0.0, -16.0, 8.0), True, 118.0, 610.0,
            replace(_T1, grey=0.72, fluid=0.28, fat=1.4),
            replace(_FLAIR, grey=1.17, fluid=0.14, fat=0.95, marrow=0.4, skin=0.6),
            0.03, 0.16, 0.5,
        ),
        Scanner(
            "Gamma", (132, 256, 83), (0.98, 0.98, 1.2), (0.0, -16.0, 22.0), False, 4100.0, 2300.0,
            replace(_T1, grey=0.76, fluid=0.33, fat=1.9), replace(_FLAIR, grey=1.10, fluid=0.24, fat=1.3),
            0.042, 0.2, 0.55,
        ),
    )
}  # fmt: skip


def grid_affine(machine: Scanner, shape: tuple[int, int, int]) -> np.ndarray:
    """Voxel index to millimetres for the scanner's field of view in any number of voxels; origin at its centre."""
    spacing = np.asarray(machine.spacing_mm) * machine.shape / np.asarray(shape)
    signs = np.array([-1.0 if machine.flip_x else 1.0, 1.0, 1.0])
    affine = np.diag([*(signs * spacing), 1.0])
    affine[:3, 3] = -signs * spacing * (np.asarray(shape) - 1) / 2
    return affine


def acquire(
    machine: Scanner, signal: np.ndarray, white: float, affine: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Scans one sequence and stores it as int16.

    Args:
        machine: the scanner.
        signal: (X, Y, Z), noise-free, healthy white matter near 1.
        white: stored intensity of white matter before the patient's own gain.
        affine: of the grid.
        rng: draws gain, coil shading and noise.

    Returns:
        The image with most of its shading corrected, and the image as scanned.
    """
    axes = tuple(affine[axis, axis] * np.arange(signal.shape[axis]) + affine[axis, 3] for axis in range(3))
    field = SmoothField(np.array([a.min() for a in axes]), np.array([a.max() for a in axes]), BIAS_KNOT_MM)
    shading = machine.shading * field.evaluate(field.noise(rng, BIAS_KNOT_MM, 1), axes)[0]
    spacing = np.abs(np.diag(affine)[:3])
    blur = (machine.blur_mm / spacing[0], machine.blur_mm / spacing[1], 0.0)
    gain = white * float(np.exp(rng.normal(0, 0.12)))
    scanned = gain * scan(signal, np.exp(shading), blur, machine.noise, rng)
    limit = np.iinfo(np.int16).max
    corrected = scanned * np.exp(-(1 - BIAS_LEFT) * shading)
    return tuple(np.rint(np.minimum(image, limit)).astype(np.int16) for image in (corrected, scanned))  # type: ignore[return-value]


def scan(
    signal: np.ndarray,
    bias: np.ndarray,
    blur_voxels: tuple[float, float, float],
    noise: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """Gives a noise-free image its point spread, coil shading and Rician noise (magnitude of complex Gaussian noise).

    Args:
        signal: (X, Y, Z), healthy white matter near 1.
        bias: (X, Y, Z) factor.
        blur_voxels: standard deviation of the point spread along each axis.
        noise: standard deviation of each of the two noise channels, in units of white matter.
        rng: draws the noise.
    """
    from scipy import ndimage

    clean = ndimage.gaussian_filter(signal, blur_voxels) * bias
    real = clean + np.float32(noise) * rng.standard_normal(signal.shape, dtype=np.float32)
    return np.hypot(real, np.float32(noise) * rng.standard_normal(signal.shape, dtype=np.float32))
