"""Lists that guard, hashes and samples are sealed: what was changed after it was written is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from labelgan.core.errors import CheckpointError, DataError, LabelganError
from labelgan.core.files import sha256_file
from labelgan.data.check.seen import SEAL, SeenCase, require_sealed_model, sealed_cohort, sealed_model
from labelgan.data.export.mix import export_sources
from labelgan.data.layouts.detect import read_cohort
from labelgan.data.synthetic_slices import read_labelled_slices
from labelgan.gan.run_folder import RunFolder
from labelgan.seg.folder import SegmenterFolder
from labelgan.seg.synthetic import read_synthetic

CHANGED = r"manifest\.json: was changed after it was written"


def _drop_a_case(told):
    del told["training_cases"][0]


def _clear(told):
    told["training_cases"][0]["fingerprints"] = {}


def _other_mask(told):
    told["training_cases"][0]["mask_hash"] = None


def _other_hash(told):
    told["training_cases"][0]["hashes"]["T1"] = "sha256:00"


def _rename(told):
    told["training_cases"][0]["patient"] = "P777"


def _more_excluded(told):
    told["excluded"] = ["P001"]


CHANGES = [_drop_a_case, _clear, _other_mask, _other_hash, _rename, _more_excluded]


def edit(folder: Path, change, key: str | None = None) -> None:
    path = folder / "manifest.json"
    told = json.loads(path.read_text())
    change(told if key is None else told[key])
    path.write_text(json.dumps(told))


@pytest.fixture
def run(tiny_run, tmp_path) -> RunFolder:
    return RunFolder(Path(shutil.copytree(tiny_run, tmp_path / "run")))


@pytest.fixture
def samples(tiny_samples, tmp_path) -> Path:
    return Path(shutil.copytree(tiny_samples, tmp_path / "samples"))


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_list_of_a_run_and_of_its_samples_is_refused(change, run, samples):
    edit(run.path, change)
    with pytest.raises(CheckpointError, match=CHANGED):
        run.read_manifest()
    edit(samples, change, "generator")
    with pytest.raises(DataError, match=CHANGED):
        read_cohort(samples)


@pytest.mark.parametrize("key", ["training_cases", "held_out_cases"])
def test_a_case_taken_from_a_segmenters_lists_is_refused(key, tiny_segmenter, tmp_path):
    folder = SegmenterFolder(Path(shutil.copytree(tiny_segmenter, tmp_path / "segmenter")))
    assert folder.read_manifest().held_out_cases[0].prints
    edit(folder.path, lambda told: told[key].pop())
    with pytest.raises(CheckpointError, match=CHANGED):
        folder.read_manifest()


def test_files_exchanged_together_with_their_hashes_are_refused(run):
    edit(run.path, lambda told: told["files_sha256"].update({"content.safetensors": "0" * 64}))
    with pytest.raises(CheckpointError, match=CHANGED):
        run.read_manifest()


def test_a_seal_that_is_gone_or_of_another_kind_is_refused(run, samples):
    sealed = run.manifest.read_text()
    edit(run.path, lambda told: told.pop(SEAL))
    with pytest.raises(CheckpointError, match="has lost its seal"):
        run.read_manifest()
    run.manifest.write_text(sealed)
    edit(run.path, lambda told: told[SEAL].update(version=2))
    with pytest.raises(CheckpointError, match="does not know"):
        run.read_manifest()
    edit(samples, lambda told: told.pop(SEAL))
    with pytest.raises(DataError, match="has lost its seal"):
        read_cohort(samples)


def test_parts_of_two_manifests_are_refused(samples):
    path = samples / "manifest.json"
    told = json.loads(path.read_text())
    told["generator"]["sha256"] = "0" * 64
    path.write_text(json.dumps(sealed_cohort(told)))
    with pytest.raises(DataError, match="names two hashes of its generator's weights"):
        read_cohort(samples)


def test_a_listed_sample_whose_files_are_others_is_refused(samples, phantom_store):
    path = sorted(samples.rglob("*.npz"))[0]
    with np.load(path) as archive:
        arrays = {name: archive[name] for name in archive.files}
    name = next(name for name, value in arrays.items() if value.dtype.kind == "f" and value.ndim >= 2)
    np.savez(path, **arrays | {name: arrays[name] * 1.1})  # pyright: ignore[reportArgumentType]
    cohort = read_cohort(samples)
    with pytest.raises(DataError, match=rf"{path.stem}: its files in .* are not those that `labelgan sample` wrote"):
        list(read_labelled_slices(cohort, cohort.cases, phantom_store))
    with pytest.raises(DataError, match=rf"{path.stem}: its files"):
        read_synthetic(samples, phantom_store, ())


def test_samples_that_were_taken_out_may_be_missing(samples, phantom_store):
    path = sorted(samples.rglob("*.npz"))[0]
    path.unlink()
    assert len(read_synthetic(samples, phantom_store, ()).slices.images_NCHW) == 5


def test_manifests_of_before_there_were_seals_pass():
    old = {"training_cases": [{"id": "P001", "patient": "P001", "hashes": {"T1": "sha256:00"}}]}
    require_sealed_model(old, Path("manifest.json"), LabelganError)
    assert SeenCase.model_validate(old["training_cases"][0]).prints == {}
    new = sealed_model(old)
    require_sealed_model(json.loads(json.dumps(new)), Path("manifest.json"), LabelganError)
    assert sealed_model(new) == new


def test_a_finished_run_lists_what_it_is_made_of(run):
    manifest = run.read_manifest()
    assert manifest.files_sha256["generator.safetensors"] == sha256_file(run.generator)
    assert all(case.prints.keys() == {"FLAIR", "T1"} for case in manifest.training_cases)


def test_an_export_does_not_launder_a_slice_that_was_exchanged(samples, tmp_path):
    first, second = sorted(samples.rglob("*.npz"))[:2]
    shutil.copy(second, first)
    with pytest.raises(DataError, match=rf"{first.stem}: its files in .* are not those that"):
        export_sources([samples], tmp_path / "out", "wmh")
    assert not (tmp_path / "out").exists()


def test_an_export_of_an_export_is_sealed_anew(samples, tmp_path):
    for source, out in ((samples, tmp_path / "a"), (tmp_path / "a", tmp_path / "b")):
        export_sources([source], out, "wmh")
    manifests = [read_cohort(root).manifest for root in (samples, tmp_path / "b")]
    assert manifests[0].generator == manifests[1].generator
    assert manifests[0].sample_hashes.keys() == manifests[1].sample_hashes.keys()
    assert None not in manifests[1].sample_hashes.values()
    edit(tmp_path / "b", _drop_a_case, "generator")
    with pytest.raises(DataError, match=CHANGED):
        read_cohort(tmp_path / "b")
