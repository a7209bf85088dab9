from __future__ import annotations

import json
import shutil

import pytest

from labelgan.core.errors import CheckpointError
from labelgan.gan.run_folder import RunFolder, describe_training, write_manifest


@pytest.fixture
def facts(phantom_store):
    return describe_training(phantom_store, {case.id: case.count for case in phantom_store.cases}, [])


def test_a_written_manifest_reads_back(tmp_path, facts):
    run = RunFolder(tmp_path)
    written = write_manifest(run, "training", model="gan", **facts)
    assert run.read_manifest() == json.loads(json.dumps(written))
    assert written["kind"] == "generator"
    assert written["made_with"]["labelgan"]


def test_the_description_covers_the_cases_that_were_seen_and_no_other(phantom_store):
    first, second, third = phantom_store.cases
    described = describe_training(phantom_store, {second.id: 5, third.id: 0}, ["z", first.id])
    assert described["excluded"] == sorted([first.id, "z"])
    (case,) = described["training_cases"]
    assert case == {
        "id": second.id,
        "patient": second.patient,
        "site": second.site,
        "slices": 5,
        "hashes": dict(second.hashes),
    }
    assert described["spacing_mm"] == [second.slice_mm, *second.pixel_mm]
    for name in phantom_store.channels:
        assert described["intensity"][name]["mean"] == pytest.approx(second.intensity[name].mean)
        assert described["intensity"][name]["sd"] == pytest.approx(second.intensity[name].sd)


def test_intensity_is_the_mean_and_spacing_the_median_over_cases(phantom_store, facts):
    cases = phantom_store.cases
    assert facts["intensity"]["T1"]["sd"] == pytest.approx(sum(case.intensity["T1"].sd for case in cases) / 3)
    assert facts["spacing_mm"][0] == sorted(case.slice_mm for case in cases)[1]
    assert facts["channels"] == ["FLAIR", "T1"]
    assert facts["size"] == [32, 32]


DAMAGES = {
    "no channels": {"channels": []},
    "five channels": {"channels": list("abcde")},
    "channel with a path": {"channels": ["../x", "T1"]},
    "size of one": {"size": [32]},
    "size too large": {"size": [32, 100_000]},
    "size as text": {"size": ["32", "32"]},
    "spacing of nothing": {"spacing_mm": [3.0, 0.0, 1.0]},
    "spacing of two": {"spacing_mm": [3.0, 1.0]},
    "intensity of others": {"intensity": {"FLAIR": {}}},
    "intensity of nothing": {"intensity": {"FLAIR": None, "T1": None}},
    "intensity that is no number": {"intensity": {key: {"mean": "1", "sd": 1.0} for key in ("FLAIR", "T1")}},
    "site intensity of nothing": {"site_intensity": {"Alpha": {"FLAIR": {"mean": 1.0, "sd": 1.0}}}},
    "intensity without end": {"intensity": {key: {"mean": 1.0, "sd": float("inf")} for key in ("FLAIR", "T1")}},
    "no training cases": {"training_cases": None},
    "cases without hashes": {"training_cases": [{"id": "P001", "patient": "P001"}]},
    "cases whose hash is a number": {"training_cases": [{"id": "P1", "patient": "P1", "hashes": {"T1": 3}}]},
    "inherited cases of five": {"inherited_cases": 5},
    "hashes of nothing": {"files_sha256": None},
    "status of five": {"status": 5},
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_manifests_that_make_no_sense_are_refused(tmp_path, facts, damage):
    run = RunFolder(tmp_path)
    manifest = write_manifest(run, "complete", **facts)
    run.manifest.write_text(json.dumps(manifest | DAMAGES[damage]))
    with pytest.raises(CheckpointError, match=r"manifest\.json: is damaged"):
        run.read_manifest()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"kind": "phantom"}, "is not the manifest of a generator"),
        ({"format": 99}, "has format 99; this version reads 1"),
    ],
)
def test_other_manifests_are_told_apart(tmp_path, facts, change, reason):
    run = RunFolder(tmp_path)
    run.manifest.write_text(json.dumps(write_manifest(run, "complete", **facts) | change))
    with pytest.raises(CheckpointError, match=reason):
        run.read_manifest()


def test_folders_that_are_no_run_are_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"absent: there is no such run folder"):
        RunFolder(tmp_path / "absent").read_manifest()
    with pytest.raises(CheckpointError, match=r"manifest\.json: cannot be read as JSON"):
        RunFolder(tmp_path).read_manifest()
    (tmp_path / "manifest.json").write_text("[]")
    with pytest.raises(CheckpointError, match=r"manifest\.json: is not the manifest of a generator"):
        RunFolder(tmp_path).read_manifest()


def test_settings_come_from_the_folder(tiny_run, tmp_path):
    assert RunFolder(tiny_run).read_config().network.latent_dim == 8
    shutil.copytree(tiny_run, tmp_path / "run")
    assert RunFolder(tmp_path / "run").read_manifest() == RunFolder(tiny_run).read_manifest()


def test_files_are_held_against_the_hashes_in_the_manifest(tiny_run, tmp_path):
    shutil.copytree(tiny_run, tmp_path / "run")
    run = RunFolder(tmp_path / "run")
    manifest = run.read_manifest()
    assert manifest["files_sha256"] == run.hashes()
    assert sorted(run.hashes()) == ["critic.safetensors", "generator.safetensors"]
    assert run.load(run.generator, manifest).keys() == run.load(run.generator, {}).keys()
    shutil.copy(run.critic, run.generator)
    with pytest.raises(CheckpointError, match=r"generator\.safetensors: its SHA-256 is not the one in the manifest"):
        run.load(run.generator, manifest)
    assert run.load(run.generator, {})  # of before there were hashes
    run.critic.unlink()
    with pytest.raises(CheckpointError, match=r"critic\.safetensors: does not exist"):
        run.load(run.critic, manifest)
