"""Lesions of one training patient pasted into another's slices, after CarveMix (Zhang et al., MICCAI 2021).

A lesion is carved out of its slice with a margin that fades with the distance from it, and blended into the other
slice at about the place that it came from; the masks are united. Parameters are drawn first, then applied.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from labelgan.data.slices import DONOR_HEIGHT, MARGIN, Slices, fading_out
from labelgan.data.store import SliceStore
from labelgan.data.volume import LESION, OTHER_PATHOLOGY

SHIFT = 0.1  # of the sides; the largest shift along rows and columns
TRIES = 10  # shifts that are tried until most of the lesion lies inside the head
INSIDE = 0.5  # share of the lesion that must


@dataclass(frozen=True)
class Paste:
    """Placement of a slice's lesions: mirrored or not, then moved by whole pixels, with a margin in pixels."""

    flip: bool
    shift: tuple[int, int]
    margin: float


class CopyPaste:
    """Chooses and pastes lesions.

    Args:
        store: the slices.
        rows: rows of the training; lesions come from these alone.
    """

    def __init__(self, store: SliceStore, rows: np.ndarray) -> None:
        self.store = store
        self.donors = rows[store.index["lesion_voxels"][rows] > 0]
        patients = np.array([case.patient for case in store.cases])
        self.patients = patients[store.index["case"]]

    def paste(self, part: Slices, rows: np.ndarray, share: float, rng: np.random.Generator) -> Slices:
        """Pastes lesions into a share of the slices, rounded down; the others come back as they were.

        A slice stays as it is where no other patient has a lesion, or where none of the tries lies inside the head.

        Args:
            part: slices as the store gives them.
            rows: (N,) the row of each.
            share: of the slices that lesions are pasted into, 0 to 1.
            rng: every draw comes from it.
        """
        images_NCHW, masks_NHW = part.images_NCHW.copy(), part.masks_NHW.copy()
        for target in rng.permutation(len(rows))[: int(len(rows) * share + 1e-9)]:
            donor = self._donor(int(rows[target]), rng)
            if donor is None:
                continue
            source = self.store.read([donor])
            brain_HW = part.brains_NHW[target]
            paste = _draw_paste(source.masks_NHW[0], brain_HW, rng)
            if paste is not None:
                images_NCHW[target], masks_NHW[target] = paste_lesions(
                    (source.images_NCHW[0], source.masks_NHW[0]),
                    (images_NCHW[target], masks_NHW[target]),
                    brain_HW,
                    paste,
                )
        return replace(part, images_NCHW=images_NCHW, masks_NHW=masks_NHW)

    def _donor(self, row: int, rng: np.random.Generator) -> int | None:
        """A lesion slice of another patient, from about the same height where there is one."""
        others = self.donors[self.patients[self.donors] != self.patients[row]]
        heights = self.store.index["z_fraction"]
        near = others[np.abs(heights[others] - heights[row]) <= DONOR_HEIGHT]
        choice = near if len(near) else others
        return int(rng.choice(choice)) if len(choice) else None


def paste_lesions(
    source: tuple[np.ndarray, np.ndarray], target: tuple[np.ndarray, np.ndarray], brain_HW: np.ndarray, paste: Paste
) -> tuple[np.ndarray, np.ndarray]:
    """Blends the source's lesions into the target.

    With d the distance in pixels from the lesion and m the margin, the source's weight is max(0, 1 - d / (m + 1)): one
    inside the lesion, nothing further out than m. It is zero outside the head and on other pathology, of both slices.

    Args:
        source: image (C, H, W) and mask (H, W) that the lesions come from.
        target: image and mask that they go to; not changed.
        brain_HW: the target's head, bool.
        paste: mirroring, shift and margin.

    Returns:
        The new image and mask.
    """
    (source_CHW, source_HW), (target_CHW, target_HW) = source, target
    moved_HW = _moved(source_HW, paste)
    lesion_HW = moved_HW == LESION
    if not lesion_HW.any():
        return target_CHW, target_HW
    free_HW = brain_HW & (moved_HW != OTHER_PATHOLOGY) & (target_HW != OTHER_PATHOLOGY)
    weight_HW = fading_out(lesion_HW, paste.margin).astype(np.float32) * free_HW
    # Pixels that the shift brought in from outside carry no image.
    weight_HW *= _moved(np.ones_like(source_HW), paste)
    image_CHW = target_CHW + weight_HW * (_moved(source_CHW, paste) - target_CHW)
    return image_CHW, np.where(lesion_HW & free_HW, LESION, target_HW).astype(target_HW.dtype)


def _draw_paste(mask_HW: np.ndarray, brain_HW: np.ndarray, rng: np.random.Generator) -> Paste | None:
    """Draws until enough of the lesions lies inside the head; None where no try does."""
    reach = [int(side * SHIFT) for side in mask_HW.shape]
    lesion_HW = (mask_HW == LESION).astype(np.uint8)
    for _ in range(TRIES):
        down, right = (int(rng.integers(-pixels, pixels + 1)) for pixels in reach)
        paste = Paste(bool(rng.random() < 0.5), (down, right), float(rng.uniform(*MARGIN)))
        if (_moved(lesion_HW, paste) * brain_HW).sum() >= INSIDE * lesion_HW.sum():
            return paste
    return None


def _moved(plane: np.ndarray, paste: Paste) -> np.ndarray:
    """Mirrors the last axis, then shifts the last two; zeros come in from outside."""
    if paste.flip:
        plane = plane[..., ::-1]
    moved = np.zeros_like(plane)
    (to_rows, from_rows), (to_columns, from_columns) = map(_overlap, paste.shift, plane.shape[-2:])
    moved[..., to_rows, to_columns] = plane[..., from_rows, from_columns]
    return moved


def _overlap(shift: int, side: int) -> tuple[slice, slice]:
    """The part of a side that a shift leads to, and the part that it comes from."""
    return slice(max(shift, 0), side + min(shift, 0)), slice(max(-shift, 0), side - max(shift, 0))
