from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from labelgan.audit.fidelity.outside import MARGIN, outside
from labelgan.audit.gates import Finding, judge
from labelgan.audit.slices import AuditData, AuditSlices
from labelgan.config.audit import AuditConfig
from labelgan.core.rng import generator_for
from toy_slices import toy_slices

TRAIN, HELD_OUT, UNSEEN = toy_slices(60, 0), toy_slices(40, 1), toy_slices(40, 2, synthetic=True)


def measured(samples: AuditSlices) -> Finding:
    (finding,) = outside(AuditData(samples, TRAIN, HELD_OUT), AuditConfig())
    return finding


def hot(share: float, value: float = 20.0) -> AuditSlices:
    """Unseen slices with some pixels of one value, the same ones whatever it is."""
    images_NCHW = UNSEEN.images_NCHW.copy()
    images_NCHW[generator_for(0, "hot").random(images_NCHW.shape) < share] = value
    return dataclasses.replace(UNSEEN, images_NCHW=images_NCHW)


def gate(finding: Finding) -> bool | None:
    return next(gate.passed for gate in judge([finding], AuditConfig().gates) if gate.name == "range")


def test_unseen_patients_stand_near_held_out_ones_and_pass():
    finding = measured(UNSEEN)
    assert finding.standing is not None
    assert finding.standing > 0.9
    assert gate(finding) is True


@pytest.mark.parametrize("share", [0.004, 0.02, 0.1])
@pytest.mark.parametrize(("value", "side"), [(20.0, "above"), (-20.0, "below")])
def test_planted_outliers_are_counted_on_their_side_and_fail_the_gate(share, value, side):
    sound, finding = measured(UNSEEN), measured(hot(share, value))
    gained = finding.extra["samples"][side] - sound.extra["samples"][side]
    assert gained == pytest.approx(share, rel=0.2)
    assert finding.value is not None
    assert finding.value == finding.extra["samples"]["above"] + finding.extra["samples"]["below"]
    assert finding.extra["samples"]["largest"] == 20
    assert gate(finding) is False


def test_more_outliers_stand_worse():
    standings = [measured(hot(share)).standing for share in (0.0, 0.01, 0.05, 0.2)]
    assert all(standing is not None for standing in standings)
    assert standings == sorted(standings, key=lambda standing: -(standing or 0.0))
    assert len(set(standings)) == 4


def test_a_quarter_of_the_width_is_still_inside():
    low, high = measured(UNSEEN).extra["range"]["FLAIR"]
    for beyond, counted in ((0.95, False), (1.05, True)):
        flat = np.full_like(UNSEEN.images_NCHW, (low + high) / 2)
        flat[:, 0] = high + beyond * MARGIN * (high - low)
        finding = measured(dataclasses.replace(UNSEEN, images_NCHW=flat))
        assert finding.extra["samples"]["above"] == (0.5 if counted else 0.0)
        assert finding.extra["samples"]["slices"] == (1.0 if counted else 0.0)


def test_values_do_not_hang_on_the_order_of_slices():
    rows = generator_for(1, "order").permutation(len(UNSEEN))
    assert measured(hot(0.01).select(rows)).value == measured(hot(0.01)).value
