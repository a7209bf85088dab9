from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np
import pytest

from labelgan.audit.copies.privacy import privacy
from labelgan.audit.fidelity.features import coarse_images
from labelgan.audit.slices import AuditData, AuditSlices
from labelgan.config.audit import AuditConfig
from toy_slices import toy_slices

TRAIN, HELD_OUT = toy_slices(60, 0), toy_slices(60, 1)


def encoder(slices: AuditSlices, /) -> np.ndarray:
    return coarse_images(slices, 4)


def measured(samples: AuditSlices, **more) -> dict[str, Any]:
    return {finding.name: finding for finding in privacy(AuditData(samples, TRAIN, HELD_OUT, **more), AuditConfig())}


def disguised(slices: AuditSlices) -> AuditSlices:
    """Turned left to right, brightened, without a patient."""
    images = np.ascontiguousarray(slices.images_NCHW[..., ::-1]) * np.float32(1.1)
    names = np.array([f"syn{number}" for number in range(len(slices))])
    return dataclasses.replace(slices, images_NCHW=images, names=names, patients=np.full(len(slices), ""))


@pytest.mark.parametrize("more", [{}, {"encoder": encoder}], ids=["pixels", "encoder"])
def test_training_slices_in_disguise_are_copies_of_their_patient(more):
    rows = np.flatnonzero(TRAIN.patients == "p0_2")
    found = measured(disguised(TRAIN.select(rows)), **more)
    assert found["copies.share"].value > 0.9
    assert found["copies.certain"].value > 0.9
    assert found["copies.patients"].value >= 1 / 6
    assert found["copies.authenticity"].value < 0.1
    extra = found["copies.share"].extra
    assert extra["patients"][0]["patient"] == "p0_2"
    assert [pair["patient"] for pair in extra["closest"]] == ["p0_2"] * 10
    for pair in extra["closest"]:
        assert pair["train"] == TRAIN.names[rows[pair["sample_row"]]]
    json.dumps(found["copies.share"].to_json(), allow_nan=False)


def test_unseen_patients_are_no_copies():
    found = measured(toy_slices(60, 2, synthetic=True))
    assert found["copies.share"].value <= 0.05
    assert found["copies.certain"].value == 0
    assert "evidence, not proof" in found["copies.share"].note


def test_membership_shows_where_samples_are_training_slices():
    copied, unseen = measured(disguised(TRAIN)), measured(toy_slices(60, 2, synthetic=True))
    name = "membership.nearest_sample"
    assert copied[name].value > 0.95
    assert copied[name].extra["succeeds"]
    assert abs(unseen[name].value - 0.5) < 0.3
    assert "guessing" in unseen[name].note
