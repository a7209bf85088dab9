"""Shared by the tests of preparing and of the store."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from heads import CONFIG, write_case

if TYPE_CHECKING:
    from labelgan.data.store import SliceStore


@pytest.fixture(scope="session")
def cohort(tmp_path_factory) -> tuple[Path, dict[str, dict[str, np.ndarray]]]:
    """A cohort of three patients, each in an orientation of its own, and their voxels. Tests must not change it."""
    root = tmp_path_factory.mktemp("cohort")
    return root, {str(n): write_case(root / "Site" / str(n), n) for n in (11, 12, 13)}


@pytest.fixture(scope="session")
def store(cohort, tmp_path_factory) -> SliceStore:
    """The cohort's slice store. Tests must not change it."""
    from labelgan.data.prepare.cohort import prepare_store

    return prepare_store(cohort[0], tmp_path_factory.mktemp("out") / "store", CONFIG)
