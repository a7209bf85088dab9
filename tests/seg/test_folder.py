from __future__ import annotations

import pytest

from labelgan.core.errors import CheckpointError
from labelgan.seg.folder import SegmenterFolder, describe_training
from tiny import tiny_seg_config


def test_paths_and_readers(tiny_segmenter, phantom_store):
    folder = SegmenterFolder(tiny_segmenter)
    assert folder.read_config() == tiny_seg_config()
    assert folder.read_prepare() == phantom_store.config
    assert folder.read_manifest().content["kind"] == "segmenter"
    for number in (0, 1):
        member = folder.member(number)
        assert all(path.is_file() for path in (member.weights, member.early, member.metrics))
        assert member.checkpoints.is_dir()


def test_training_is_told_with_hashes(phantom_store):
    held_out = phantom_store.cases[:1]
    rows = phantom_store.select(exclude=["P001"])[1:]
    facts = describe_training(phantom_store, rows, held_out, ["P001"])
    assert [case["id"] for case in facts["training_cases"]] == ["P002", "P003"]
    assert [case["slices"] for case in facts["training_cases"]] == [
        phantom_store.cases[1].count - 1,
        phantom_store.cases[2].count,
    ]
    assert facts["training_cases"][0]["hashes"] == dict(phantom_store.cases[1].hashes)
    assert facts["excluded"] == ["P001"]
    (told,) = facts["held_out_cases"]
    names = {"id": "P001", "patient": "P001", "site": held_out[0].site, "hashes": dict(held_out[0].hashes)}
    assert {key: told[key] for key in names} == names


def test_what_is_not_there_is_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"nowhere: there is no such segmenter folder"):
        SegmenterFolder(tmp_path / "nowhere").read_manifest()
    with pytest.raises(CheckpointError, match=r"manifest\.json: cannot be read as JSON"):
        SegmenterFolder(tmp_path).read_manifest()
