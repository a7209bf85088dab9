"""A cohort of real patients from end to end without leaving the tool: sampled, browsed, curated, exported."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from labelgan import api
from labelgan.api import base as api_export
from labelgan.data.case import Cohort
from labelgan.studio.images import volume_bytes
from labelgan.studio.index import Query
from labelgan.studio.live import LOAD_STEPS
from labelgan.studio.nearest import NearestSearch
from labelgan.studio.session import Session
from real_data import real_cohort, real_count

pytestmark = [pytest.mark.real, pytest.mark.slow]


@pytest.fixture(scope="module")
def walked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two generators, each without the other's half of the patients, and their slices."""
    home = tmp_path_factory.mktemp("ms3seg")
    cohort = real_cohort("ms3seg-wmh")
    ids = [case.id for case in Cohort.load(cohort)]
    api.prepare(cohort, home / "store", size=(48, 48), spacing_mm=5.0, exclude=ids[6:])
    for number, held_out in enumerate((ids[:6:2], ids[1:6:2])):
        run = home / f"run{number}"
        api.train(home / "store", run, model="refiner", preset="laptop", steps=2, exclude=held_out)
        api.sample(run, home / f"synthetic{number}", 10, seed=number, load="high", force=True)
    return home


def nifti_of(session: Session, key: str) -> bytes:
    return volume_bytes(session.index.images(session.case(key)), "FLAIR")


def test_browsed_sampled_curated_and_exported(walked: Path, tmp_path: Path) -> None:
    cohort, count = real_cohort("ms3seg-wmh"), real_count("ms3seg-wmh")
    session = Session([cohort, walked])
    session.fill()
    kinds = sorted(source.kind for source in session.index.sources.values())
    assert kinds == ["cohort", "run", "run", "store", "synthetic", "synthetic"]
    scans = [volume for volume in session.volumes() if volume["source"] == "ms3seg-wmh"]
    assert len(scans) == count
    assert all(len(nifti_of(session, volume["key"])) > 1000 for volume in scans[:2])

    samples = session.index.select(Query(origin="synthetic", order="load"))
    assert len(samples) == 20
    assert samples[0].load
    assert samples[0].load > 0
    rejected = samples[::4]
    for entry in rejected:
        session.index.decide(entry, "reject")

    run = next(source for source in session.index.sources.values() if source.kind == "run")
    live = session.live(run.key)
    none, high = (
        [live.sample(3, index, {"load": level}, 96).lesion_pixels for index in range(4)]
        for level in (LOAD_STEPS.index("none"), LOAD_STEPS.index("high"))
    )
    assert sum(none) == 0 < sum(high)
    assert NearestSearch(session.index).find(samples[0]).of_training

    export = tmp_path / "Dataset501_MS"
    api_export.export([cohort, walked / "synthetic0", walked / "synthetic1"], export, format="nnunet")
    entries = json.loads((export / "manifest.json").read_text())["cases"]
    made = {entry["id"] for entry in entries if entry["synthetic"]}
    assert len(made) == len(samples) - len(rejected)
    assert len(entries) - len(made) == count
    folds = json.loads((export / "splits_final.json").read_text())
    assert not any(made & set(fold["val"]) for fold in folds)
    assert any(made & set(fold["train"]) for fold in folds)
