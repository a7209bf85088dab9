"""Sliced Wasserstein distance on Laplacian pyramids, and multi-scale structural similarity."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from labelgan.core.rng import generator_for

_BINOMIAL = (1.0, 4.0, 6.0, 4.0, 1.0)  # / 16: the generating kernel of Burt and Adelson
_IMAGES = 128  # slices in a block
_DIRECTIONS = 32  # projections in a block

MS_SSIM_POWERS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # Wang, Simoncelli and Bovik, 2003, section 4
_SSIM_SIDE, _SSIM_SD = 11, 1.5


def _smoothing(length: int, kernel: np.ndarray) -> np.ndarray:
    """Convolution of ``length`` values with a kernel as a matrix, (length, length); mirrored at the ends."""
    half = len(kernel) // 2
    source = np.abs(np.arange(length)[:, None] + np.arange(-half, half + 1))
    source = np.minimum(source, 2 * (length - 1) - source)
    matrix = np.zeros((length, length), np.float32)
    np.add.at(matrix, (np.arange(length)[:, None], source), np.broadcast_to(kernel, source.shape))
    return matrix


def _along_both(images_NCHW: Tensor, rows: np.ndarray, columns: np.ndarray) -> Tensor:
    """Applies a matrix to the rows' axis and one to the columns': much faster than a convolution by channel."""
    return torch.from_numpy(rows) @ (images_NCHW @ torch.from_numpy(np.ascontiguousarray(columns.T)))


def laplacian_pyramid(images_NCHW: Tensor, coarsest: int = 16) -> list[Tensor]:
    """Band-pass levels from fine to coarse, the last one low-pass (Burt and Adelson, 1983).

    A level has half the rows and columns of the one before, as long as both stay at least ``coarsest``.
    """
    levels = []
    while min(images_NCHW.shape[2:]) >= 2 * coarsest:
        whole = [_smoothing(length, np.array(_BINOMIAL) / 16) for length in images_NCHW.shape[2:]]
        coarser = _along_both(images_NCHW, *(matrix[::2].copy() for matrix in whole))
        levels.append(images_NCHW - expanded(coarser, images_NCHW.shape[2:]))
        images_NCHW = coarser
    return [*levels, images_NCHW]


def expanded(coarse_NCHW: Tensor, size: tuple[int, ...]) -> Tensor:
    """Doubles rows and columns to ``size``: zeros between, smoothed to the same mean."""
    matrices = [_smoothing(length, np.array(_BINOMIAL) / 8)[:, ::2].copy() for length in size]
    return _along_both(coarse_NCHW, *matrices)


def pyramid_patches(
    images_NCHW: Tensor, *, patches: int = 64, patch: int = 7, coarsest: int = 16, seed: int = 0
) -> list[np.ndarray]:
    """Draws patches of every pyramid level, at places that depend on the slice's row alone.

    Returns:
        For every level (N · patches, C · patch²) float32, slice after slice.
    """
    count, channels = images_NCHW.shape[:2]
    found: list[list[np.ndarray]] = []
    for start in range(0, count, _IMAGES):
        for level, band in enumerate(laplacian_pyramid(images_NCHW[start : start + _IMAGES], coarsest)):
            side = min(patch, *band.shape[2:])
            drawn = [
                generator_for(seed, "patches", level, row).random((2, patches))
                for row in range(start, start + len(band))
            ]
            place = np.stack(drawn) * (np.array(band.shape[2:])[:, None] - side + 1)
            top, left = torch.from_numpy(place.astype(np.int64)).unbind(1)
            rows = (top[:, :, None] + torch.arange(side))[:, :, None, :, None]
            columns = (left[:, :, None] + torch.arange(side))[:, :, None, None, :]
            cut = band[
                torch.arange(len(band))[:, None, None, None, None],
                torch.arange(channels)[None, None, :, None, None],
                rows,
                columns,
            ]
            if level == len(found):
                found.append([])
            found[level].append(cut.reshape(-1, channels * side * side).numpy())
    return [np.concatenate(parts) for parts in found]


def standardise_patches(patches_PK: np.ndarray, reference_PK: np.ndarray, channels: int) -> np.ndarray:
    """Brings each channel of patches to the reference's mean 0 and standard deviation 1."""
    values = patches_PK.reshape(len(patches_PK), channels, -1)
    reference = reference_PK.reshape(len(reference_PK), channels, -1)
    mean = reference.mean(axis=(0, 2), dtype=np.float64)[:, None]
    sd = reference.std(axis=(0, 2), dtype=np.float64)[:, None]
    scaled = (values - mean) / np.where(sd > 0, sd, 1.0)
    return scaled.reshape(patches_PK.shape).astype(np.float32)


def sliced_wasserstein(a_PK: np.ndarray, b_QK: np.ndarray, *, projections: int = 256, seed: int = 0) -> float:
    """Mean Wasserstein-1 distance of two point sets along random directions (Rabin et al., 2011).

    Where the sets differ in size, their quantile functions are compared at the middle of as many equal steps as the
    smaller set has points.
    """
    directions_DK = generator_for(seed, "directions", a_PK.shape[1]).standard_normal((projections, a_PK.shape[1]))
    directions_DK = (directions_DK / np.linalg.norm(directions_DK, axis=1, keepdims=True)).astype(np.float32)
    steps = min(len(a_PK), len(b_QK))
    at = (np.arange(steps) + 0.5) / steps
    rows_a, rows_b = ((at * len(points)).astype(np.int64) for points in (a_PK, b_QK))
    total = 0.0
    for start in range(0, projections, _DIRECTIONS):
        part = directions_DK[start : start + _DIRECTIONS]
        a_DP, b_DQ = (np.sort(part @ points.T, axis=1) for points in (a_PK, b_QK))
        total += float(np.abs(a_DP[:, rows_a] - b_DQ[:, rows_b]).mean(axis=1, dtype=np.float64).sum())
    return total / projections


def ms_ssim(a_NCHW: Tensor, b_NCHW: Tensor, span: float) -> Tensor:
    """Multi-scale structural similarity of pairs (Wang, Simoncelli and Bovik, 2003): (N,), 1 for equal slices.

    Scales are as many of the published five as leave 11 pixels, their powers brought to a sum of 1; channels are
    averaged. Negative structure counts as none.

    Args:
        a_NCHW: slices.
        b_NCHW: as many slices.
        span: largest value that may occur minus the smallest.
    """
    scales = 1
    while scales < len(MS_SSIM_POWERS) and min(a_NCHW.shape[2:]) >> scales >= _SSIM_SIDE:
        scales += 1
    powers = np.array(MS_SSIM_POWERS[:scales]) / sum(MS_SSIM_POWERS[:scales])
    found = torch.ones(a_NCHW.shape[:2])
    for scale, power in enumerate(powers):
        luminance, structure = _ssim_parts(a_NCHW, b_NCHW, span)
        part = structure if scale < scales - 1 else luminance * structure
        found = found * part.mean(dim=(2, 3)).clamp(min=0) ** float(power)
        if scale < scales - 1:
            a_NCHW, b_NCHW = F.avg_pool2d(a_NCHW, 2), F.avg_pool2d(b_NCHW, 2)
    return found.mean(dim=1)


def _ssim_parts(a_NCHW: Tensor, b_NCHW: Tensor, span: float) -> tuple[Tensor, Tensor]:
    """Maps of luminance, and of contrast and structure."""
    offsets = np.arange(_SSIM_SIDE) - _SSIM_SIDE // 2
    kernel = np.exp(-(offsets**2) / (2 * _SSIM_SD**2))
    matrices = [_smoothing(length, kernel / kernel.sum()) for length in a_NCHW.shape[2:]]
    c1, c2 = (0.01 * span) ** 2, (0.03 * span) ** 2
    mean_a, mean_b, square_a, square_b, product = (
        _along_both(part, *matrices) for part in (a_NCHW, b_NCHW, a_NCHW**2, b_NCHW**2, a_NCHW * b_NCHW)
    )
    variances = square_a - mean_a**2 + square_b - mean_b**2
    luminance = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
    return luminance, (2 * (product - mean_a * mean_b) + c2) / (variances + c2)


def blocks_of(count: int) -> Iterator[slice]:
    """Python slices over ``count`` rows, as many at once as pyramids are made of."""
    return (slice(start, min(start + _IMAGES, count)) for start in range(0, count, _IMAGES))
