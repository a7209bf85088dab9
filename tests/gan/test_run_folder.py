from __future__ import annotations

import json
import shutil

import pytest

from labelgan.core.errors import CheckpointError
from labelgan.data.check.fingerprint import to_text
from labelgan.gan.run_folder import RunFolder, describe_training


@pytest.fixture
def facts(phantom_store):
    return describe_training(phantom_store, {case.id: case.count for case in phantom_store.cases}, [])


def test_a_written_manifest_reads_back(tmp_path, facts):
    run = RunFolder(tmp_path)
    written = run.write_manifest("training", model="gan", **facts)
    read = run.read_manifest()
    assert read.content == json.loads(json.dumps(written))
    assert list(written)[:4] == ["format", "kind", "status", "model"]
    assert (read.status, read.channels, read.size) == ("training", ("FLAIR", "T1"), (32, 32))
    assert read.seen.own == read.training_cases
    assert written["made_with"]["labelgan"]


def test_the_description_covers_the_cases_that_were_seen_and_no_other(phantom_store):
    first, second, third = phantom_store.cases
    described = describe_training(phantom_store, {second.id: 5, third.id: 0}, ["z", first.id])
    assert described["excluded"] == sorted([first.id, "z"])
    (case,) = described["training_cases"]
    (known,) = phantom_store.known([second])
    assert case.pop("fingerprints") == {name: to_text(prints) for name, prints in known.prints.items()}
    assert case == {
        "id": second.id,
        "patient": second.patient,
        "site": second.site,
        "slices": 5,
        "hashes": dict(second.hashes),
        "mask_hash": second.mask_hash,
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


def test_folders_that_are_no_run_are_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"absent: there is no such run folder"):
        RunFolder(tmp_path / "absent").read_manifest()
    with pytest.raises(CheckpointError, match=r"manifest\.json: cannot be read as JSON"):
        RunFolder(tmp_path).read_manifest()


def test_settings_come_from_the_folder(tiny_run, tmp_path):
    assert RunFolder(tiny_run).read_config().network.latent_dim == 8
    shutil.copytree(tiny_run, tmp_path / "run")
    assert RunFolder(tmp_path / "run").read_manifest() == RunFolder(tiny_run).read_manifest()


def test_files_are_held_against_the_hashes_in_the_manifest(tiny_run, tmp_path):
    shutil.copytree(tiny_run, tmp_path / "run")
    run = RunFolder(tmp_path / "run")
    manifest = run.read_manifest()
    assert manifest.files_sha256 == run.hashes()
    assert sorted(run.hashes()) == ["critic.safetensors", "generator.safetensors"]
    assert run.load(run.generator, manifest).keys() == run.load(run.generator).keys()
    shutil.copy(run.critic, run.generator)
    with pytest.raises(CheckpointError, match=r"generator\.safetensors: its SHA-256 is not the one in the manifest"):
        run.load(run.generator, manifest)
    assert run.load(run.generator)  # of before there were hashes
    run.critic.unlink()
    with pytest.raises(CheckpointError, match=r"critic\.safetensors: does not exist"):
        run.load(run.critic, manifest)
