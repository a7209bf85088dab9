from __future__ import annotations

import json

import numpy as np
import pytest

from labelgan.audit.findings import Finding, plain


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
