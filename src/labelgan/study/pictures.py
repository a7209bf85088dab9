"""Pictures for a study's page, made from what its jobs left behind."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from labelgan.core.errors import LabelganError
from labelgan.data.case import Case
from labelgan.data.layouts.detect import read_cohort
from labelgan.data.pictures import mosaic
from labelgan.data.prepare.case import to_unit
from labelgan.data.store import SliceStore
from labelgan.data.volume import ImageRef
from labelgan.gan.sample import Generator
from labelgan.report.overlays import draw_case
from labelgan.report.study import StudyPicture, StudyPictures
from labelgan.seg.folder import SegmenterFolder
from labelgan.study.cohort import KnownCohort
from labelgan.study.engine.ledger import Ledger
from labelgan.study.jobs import PREDICTIONS, RESULT, RUN, SEGMENTER, STORE
from labelgan.study.plan import Plan

PICTURED = 12  # slices in a mosaic
FOLDS_PICTURED = 3
WORST = 4


def study_pictures(plan: Plan, ledger: Ledger, cohort: KnownCohort, test: KnownCohort | None) -> StudyPictures:
    """Gives what can be shown of a study: samples beside training slices, worst cases, training curves.

    What cannot be read, because its data has moved, is left out.
    """
    synthetic: dict[str, StudyPicture] = {}
    real: dict[str, StudyPicture] = {}
    for name, generator in list(plan.generators.items())[:FOLDS_PICTURED]:
        if not ledger.is_done(generator):
            continue
        store = SliceStore.open(ledger.folder(generator.inputs["store"]) / STORE)
        synthetic[name] = _samples(name, ledger.folder(generator) / RUN)
        real[name] = _slices(name, store, generator.params["train"])
    generators = [
        (name, ledger.folder(job) / RUN / "metrics.csv") for name, job in plan.generators.items() if ledger.is_done(job)
    ]
    members = [
        (f"{fold}, {arm}", SegmenterFolder(ledger.folder(jobs[0]) / SEGMENTER).member(0).metrics)
        for (fold, arm), jobs in plan.members.items()
        if fold == plan.folds[0].name and ledger.is_done(jobs[0])
    ]
    return StudyPictures(
        synthetic=synthetic,
        real=real,
        overlays=_worst(plan, ledger, test or cohort),
        generators=generators,
        members=members,
    )


def _samples(fold: str, run: Path) -> StudyPicture:
    samples = Generator.load(run, device="cpu", force=True).sample(4 * PICTURED, seed=0)
    chosen = np.argsort(~samples.masks_NHW.any(axis=(1, 2)), kind="stable")[:PICTURED]
    return StudyPicture(
        mosaic(to_unit(samples.images_NCHW[chosen]), samples.masks_NHW[chosen]),
        f"{fold}: synthetic slices, those with a lesion first",
    )


def _slices(fold: str, store: SliceStore, patients: list[str]) -> StudyPicture:
    rows = store.rows_of(case.id for case in store.cases if case.patient in patients and case.labelled)
    with_lesion = rows[store.index["lesion_voxels"][rows] > 0]
    rows = with_lesion if len(with_lesion) else rows
    batch = store.read(rows[np.unique(np.linspace(0, len(rows) - 1, PICTURED).astype(int))])
    return StudyPicture(
        mosaic(to_unit(batch.images_NCHW), batch.masks_NHW == 1),
        f"{fold}: slices of its training patients, with a lesion",
    )


def _worst(plan: Plan, ledger: Ledger, tested: KnownCohort) -> list[StudyPicture]:
    """The cases that the last arm of the study is worst at, by DSC, each drawn for every arm of its fold."""
    found = []
    arm = plan.arms[-1]
    for fold in plan.folds:
        job = plan.scores.get((fold.name, arm))
        if job is not None and ledger.is_done(job):
            found += [
                (row["dsc"], row["case"], fold.name) for row in ledger.result(job)["rows"] if row["dsc"] is not None
            ]
    worst: dict[str, tuple[float, str]] = {}
    for dsc, case, fold in sorted(found):
        worst.setdefault(case, (dsc, fold))
    try:
        cases = {case.id: case for case in read_cohort(tested.root).cases}
        return [
            _overlay(cases[case], fold, arm, dsc, ledger.folder(plan.predictions[fold, arm]))
            for case, (dsc, fold) in list(worst.items())[:WORST]
        ]
    except (LabelganError, KeyError):
        return []


def _overlay(case: Case, fold: str, arm: str, dsc: float, job: Path) -> StudyPicture:
    _, pixels = draw_case(case, ImageRef(job / PREDICTIONS / case.id / RESULT))
    return StudyPicture(
        pixels,
        f"{case.id}, {arm} ({fold}): DSC {dsc:.2f}. Above the scan, below hits in yellow, misses in vermillion, false "
        "alarms in sky blue",
    )
