"""Which single samples of a generator are left out: `audit.filters`, fitted on its own training patients."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from labelgan.audit.brains import estimate_brains
from labelgan.audit.filters import SampleFilter
from labelgan.audit.slices import AuditSlices
from labelgan.data.store import SliceStore
from labelgan.core.errors import DataError
from labelgan.gan.run_folder import RunFolder
from labelgan.gan.sample import Judge


def sample_judge(run: str | Path, train: str | Path) -> Judge:
    """Fits what leaves out single samples of a generator on its training patients alone; see `audit.filters`.

    Args:
        run: run folder of the generator.
        train: slice store that holds its training patients; others in it are not looked at.

    Raises:
        DataError: the store lacks a case that the generator was trained on, or holds other voxels under its name.
    """
    store = SliceStore.open(Path(train))
    known = {case.id: case.hashes for case in store.cases}
    seen = RunFolder(Path(run)).read_manifest()["training_cases"]
    if strange := [case["id"] for case in seen if known.get(case["id"]) != case["hashes"]]:
        raise DataError(store.path, f"does not hold case {strange[0]}, which the generator of {run} was trained on")
    fitted = SampleFilter.fit(AuditSlices.from_store(store, keep=[case["id"] for case in seen]))

    def judge(images_NCHW: np.ndarray, masks_NHW: np.ndarray) -> Sequence[str]:
        count = len(images_NCHW)
        nobody, names = np.full(count, ""), np.array([str(number) for number in range(count)])
        height = np.full(count, np.nan, np.float32)
        brains_NHW = estimate_brains(images_NCHW)
        return fitted.judge(
            AuditSlices(images_NCHW, masks_NHW, brains_NHW, nobody, names, height, names)
        ).reasons.tolist()

    return judge
