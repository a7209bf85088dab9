"""From each real cohort to labelled slices that the check accepts: prepare, train, sample, check."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from labelgan import api
from labelgan.data.export.write import EXPORTERS
from labelgan.data.layouts.detect import read_cohort
from labelgan.data.store import SliceStore
from real_data import real_cohort
from tiny import SIZE, settings_of

SAMPLES = 4

pytestmark = [pytest.mark.real, pytest.mark.slow]


@dataclass(frozen=True)
class Cohort:
    """A cohort, the pixel size at which a head fits into 32×32, and which of its slices and cases are enough."""

    name: str
    spacing_mm: float
    cases: int
    every: int = 1


# Of the last, the voxel size is a placeholder: 128 pixels said to be 2 mm wide.
COHORTS = [
    Cohort("ms3seg-wmh", 7.5, cases=6),
    Cohort("open-ms-bids", 7.0, every=6, cases=2),
    Cohort("Dataset501_LGG", 8.0, cases=12),
]


@pytest.fixture(scope="module", params=COHORTS, ids=lambda cohort: cohort.name)
def prepared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Cohort, SliceStore]:
    """The cohort's slice store."""
    cohort = request.param
    folder = tmp_path_factory.mktemp("store") / "store"
    left_out = [case.id for case in read_cohort(real_cohort(cohort.name)).cases[cohort.cases :]]
    settings = {"size": SIZE, "spacing_mm": cohort.spacing_mm, "every": cohort.every}
    return cohort, api.prepare(real_cohort(cohort.name), folder, exclude=left_out, **settings)


@pytest.fixture(scope="module")
def run(prepared: tuple[Cohort, SliceStore], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few steps on all patients but the first."""
    _, store = prepared
    out = tmp_path_factory.mktemp("run") / "run"
    held_out = [store.cases[0].patient]
    # six steps make one slice over and over as often as not, and this is no test of the watch
    return api.train(store.path, out, settings=[*settings_of("auto"), "train.collapse_ratio=0"], exclude=held_out).run


def test_heads_fit_and_lesions_are_kept(prepared: tuple[Cohort, SliceStore]) -> None:
    cohort, store = prepared
    assert store.channels == ("FLAIR", "T1")
    assert store.size == SIZE
    assert len({case.patient for case in store.cases}) == len(store.cases)
    assert all(case.labelled for case in store.cases)
    if cohort.every == 1:
        assert all(store.index["lesion_voxels"][store.rows_of([case.id])].sum() > 0 for case in store.cases)
    assert store.index["lesion_voxels"].sum() > 0
    assert all(case.lesion_voxels_cropped == 0 for case in store.cases)
    assert all(case.pixel_mm == pytest.approx((cohort.spacing_mm,) * 2) for case in store.cases)
    brains = store.read(np.arange(len(store))).brains_NHW
    border = np.ones(SIZE, bool)
    border[1:-1, 1:-1] = False
    assert brains[:, border].mean() < 0.05 * brains.mean()


def test_the_patient_who_is_held_out_is_not_in_the_manifest(prepared: tuple[Cohort, SliceStore], run: Path) -> None:
    _, store = prepared
    manifest = json.loads((run / "manifest.json").read_text())
    assert [case["id"] for case in manifest["training_cases"]] == [case.id for case in store.cases[1:]]
    assert manifest["status"] == "complete"


@pytest.mark.parametrize("prepared", COHORTS[:1], ids=[COHORTS[0].name], indirect=True)
@pytest.mark.parametrize("format", EXPORTERS)
def test_samples_in_every_format_pass_the_check(
    prepared: tuple[Cohort, SliceStore], run: Path, tmp_path: Path, format: str
) -> None:
    assert_samples_pass(prepared, run, tmp_path, format)


def test_samples_of_every_cohort_pass_the_check(prepared: tuple[Cohort, SliceStore], run: Path, tmp_path: Path) -> None:
    assert_samples_pass(prepared, run, tmp_path, "wmh")


def assert_samples_pass(prepared: tuple[Cohort, SliceStore], run: Path, tmp_path: Path, format: str) -> None:
    cohort, store = prepared
    out = api.sample(run, tmp_path / "out", SAMPLES, format=format, seed=3, device="cpu")
    report = api.check(out)
    assert report.ok, report.problems
    assert report.cohort.slices_only
    assert report.cohort.layout == EXPORTERS[format].layout
    assert len(report.cohort.cases) == SAMPLES
    for case, facts in zip(report.cohort.cases, report.facts, strict=True):
        assert len(case.images) == 2
        assert facts.shape == (SIZE[1], SIZE[0], 1)
        mask = case.load_mask()
        assert mask is not None
        assert set(np.unique(mask.data)) <= {0, 1}
        if format != "png":
            thickness = float(np.median([one.slice_mm for one in store.cases[1:]]))
            assert facts.spacing_mm == pytest.approx((cohort.spacing_mm, cohort.spacing_mm, thickness), rel=1e-4)
