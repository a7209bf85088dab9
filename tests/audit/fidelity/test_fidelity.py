from __future__ import annotations

import dataclasses
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from labelgan.audit.fidelity.anchors import octave_noise
from labelgan.audit.fidelity.features import coarse_images
from labelgan.audit.fidelity.fidelity import DEGRADATIONS, FEWEST, MANIFOLDS, SWD, ComparedSets, fidelity
from labelgan.audit.slices import AuditData, AuditSlices
from labelgan.config.audit import AuditConfig
from labelgan.core.rng import generator_for
from toy_slices import toy_slices

CONFIG = AuditConfig().with_settings(
    ["fidelity.projections=32", "fidelity.patches=16", "fidelity.raw_side=8", "fidelity.kernel_blocks=8"]
)


def encoder(slices: AuditSlices, /) -> np.ndarray:
    """Features that see sharpness too: local means, and the local means of absolute steps between pixels."""
    steps = np.abs(np.diff(slices.images_NCHW, axis=3, append=0.0))
    rough = dataclasses.replace(slices, images_NCHW=steps.astype(np.float32))
    return np.concatenate([coarse_images(slices, 4), coarse_images(rough, 4)], axis=1)


@pytest.fixture(scope="module")
def sets() -> tuple[AuditSlices, AuditSlices]:
    """Training and held-out slices of one distribution."""
    return toy_slices(120, 0), toy_slices(90, 1)


def measured(samples: AuditSlices, sets, config: AuditConfig = CONFIG) -> dict[str, Any]:
    train, held_out = sets
    found = fidelity(AuditData(samples, train, held_out, encoder=encoder), config)
    return {finding.name: finding.value for finding in found}


def noised(slices: AuditSlices, level: float) -> AuditSlices:
    noise = octave_noise(slices.images_NCHW.shape, generator_for(1, "planted"))
    return dataclasses.replace(slices, images_NCHW=slices.images_NCHW + np.float32(level) * noise)


def smoothed(slices: AuditSlices, sd: float) -> AuditSlices:
    from scipy.ndimage import gaussian_filter

    return dataclasses.replace(slices, images_NCHW=gaussian_filter(slices.images_NCHW, (0, 0, sd, sd)))


def fewer(slices: AuditSlices, count: int) -> AuditSlices:
    return slices.select(np.resize(generator_for(2, "modes").permutation(len(slices))[:count], len(slices)))


GETS_WORSE = {
    "image.swd": 1,
    "image.spectrum": 1,
    "pair.w1": 1,
    "pair.kid": 1,
    "pair.precision": -1,
    "pair.density": -1,
    "pair.coverage": -1,
}


@pytest.mark.parametrize(
    ("spoil", "levels", "names"),
    [
        (noised, (0.2, 0.6, 1.8), GETS_WORSE),
        (smoothed, (0.5, 1.0, 3.0), GETS_WORSE),
        (fewer, (10, 4, 1), {"image.w1": 1, "image.kid": 1, "pair.w1": 1, "pair.recall": -1, "pair.coverage": -1}),
    ],
)
def test_every_distance_moves_the_right_way(sets, spoil, levels, names):
    found = [measured(sets[1], sets), *(measured(spoil(sets[1], level), sets) for level in levels)]
    for name, sign in names.items():
        values = [figures[name] for figures in found]
        assert values[-1] * sign > values[0] * sign, (name, values)
        worse = [(after - before) * sign >= -0.05 * abs(values[-1] - values[0]) for before, after in pairwise(values)]
        assert all(worse), (name, values)


def test_real_slices_stand_at_the_good_anchor_and_spoilt_ones_at_the_bad(sets):
    train, held_out = sets
    real = fidelity(AuditData(held_out, train, held_out, encoder=encoder), CONFIG)
    for finding in real:
        assert finding.value == finding.good, finding.name
    bad: dict[str, Any] = {
        finding.name: finding for finding in fidelity(AuditData(noised(held_out, 2), *sets, encoder=encoder), CONFIG)
    }
    for name in ("image.swd", "pair.w1", "pair.kid"):
        assert bad[name].standing < 0.2


@pytest.mark.parametrize(
    ("figure", "good", "degraded", "bad"),
    [
        (SWD, 1.0, (1.2, 2.0, 5.0), 2.0),
        (SWD, 1.0, (1.2, 1.1, 1.3), 1.3),
        (SWD, -0.1, (-0.2, 0.3, 0.4), 0.3),
        (MANIFOLDS[0], 0.9, (0.8, 0.5, 0.1), 0.5),
        (MANIFOLDS[0], 0.9, (0.8, 0.9, 0.7), 0.7),
    ],
)
def test_the_bad_anchor_is_the_mildest_degradation_that_tells(figure, good, degraded, bad):
    values = {"samples": 0.0, "held_out": good, **dict(zip(DEGRADATIONS, degraded, strict=True))}
    assert figure.finding("image", "images", values).bad == bad


def test_masks_are_compared_where_there_are_lesions(sets):
    train, held_out = sets
    moved = dataclasses.replace(held_out, masks_NHW=np.roll(held_out.masks_NHW, 10, axis=1))
    before, after = measured(held_out, sets), measured(moved, sets)
    assert after["mask.w1"] > before["mask.w1"]
    assert after["image.swd"] == before["image.swd"]
    empty = dataclasses.replace(held_out, masks_NHW=np.zeros_like(held_out.masks_NHW))
    found = {finding.name: finding for finding in fidelity(AuditData(empty, train, held_out), CONFIG)}
    assert found["mask.swd"].value is found["mask.kid"].value is None
    assert found["mask.swd"].note == f"fewer than {FEWEST} slices on a side"
    assert "pair.kid" not in found


def test_twice_gives_the_same_and_batches_do_not_show(sets, monkeypatch):
    first = measured(sets[1], sets)
    assert measured(sets[1], sets) == first
    for place in ("distances._BLOCK", "pyramid._IMAGES", "features.BLOCK"):
        monkeypatch.setattr(f"labelgan.audit.fidelity.{place}", 5)
    for name, value in measured(sets[1], sets).items():
        assert value == pytest.approx(first[name], rel=1e-3, abs=1e-4), name


def test_compared_sets_have_one_size(sets):
    train, held_out = sets
    cut = ComparedSets.of(AuditData(held_out.select(slice(0, 12)), train, held_out), CONFIG)
    compared = dict(cut.compared())
    assert {len(part) for part in compared.values()} == {12}
    assert list(compared) == ["samples", "held_out", *DEGRADATIONS]
    assert cut.train is train
    small = ComparedSets.of(AuditData(held_out, *sets), CONFIG.with_settings(["fidelity.max_compared=20"]))
    assert (len(small.samples), len(small.held_out), len(small.train)) == (20, 20, len(train))


def test_lesion_sets_hold_lesions_alone(sets):
    train, held_out = sets
    cut = ComparedSets.of(AuditData(held_out, train, held_out), CONFIG, lesion_only=True)
    assert cut.train.lesions_NHW.any(axis=(1, 2)).all()
    assert len(cut.train) == train.lesions_NHW.any(axis=(1, 2)).sum()
    assert len(cut.samples) == len(cut.held_out)
