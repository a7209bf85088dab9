"""Distances between two sets of features, as functions of arrays (N, K) and (M, K). All are exact, none draws.

Rows are worked on in fixed blocks, so that memory is bounded.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from labelgan.audit.fidelity.features import BLOCK, unit_images
from labelgan.audit.slices import AuditSlices
from labelgan.core.rng import generator_for

_BLOCK = 512


def wasserstein_1(a_NK: np.ndarray, b_NK: np.ndarray) -> float:
    """Wasserstein-1 distance of two point sets of one size, Euclidean cost, by optimal transport.

    Between as many points of equal weight an optimal transport is an assignment, which scipy finds exactly; memory
    grows with N², time with N³ at worst.

    Raises:
        ValueError: the sets differ in size.
    """
    from scipy.optimize import linear_sum_assignment

    if len(a_NK) != len(b_NK):
        raise ValueError(f"sets of one size wanted, not {len(a_NK)} and {len(b_NK)} points")
    cost_NN = distances(a_NK, b_NK)
    return float(cost_NN[linear_sum_assignment(cost_NN)].mean())


def wasserstein_spread(a_NK: np.ndarray, b_MK: np.ndarray, parts: int = 4) -> float | None:
    """Standard deviation of `wasserstein_1` over disjoint parts of both sets; None where a part would be empty.

    Fewer points lie further apart, so that the parts' mean is larger than the distance of the whole; how much they
    differ tells how much of the distance is chance.
    """
    if min(len(a_NK), len(b_MK)) < parts:
        return None
    found = [wasserstein_1(a_NK[part::parts], b_MK[part::parts]) for part in range(parts)]
    return float(np.std(found, ddof=1))


def distances(a_NK: np.ndarray, b_MK: np.ndarray) -> np.ndarray:
    """Euclidean distances (N, M) in double precision, exactly 0 between equal rows."""
    from scipy.spatial.distance import cdist

    return cdist(a_NK.astype(np.float64), b_MK.astype(np.float64))


@dataclass(frozen=True)
class KernelDistance:
    """Mean and standard deviation over blocks."""

    mean: float
    sd: float


def kernel_distance(
    a_NK: np.ndarray, b_MK: np.ndarray, *, blocks: int = 20, block: int = 500, seed: int = 0
) -> KernelDistance:
    """Squared maximum mean discrepancy, kernel (x · y / K + 1)³, unbiased: KID (Bińkowski et al., ICLR 2018, eq. 4).

    The mean over seeded blocks of as many slices of both sets. An unbiased estimate of 0 is below 0 as often as above.

    Args:
        a_NK: features, about unit variance.
        b_MK: likewise.
        blocks: how many.
        block: slices a side; as many as the smaller set has, where that is less.
        seed: of the blocks.
    """
    size = min(block, len(a_NK), len(b_MK))
    assert size >= 2
    draw = generator_for(seed, "kernel distance blocks")
    values = []
    for _ in range(blocks):
        x, y = (points[draw.permutation(len(points))[:size]].astype(np.float64) for points in (a_NK, b_MK))
        values.append(unbiased_mmd(_cubic(x, x), _cubic(y, y), _cubic(x, y)))
    return KernelDistance(float(np.mean(values)), float(np.std(values)))


def _cubic(x_NK: np.ndarray, y_MK: np.ndarray) -> np.ndarray:
    sums_NM = x_NK @ y_MK.T / x_NK.shape[1] + 1
    return sums_NM * sums_NM * sums_NM  # a power of 3 takes a logarithm for every entry


def unbiased_mmd(xx_NN: np.ndarray, yy_MM: np.ndarray, xy_NM: np.ndarray) -> float:
    """Unbiased squared MMD from kernel matrices: Gretton et al., JMLR 13 (2012), eq. 3."""
    n, m = xy_NM.shape
    return float(
        (xx_NN.sum() - np.trace(xx_NN)) / (n * (n - 1))
        + (yy_MM.sum() - np.trace(yy_MM)) / (m * (m - 1))
        - 2 * xy_NM.mean()
    )


@dataclass(frozen=True)
class Manifolds:
    """Precision, recall, density and coverage of samples against real slices."""

    precision: float
    recall: float
    density: float
    coverage: float


def manifold_overlap(
    samples_NK: np.ndarray, real_MK: np.ndarray, neighbours: int = 5, real_radius_M: np.ndarray | None = None
) -> Manifolds:
    """Shares of two sets in each other's balls, which reach from each point to its k-th neighbour of the same set.

    Precision and recall of Kynkäänniemi et al. (NeurIPS 2019), density and coverage of Naeem et al. (ICML 2020).
    A ball holds its surface, so that copies of one point lie in its ball of radius 0.

    Args:
        samples_NK: samples' features, more than ``neighbours``.
        real_MK: real slices' features, likewise.
        neighbours: k.
        real_radius_M: `kth_neighbour` of the real slices, where it is known already.
    """
    assert min(len(samples_NK), len(real_MK)) > neighbours
    real_radius_M = kth_neighbour(real_MK, neighbours) if real_radius_M is None else real_radius_M
    sample_radius_N = kth_neighbour(samples_NK, neighbours)
    in_real_N = np.zeros(len(samples_NK), np.int64)
    reached_M = np.zeros(len(real_MK), bool)
    covered_M = np.zeros(len(real_MK), bool)
    for start in range(0, len(samples_NK), _BLOCK):
        rows = slice(start, start + _BLOCK)
        between = distances(samples_NK[rows], real_MK)
        inside = between <= real_radius_M
        in_real_N[rows] = inside.sum(axis=1)
        covered_M |= inside.any(axis=0)
        reached_M |= (between <= sample_radius_N[rows, None]).any(axis=0)
    return Manifolds(
        precision=float((in_real_N > 0).mean()),
        recall=float(reached_M.mean()),
        density=float(in_real_N.mean() / neighbours),
        coverage=float(covered_M.mean()),
    )


def kth_neighbour(points_NK: np.ndarray, k: int) -> np.ndarray:
    """Distance of every point to its k-th neighbour among the others: (N,)."""
    found = np.empty(len(points_NK))
    for start in range(0, len(points_NK), _BLOCK):
        near = distances(points_NK[start : start + _BLOCK], points_NK)
        found[start : start + _BLOCK] = np.partition(near, k, axis=1)[:, k]  # the point itself is the 0th
    return found


def nearest_other(points_NK: np.ndarray, groups_N: np.ndarray | None = None) -> np.ndarray:
    """Distance of every point to the nearest one of another group, (N,); by itself each is a group. inf: none."""
    groups_N = np.arange(len(points_NK)) if groups_N is None else np.unique(groups_N, return_inverse=True)[1]
    found = np.empty(len(points_NK))
    for start in range(0, len(points_NK), _BLOCK):
        rows = slice(start, start + _BLOCK)
        near = distances(points_NK[rows], points_NK)
        near[groups_N[rows, None] == groups_N] = np.inf
        found[rows] = near.min(axis=1)
    return found


def mean_spread(points_NK: np.ndarray) -> float:
    """Root mean squared distance of two points drawn without putting back: √2 times the points' standard deviation."""
    return float(np.sqrt(2 * points_NK.var(axis=0, ddof=1, dtype=np.float64).sum()))


FLOOR = 1e-12  # of the largest power; below it is rounding


def mean_power(slices: AuditSlices) -> np.ndarray:
    """Mean power of every frequency over slices: (C, H, W // 2 + 1), float64.

    Slices are on the scale of -1 to 1, each less its mean, and fade out towards the edges (Hann window), so that the
    jump from one edge to the opposite one does not count.
    """
    height, width = slices.size
    window_HW = torch.outer(*(torch.hann_window(side, periodic=False) for side in (height, width)))
    total = torch.zeros(slices.images_NCHW.shape[1], height, width // 2 + 1, dtype=torch.float64)
    for rows in slices.blocks(BLOCK):
        images = unit_images(slices.select(rows))
        images = (images - images.mean(dim=(2, 3), keepdim=True)) * window_HW
        total += torch.fft.rfft2(images).abs().double().square().sum(dim=0)
    return (total / len(slices)).numpy()


def spectral_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Root mean squared difference of two mean powers over all frequencies, in dB (10 log10)."""
    floor = FLOOR * max(a.max(), b.max())
    if floor == 0:
        return 0.0
    ratio = 10 * np.log10(np.maximum(a, floor) / np.maximum(b, floor))
    return float(np.sqrt((ratio**2).mean()))
