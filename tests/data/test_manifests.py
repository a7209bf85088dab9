from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest

from labelgan.api import phantom_generator
from labelgan.core import files
from labelgan.core.errors import CheckpointError, DataError
from labelgan.data.manifests import (
    CohortManifest,
    GeneratorManifest,
    SegmenterManifest,
    read_manifest,
)
from labelgan.data.store import StoreManifest

CASE = {"id": "P001", "patient": "P001", "hashes": {"T1": "sha256:00"}}
SCALE = {"mean": 100.0, "sd": 20.0}
GENERATOR: dict[str, Any] = {
    "format": 1,
    "kind": "generator",
    "status": "complete",
    "channels": ["FLAIR", "T1"],
    "size": [32, 32],
    "spacing_mm": [3.0, 1.0, 1.0],
    "intensity": {"FLAIR": SCALE, "T1": SCALE},
    "site_intensity": {"Alpha": {"FLAIR": SCALE, "T1": SCALE}},
    "training_cases": [CASE],
    "of_tomorrow": {"b": 1, "a": 2},
}
SEGMENTER: dict[str, Any] = {
    "format": 1,
    "kind": "segmenter",
    "status": "complete",
    "channels": ["T1"],
    "size": [32, 32],
    "training_cases": [CASE | {"slices": 3}],
    "excluded": ["P002"],
    "held_out_cases": [CASE | {"id": "P002", "patient": "P002"}],
    "members": [{"steps": 2, "sha256": "00"}],
}


def put(folder: Path, content: Any) -> Path:
    (folder / "manifest.json").write_text(json.dumps(content))
    return folder


def test_a_manifest_is_read_and_keeps_what_is_not_known(tmp_path):
    read = read_manifest(put(tmp_path, GENERATOR), GeneratorManifest)
    assert (read.channels, read.size, read.spacing_mm) == (("FLAIR", "T1"), (32, 32), (3.0, 1.0, 1.0))
    assert read.intensity["T1"].sd == 20
    assert [case.id for case in read.seen.own] == ["P001"]
    assert json.dumps(read.content) == json.dumps(GENERATOR)


def test_what_older_versions_did_not_write_may_be_missing(tmp_path):
    old = {key: value for key, value in GENERATOR.items() if key != "site_intensity"}
    read = read_manifest(put(tmp_path, old), GeneratorManifest)
    assert (read.site_intensity, read.files_sha256, read.inherited_cases, read.collapsed) == ({}, {}, (), False)
    old = {key: value for key, value in SEGMENTER.items() if key not in ("members", "held_out_cases")}
    segmenter = read_manifest(put(tmp_path, old), SegmenterManifest)
    assert (segmenter.members, segmenter.held_out_cases, segmenter.synthetic) == ((), (), None)


def test_the_generator_of_the_package_is_read():
    read = read_manifest(phantom_generator(), GeneratorManifest)
    assert (read.status, read.size) == ("complete", (64, 64))
    assert all(case.slices > 0 for case in read.training_cases)


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"channels": []}, "channels"),
        ({"channels": list("abcde")}, "channels"),
        ({"channels": ["../x", "T1"]}, "channels.0"),
        ({"channels": ["T1\n", "FLAIR"]}, "channels.0"),
        ({"size": [32]}, "size.1"),
        ({"size": [32, 100_000]}, "size.1"),
        ({"size": [32, 4]}, "size.1"),
        ({"size": ["32", "32"]}, "size.0"),
        ({"size": [32.0, 32]}, "size.0"),
        ({"spacing_mm": [3.0, 0.0, 1.0]}, "spacing_mm.1"),
        ({"spacing_mm": [3.0, 1e3, 1.0]}, "spacing_mm.1"),
        ({"spacing_mm": [3.0, 1.0]}, "spacing_mm.2"),
        ({"intensity": {"FLAIR": {}}}, "intensity.FLAIR.mean"),
        ({"intensity": {"FLAIR": SCALE}}, "intensity"),
        ({"intensity": {"FLAIR": None, "T1": None}}, "intensity.FLAIR"),
        ({"intensity": {"FLAIR": SCALE, "T1": SCALE | {"mean": "1"}}}, "intensity.T1.mean"),
        ({"intensity": {"FLAIR": SCALE, "T1": SCALE | {"sd": float("inf")}}}, "intensity.T1.sd"),
        ({"intensity": {"FLAIR": SCALE, "T1": SCALE | {"mean": float("nan")}}}, "intensity.T1.mean"),
        ({"site_intensity": {"Alpha": {"FLAIR": SCALE}}}, "site_intensity"),
        ({"files_sha256": None}, "files_sha256"),
        ({"status": 5}, "status"),
        ({"collapsed": "no"}, "collapsed"),
    ],
)
def test_a_damaged_generator_is_refused_by_key(tmp_path, change, key):
    put(tmp_path, GENERATOR | change)
    said = rf"^{re.escape(str(tmp_path / 'manifest.json'))}: is damaged: {re.escape(key)}: .*; copy the folder again$"
    with pytest.raises(CheckpointError, match=said):
        read_manifest(tmp_path, GeneratorManifest)


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"channels": ["../T1"]}, "channels.0"),
        ({"size": [32, 10**9]}, "size.1"),
        ({"excluded": "P001"}, "excluded"),
        ({"status": None}, "status"),
        ({"members": [3]}, "members.0"),
        ({"synthetic": 3}, "synthetic"),
    ],
)
def test_a_damaged_segmenter_is_refused_by_key(tmp_path, change, key):
    with pytest.raises(CheckpointError, match=rf"manifest\.json: is damaged: {re.escape(key)}: "):
        read_manifest(put(tmp_path, SEGMENTER | change), SegmenterManifest)


@pytest.mark.parametrize("model", [GeneratorManifest, SegmenterManifest])
@pytest.mark.parametrize("key", ["training_cases", "inherited_cases", "held_out_cases"])
@pytest.mark.parametrize(
    "cases",
    [
        None,
        {},
        [1],
        [{"id": "P001"}],
        [CASE | {"id": 1}],
        [CASE | {"id": None}],
        [{"id": "P001", "hashes": {}}],
        [CASE | {"hashes": ["T1"]}],
        [CASE, CASE | {"hashes": {"T1": 3}}],
    ],
)
def test_a_model_that_hides_who_was_seen_is_refused(tmp_path, model, key, cases):
    sound = GENERATOR if model is GeneratorManifest else SEGMENTER
    with pytest.raises(CheckpointError, match=rf"manifest\.json: is damaged: its {key} are not cases with hashes"):
        read_manifest(put(tmp_path, sound | {key: cases}), model)


def test_a_segmenter_that_hides_who_its_generator_saw_is_refused(tmp_path):
    put(tmp_path, SEGMENTER | {"synthetic": {"training_cases": [{"id": "P001"}]}})
    with pytest.raises(CheckpointError, match=r"its synthetic\.training_cases are not cases with hashes"):
        read_manifest(tmp_path, SegmenterManifest)


def test_a_model_that_names_no_training_cases_is_refused(tmp_path):
    for sound, model in ((GENERATOR, GeneratorManifest), (SEGMENTER, SegmenterManifest)):
        put(tmp_path, {key: value for key, value in sound.items() if key != "training_cases"})
        with pytest.raises(CheckpointError, match="its training_cases are not cases with hashes"):
            read_manifest(tmp_path, model)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ([], "is not the manifest of a generator: name a folder that `labelgan train` made"),
        (GENERATOR | {"kind": "phantom"}, "is not the manifest of a generator"),
        (GENERATOR | {"format": 99}, "has format 99; this version reads 1"),
    ],
)
def test_other_manifests_are_told_apart(tmp_path, content, said):
    with pytest.raises(CheckpointError, match=said):
        read_manifest(put(tmp_path, content), GeneratorManifest)


def test_a_manifest_without_end_is_not_read(tmp_path, monkeypatch):
    put(tmp_path, GENERATOR)
    monkeypatch.setattr(files, "LARGEST_TEXT", 2**20)
    with (tmp_path / "manifest.json").open("ab") as stream:
        stream.truncate(2**20 + 1)
    for model, error in ((GeneratorManifest, CheckpointError), (StoreManifest, DataError), (CohortManifest, DataError)):
        with pytest.raises(error, match=r"manifest\.json: cannot be read as JSON: larger than 1 MiB"):
            read_manifest(tmp_path, model)


def test_a_damaged_store_is_refused_by_key(phantom_store, tmp_path):
    content = phantom_store.manifest.model_dump(mode="json")
    assert read_manifest(put(tmp_path, content), StoreManifest) == phantom_store.manifest
    content["cases"][1]["intensity"]["T1"]["sd"] = 0
    with pytest.raises(DataError, match=r"is damaged: cases\.1\.intensity\.T1\.sd: .*; prepare the store again"):
        read_manifest(put(tmp_path, content), StoreManifest)


# Cohorts


@pytest.mark.parametrize("content", [None, "[1]", "3", "{}"])
def test_a_cohort_needs_no_manifest(tmp_path, content):
    if content is not None:
        (tmp_path / "manifest.json").write_text(content)
    read = read_manifest(tmp_path, CohortManifest)
    assert (read.kind, read.seen, read.content, read.is_synthetic) == (None, None, {}, False)


@pytest.mark.parametrize("content", ["", "{", "\xff", "no json"])
def test_a_cohort_whose_manifest_is_torn_is_refused(tmp_path, content):
    """What it said is not known: that these are synthetic slices, and of whose generator."""
    (tmp_path / "manifest.json").write_text(content, encoding="latin-1")
    with pytest.raises(DataError, match=r"manifest\.json: cannot be read as JSON"):
        read_manifest(tmp_path, CohortManifest)


def test_another_programs_manifest_is_no_fault(tmp_path):
    other = {
        "kind": ["web app"],
        "channels": "RGB",
        "spacing_mm": 3,
        "intensity": "high",
        "generator": "a camera",
        "cases": ["a", {"id": 5, "patient": 3, "synthetic": "yes"}],
    }
    read = read_manifest(put(tmp_path, other), CohortManifest)
    assert (read.kind, read.channels, read.spacing_mm, read.intensity, read.seen) == (None,) * 5
    assert [(case.id, case.patient, case.synthetic) for case in read.cases] == [(None, None, None)]
    assert read.content == other


def test_whom_a_generator_has_seen_is_not_guessed(tmp_path):
    generator: dict[str, Any] = {"sha256": "00", "training_cases": [CASE], "inherited_cases": None}
    seen = read_manifest(put(tmp_path, {"generator": generator}), CohortManifest).seen
    assert seen is not None
    assert (len(seen.own), seen.inherited, seen.own[0].hashes) == (1, (), CASE["hashes"])
    nameless = {"training_cases": [{"hashes": {"T1": "0"}, "id": None}], "inherited_cases": [CASE]}
    seen = read_manifest(put(tmp_path, {"generator": nameless}), CohortManifest).seen
    assert seen is not None
    assert (seen.own[0].id, seen.inherited[0].patient) == ("", "P001")
    for generator in ({}, {"training_cases": 5}, {"training_cases": None}):
        assert read_manifest(put(tmp_path, {"generator": generator}), CohortManifest).seen is None


def test_a_patient_that_is_no_id_is_refused(tmp_path):
    cases = [{"id": "a", "patient": "b"}, {"id": "c", "patient": "../d"}]
    with pytest.raises(DataError, match=r"is damaged: cases\.1\.patient: unsafe patient '\.\./d': use 1 to 64 letters"):
        read_manifest(put(tmp_path, {"cases": cases}), CohortManifest)


def test_a_cohort_tells_the_range_of_its_values(tmp_path):
    told = {"T1": [-2, 3.5], "FLAIR": [2, 1], "T2": ["a", "b"], "PD": [float("nan"), 1], "DWI": [1]}
    read = read_manifest(put(tmp_path, {"range": told}), CohortManifest)
    assert read.range_of("T1") == (-2, 3.5)
    assert {read.range_of(name) for name in ("FLAIR", "T2", "PD", "DWI", "SWI")} == {(-math.inf, math.inf)}
    assert read_manifest(put(tmp_path, {"range": [1, 2]}), CohortManifest).range_of("T1") == (-math.inf, math.inf)
