"""Flip, rotation, shear and zoom of a slice and its mask together: parameters are drawn first, then applied.

The draws come from a NumPy generator, the work is done on whole batches on the device.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from labelgan.config.seg import SegAugmentConfig
from labelgan.training.team import Team


@dataclass(frozen=True)
class AffineParams:
    """Affine transform of each slice of a batch; arrays of length N.

    Attributes:
        flip: whether left and right change places.
        angle: rotation about the centre, radians; positive is counter-clockwise as seen.
        shear: columns moved per row from the centre.
        zoom: (N, 2) magnification of columns and of rows; above 1 things become larger.
    """

    flip: np.ndarray
    angle: np.ndarray
    shear: np.ndarray
    zoom: np.ndarray

    def __len__(self) -> int:
        return len(self.flip)

    def part(self, team: Team) -> AffineParams:
        """Those of this process's part of the batch."""
        return AffineParams(*(team.part(values) for values in (self.flip, self.angle, self.shear, self.zoom)))

    @property
    def is_identity(self) -> bool:
        """Whether nothing is done to any slice."""
        return not (self.flip.any() or self.angle.any() or self.shear.any() or (self.zoom != 1).any())

    @property
    def matrices(self) -> np.ndarray:
        """(N, 2, 2): where in the input, (column, row) from its centre in pixels, an output pixel is taken from."""
        cos, sin, zero, one = np.cos(self.angle), np.sin(self.angle), np.zeros(len(self)), np.ones(len(self))
        turn = np.array([[cos, -sin], [sin, cos]])
        shear = np.array([[one, self.shear], [zero, one]])
        mirror = np.array([[np.where(self.flip, -1.0, 1.0), zero], [zero, one]])
        turn, shear, mirror = (np.moveaxis(matrix, -1, 0) for matrix in (turn, shear, mirror))
        return mirror @ turn @ shear / self.zoom[:, None, :]


def draw_affine(rng: np.random.Generator, count: int, config: SegAugmentConfig) -> AffineParams:
    """Draws what is done to ``count`` slices, each value evenly from its range.

    A share of ``config.moved`` is rotated, sheared and zoomed; a flip does not depend on it.
    """
    flip = rng.random(count) < config.flip
    angle = np.deg2rad(rng.uniform(-config.rotate, config.rotate, count))
    shear = rng.uniform(-config.shear, config.shear, count)
    zoom = rng.uniform(*config.zoom, (count, 2 if config.zoom_apart else 1))
    zoom = np.broadcast_to(zoom, (count, 2))
    if config.moved < 1:
        moved = rng.random(count) < config.moved
        angle, shear, zoom = angle * moved, shear * moved, np.where(moved[:, None], zoom, 1.0)
    return AffineParams(flip, angle, shear, zoom)


def apply_affine(images_NCHW: Tensor, masks_NHW: Tensor, moves: AffineParams) -> tuple[Tensor, Tensor]:
    """Moves slices and masks alike.

    Args:
        images_NCHW: float; interpolated linearly, their edge repeated outwards.
        masks_NHW: uint8; the nearest pixel, background outside.
        moves: one for each slice.

    Returns:
        Images and masks of the same shapes and types; the very same ones where nothing is to be done.
    """
    if moves.is_identity:
        return images_NCHW, masks_NHW
    height, width = images_NCHW.shape[2:]
    half = np.array([width / 2, height / 2])
    # affine_grid measures both axes in half sides.
    matrices = moves.matrices * half[None, None, :] / half[None, :, None]
    theta = torch.from_numpy(np.concatenate([matrices, np.zeros((len(moves), 2, 1))], axis=2).astype(np.float32))
    grid_NHW2 = F.affine_grid(theta.to(images_NCHW.device), list(images_NCHW.shape), align_corners=False)
    moved = F.grid_sample(images_NCHW, grid_NHW2, mode="bilinear", padding_mode="border", align_corners=False)
    planes_N1HW = masks_NHW[:, None].to(images_NCHW.dtype)
    masks = F.grid_sample(planes_N1HW, grid_NHW2, mode="nearest", padding_mode="zeros", align_corners=False)
    return moved, masks[:, 0].to(masks_NHW.dtype)
