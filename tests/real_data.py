"""The data of others that some tests run on, and how to get it. None of it is part of the repository.

A test asks for a folder by `real_cohort`, or for a vector of `VECTORS`; where it is not there the test is skipped, and
the reason says what to put where. Any patients of a cohort will do; the numbers are of those it was written with.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

BESIDE = Path(__file__).parents[2] / "shared"
"""Beside the checkout, so that no scan is ever committed by mistake."""


@dataclass(frozen=True)
class RealCohort:
    """A public cohort.

    Attributes:
        source: where it comes from, and its licence.
        lay: which files the tests expect of it.
        masks: where these lie, one a case.
    """

    source: str
    lay: str
    masks: str


COHORTS = {
    "ms3seg-wmh": RealCohort(
        "MS3SEG (Bashiri et al., Scientific Data 2026, CC BY 4.0), https://doi.org/10.6084/m9.figshare.30393475",
        "10 patients as Tabriz/ID/pre/FLAIR.nii.gz, Tabriz/ID/pre/T1.nii.gz and Tabriz/ID/wmh.nii.gz, on one grid,"
        " skull on; the mask is 1 on abnormal hyperintensities and 0 elsewhere",
        "*/*/wmh.nii.gz",
    ),
    "open-ms-bids": RealCohort(
        "https://github.com/muschellij2/open_ms_data, folder cross_sectional/MNI (Lesjak et al., Neuroinformatics"
        " 2017, CC BY)",
        "3 patients as sub-ID/anat/sub-ID_FLAIR.nii.gz, sub-ID/anat/sub-ID_T1w.nii.gz and"
        " derivatives/manual/sub-ID/anat/sub-ID_space-orig_label-lesion_mask.nii.gz, skull-stripped",
        "derivatives/manual/*/anat/*_mask.nii.gz",
    ),
    "Dataset501_LGG": RealCohort(
        "https://www.kaggle.com/datasets/mateuszbuda/lgg-mri-segmentation (Buda et al., Computers in Biology and"
        " Medicine 2019, CC BY-NC-SA 4.0)",
        "80 patients that have an image before contrast, their slices stacked and averaged 2×2 to 128×128, as nnU-Net"
        " raw: imagesTr/ID_0000.nii.gz (before contrast, T1), imagesTr/ID_0001.nii.gz (FLAIR), labelsTr/ID.nii.gz and"
        " dataset.json",
        "labelsTr/*.nii.gz",
    ),
}


def real_cohort(name: str) -> Path:
    """The folder of a cohort; the test that asks is skipped where there is none."""
    folder = BESIDE / "data" / name
    if not folder.is_dir():
        wanted = COHORTS[name]
        pytest.skip(f"no folder ../shared/data/{name} beside this checkout. Get {wanted.source}; lay {wanted.lay}")
    return folder


def real_count(name: str) -> int:
    """How many cases the folder of a cohort holds, counted without any of LabelGAN's code."""
    return len(list(real_cohort(name).glob(COHORTS[name].masks)))


VECTORS = BESIDE / "vectors"
EXPECTED: dict[str, Any] = json.loads((VECTORS / "expected.json").read_text()) if VECTORS.is_dir() else {}
"""What the WMH challenge's public scorer gives for each pair of masks, by name and metric; none where it fails."""

needs_vectors = pytest.mark.skipif(
    not EXPECTED,
    reason="no folder ../shared/vectors beside this checkout. Run evaluation.py of"
    " https://github.com/hjkuijf/wmhchallenge over pairs of masks; lay each pair as NAME.npz (gt and pred in z, y, x;"
    " spacing, origin and direction in x, y, z) and the five figures of all as expected.json,"
    " {NAME: {dsc, hd95_mm, avd_percent, lesion_recall, lesion_f1}}",
)
