from __future__ import annotations

import dataclasses
import json
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest

from labelgan.core.errors import DataError
from labelgan.data.curation import CURATION, Curation, read_curation, sample_hash, write_curation
from labelgan.data.layouts.detect import read_cohort

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


@pytest.fixture
def samples(tiny_samples, tmp_path) -> Path:
    return Path(shutil.copytree(tiny_samples, tmp_path / "samples"))


@pytest.fixture
def cases(samples):
    return read_cohort(samples).cases


def test_decisions_survive_a_round_trip(samples, cases):
    made = Curation().with_decision(cases[0], "reject", NOON).with_decision(cases[1], "accept", NOON)
    write_curation(samples, made)
    read = read_curation(samples)
    assert dict(read.decisions) == dict(made.decisions)
    entry = json.loads((samples / CURATION).read_text())["samples"][cases[0].id]
    assert entry == {"decision": "reject", "when": "2026-01-02T12:00:00+00:00", "sha256": sample_hash(cases[0])}
    assert not list(samples.glob(".*.tmp"))


def test_rejected_samples_go_and_the_undecided_stay(samples, cases):
    made = Curation().with_decision(cases[0], "reject").with_decision(cases[1], "accept")
    assert made.keep(samples, cases) == tuple(cases[1:])
    assert made.facts(cases) == {"rejected": 1, "kept": len(cases) - 1, "rejected_sha256": made.digest()}


def test_a_decision_can_be_taken_back(cases):
    made = Curation().with_decision(cases[0], "reject").with_decision(cases[0], None)
    assert made.decisions == {}
    assert made.digest() is None


def test_the_digest_is_of_what_is_left_out_not_of_when(cases):
    made = Curation().with_decision(cases[0], "reject", NOON)
    later = Curation().with_decision(cases[0], "reject", datetime(2027, 1, 1, tzinfo=UTC))
    assert made.digest() == later.with_decision(cases[1], "accept").digest()
    assert made.digest() != made.with_decision(cases[1], "reject").digest()
    assert made.digest() != Curation().with_decision(cases[1], "reject").digest()


def test_a_sample_that_changed_since_is_told(samples, cases):
    made = Curation().with_decision(cases[0], "reject")
    mask = cases[0].mask.path
    mask.write_bytes(mask.read_bytes() + b"0")
    with pytest.raises(DataError, match=f"sample {cases[0].id} has changed since it was rejected"):
        made.keep(samples, cases)


def test_what_is_rejected_must_be_there(samples, cases):
    with pytest.raises(DataError, match="which is not in the cohort"):
        Curation().with_decision(cases[0], "reject").keep(samples, cases[1:])


def test_nothing_left_is_told(samples, cases):
    made = Curation().with_decision(cases[0], "reject")
    with pytest.raises(DataError, match="rejects every sample"):
        made.keep(samples, cases[:1])


def test_the_hash_knows_images_and_mask_apart(cases):
    one = cases[0]
    swapped = dataclasses.replace(one, mask=next(iter(one.images.values())))
    without = dataclasses.replace(one, mask=None)
    assert len({sample_hash(one), sample_hash(swapped), sample_hash(without), sample_hash(cases[1])}) == 4


def test_no_file_is_no_decision(samples):
    assert read_curation(samples).decisions == {}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "cannot be read as JSON"),
        ("[]", "is not a curation file"),
        ('{"kind": "curation", "format": 1}', "is not a curation file"),
        ('{"kind": "curation", "format": 9, "samples": {}}', "has format 9"),
        ('{"kind": "curation", "format": 1, "samples": {"a": {}}}', "entry 'a' is damaged"),
        ('{"kind": "curation", "format": 1, "samples": {"../a": {"decision": "reject", "when": "", "sha256": ""}}}',
         "entry '../a' is damaged"),
        ('{"kind": "curation", "format": 1, "samples": {"a": {"decision": "maybe", "when": "", "sha256": ""}}}',
         "entry 'a' is damaged"),
        ('{"kind": "curation", "format": 1, "samples": {"a": {"decision": ["reject"], "when": "", "sha256": ""}}}',
         "entry 'a' is damaged"),
    ],
)  # fmt: skip
def test_a_damaged_file_is_not_half_trusted(samples, content, said):
    (samples / CURATION).write_text(content)
    with pytest.raises(DataError, match=said):
        read_curation(samples)


def test_a_file_that_is_gone_is_told(samples, cases):
    cases[0].mask.path.unlink()
    with pytest.raises(DataError, match="cannot be read"):
        sample_hash(cases[0])
