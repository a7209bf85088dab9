from __future__ import annotations

import json

import numpy as np
import pytest

from labelgan.audit.gates import GATES, ONE_HELD_OUT, Check, Finding, Gate, judge, plain
from labelgan.config.audit import GateConfig


def outside(above: float, below: float, held_out: float = 0.0) -> Finding:
    """Pixels out of range: of the samples, and below it of held-out slices."""
    shares = {"samples": {"above": above, "below": below}, "held_out": {"above": 0.0, "below": held_out}}
    return Finding("image.outside", "", above + below, extra=shares)


SOUND = {
    "diversity.spread": Finding("diversity.spread", "", 0.9, good=1.0),
    "diversity.repeats": Finding("diversity.repeats", "", 0.01),
    "label.agreement.ring": Finding("label.agreement.ring", "", 0.9),
    "label.agreement.edge": Finding("label.agreement.edge", "", 0.8),
    "label.load": Finding("label.load", "", 0.4, extra={"limit": 1.0}),
    "label.empty": Finding("label.empty", "", 0.1, extra={"limit": 0.2}),
    "image.outside": outside(above=0.0002, below=0.0),
    "copies.share": Finding("copies.share", "", 0.01),
    "copies.certain": Finding("copies.certain", "", 0.0),
    "image.swd": Finding("image.swd", "", 0.2, good=0.1, bad=0.5),
}
BROKEN = {
    "diversity.spread": ("diversity", Finding("diversity.spread", "", 0.3, good=1.0)),
    "diversity.repeats": ("diversity", Finding("diversity.repeats", "", 0.8)),
    "label.agreement.ring": ("labels", Finding("label.agreement.ring", "", 0.2)),
    "label.agreement.edge": ("labels", Finding("label.agreement.edge", "", -0.1)),
    "label.load": ("load", Finding("label.load", "", 1.4, extra={"limit": 1.0})),
    "label.empty": ("load", Finding("label.empty", "", 0.5, extra={"limit": 0.2})),
    "image.outside": ("range", outside(above=0.002, below=0.0)),
    "copies.share": ("copies", Finding("copies.share", "", 0.2)),
    "copies.certain": ("copies", Finding("copies.certain", "", 0.001)),
}


def decided(found: dict[str, Finding], limits: GateConfig | None = None) -> dict[str, bool | None]:
    return {gate.name: gate.passed for gate in judge(list(found.values()), limits or GateConfig())}


def test_sound_samples_pass():
    assert decided(SOUND) == {"diversity": True, "labels": True, "load": True, "range": True, "copies": True}


@pytest.mark.parametrize("name", BROKEN)
def test_one_broken_limit_fails_its_gate_alone(name):
    gate, finding = BROKEN[name]
    assert decided({**SOUND, name: finding}) == {
        other: other != gate for other in ("diversity", "labels", "load", "range", "copies")
    }


@pytest.mark.parametrize(("patients", "said"), [(1, True), (2, False), (None, False)])
def test_every_gate_says_where_one_held_out_patient_decides(patients, said):
    gates = judge(list(SOUND.values()), GateConfig(), held_out_patients=patients)
    assert {gate.reason.endswith(ONE_HELD_OUT) for gate in gates} == {said}


def test_limits_can_be_set():
    loose = GateConfig(
        min_spread=0.1,
        max_duplicates=1,
        min_agreement=-1,
        max_load_shift=9,
        max_outside=1,
        max_copies=1,
        max_certain_copies=1,
    )
    assert all(decided({**SOUND, **{name: finding for name, (_, finding) in BROKEN.items()}}, loose).values())


def test_samples_may_be_out_of_range_as_often_as_held_out_slices_on_either_side():
    for below, passed in ((0.02, True), (0.04, False)):
        assert decided({**SOUND, "image.outside": outside(0.0, below, held_out=0.03)})["range"] is passed
    assert decided({**SOUND, "image.outside": outside(0.02, 0.0, held_out=0.03)})["range"] is False


def test_fidelity_has_a_gate_where_a_limit_is_set():
    assert "fidelity" not in decided(SOUND)
    assert decided(SOUND, GateConfig(min_standing=0.5))["fidelity"] is True
    assert decided(SOUND, GateConfig(min_standing=0.9))["fidelity"] is False


@pytest.mark.parametrize("gate", sorted(set(GATES) - {"fidelity"}))
def test_what_was_not_measured_is_not_judged(gate):
    unknown = {name: Finding(name, "", None) for name in SOUND}
    for found in ({}, unknown):
        assert decided(found)[gate] is None


def test_a_gate_tells_the_broken_limits_or_all():
    gate = Gate("x", (Check("a", 0.5, 0.2), Check("b", 0.5, 0.2, at_least=True), Check("c", None, 1.0)))
    assert gate.passed is False
    assert gate.reason == "a 0.5 (at most 0.2)"
    assert Gate("x", gate.checks[1:]).reason == "b 0.5 (at least 0.2); c not measured (at most 1)"
    told = gate.to_json()
    assert [check["kept"] for check in told["checks"]] == [False, True, None]
    assert told["passed"] is False
    assert Gate("x", ()).reason == "nothing to measure"


@pytest.mark.parametrize(("value", "standing"), [(0.1, 1.0), (0.5, 0.0), (0.3, 0.5), (0.0, 1.25), (None, None)])
def test_a_figure_stands_between_its_anchors(value, standing):
    finding = Finding("a.b", "figure", value, good=0.1, bad=0.5)
    assert finding.standing == (None if standing is None else pytest.approx(standing))


def test_equal_anchors_tell_nothing():
    assert Finding("a", "figure", 1.0, good=2.0, bad=2.0).standing is None
    assert Finding("a", "figure", 1.0, good=2.0).standing is None


def test_a_bad_anchor_that_is_better_than_the_good_one_tells_nothing():
    assert Finding("a", "figure", 0.4, good=0.05, bad=0.04).standing is None
    assert Finding("a", "figure", 0.4, better="higher", good=0.04, bad=0.05).standing is None
    assert Finding("a", "figure", 0.4, better="higher", good=0.05, bad=0.04).standing is not None
    assert Finding("a", "figure", 0.4, better="near", good=0.05, bad=0.04).standing is not None


def test_json_holds_what_any_reader_can_read():
    extra = {"array": np.arange(3), "nan": float("nan"), "number": np.float32(0.5), "deep": [(np.int64(1), None)]}
    told = Finding("a", "figure", float("inf"), good=1.0, extra=extra).to_json()
    assert json.loads(json.dumps(told, allow_nan=False)) == told
    assert told["value"] is None
    assert told["anchors"] == {"good": 1.0, "bad": None}
    assert told["extra"] == {"array": [0, 1, 2], "nan": None, "number": 0.5, "deep": [[1, None]]}
    assert plain(np.array([np.nan, 1.0])) == [None, 1.0]
