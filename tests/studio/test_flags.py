from __future__ import annotations

import json
import time

import numpy as np
import pytest

from labelgan.core.errors import DataError
from labelgan.studio.flags import AUDITED_COPY, Judge, flags_of_audits
from labelgan.studio.session import Session


def write_audit(folder, name="synthetic", slices=6, copies=("syn000003",)):
    folder.mkdir()
    finding = {"name": "copies.share", "extra": {"copies": list(copies)}}
    content = {"samples": {"name": name, "slices": slices}, "findings": [{"name": "image.swd"}, finding]}
    (folder / "audit.json").write_text(json.dumps(content))
    return folder


def flagged(session):
    return {session.index.slices[key].case.id: words for key, words in flags_of_audits(session.index).items()}


def test_copies_that_an_audit_found_are_flagged(samples, tmp_path):
    session = Session([samples, write_audit(tmp_path / "audit")])
    session.fill()
    assert flagged(session) == {"syn000003": [AUDITED_COPY]}
    assert session.overview()["flags"] == [AUDITED_COPY]


@pytest.mark.parametrize("other", [{"name": "another"}, {"slices": 7}, {"copies": ["nobody"]}])
def test_an_audit_of_other_samples_flags_none(samples, tmp_path, other):
    session = Session([samples, write_audit(tmp_path / "audit", **other)])
    session.fill()
    assert flagged(session) == {}


@pytest.mark.parametrize("content", ["[]", "{}", '{"samples": {"name": "synthetic", "slices": 6}}', "{"])
def test_a_damaged_audit_flags_none(samples, tmp_path, content):
    folder = write_audit(tmp_path / "audit")
    (folder / "audit.json").write_text(content)
    session = Session([samples, folder])
    session.fill()
    assert flagged(session) == {}


def test_samples_are_judged_as_sampling_judges_them(session, tiny_run, phantom_store, samples):
    from labelgan.gan.sample import Generator
    from labelgan.study.jobs import sample_judge

    source = next(s for s in session.index.sources.values() if s.kind == "synthetic")
    flags = session.judge.judge(source)
    made = Generator.load(tiny_run).sample(6)
    expected = sample_judge(tiny_run, phantom_store.path)(made.images_NCHW, made.masks_NHW)
    by_id = {session.index.slices[key].case.id: words[0] for key, words in flags.items()}
    assert by_id == {f"syn{n:06d}": reason for n, reason in enumerate(expected) if reason}


def test_judging_goes_on_in_the_background(session, monkeypatch):
    source = next(s for s in session.index.sources.values() if s.kind == "synthetic")
    key = next(e.key for e in session.index.slices.values() if e.case.source is source)
    monkeypatch.setattr(Judge, "judge", lambda self, source, state=None: {key: ["too much"]})
    end = time.monotonic() + 20
    while (state := session.judge.start(source))["state"] == "working":
        assert time.monotonic() < end
        time.sleep(0.01)
    assert state == {"state": "done", "text": "", "flagged": 1}
    assert session.index.flags[key] == ["too much"]


def test_without_the_training_store_the_judge_says_so(samples):
    session = Session([samples])
    session.fill()
    source = next(iter(session.index.sources.values()))
    with pytest.raises(DataError, match="no slice store here holds"):
        session.judge.judge(source)
    end = time.monotonic() + 20
    while (state := session.judge.start(source))["state"] == "working":
        assert time.monotonic() < end
        time.sleep(0.01)
    assert state["state"] == "failed"


def test_flags_add_up_without_repeats(session, sample):
    session.index.flag({sample.key: ["a"]})
    session.index.flag({sample.key: ["b", "a"]})
    assert session.index.flags[sample.key] == ["a", "b"]
    assert np.size(session.overview()["flags"]) >= 2
