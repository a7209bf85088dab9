"""Pictures of predictions: what was hit, missed and invented, drawn on the scan, the worst cases first."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from labelgan.core.errors import DataError, LabelganError
from labelgan.core.progress import Report
from labelgan.data.case import Case
from labelgan.data.geometry import SliceGeometry
from labelgan.data.pictures import GAP_PX, grey_window, save_png, to_grey
from labelgan.data.reading.read import read_volume
from labelgan.data.volume import LESION, OTHER_PATHOLOGY, ImageRef
from labelgan.scoring.match import find_predictions, find_references, match
from labelgan.scoring.pair import predicted_lesion

# Of Okabe and Ito's palette, which colour-blind readers can tell apart; they differ in brightness as well.
HIT_RGB = (240, 228, 66)  # yellow
MISS_RGB = (213, 94, 0)  # vermillion
FALSE_ALARM_RGB = (86, 180, 233)  # sky blue
SLICES = 6


@dataclass(frozen=True)
class Overlay:
    """One case's picture: its file, DSC (1 where both masks are empty), and voxels hit, missed and invented."""

    case: str
    path: Path
    dsc: float
    hits: int
    misses: int
    false_alarms: int


def write_overlays(
    reference: Path,
    prediction: Path,
    out: Path,
    *,
    layout: str | None = None,
    slices: int = SLICES,
    progress: Report | None = None,
) -> tuple[list[Overlay], list[tuple[str, LabelganError]]]:
    """Draws every case of a cohort that has a prediction: ``out/001_CASE.png`` is the worst by DSC.

    A picture has a row of slices as they are and one with hits in yellow, misses in vermillion and false alarms in sky
    blue; of every case the slices with most errors are shown. Other pathology is left out, as in the scores.

    Args:
        reference: cohort with masks.
        prediction: folder of predictions, as ``labelgan score`` takes it.
        out: folder for the pictures.
        layout: read the reference as this layout instead of looking.
        slices: most slices a case.
        progress: called with (done, in all, case id) after every case.

    Returns:
        The pictures, worst first, and the cases that could not be drawn with the reason.

    Raises:
        DataError: a folder cannot be used.
    """
    for folder in (reference, prediction):
        if not folder.is_dir():
            raise DataError(folder, "is not a folder: overlays are drawn of a cohort's cases")
    matched = match(find_references(reference, layout), find_predictions(prediction))
    pairs = [(case, found) for case, found in matched.pairs if found is not None and case.mask is not None]
    drawn: list[tuple[Overlay, np.ndarray]] = []
    failures: list[tuple[str, LabelganError]] = []
    for done, (case, found) in enumerate(pairs, start=1):
        try:
            if isinstance(found, DataError):
                raise found
            drawn.append(draw_case(case, found, slices))
        except LabelganError as error:
            failures.append((case.id, error))
        if progress is not None:
            progress(done, len(pairs), case.id)
    drawn.sort(key=lambda item: (item[0].dsc, item[0].case))
    overlays = []
    for number, (overlay, pixels) in enumerate(drawn, start=1):
        path = out / f"{number:03d}_{overlay.case}.png"
        save_png(path, pixels)
        overlays.append(Overlay(overlay.case, path, overlay.dsc, overlay.hits, overlay.misses, overlay.false_alarms))
    return overlays, failures


def draw_case(case: Case, found: ImageRef, slices: int = SLICES) -> tuple[Overlay, np.ndarray]:
    """Draws one case with a prediction of it: (rows, columns, 3) uint8, and the facts without a path.

    Raises:
        DataError: it has no image, or the shapes differ.
    """
    mask = case.load_mask()
    assert mask is not None
    if not case.images:
        raise DataError(case.id, "has no image to draw on")
    image, predicted = case.load_image(next(iter(case.images))), read_volume(found)
    for volume, path in ((image, case.images[next(iter(case.images))].path), (predicted, found.path)):
        if volume.data.shape != mask.data.shape:
            raise DataError(path, f"shape {volume.data.shape} differs from the reference's {mask.data.shape}")
    counted = mask.data != OTHER_PATHOLOGY
    truth, lesion = mask.data == LESION, predicted_lesion(predicted.data) & counted
    hits, misses, false_alarms = truth & lesion, truth & ~lesion, lesion & ~truth
    numbers = [int(part.sum()) for part in (hits, misses, false_alarms)]
    dsc = 2 * numbers[0] / (2 * numbers[0] + numbers[1] + numbers[2]) if any(numbers) else 1.0
    geometry = SliceGeometry.of(mask.data.shape, mask.affine, (8, 8))
    axial = [geometry.to_axial(volume) for volume in (image.data, hits, misses, false_alarms)]
    return Overlay(case.id, Path(), dsc, *numbers), draw_overlay(*axial, slices=slices)


def draw_overlay(
    image_ZYX: np.ndarray,
    hits_ZYX: np.ndarray,
    misses_ZYX: np.ndarray,
    false_alarms_ZYX: np.ndarray,
    *,
    slices: int = SLICES,
) -> np.ndarray:
    """Lays out the slices with most errors, then those with most hits: scans above, coloured below.

    Returns:
        (rows, columns, 3) uint8.
    """
    errors, found = (part.sum(axis=(1, 2)) for part in (misses_ZYX | false_alarms_ZYX, hits_ZYX))
    middle = -np.abs(np.arange(len(image_ZYX)) - len(image_ZYX) // 2)
    chosen = np.sort(np.lexsort((middle, found, errors))[::-1][:slices])
    window = grey_window(np.nan_to_num(image_ZYX[chosen]))
    tops, bottoms = [], []
    for z in chosen:
        grey = np.stack([to_grey(np.nan_to_num(image_ZYX[z]), window)] * 3, axis=-1)
        coloured = grey.copy()
        for part, colour in ((hits_ZYX, HIT_RGB), (misses_ZYX, MISS_RGB), (false_alarms_ZYX, FALSE_ALARM_RGB)):
            coloured[part[z]] = colour
        gap = np.full((grey.shape[0], GAP_PX, 3), 255, np.uint8)
        tops += [grey, gap]
        bottoms += [coloured, gap]
    top, bottom = (np.concatenate(tiles[:-1], axis=1) for tiles in (tops, bottoms))
    return np.concatenate([top, np.full((GAP_PX, top.shape[1], 3), 255, np.uint8), bottom])
