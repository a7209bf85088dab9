"""Does a scan still show a face? A simple look at its outline, without a trained model.

From the forehead down, the front of an intact head stays where it is or comes forward: brow, nose, lips. Where a face
was cut off it recedes, and where the skull was stripped too, from the frontal lobes to the brain stem. Lengths are
shares of the head's width, since voxel sizes in headers are not always true.
"""

from __future__ import annotations

import numpy as np

from labelgan.data.case import Cohort
from labelgan.data.geometry import SliceGeometry
from labelgan.data.manifests import PHANTOM
from labelgan.data.prepare.brain_search import find_head, is_stripped
from labelgan.data.volume import Volume

LARGEST = 48  # voxels along an axis of the volume that is looked at; larger ones are averaged down to it
FEWEST_SLICES, NARROWEST = 8, 16  # fewer slices with a head, or fewer pixels across it, tell nothing
BAND = 0.3  # width of the middle band whose front is followed
RECEDES = 0.15  # further back than the forehead: about 23 mm
STAYS = 0.65  # share of the slices below the forehead that have not receded, in a head with a face


def shows_face(volume: Volume) -> bool:
    """Tells whether a volume looks as if it showed a face.

    Args:
        volume: a scan of a head, skull on or stripped, in any orientation, scale and T1- or FLAIR-like contrast.

    Returns:
        False also where it cannot be told: single slices, thin slabs, images of one value. A scan that ends above the
        brow is taken for one with a face, since its front does not recede.
    """
    if min(volume.data.shape) < FEWEST_SLICES or not np.isfinite([volume.data.min(), volume.data.max()]).all():
        return False
    try:
        geometry = SliceGeometry.of(volume.data.shape, volume.affine, (8, 8))
    except ValueError:  # an affine that is none
        return False
    image, (_, rows, columns) = _averaged(geometry.to_axial(volume.data))
    head = find_head(image)
    if head is None or is_stripped(image):
        return False
    _, row_mm, column_mm = geometry.spacing_mm
    return _front_stays(head, columns * column_mm / (rows * row_mm))


def face_warning(cohort: Cohort, faces: int) -> str | None:
    """Warns of a cohort, ``faces`` of whose cases show one; None of phantoms and of synthetic slices."""
    if not faces or cohort.slices_only or cohort.manifest.kind == PHANTOM:
        return None
    return (
        f"{faces} of {len(cohort)} cases may show a face: before scans or slices leave your hands, deface them or "
        "strip the skull (docs/guides/privacy.md)"
    )


def _averaged(image_ZYX: np.ndarray) -> tuple[np.ndarray, tuple[int, ...]]:
    """Blocks of voxels averaged, so that no axis is longer than `LARGEST`, and their size; the far ends are cut off."""
    factors = tuple(max(1, -(-size // LARGEST)) for size in image_ZYX.shape)
    counts = tuple(size // factor for size, factor in zip(image_ZYX.shape, factors, strict=True))
    kept = image_ZYX[tuple(slice(count * factor) for count, factor in zip(counts, factors, strict=True))]
    blocks = [part for pair in zip(counts, factors, strict=True) for part in pair]
    return kept.reshape(blocks).mean(axis=(1, 3, 5), dtype=np.float32), factors  # splitting axes copies nothing


def _front_stays(head_ZYX: np.ndarray, aspect: float) -> bool:
    """Follows the head's front, in the middle band, from the forehead down; row 0 is anterior, slice 0 the lowest.

    ``aspect`` is the size of a column over that of a row; lengths are in rows.
    """
    areas = head_ZYX.sum(axis=(1, 2)) * aspect
    held = np.flatnonzero(areas > 0.05 * areas.max())
    width = 2 * float(np.sqrt(areas.max() / np.pi))
    if len(held) < FEWEST_SLICES or width < NARROWEST:
        return False
    centre = float(np.median(np.nonzero(head_ZYX[areas.argmax()])[1]))
    half = BAND / 2 * width / aspect
    left, right = max(0, int(centre - half)), int(np.ceil(centre + half)) + 1
    band = head_ZYX[held[0] : held[-1] + 1, :, left:right].mean(axis=2) >= BAND / 2
    front = np.where(band.any(axis=1), band.argmax(axis=1), head_ZYX.shape[1])
    middle = len(front) // 2
    forehead = middle + int(front[middle:].argmin())
    recession = (front[:forehead] - front[forehead]) / width
    return bool((recession < RECEDES).mean() >= STAYS)
