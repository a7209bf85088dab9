from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from labelgan.audit.filters import COPY, NO_BRAIN
from labelgan.core.errors import DataError
from labelgan.study.judge import sample_judge


def test_a_judge_knows_the_training_patients(tiny_run, phantom_store):
    judge = sample_judge(tiny_run, phantom_store.path)
    batch = phantom_store.read(slice(0, 6))
    assert judge(batch.images_NCHW, batch.masks_NHW) == [COPY] * 6
    nothing = np.full_like(batch.images_NCHW, batch.images_NCHW.min())
    assert judge(nothing, batch.masks_NHW) == [NO_BRAIN] * 6


def test_a_judge_wants_the_very_patients(tiny_run, phantom_store, tmp_path):
    other = shutil.copytree(phantom_store.path, tmp_path / "store")
    manifest = json.loads((other / "manifest.json").read_text())
    manifest["cases"][0]["hashes"]["T1"] = "sha256:0"
    (other / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(DataError, match="does not hold case P001, which the generator"):
        sample_judge(tiny_run, other)
