"""Scores predictions on disk against references on disk: two files, or two folders matched by case."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from labelgan.core.errors import DataError, LabelganError
from labelgan.core.progress import Report
from labelgan.core.words import some, times
from labelgan.data.case import Case
from labelgan.data.layouts.common import stem_of
from labelgan.data.reading.header import SAME_GRID, Header, apart_mm, voxels_apart
from labelgan.data.reading.read import read_with_header, to_mask
from labelgan.data.volume import ImageRef, Volume
from labelgan.scoring.match import find_predictions, find_references, match
from labelgan.scoring.metrics import Scores, score_masks
from labelgan.scoring.pair import predicted_lesion
from labelgan.scoring.report import CaseScores, ScoreReport

__all__ = ["score_files", "score_paths"]


def score_paths(
    reference: Path,
    prediction: Path,
    *,
    resample: bool = False,
    layout: str | None = None,
    progress: Report | None = None,
) -> ScoreReport:
    """Scores a file against a file, or a folder of predictions against a cohort.

    A case that cannot be scored is among the report's failures and the others are scored all the same; with two files
    the error is raised.

    Args:
        reference: mask file, or cohort in any layout that `check` knows, or a folder of masks alone.
        prediction: mask file, or folder of ``CASE/result.nii.gz``, of files named after the cases or their masks, or a
            cohort with the same ids.
        resample: bring a prediction on another grid to the reference's, nearest voxel; else it is refused.
        layout: read the reference as this layout instead of looking.
        progress: called with (done, in all, case id) after every case.

    Raises:
        DataError: naming the file or folder that cannot be used, or when no prediction belongs to any case.
    """
    for path in (reference, prediction):
        if not path.exists():
            raise DataError(path, "no such file or folder")
    if not reference.is_dir():
        if prediction.is_dir():
            raise DataError(prediction, "is a folder, and the reference is a file: give two files or two folders")
        name = stem_of(reference) or reference.name
        scores, notes = score_files(ImageRef(reference), ImageRef(prediction), resample=resample)
        return ScoreReport((CaseScores(name, name, None, scores),), notes=notes, single=True)

    cohort = find_references(reference, layout)
    annotated = [case for case in cohort.cases if case.mask is not None]
    twice = {case.id for case in annotated if sum(other.id == case.id for other in annotated) > 1}
    if twice:
        raise DataError(reference, f"several cases are called {', '.join(sorted(twice))}: see labelgan check")
    if prediction.is_dir():
        matched = match(cohort, find_predictions(prediction))
        pairs, extra = matched.pairs, matched.extra
    elif len(annotated) == 1:
        pairs, extra = ((annotated[0], ImageRef(prediction)),), ()
    else:
        raise DataError(prediction, f"is a file, and the reference holds {len(annotated)} cases: give a folder")
    missing = tuple(case.id for case, found in pairs if found is None)
    to_score = [(case, found) for case, found in pairs if found is not None]
    if not to_score:
        files = some([path.name for path in extra]) or "no image"
        raise DataError(
            prediction,
            f"no prediction belongs to any of the {len(annotated)} annotated cases ({some(missing)}); "
            f"expected CASE/result.nii.gz or CASE.nii.gz, and found {files}",
        )
    return _score_all(to_score, missing, extra, resample, progress)


def _score_all(
    to_score: list[tuple[Case, ImageRef | DataError]],
    missing: tuple[str, ...],
    extra: tuple[Path, ...],
    resample: bool,
    progress: Report | None,
) -> ScoreReport:
    rows: list[CaseScores] = []
    failures: list[tuple[str, LabelganError]] = []
    notes: list[str] = []
    for done, (case, found) in enumerate(to_score, start=1):
        try:
            if isinstance(found, DataError):
                raise found
            assert case.mask is not None
            scores, remarks = score_files(case.mask, found, resample=resample)
            rows.append(CaseScores(case.id, case.patient, case.site, scores))
            notes += remarks
        except LabelganError as error:
            failures.append((case.id, error))
        if progress is not None:
            progress(done, len(to_score), case.id)
    return ScoreReport(tuple(rows), tuple(failures), missing, extra, tuple(notes))


def score_files(
    reference: ImageRef,
    prediction: ImageRef,
    *,
    resample: bool = False,
) -> tuple[Scores, tuple[str, ...]]:
    """Scores one mask file against another, in the reference's geometry.

    Returns:
        The scores, and what a reader of them should know, one line each.

    Raises:
        DataError: a file cannot be read, the reference is no mask, or the grids differ and ``resample`` is off.
    """
    header, stored = read_with_header(reference, indexed=True)
    expert = to_mask(reference, header, stored)
    predicted_header, predicted = _read_prediction(prediction)
    notes = []
    strange = predicted.data.size - int(np.count_nonzero(np.isfinite(predicted.data)))
    if strange:
        notes.append(f"{prediction.path}: {strange} voxels are NaN or infinite, and count as background")
    difference = _difference(header, predicted_header)
    if difference is not None:
        both = "volumes" if not (header.is_picture or predicted_header.is_picture) else "pictures"
        if not resample or both == "pictures":
            advice = "; --resample brings it there" if both == "volumes" else ""
            raise DataError(prediction.path, f"is not on the grid of {reference.path}: {difference}{advice}")
        lesion = predicted_lesion(predicted.data)
        predicted = Volume(_nearest(lesion, predicted.affine, expert.data.shape, expert.affine), expert.affine)
        notes.append(f"{prediction.path}: resampled to the reference's grid ({difference})")
    return score_masks(expert.data, predicted.data, affine=expert.affine), tuple(notes)


def _read_prediction(ref: ImageRef) -> tuple[Header, Volume]:
    """Voxels as float32, whatever is stored: an integer is at least 1 exactly when it is at least 0.5."""
    header, stored = read_with_header(ref, indexed=True)
    return header, to_mask(ref, header, stored) if ref.labels else stored


def _difference(reference: Header, prediction: Header) -> str | None:
    """Describes how a prediction's grid differs from the reference's; None where it does not."""
    if reference.shape != prediction.shape:
        return f"shape {times(prediction.shape)} against {times(reference.shape)}"
    if reference.is_picture != prediction.is_picture:
        return None
    if voxels_apart(reference.shape, reference.affine, prediction.affine) <= SAME_GRID:
        return None
    apart = apart_mm(reference.shape, reference.affine, prediction.affine)
    return f"the affines put a corner {apart:.3g} mm apart"


def _nearest(mask: np.ndarray, affine: np.ndarray, shape: tuple[int, ...], target: np.ndarray) -> np.ndarray:
    """Takes for every voxel of a grid the nearest one of a boolean mask on another; outside of it is False."""
    result = np.zeros(shape, dtype=bool, order="F")
    to_mask_index = np.linalg.inv(affine) @ target
    plane = np.indices(shape[:2], dtype=np.float64).reshape(2, -1)
    for k in range(shape[2]):  # one plane at a time, so that memory stays that of the masks
        place = to_mask_index[:3, :2] @ plane + (to_mask_index[:3, 2] * k + to_mask_index[:3, 3])[:, None]
        # Half-way goes down, with room for the rounding of affines.
        index = np.ceil(place - 0.5 - 1e-4).astype(np.int64)
        inside = ((index >= 0) & (index < np.array(mask.shape)[:, None])).all(axis=0)
        result[..., k][inside.reshape(shape[:2])] = mask[tuple(index[:, inside])]
    return result
