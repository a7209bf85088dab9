"""A tiny phantom cohort, its slice store and a tiny trained run, made once a session. Tests must not change them."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported, here and in subprocesses

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from filelock import FileLock

from skips import pytest_terminal_summary  # noqa: F401 - a hook

if TYPE_CHECKING:
    from labelgan.config.study import StudyConfig
    from labelgan.data.store import SliceStore
    from labelgan.study.run import StudyResult


Phantoms = Callable[[int, int], Path]


@pytest.fixture(scope="session")
def phantoms_of(tmp_path_factory: pytest.TempPathFactory) -> Phantoms:
    """So many seeded phantom patients in the wmh layout, 48×48×12 voxels, written once for all workers of a run."""
    base = tmp_path_factory.getbasetemp()
    root = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def cohort(count: int, seed: int) -> Path:
        from labelgan.data.phantom.cohort import write_phantom_cohort

        folder = root / f"phantoms-{count}-of-seed-{seed}"
        with FileLock(f"{folder}.lock"):
            if not folder.exists():
                whole = folder.with_name(f"{folder.name}.part")
                write_phantom_cohort(whole, count, seed, shape=(48, 48, 12), force=True)
                whole.rename(folder)
        return folder

    return cohort


@pytest.fixture(scope="session")
def phantom_cohort(phantoms_of: Phantoms, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three phantom patients."""
    return Path(shutil.copytree(phantoms_of(3, 0), tmp_path_factory.mktemp("phantom") / "cohort"))


@pytest.fixture(scope="session")
def phantom_store(phantom_cohort: Path) -> SliceStore:
    """The cohort's slices, 32×32 pixels of 6 mm, FLAIR and T1."""
    from labelgan.config.base import PrepareConfig
    from labelgan.data.prepare.cohort import prepare_store

    config = PrepareConfig.build({"size": (32, 32), "spacing_mm": 6.0})
    return prepare_store(phantom_cohort, phantom_cohort.parent / "store", config)


@pytest.fixture(scope="session")
def tiny_run(phantom_store: SliceStore, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of r3gan: six steps of very small networks."""
    from labelgan.gan.train import train_generator
    from tiny import tiny_config

    # A generator of six steps makes one slice over and over as often as not: the watch has its own tests.
    config = tiny_config("r3gan", "train.collapse_ratio=0")
    return train_generator(phantom_store, tmp_path_factory.mktemp("run") / "run", config).run


@pytest.fixture(scope="session")
def tiny_segmenter(phantom_store: SliceStore, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished ensemble of two very small networks, six steps each, P001 held out."""
    from labelgan.seg.train import train_segmenter
    from tiny import tiny_seg_config

    out = tmp_path_factory.mktemp("segmenter") / "segmenter"
    return train_segmenter(phantom_store, out, tiny_seg_config(), exclude=["P001"]).folder


@pytest.fixture(scope="session")
def tiny_samples(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six synthetic slices of the tiny run, NumPy archives; its generator has seen every phantom."""
    from labelgan.gan.sample import sample_cohort

    return sample_cohort(tiny_run, tmp_path_factory.mktemp("samples") / "samples", 6, format="npz")


@pytest.fixture(scope="session")
def study_cohort(phantoms_of: Phantoms, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four phantom patients."""
    return Path(shutil.copytree(phantoms_of(4, 0), tmp_path_factory.mktemp("study") / "cohort"))


@pytest.fixture(scope="session")
def study_config() -> StudyConfig:
    """Two folds, two arms, two networks."""
    from tiny import tiny_study_config

    return tiny_study_config('arms=["classical", "classical+synthetic"]', "folds=2", "members=2")


@pytest.fixture(scope="session")
def tiny_study(study_cohort: Path, study_config: StudyConfig, tmp_path_factory: pytest.TempPathFactory) -> StudyResult:
    """The study, finished."""
    from labelgan.study.engine.engines import InlineEngine
    from labelgan.study.run import StudySources, run_study

    out = tmp_path_factory.mktemp("tiny-study") / "study"
    return run_study(study_config, StudySources(study_cohort), out, engine=lambda ledger: InlineEngine(), device="cpu")


@pytest.fixture
def jobs_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Studies do their jobs in this process, so that no worker has to import torch first."""
    from labelgan.study.engine.engines import ENGINES, InlineEngine

    monkeypatch.setitem(ENGINES, "local", lambda ledger, config: InlineEngine())
