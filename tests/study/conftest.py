"""A tiny study of four phantom patients, run once a session. Tests must not change it."""

from __future__ import annotations

from pathlib import Path

import pytest

from labelgan.config_study import StudyConfig
from labelgan.study.engines import InlineEngine
from labelgan.study.run import StudyResult, StudySources, run_study
from tiny import tiny_study_config


@pytest.fixture(scope="session")
def study_cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four seeded phantom patients in the wmh layout, 48×48×12 voxels."""
    from labelgan.data.phantom import write_phantom_cohort

    root = tmp_path_factory.mktemp("study") / "cohort"
    write_phantom_cohort(root, 4, 0, shape=(48, 48, 12))
    return root


@pytest.fixture(scope="session")
def study_config() -> StudyConfig:
    """Two folds, two arms, two networks."""
    return tiny_study_config('arms=["classical", "classical+synthetic"]', "folds=2", "members=2")


@pytest.fixture(scope="session")
def tiny_study(study_cohort: Path, study_config: StudyConfig, tmp_path_factory: pytest.TempPathFactory) -> StudyResult:
    """The study, finished."""
    out = tmp_path_factory.mktemp("tiny-study") / "study"
    return run_study(study_config, StudySources(study_cohort), out, engine=lambda ledger: InlineEngine(), device="cpu")
