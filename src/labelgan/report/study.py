"""A study's page: report.html, one offline file that says what was run, what came out, and what it cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from labelgan.core.errors import DataError
from labelgan.data.pictures import encode_png
from labelgan.report.html import Picture, write_page
from labelgan.report.study_files import StudyFiles, read_study
from labelgan.report.study_plots import (
    GENERATOR_CURVES,
    MEMBER_CURVES,
    forest,
    learning_curves,
    paired_lines,
    read_curves,
    training_plot,
)
from labelgan.report.study_tables import (
    CLASSES,
    SHAPES,
    WHAT_METRICS_SAY,
    arm_text,
    comparison_groups,
    configuration,
    cost_rows,
    facts,
    fold_rows,
    heading,
    multiplier_rows,
    patient_pairs,
    protocol_text,
    summary_groups,
    tally,
    undefined_rows,
    worst_tables,
)
from labelgan.scoring.metrics import METRICS

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class StudyPicture:
    """A picture for the page.

    Attributes:
        image: a PNG file's bytes, or (H, W) or (H, W, 3) uint8 pixels.
        caption: what it shows, in words; also its text alternative where ``alt`` is empty.
        alt: the text alternative.
    """

    image: bytes | np.ndarray
    caption: str
    alt: str = ""

    def as_picture(self) -> Picture:
        """As the page embeds it; raises DataError when the bytes are no PNG."""
        png = encode_png(self.image) if isinstance(self.image, np.ndarray) else self.image
        if not png.startswith(PNG_SIGNATURE):
            raise DataError(self.caption, "is not a PNG picture")
        return Picture(png, self.caption, self.alt or self.caption)


@dataclass(frozen=True)
class StudyPictures:
    """Pictures of a study; any of them may be left out.

    Attributes:
        synthetic: fold name to a mosaic of its generator's samples.
        real: fold name to a mosaic of its training slices, shown alike.
        overlays: the worst cases, worst first, as `labelgan.report.overlays.draw_overlay` draws them.
        generators: label and ``metrics.csv`` of each generator's training.
        members: label and ``metrics.csv`` of each segmenter member's training.
    """

    synthetic: Mapping[str, StudyPicture] = field(default_factory=dict)
    real: Mapping[str, StudyPicture] = field(default_factory=dict)
    overlays: Sequence[StudyPicture] = ()
    generators: Sequence[tuple[str, Path]] = ()
    members: Sequence[tuple[str, Path]] = ()


def write_study_report(folder: Path, *, pictures: StudyPictures | None = None) -> Path:
    """Reads ``study.json``, ``scores.csv`` and ``verdict.json`` of a study and writes ``report.html`` beside them.

    Args:
        folder: the study's folder.
        pictures: mosaics, overlays and training curves; without them the page has numbers and plots only.

    Returns:
        The page's path.

    Raises:
        DataError: a file is missing or damaged, the files contradict each other, or a picture is no PNG.
    """
    files = read_study(folder)
    path = folder / "report.html"
    write_page(path, "study.html.j2", **_values(files, pictures or StudyPictures()))
    return path


def _values(files: StudyFiles, pictures: StudyPictures) -> dict[str, Any]:
    study, verdict = files.study, files.verdict
    comparisons = verdict.comparisons if verdict else ()
    main = verdict.reference if verdict else None
    groups = comparison_groups(verdict) if verdict else []
    curves, not_drawn = _training(pictures)
    return {
        "title": f"Study of {study.data}",
        "study": study,
        "verdict": verdict,
        "shapes": SHAPES,
        "classes": CLASSES,
        "tally": tally([entry for entry in comparisons if entry.reference == main]),
        "protocol": protocol_text(files),
        "facts": facts(files),
        "arms": [(arm, arm_text(arm, study.arm_descriptions)) for arm in study.arms],
        "metrics": [(name, heading(metric), WHAT_METRICS_SAY.get(name, "")) for name, metric in METRICS.items()],
        "groups": [
            (group, forest(group.comparisons, group.reference, group.n_train if group.several else None))
            for group in groups
        ],
        "summaries": summary_groups(verdict, study.arms) if verdict else [],
        "multipliers": multiplier_rows(verdict) if verdict else [],
        "curves": learning_curves(files.rows, study.arms) if files.rows and _is_curve(files) else None,
        "paired": _paired(files),
        **worst_tables(files),
        "overlays": [overlay.as_picture() for overlay in pictures.overlays],
        "samples": _samples(pictures),
        "training": curves,
        "not_drawn": not_drawn,
        "folds": fold_rows(files),
        "cost": cost_rows(study.cost),
        "undefined": undefined_rows(files),
        "configuration": configuration(study.config),
    }


def _is_curve(files: StudyFiles) -> bool:
    return files.study.protocol == "learning-curve"


def _paired(files: StudyFiles) -> list[Picture]:
    """A plot a metric, from the reference arm to those that share patients with it."""
    study = files.study
    wanted = [files.verdict.reference] if files.verdict and files.verdict.reference else []
    reference = next((arm for arm in (*wanted, *study.references, "classical", "real") if arm in study.arms), None)
    if reference is None or _is_curve(files):
        return []
    plots: list[Picture] = []
    for metric in METRICS.values():
        others = [
            arm
            for arm in study.arms
            if arm != reference and patient_pairs(files.rows, reference, arm, metric.name)
        ]  # fmt: skip
        if others:
            plots.append(paired_lines(files.rows, reference, others, metric))
    return plots


def _samples(pictures: StudyPictures) -> list[tuple[str, list[tuple[str, Picture]]]]:
    """Per fold what there is of synthetic and real samples."""
    kinds = (("synthetic", pictures.synthetic), ("real", pictures.real))
    names = dict.fromkeys((*pictures.synthetic, *pictures.real))
    return [
        (fold, [(kind, shown[fold].as_picture()) for kind, shown in kinds if fold in shown])
        for fold in names
    ]  # fmt: skip


def _training(pictures: StudyPictures) -> tuple[list[Picture], list[str]]:
    """The training plots, and why a run is not in them: a page is not given up for a curve."""
    plots: list[Picture] = []
    reasons = []
    for what, columns, runs in (
        ("generators", GENERATOR_CURVES, pictures.generators),
        ("segmenters' members", MEMBER_CURVES, pictures.members),
    ):
        read = []
        for name, path in runs:
            try:
                read.append((name, read_curves(path, tuple(columns))))
            except DataError as error:
                reasons.append(f"{name}: {error.reason}")
        if read:
            plots.append(training_plot(read, columns, what))
    return plots, reasons
