"""What audits must find, planted among real patients: two splits into training, calibration and unseen patients."""

from __future__ import annotations

import numpy as np
import pytest

from audit_cases import GATE_OF, ONE_DISGUISE, Audited
from labelgan.audit.copies.copies import CERTAIN, Comparable, Limit, Space, closeness_of, limits_of, neighbours
from labelgan.audit.slices import AuditSlices
from labelgan.config.audit import AuditConfig
from labelgan.config.base import PrepareConfig
from labelgan.core.rng import generator_for
from labelgan.data.layouts.detect import read_cohort
from labelgan.data.prepare.cohort import prepare_store
from plants import DISGUISES
from real_data import real_cohort

pytestmark = [pytest.mark.real, pytest.mark.slow]


@pytest.fixture(scope="module")
def glioma(tmp_path_factory: pytest.TempPathFactory) -> AuditSlices:
    """Half of the patients of Dataset501_LGG at 64×64."""
    root, store = real_cohort("Dataset501_LGG"), tmp_path_factory.mktemp("glioma") / "store"
    leave_out = [case.id for case in read_cohort(root).cases[1::2]]
    config = PrepareConfig.build({"size": (64, 64), "spacing_mm": 4.0})
    return AuditSlices.from_store(prepare_store(root, store, config, exclude=leave_out))


@pytest.fixture(scope="module", params=[0, pytest.param(1, marks=pytest.mark.drill)])
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


@pytest.fixture(
    scope="module",
    params=[
        # five times the work, and an encoder as long as it is by default
        pytest.param(("Dataset501_LGG", (20, 10), 0, []), marks=pytest.mark.drill),
        ("ms3seg-wmh", (5, 3), 0, ["encoder.steps=60"]),
    ],
    ids=["glioma", "multiple sclerosis"],
)
def audited(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Audited:
    """Patients of a real cohort (of the gliomas half, to save time) at 64×64: some learned from, some held out."""
    name, sizes, seed, settings = request.param
    ids = [case.id for case in read_cohort(real_cohort(name)).cases]
    leave_out = ids[1::2] if name == "Dataset501_LGG" else []
    prepare = PrepareConfig.build({"size": (64, 64), "spacing_mm": 4.0})
    config = AuditConfig().with_settings(["data.device=cpu", *settings])
    folder = tmp_path_factory.mktemp("audited")
    return Audited.split(real_cohort(name), folder, prepare, config, sizes=sizes, seed=seed, leave_out=leave_out)


def test_patients_whom_nobody_has_seen_pass_every_gate(audited):
    report = audited.audit(audited.unseen)
    assert [gate.passed for gate in report.gates] == [True] * 5, report.gates
    assert (report.finding("copies.share").value or 0) <= 0.05


@pytest.mark.parametrize(
    "fault", [pytest.param(fault, marks=pytest.mark.drill if fault in ONE_DISGUISE else ()) for fault in GATE_OF]
)
def test_a_whole_audit_finds_what_was_planted(audited, fault):
    report = audited.audit(audited.planted(fault))
    assert GATE_OF[fault] in {gate.name for gate in report.failed_gates}
    if GATE_OF[fault] == "copies":
        assert (report.finding("copies.share").value or 0) >= 0.99
