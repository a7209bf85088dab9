"""The training slice nearest to every sample, whatever small shift, flip, brightness or contrast lies between them.

The likeness of two patterns (`audit.patterns`) is their normalised cross correlation per channel, averaged over the
channels that are not flat in the base slice: the best of all shifts up to ``MAX_SHIFT`` pixels, with and without a
left-right flip. The search has two stages. The coarse one compares all pairs by principal components of the halved
patterns, whole and by quadrants; the exact one compares every query with the candidates that this leaves.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

import numpy as np

from labelgan.audit.copies.patterns import halved, unit_vectors
from labelgan.core.progress import Report

MAX_SHIFT = 4
"""Largest shift along rows and along columns, working pixels; an eighth of the side of slices below 32."""

_GRID = 4  # an exact comparison is made in 4 × 4 blocks; a patch is 2 × 2 of them, so that patches overlap by half
_BEST = 3  # of the 9 patches, the likest that count as a likeness of parts
_BLOCK = 1024
_PIECE = 256
_COARSE_SHIFTS = list(product(range(-MAX_SHIFT // 2, MAX_SHIFT // 2 + 1), repeat=2))  # of halved patterns
_FINALISTS = 2
_FLAT = 1e-3  # a channel with less power than this in the base slice does not count


class _Stage(NamedTuple):
    """Settings of the coarse search: the halved slice in parts × parts, components and candidates."""

    parts: int
    components: int
    candidates: int


_COARSE_STAGES = (_Stage(1, 64, 8), _Stage(2, 32, 3))


@dataclass(frozen=True, eq=False)
class Nearest:
    """The nearest base slice of every query, for the whole slice and for its likest parts. N queries.

    Attributes:
        row: (N,) row of the base slice with the likest pattern; -1 where none may be compared.
        distance: (N,) 1 - correlation of the two, from 0 to 2; inf where there is none.
        flip: (N,) bool, whether it was turned left to right.
        shift: (N, 2) rows and columns by which it must then be moved to lie on the query, working pixels.
        part_row, part_distance: (N,) the same for the base slice with the likest parts: 1 - the mean correlation of
            the likest third of the overlapping patches.
    """

    row: np.ndarray
    distance: np.ndarray
    flip: np.ndarray
    shift: np.ndarray
    part_row: np.ndarray
    part_distance: np.ndarray

    def __len__(self) -> int:
        return len(self.row)


def find_nearest(
    queries_NCHW: np.ndarray,
    base_MCHW: np.ndarray,
    query_groups: np.ndarray | None = None,
    base_groups: np.ndarray | None = None,
    title: str = "",
    report: Report | None = None,
    *,
    whole_only: bool = False,
) -> Nearest:
    """Finds the nearest base slice of every query.

    Args:
        queries_NCHW: (N, C, h, w) patterns.
        base_MCHW: (M, C, h, w) patterns.
        query_groups: (N,) patient of every query; with ``base_groups``, a query is not compared with its own patient.
        base_groups: (M,) patient of every base slice.
        title: of the work, for the report.
        report: called with (queries done, queries, title).
        whole_only: look for candidates by the whole slice alone, which is faster; the likest parts are then those
            among the slices that are alike as a whole.
    """
    assert queries_NCHW.shape[1:] == base_MCHW.shape[1:], (queries_NCHW.shape, base_MCHW.shape)
    own = _numbered(query_groups, base_groups)
    candidates = _candidates(queries_NCHW, base_MCHW, own, _COARSE_STAGES[: 1 if whole_only else None])
    count = len(queries_NCHW)
    found = Nearest(
        row=np.full(count, -1),
        distance=np.full(count, np.inf),
        flip=np.zeros(count, bool),
        shift=np.zeros((count, 2), int),
        part_row=np.full(count, -1),
        part_distance=np.full(count, np.inf),
    )
    for number in range(count):
        if len(rows := candidates[number]):
            _enter_nearest(found, number, queries_NCHW[number], base_MCHW, rows)
        if report is not None:
            report(number + 1, count, title)
    return found


def _numbered(query_groups: np.ndarray | None, base_groups: np.ndarray | None) -> tuple[np.ndarray, np.ndarray] | None:
    """Names as whole numbers, so that blocks of them compare fast."""
    if query_groups is None or base_groups is None:
        return None
    _, numbers = np.unique(np.concatenate([query_groups, base_groups]), return_inverse=True)
    return numbers[: len(query_groups)], numbers[len(query_groups) :]


def _candidates(
    queries_NCHW: np.ndarray,
    base_MCHW: np.ndarray,
    own: tuple[np.ndarray, np.ndarray] | None,
    stages: tuple[_Stage, ...] = _COARSE_STAGES,
) -> list[np.ndarray]:
    """For every query the base rows that may be nearest, whole or in part, in rising order."""
    count = len(queries_NCHW)
    chosen: list[list[np.ndarray]] = [[] for _ in range(count)]
    for stage in stages:
        base = unit_vectors(halved(base_MCHW), stage.parts)
        axes = [_principal_axes(vectors_MK, stage.components) for vectors_MK in base]
        base = [vectors_MK @ axes_KP for vectors_MK, axes_KP in zip(base, axes, strict=True)]
        most = min(stage.candidates, len(base_MCHW))
        for start in range(0, count, _BLOCK):
            moved = _moved_vectors(halved(queries_NCHW[start : start + _BLOCK]), stage.parts, axes)
            for base_MP, moved_VNP in zip(base, moved, strict=True):
                likeness_NM = _best_products(moved_VNP, base_MP)
                if own is not None:
                    likeness_NM[own[0][start : start + _BLOCK, None] == own[1][None, :]] = -np.inf
                top = np.argpartition(likeness_NM, -most, axis=1)[:, -most:]
                for number, rows in enumerate(top):
                    chosen[start + number].append(rows[np.isfinite(likeness_NM[number, rows])])
    return [np.unique(np.concatenate(rows)) for rows in chosen]


def _moved_vectors(halved_NCHW: np.ndarray, parts: int, axes: list[np.ndarray]) -> list[np.ndarray]:
    """For every part (V, N, P): the principal components at all V shifts, turned and not."""
    moved = []
    for shift, turn in product(_COARSE_SHIFTS, (1, -1)):
        vectors = unit_vectors(np.roll(halved_NCHW[..., ::turn], shift, (2, 3)), parts)
        moved.append([vectors_NK @ axes_KP for vectors_NK, axes_KP in zip(vectors, axes, strict=True)])
    return [np.stack(part) for part in zip(*moved, strict=True)]


def _best_products(moved_VNP: np.ndarray, base_MP: np.ndarray) -> np.ndarray:
    """(N, M) the greatest product over V, in pieces that stay in the processor's cache."""
    best_NM = np.empty((moved_VNP.shape[1], len(base_MP)), np.float32)
    for row in range(0, best_NM.shape[0], _PIECE):
        for column in range(0, len(base_MP), _PIECE):
            base_PM = np.ascontiguousarray(base_MP[column : column + _PIECE].T)
            piece = moved_VNP[0, row : row + _PIECE] @ base_PM
            product_NM = np.empty_like(piece)
            for moved_NP in moved_VNP[1:, row : row + _PIECE]:
                np.matmul(moved_NP, base_PM, out=product_NM)
                np.maximum(piece, product_NM, out=piece)
            best_NM[row : row + _PIECE, column : column + _PIECE] = piece
    return best_NM


def _principal_axes(vectors_MK: np.ndarray, components: int) -> np.ndarray:
    """(K, P) axes that keep the products of the vectors best; not centred, for the same reason."""
    some = vectors_MK[:: max(1, len(vectors_MK) // 4096)].astype(np.float64)
    _, axes = np.linalg.eigh(some.T @ some)
    return axes[:, ::-1][:, :components].astype(np.float32)


def _enter_nearest(found: Nearest, number: int, query_CHW: np.ndarray, base_MCHW: np.ndarray, rows: np.ndarray) -> None:
    """Compares one query with its candidates, then with the best of these moved by half pixels too."""
    base = base_MCHW[rows].astype(np.float32)
    base = np.concatenate([base, base[..., ::-1]])
    rows, flips = np.tile(rows, 2), np.repeat([False, True], len(rows))
    windows = _Windows.of(query_CHW)
    whole, parts, _ = windows.compare(base)
    finalists = np.union1d(
        np.argsort(-whole, kind="stable")[:_FINALISTS], np.argsort(-parts, kind="stable")[:_FINALISTS]
    )
    base = _moved_by_halves(base[finalists])
    whole, parts, shifts = windows.compare(base)
    best, best_part = int(whole.argmax()), int(parts.argmax())
    winner = finalists[best % len(finalists)]
    found.row[number], found.flip[number] = rows[winner], flips[winner]
    found.distance[number], found.shift[number] = 1 - whole[best], shifts[best]
    found.part_row[number] = rows[finalists[best_part % len(finalists)]]
    found.part_distance[number] = 1 - parts[best_part]


def _moved_by_halves(base_KCHW: np.ndarray) -> np.ndarray:
    """(4 K, C, h, w): as they are, and moved by half a pixel along columns, rows and both, between neighbours."""
    along = (base_KCHW + np.roll(base_KCHW, 1, 3)) / 2
    both = np.concatenate([base_KCHW, along])
    return np.concatenate([both, (both + np.roll(both, 1, 2)) / 2])


@dataclass(frozen=True, eq=False)
class _Windows:
    """One query at all shifts, cut into the cells of the grid. Letters: G cells, S shifts, P pixels of a cell."""

    cells_GCSP: np.ndarray
    power_GCS1: np.ndarray
    reach: int
    tall: int
    wide: int

    @classmethod
    def of(cls, query_CHW: np.ndarray) -> _Windows:
        channels, height, width = query_CHW.shape
        reach = min(MAX_SHIFT, height // 8, width // 8)
        tall, wide = ((length - 2 * reach) // _GRID * _GRID for length in (height, width))
        side = 2 * reach + 1
        windows = np.lib.stride_tricks.sliding_window_view(query_CHW.astype(np.float32), (tall, wide), (1, 2))
        windows = windows[:, :side, :side].reshape(channels, side**2, _GRID, tall // _GRID, _GRID, wide // _GRID)
        cells = windows.transpose(2, 4, 0, 1, 3, 5).reshape(_GRID**2, channels, side**2, -1)
        return cls(cells, np.square(cells).sum(3, keepdims=True), reach, tall, wide)

    def compare(self, base_KCHW: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(K,) correlation at the best shift, (K,) that of the likest patches, (K, 2) the shift of the base slice."""
        base = base_KCHW[:, :, self.reach : self.reach + self.tall, self.reach : self.reach + self.wide]
        count, channels = base.shape[:2]
        base = base.reshape(count, channels, _GRID, self.tall // _GRID, _GRID, self.wide // _GRID)
        base_GCPK = base.transpose(2, 4, 1, 3, 5, 0).reshape(_GRID**2, channels, -1, count)
        products = self.cells_GCSP @ base_GCPK
        power, base_power = self.power_GCS1, np.square(base_GCPK).sum(2)[:, :, None, :]
        present_CK = base_power.sum((0, 2)) > _FLAT
        weights_C1K = (present_CK / np.maximum(present_CK.sum(0), 1))[:, None, :]
        whole_SK = (_correlation(products.sum(0), power.sum(0), base_power.sum(0)) * weights_C1K).sum(0)
        best = whole_SK.argmax(0)
        power, base_power = _patches(power), _patches(base_power)
        likeness_GSK = (_correlation(_patches(products), power, base_power) * weights_C1K).sum(1)
        # nearly empty patches are alike in everyone
        full = _full(power.sum(1)) & _full(base_power.sum(1))
        parts_K = np.sort(np.where(full, likeness_GSK, 0).max(1), axis=0)[-_BEST:].mean(0)
        shifts = np.stack(np.divmod(best, 2 * self.reach + 1), 1) - self.reach
        return whole_SK[best, np.arange(count)], parts_K, shifts


def _full(power_GXX: np.ndarray) -> np.ndarray:
    return power_GXX >= power_GXX.mean(0) / 2


def _patches(cells: np.ndarray) -> np.ndarray:
    """Sums over the overlapping 2 × 2 groups of the cells of the grid: (16, ...) to (9, ...)."""
    grid = cells.reshape(_GRID, _GRID, *cells.shape[1:])
    grid = grid[:-1] + grid[1:]
    grid = grid[:, :-1] + grid[:, 1:]
    return grid.reshape(-1, *cells.shape[1:])


def _correlation(products: np.ndarray, power: np.ndarray, other_power: np.ndarray) -> np.ndarray:
    length = np.sqrt(power * other_power)
    return np.where(length > 1e-6, products / np.maximum(length, 1e-6), 0)


def nearest_features(
    queries_ND: np.ndarray,
    base_MD: np.ndarray,
    query_groups: np.ndarray | None = None,
    base_groups: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Finds the base row of least Euclidean distance for every query, in blocks.

    Args:
        queries_ND: (N, D) features.
        base_MD: (M, D) features.
        query_groups: (N,) patient of every query; with ``base_groups``, a query is not compared with its own patient.
        base_groups: (M,) patient of every base row.

    Returns:
        (N,) rows, -1 where none may be compared; (N,) distances, inf there.
    """
    own = _numbered(query_groups, base_groups)
    base = base_MD.astype(np.float64)
    power = np.square(base).sum(1)
    rows, distances = np.full(len(queries_ND), -1), np.full(len(queries_ND), np.inf)
    for start in range(0, len(queries_ND), _BLOCK):
        block = slice(start, start + _BLOCK)
        queries = queries_ND[block].astype(np.float64)
        squares = power - 2 * queries @ base.T
        if own is not None:
            squares[own[0][block, None] == own[1][None, :]] = np.inf
        best = squares.argmin(1)
        there = np.isfinite(squares[np.arange(len(best)), best])
        rows[block] = np.where(there, best, -1)
        distances[block] = np.where(there, np.linalg.norm(queries - base[best], axis=1), np.inf)
    return rows, distances
