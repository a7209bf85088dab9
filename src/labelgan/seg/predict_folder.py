"""Folders of scans to folders of masks: one case, a cohort, or what the challenge's container is given."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from labelgan.config.base import Settings
from labelgan.core.errors import LabelganError
from labelgan.core.files import write_bytes_atomic, write_json_atomic
from labelgan.core.progress import Report
from labelgan.core.provenance import provenance
from labelgan.data.case import Case
from labelgan.data.export.write import nifti_bytes
from labelgan.data.layouts.detect import read_cohort
from labelgan.seg.predict import Ensemble, Prediction, manifest_facts

RESULT = "result.nii.gz"
PROBABILITY = "probability.nii.gz"


@dataclass
class PredictReport:
    """Outcome of every case.

    Attributes:
        written: case id to its mask's file.
        failures: case id and what was wrong with it.
        trained_on: cases that the ensemble was trained on: their masks say nothing of new patients.
        lesion_voxels: case id to voxels found.
    """

    written: dict[str, Path] = field(default_factory=dict)
    failures: list[tuple[str, LabelganError]] = field(default_factory=list)
    trained_on: list[str] = field(default_factory=list)
    lesion_voxels: dict[str, int] = field(default_factory=dict)


def is_challenge_input(folder: Path) -> bool:
    """Tells the folder that the challenge mounts into a container: named ``input``, with ``pre`` or ``orig`` in it."""
    return folder.resolve().name == "input" and any((folder / name).is_dir() for name in ("pre", "orig"))


def predict_folder(
    segmenter: Path,
    source: Path,
    out: Path,
    *,
    device: str = "auto",
    settings: Settings = (),
    challenge: bool = False,
    probabilities: bool = False,
    report: Report | None = None,
) -> PredictReport:
    """Predicts every case of a folder into ``out/CASE/result.nii.gz``; a case that fails does not stop the others.

    Of the challenge's ``/input`` the one mask goes to ``out/result.nii.gz``, and nothing else is written.

    Args:
        segmenter: segmenter folder.
        source: a cohort in any layout, one case's folder, or the challenge's input.
        out: folder of the masks; those of other cases in it stay.
        device: where to predict.
        settings: ``["predict.x=value"]`` or ``{"predict.x": value}``.
        challenge: take ``source`` for the challenge's input whatever its name.
        probabilities: write ``probability.nii.gz`` beside each mask, whatever the settings say.
        report: called as (cases done, cases, case id) before each case and once at the end.

    Raises:
        CheckpointError, ConfigError: the segmenter cannot be used.
        DataError: no case is found in ``source``.
    """
    ensemble = Ensemble.load(segmenter, device=device, settings=settings)
    if probabilities:
        ensemble.config = ensemble.config.replace({"predict.probabilities": True})
    cases = read_cohort(source).cases
    challenge = (challenge or is_challenge_input(source)) and len(cases) == 1
    result = PredictReport()
    for number, case in enumerate(cases):
        if report is not None:
            report(number, len(cases), case.id)
        try:
            prediction = ensemble.predict(case)
        except LabelganError as error:
            result.failures.append((case.id, error))
            continue
        except (MemoryError, RuntimeError) as error:  # what torch raises when memory runs out, among others
            result.failures.append((case.id, _as_failure(case, error)))
            continue
        place = out if challenge else out / case.id
        _write(place, prediction, ensemble)
        result.written[case.id] = place / RESULT
        result.lesion_voxels[case.id] = int(prediction.mask_XYZ.sum())
        if prediction.trained_on:
            result.trained_on.append(case.id)
    if report is not None:
        report(len(cases), len(cases), "")
    if not challenge and result.written:
        _write_manifest(out, segmenter, ensemble, result)
    return result


def _as_failure(case: Case, error: Exception) -> LabelganError:
    reason = " ".join(str(error).split())[:200]
    return LabelganError(case.id, f"prediction failed: {type(error).__name__}: {reason}")


def _write(place: Path, prediction: Prediction, ensemble: Ensemble) -> None:
    mask = prediction.mask_XYZ.astype(np.dtype(ensemble.config.predict.dtype))
    write_bytes_atomic(place / RESULT, nifti_bytes(mask, prediction.affine))
    if ensemble.config.predict.probabilities:
        write_bytes_atomic(place / PROBABILITY, nifti_bytes(prediction.probability_XYZ, prediction.affine))


def _write_manifest(out: Path, segmenter: Path, ensemble: Ensemble, result: PredictReport) -> None:
    cases = [
        {"id": name, "lesion_voxels": voxels, "trained_on": name in result.trained_on}
        for name, voxels in result.lesion_voxels.items()
    ]
    write_json_atomic(
        out / "manifest.json",
        {
            "format": 1,
            "kind": "predictions",
            "predict": ensemble.config.predict.model_dump(mode="json"),
            "cases": cases,
            "failures": [{"case": case, "reason": error.reason} for case, error in result.failures],
            "segmenter": manifest_facts(segmenter),
            "made_with": provenance(),
        },
    )
