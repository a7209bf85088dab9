from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from labelgan.config.base import PrepareConfig
from labelgan.core.errors import DataError, LeakError
from labelgan.data.curation import Curation, write_curation
from labelgan.data.export.write import EXPORTERS
from labelgan.data.layouts.detect import read_cohort
from labelgan.data.prepare.cohort import prepare_store
from labelgan.gan.sample import Generator, sample_cohort
from labelgan.seg.synthetic import read_synthetic, require_no_leak
from tiny import sealed


def changed(samples: Path, folder: Path, change) -> Path:
    """A copy of a synthetic cohort with another manifest."""
    shutil.copytree(samples, folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    change(manifest)
    (folder / "manifest.json").write_text(json.dumps(sealed(manifest)))
    return folder


@pytest.fixture(scope="module")
def clean(tiny_samples, tmp_path_factory) -> Path:
    """Samples whose generator has not seen P001."""

    def forget(manifest) -> None:
        seen = manifest["generator"]["training_cases"]
        manifest["generator"]["training_cases"] = [case for case in seen if case["id"] != "P001"]

    return changed(tiny_samples, tmp_path_factory.mktemp("clean") / "clean", forget)


@pytest.mark.parametrize("format", EXPORTERS)
def test_every_format_comes_back_as_what_the_generator_made(tiny_run, phantom_store, tmp_path, format):
    samples = Generator.load(tiny_run).sample(3, seed=2)
    sample_cohort(tiny_run, tmp_path / "samples", 3, format=format, seed=2)
    read = read_synthetic(tmp_path / "samples", phantom_store, ()).slices
    assert read.images_NCHW.shape == (3, 2, 32, 32)
    assert (read.images_NCHW.dtype, read.masks_NHW.dtype) == (np.float16, np.uint8)
    assert np.array_equal(read.masks_NHW, samples.masks_NHW)
    expected, found = samples.images_NCHW, read.images_NCHW.astype(np.float32)
    if format == "png":  # 8 bits of tanh(z / 4)
        near = np.abs(expected) < 4
        assert np.abs(found - expected)[near].max() < 0.05
        return
    if format != "npz":  # written as intensities, none below zero
        scale = [Generator.load(tiny_run).manifest["intensity"][name] for name in phantom_store.channels]
        floor = np.array([-entry["mean"] / entry["sd"] for entry in scale], np.float32)[None, :, None, None]
        expected = np.maximum(expected, floor)
    np.testing.assert_allclose(found, expected, rtol=2e-3, atol=2e-3)


def test_another_grid_is_cropped_or_padded_and_resampled(tiny_samples, phantom_cohort, tmp_path):
    larger = prepare_store(
        phantom_cohort, tmp_path / "larger", PrepareConfig.build({"size": (48, 40), "spacing_mm": 6})
    )
    slices = read_synthetic(tiny_samples, larger, ()).slices
    assert slices.images_NCHW.shape == (6, 2, 48, 40)
    assert not slices.masks_NHW[:, :8].any()
    finer = prepare_store(phantom_cohort, tmp_path / "finer", PrepareConfig.build({"size": (64, 64), "spacing_mm": 3}))
    assert read_synthetic(tiny_samples, finer, ()).slices.masks_NHW.sum() == pytest.approx(
        4 * slices.masks_NHW.sum(), rel=0.1
    )


def test_a_cohort_that_labelgan_did_not_sample_is_prepared_as_the_store_was(phantom_cohort, phantom_store):
    told: list[tuple[int, int, str]] = []
    read = read_synthetic(phantom_cohort, phantom_store, (), lambda *progress: told.append(progress))
    assert np.array_equal(read.slices.images_NCHW, phantom_store.images)
    assert np.array_equal(read.slices.masks_NHW, phantom_store.masks)
    assert told == [(0, 3, "P001"), (1, 3, "P002"), (2, 3, "P003"), (3, 3, "")]
    assert read.facts["slices"] == len(phantom_store)
    assert "training_cases" not in read.facts


def test_the_manifest_carries_what_the_generator_saw(tiny_samples, tiny_run, phantom_store):
    facts = read_synthetic(tiny_samples, phantom_store, ()).facts
    generator = json.loads((tiny_run / "manifest.json").read_text())
    assert facts["training_cases"] == generator["training_cases"]
    assert (facts["name"], facts["cases"], facts["slices"], facts["model"]) == ("samples", 6, 6, "r3gan")
    assert len(facts["manifest_sha256"]) == len(facts["sha256"]) == 64
    json.dumps(facts, allow_nan=False)


# Leaks


def test_samples_of_a_generator_that_never_saw_the_held_out_patient_are_taken(clean, phantom_store):
    assert len(read_synthetic(clean, phantom_store, phantom_store.cases[:1]).slices) == 6


@pytest.mark.parametrize("number", [0, 1, 2])
def test_samples_of_a_generator_that_saw_the_held_out_patient_are_refused(tiny_samples, phantom_store, number):
    held_out = phantom_store.cases[number]
    with pytest.raises(LeakError, match=rf"samples: was made from the held-out case {held_out.id}") as caught:
        read_synthetic(tiny_samples, phantom_store, [held_out])
    assert caught.value.exit_code == 3


def entry_of(phantom_store, name: str = "P001") -> dict:
    case = phantom_store.case(name)
    return {"id": case.id, "patient": case.patient, "hashes": dict(case.hashes)}


def other_voxels(entry: dict, **changes: str) -> dict:
    return {**entry, **changes, "hashes": {"FLAIR": "sha256:other"}}


@pytest.mark.parametrize("key", ["training_cases", "inherited_cases"])
@pytest.mark.parametrize("channel", ["FLAIR", "T1"])
def test_one_image_under_another_name_is_enough(clean, phantom_store, tmp_path, key, channel):
    entry = {**entry_of(phantom_store), "id": "renamed", "patient": "renamed"}
    entry["hashes"] = {channel: entry["hashes"][channel]}
    samples = changed(
        clean, tmp_path / "s", lambda manifest: manifest["generator"].setdefault(key, []).append(copy.deepcopy(entry))
    )
    with pytest.raises(LeakError, match=r"held-out case P001 \(the same voxels as renamed\)"):
        read_synthetic(samples, phantom_store, phantom_store.cases[:1])


def test_another_scan_of_the_held_out_patient_is_refused_by_name(clean, phantom_store, tmp_path):
    entry = other_voxels(entry_of(phantom_store), id="P001_second")
    samples = changed(clean, tmp_path / "s", lambda m: m["generator"]["training_cases"].append(entry))
    with pytest.raises(LeakError, match=r"was made from the held-out patient P001 \(case P001\)"):
        read_synthetic(samples, phantom_store, phantom_store.cases[:1])


def test_inherited_names_count_inside_one_cohort(clean, phantom_store, tmp_path):
    stranger = other_voxels(entry_of(phantom_store))
    elsewhere = changed(clean, tmp_path / "a", lambda m: m["generator"].update(inherited_cases=[stranger]))
    assert len(read_synthetic(elsewhere, phantom_store, phantom_store.cases[:1]).slices) == 6
    relatives = [stranger, entry_of(phantom_store, "P002")]
    here = changed(clean, tmp_path / "b", lambda m: m["generator"].update(inherited_cases=relatives))
    with pytest.raises(LeakError, match=r"held-out patient P001"):
        read_synthetic(here, phantom_store, phantom_store.cases[:1])


def test_unknown_origin_is_refused_with_cases_held_out(tiny_samples, phantom_cohort, phantom_store, tmp_path):
    nameless = changed(tiny_samples, tmp_path / "s", lambda manifest: manifest.pop("generator"))
    for root in (nameless, phantom_cohort):
        with pytest.raises(LeakError, match=r"does not tell which cases its generator has seen"):
            read_synthetic(root, phantom_store, phantom_store.cases[:1])
    assert len(read_synthetic(nameless, phantom_store, ()).slices) == 6


def test_a_held_out_scan_among_the_slices_is_refused(clean, phantom_cohort, phantom_store, tmp_path):
    cohort = tmp_path / "cohort"
    shutil.copytree(phantom_cohort, cohort)
    shutil.copy(clean / "manifest.json", cohort / "manifest.json")
    manifest = json.loads((cohort / "manifest.json").read_text())
    (cohort / "manifest.json").write_text(json.dumps(sealed({**manifest, "kind": "cohort"})))
    with pytest.raises(LeakError, match=r"case P001 has the same voxels as P001, which is held out"):
        read_synthetic(cohort, phantom_store, phantom_store.cases[:1])


def test_nothing_held_out_nothing_refused(phantom_store, tmp_path):
    require_no_leak(tmp_path, None, (), phantom_store.cases)


# Curation


def test_rejected_samples_are_left_out_and_counted(tiny_samples, phantom_store, tmp_path):
    samples = changed(tiny_samples, tmp_path / "s", lambda manifest: None)
    cases = read_cohort(samples).cases
    everything = read_synthetic(samples, phantom_store, ())
    curation = Curation().with_decision(cases[1], "reject").with_decision(cases[2], "accept")
    write_curation(samples, curation)
    kept = read_synthetic(samples, phantom_store, ())
    np.testing.assert_array_equal(kept.slices.images_NCHW, np.delete(everything.slices.images_NCHW, 1, 0))
    np.testing.assert_array_equal(kept.slices.masks_NHW, np.delete(everything.slices.masks_NHW, 1, 0))
    assert "curation" not in everything.facts
    assert kept.facts["curation"] == {"rejected": 1, "kept": 5, "rejected_sha256": curation.digest()}
    assert (kept.facts["cases"], kept.facts["slices"]) == (5, 5)


def test_accepting_alone_changes_nothing(tiny_samples, phantom_store, tmp_path):
    samples = changed(tiny_samples, tmp_path / "s", lambda manifest: None)
    before = read_synthetic(samples, phantom_store, ()).facts
    write_curation(samples, Curation().with_decision(read_cohort(samples).cases[0], "accept"))
    assert read_synthetic(samples, phantom_store, ()).facts == before


# Damage


@pytest.mark.parametrize(
    "generator",
    [
        {"training_cases": [{"id": "P001"}]},
        {"training_cases": [3]},
        {"training_cases": [], "inherited_cases": 3},
        {"training_cases": [{"id": "P001", "hashes": {"T1": []}}]},  # found by fuzzing, as the next two
        {"training_cases": [{"id": [1], "hashes": {"T1": "sha256:0"}}]},
        {"training_cases": [], "inherited_cases": [{"patient": {}, "hashes": {}}]},
    ],
)
def test_a_manifest_without_hashes_is_damaged(tiny_samples, phantom_store, tmp_path, generator):
    samples = changed(tiny_samples, tmp_path / "s", lambda manifest: manifest.update(generator=generator))
    with pytest.raises(
        DataError, match=r"manifest\.json: is damaged: its generator\.[a-z_]+ are not cases with hashes"
    ):
        read_synthetic(samples, phantom_store, ())


def test_a_case_without_mask_is_named(phantom_cohort, phantom_store, tmp_path):
    cohort = tmp_path / "cohort"
    shutil.copytree(phantom_cohort, cohort)
    next(cohort.glob("*/P002/wmh.nii.gz")).unlink()
    with pytest.raises(DataError, match=r"^P002: has no mask; every case of .*cohort must have one"):
        read_synthetic(cohort, phantom_store, ())


def test_a_missing_scale_is_named(tiny_run, phantom_store, tmp_path):
    sample_cohort(tiny_run, tmp_path / "wmh", 1, format="wmh")
    for number, scale in enumerate(({}, {"FLAIR": {"mean": 1.0, "sd": 0.0}}, {"FLAIR": {"mean": "x", "sd": 1}}, 3)):
        samples = changed(tmp_path / "wmh", tmp_path / str(number), lambda m, scale=scale: m.update(intensity=scale))
        with pytest.raises(
            DataError, match=r"FLAIR\.nii\.gz: the cohort's manifest\.json gives no mean and sd of FLAIR"
        ):
            read_synthetic(samples, phantom_store, ())
