"""Keys, job folders and what their files say."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelgan.core.errors import ConfigError, DataError
from labelgan.study.engine.ledger import Job, JobFolder, Ledger, job_lock
from toy_jobs import number

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def test_the_key_is_the_documented_hash():
    store = Job("prepare", "the store", {"size": [64, 64]})
    job = Job("train generator", "fold 0", {"steps": 5}, {"store": store})
    text = '{"inputs":{"store":"KEY"},"kind":"train generator","params":{"steps":5}}'.replace("KEY", store.key)
    assert job.key == f"train-generator-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


@given(st.dictionaries(st.text(), JSON, max_size=4))
def test_the_key_depends_on_values_not_on_their_order(params: dict):
    job = Job("score", "a", params)
    assert job.key == Job("score", "b", dict(reversed(params.items())), runner="x.y:z", gpus=2).key
    assert job.key == Job("score", "c", json.loads(json.dumps(params))).key
    assert job.key != Job("score", "a", {**params, "one more": 0}).key
    assert job.key != Job("scores", "a", params).key


def test_jobs_of_one_key_are_one_job():
    one, same, other = number(1), Job("toy add", "another label", {"value": 1}), number(2)
    assert one == same
    assert len({one, same, other}) == 2
    assert one != other
    assert one != one.key


def test_inputs_count_by_name_and_key():
    a, b = number(1), number(2)
    keys = {number(3, x=a, y=b).key, number(3, x=b, y=a).key, number(3, x=a).key, number(3, z=a).key, number(3).key}
    assert len(keys) == 5
    assert number(3, x=number(9, u=a)).key != number(3, x=number(9, u=b)).key


def test_tuples_and_mappings_count_as_json_has_them():
    plain = Job("score", "", {"size": [1, 2], "inner": {"a": 1}})
    assert Job("score", "", MappingProxyType({"size": (1, 2), "inner": MappingProxyType({"a": 1})})) == plain


@pytest.mark.parametrize("value", [math.nan, math.inf, {1, 2}, Path("x"), object()])
def test_parameters_that_are_not_json_are_refused(value: object):
    with pytest.raises(ConfigError, match="job the label: its parameters are not JSON"):
        Job("score", "the label", {"value": value})


@pytest.mark.parametrize("kind", ["", "../up", "a/b", "Train", "x" * 41, " lead"])
def test_a_kind_that_is_no_folder_name_is_refused(kind: str):
    with pytest.raises(ConfigError, match="is not a kind of job"):
        Job(kind, "x")


@pytest.mark.parametrize("runner", ["module", "module:", ":f", "os.system:x y", "a:b:c"])
def test_a_runner_that_is_no_function_is_refused(runner: str):
    with pytest.raises(ConfigError, match="is not module:function"):
        Job("score", "x", runner=runner)


def test_a_long_chain_has_a_short_name():
    job = number(0)
    for value in range(2000):
        job = number(value, before=job)
    assert len(repr(job)) < 300


def test_states_from_new_to_done(tmp_path: Path):
    ledger, job = Ledger(tmp_path), number(1, x=number(2))
    assert ledger.state(job) == "new"
    at = ledger.prepare(job)
    assert at.path == ledger.folder(job) == tmp_path / "jobs" / job.key
    assert ledger.state(job) == "open"
    assert at.read_job() == {
        "key": job.key,
        "kind": "toy add",
        "label": "add 1",
        "params": {"value": 1},
        "inputs": {"x": number(2).key},
        "runner": "toy_jobs:add",
        "gpus": 0,
        "attempt": 1,
    }
    with pytest.raises(DataError, match="add 1 is not done"):
        ledger.result(job)
    at.write_failed("it\nrained", 3)
    assert ledger.state(job) == "failed"
    assert at.read_failed() == {"reason": "it rained", "attempts": 1, "exit_code": 3}
    at.write_done(1.5, {"value": 3}, {"labelgan": "0"})
    assert ledger.state(job) == "done"
    assert ledger.is_done(job)
    assert ledger.result(job) == {"value": 3}
    assert ledger.record(job) == {
        "key": job.key,
        "kind": "toy add",
        "label": "add 1",
        "seconds": 1.5,
        "result": {"value": 3},
        "made_with": {"labelgan": "0"},
    }
    assert not (at.path / "failed.json").exists()


def test_another_attempt_counts_on_and_keeps_the_folder(tmp_path: Path):
    ledger, job = Ledger(tmp_path), number(1)
    at = ledger.prepare(job)
    (at.path / "checkpoint").write_text("step 7")
    at.write_failed("first")
    ledger.prepare(job)
    assert at.read_failed() is None
    assert (at.path / "checkpoint").read_text() == "step 7"
    at.write_failed("second")
    failed = at.read_failed()
    assert failed is not None
    assert failed["attempts"] == 2


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "cannot be read as JSON"),
        (b'{"key": "toy', "cannot be read as JSON"),
        (b"\xff\xfe", "cannot be read as JSON"),
        (b"[" * 100_000, "cannot be read as JSON"),
        (b"[]", "holds no result"),
        (b'{"key": "KEY"}', "holds no result"),
        (b'{"key": "KEY", "result": 3}', "holds no result"),
        (b'{"key": "toy-add-0000000000000000", "result": {}}', "is of another job: toy-add-0000000000000000"),
    ],
)
def test_a_damaged_or_foreign_done_file_counts_as_not_done(tmp_path: Path, content: bytes, said: str):
    ledger, job = Ledger(tmp_path), number(1)
    at = ledger.prepare(job)
    (at.path / "done.json").write_bytes(content.replace(b"KEY", job.key.encode()))
    assert ledger.state(job) == "damaged"
    assert not ledger.is_done(job)
    with pytest.raises(DataError, match=said):
        ledger.result(job)


@pytest.mark.parametrize("content", ["", "[]", '{"reason": 3}', "{"])
def test_a_damaged_failed_file_is_none(tmp_path: Path, content: str):
    at = Ledger(tmp_path).prepare(number(1))
    (at.path / "failed.json").write_text(content)
    assert at.read_failed() is None
    Ledger(tmp_path).prepare(number(1))
    assert not (at.path / "failed.json").exists()


def test_a_result_that_is_not_json_leaves_no_done_file(tmp_path: Path):
    at = Ledger(tmp_path).prepare(number(1))
    for result in ({"x": math.nan}, {"x": Path()}):
        with pytest.raises((TypeError, ValueError)):
            at.write_done(0.0, result, {})
    assert sorted(path.name for path in at.path.iterdir()) == ["job.json"]


def test_a_job_file_of_another_job_is_refused(tmp_path: Path):
    at = Ledger(tmp_path).prepare(number(1))
    moved = JobFolder(at.path.rename(at.path.with_name("toy-add-0123456789abcdef")))
    with pytest.raises(DataError, match="is not this job's"):
        moved.read_job()


def test_a_job_folder_is_locked_but_not_for_the_training_inside(tmp_path: Path):
    from labelgan.core.files import lock_folder

    folder = Ledger(tmp_path).prepare(number(1)).path
    with job_lock(folder):
        with pytest.raises(DataError, match="another process is at work"), job_lock(folder):
            pass
        with lock_folder(folder):
            pass
    with job_lock(folder):
        pass
