"""What audits must find, planted among real patients: two splits into training, calibration and unseen patients."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from labelgan.audit.copies import CERTAIN, Limit, closeness_of, limits_of
from labelgan.audit.labels import labels
from labelgan.audit.neighbours import Comparable, Space, neighbours
from labelgan.audit.slices import AuditData, AuditSlices
from labelgan.config import PrepareConfig
from labelgan.config_audit import AuditConfig
from labelgan.data.layouts import read_cohort
from labelgan.data.prepare import prepare_store
from labelgan.rng import generator_for
from plants import DISGUISES

DATA = Path(__file__).parents[3] / "shared" / "data"

pytestmark = [
    pytest.mark.real,
    pytest.mark.slow,
    pytest.mark.skipif(not DATA.is_dir(), reason="the real cohorts are not on this machine"),
]


@pytest.fixture(scope="module")
def glioma(tmp_path_factory: pytest.TempPathFactory) -> AuditSlices:
    """Half of the patients of Dataset501_LGG at 64×64."""
    root, store = DATA / "Dataset501_LGG", tmp_path_factory.mktemp("glioma") / "store"
    leave_out = [case.id for case in read_cohort(root).cases[1::2]]
    config = PrepareConfig.build({"size": (64, 64), "spacing_mm": 4.0})
    return AuditSlices.from_store(prepare_store(root, store, config, exclude=leave_out))


@pytest.fixture(scope="module", params=[0, 1])
def split(glioma: AuditSlices, request: pytest.FixtureRequest) -> dict[str, AuditSlices]:
    names = generator_for(request.param, "real split").permutation(np.unique(glioma.patients))
    half, quarter = len(names) // 2, len(names) // 4
    groups = {"train": names[:half], "held out": names[half : half + quarter], "unseen": names[half + quarter :]}
    return {name: glioma.select(np.isin(glioma.patients, group)) for name, group in groups.items()}


def of(slices: AuditSlices) -> Comparable:
    return Comparable.of(slices.images_NCHW, slices.patients)


@pytest.fixture(scope="module")
def training(split: dict[str, AuditSlices]) -> tuple[Comparable, dict[Space, Limit]]:
    """The training slices, and how close the held-out patients come to them."""
    train = of(split["train"])
    return train, limits_of(neighbours(of(split["held out"]), train))


@pytest.mark.parametrize("disguise", DISGUISES)
def test_training_slices_in_disguise_are_copies(split, training, disguise):
    train, limits = training
    samples = Comparable.of(DISGUISES[disguise](split["train"].images_NCHW[::4]))
    assert (closeness_of(neighbours(samples, train), limits).closeness < 1).mean() >= 0.99


def test_unseen_patients_are_not(split, training):
    train, limits = training
    closeness = closeness_of(neighbours(of(split["unseen"]), train), limits).closeness
    assert (closeness < 1).mean() <= 0.05
    assert (closeness < CERTAIN).mean() <= 0.001


FAULTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "shuffled": lambda masks: masks[generator_for(1, "shuffled").permutation(len(masks))],
    "shifted": lambda masks: np.roll(masks, 8, 1),
}


def agreement(split: dict[str, AuditSlices], samples: AuditSlices) -> list[float]:
    findings = labels(AuditData(samples, split["train"], split["held out"]), AuditConfig())
    found = [finding.value for finding in findings if finding.name.startswith("label.agreement")]
    assert len(found) == 2
    return [value for value in found if value is not None]


def test_true_masks_agree_and_spoilt_ones_do_not(split):
    from scipy.ndimage import binary_dilation

    unseen = split["unseen"]
    assert min(agreement(split, unseen)) >= 0.5
    dilated = np.stack([binary_dilation(mask == 1, iterations=3) for mask in unseen.masks_NHW]).astype(np.uint8)
    for masks in (dilated, *(fault(unseen.masks_NHW) for fault in FAULTS.values())):
        assert min(agreement(split, replace(unseen, masks_NHW=masks))) < 0.5
