"""Smooth random fields: the one tool behind a phantom's folding, texture and coil shading."""

from __future__ import annotations

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
