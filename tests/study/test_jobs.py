from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from heads import write_case

from labelgan.audit.filters import COPY, NO_BRAIN
from labelgan.core.errors import ConfigError, DataError, LeakError
from labelgan.data.check.seen import sealed_model
from labelgan.data.layouts.detect import read_cohort
from labelgan.data.pseudonyms import using
from labelgan.scoring.metrics import score_masks
from labelgan.study import jobs
from labelgan.study.cohort import facts_of, know_cohort
from labelgan.study.engine.ledger import JobFolder, Ledger
from labelgan.study.engine.worker import Context, context_of
from labelgan.study.jobs import (
    KINDS,
    PREDICTIONS,
    RESULT,
    SEGMENTER,
    Kind,
    choose_share,
    predict,
    require_unseen,
    run,
    sample_judge,
)
from labelgan.study.places import Places
from labelgan.study.plan import CHOOSE, PREPARE, SAMPLE
from labelgan.study.run import _require_same_names


def given_to(kind: str, params: dict[str, Any], folder: Path = Path(), **more: Any) -> Context:
    """A job's context, by hand."""
    return Context(kind, params, **{"inputs": {}, "results": {}, **more}, folder=folder)


def test_a_training_that_ended_outlives_a_kill_before_its_job_is_done(tmp_path):
    trained = []

    def train() -> dict[str, Any]:
        trained.append(len(trained))
        (tmp_path / "run" / "checkpoints").mkdir(parents=True, exist_ok=True)
        (tmp_path / "run" / "weights.safetensors").write_bytes(b"weights %d" % len(trained))
        return {"loss": 0.1 + 0.2}

    assert jobs._trained(tmp_path, train) == {"loss": 0.1 + 0.2}
    assert not (tmp_path / "run" / "checkpoints").exists()
    assert jobs._trained(tmp_path, train) == {"loss": 0.1 + 0.2}
    assert trained == [0]
    (tmp_path / "run" / "weights.safetensors").write_bytes(b"torn")  # other weights than those that were trained
    assert jobs._trained(tmp_path, train) == {"loss": 0.1 + 0.2}
    assert trained == [0, 1]


@pytest.fixture
def study(tiny_study, tmp_path) -> Path:
    return shutil.copytree(tiny_study.folder, tmp_path / "study")


def context(study: Path, job):
    folder = Ledger(study).folder(job)
    return context_of(folder, JobFolder(folder).read_job())


@pytest.mark.parametrize("kind", ["samples", "audits", "predictions", "generators"])
def test_a_job_that_is_run_twice_gives_the_same(study, tiny_study, kind):
    job = next(iter(getattr(tiny_study.plan, kind).values()))
    done = Ledger(study).result(job)
    assert run(context(study, job)) == done


def test_filtered_samples_are_judged_by_the_fold_alone(study, tiny_study, monkeypatch):
    fold, job = next(iter(tiny_study.plan.samples.items()))
    given = context(study, job)
    store = Ledger(study).folder(tiny_study.plan.generators[fold].inputs["store"])
    asked = []

    def sample_judge(generator: Path, train: Path):
        asked.append((generator, train))
        return lambda images, masks: ["copy" if number % 2 else "" for number in range(len(images))]

    monkeypatch.setattr("labelgan.study.jobs.sample_judge", sample_judge)
    params = {**given.params, "filtered": True}
    inputs = {**given.inputs, "store": store}
    result = run(given_to(SAMPLE, params, given.folder, inputs=inputs, results=given.results))
    assert asked == [(given.inputs["generator"] / "run", store / "store")]
    assert result["samples"] == given.params["num"]
    assert result["left_out"] == {"copy": given.params["num"] - 1}


def test_checkpoints_of_finished_trainings_are_gone(tiny_study):
    assert not list(tiny_study.folder.rglob("checkpoints"))
    assert len(list(tiny_study.folder.rglob("generator.safetensors"))) == 2


def test_scores_are_those_of_the_masks_on_disk(tiny_study, study_cohort):
    ledger = Ledger(tiny_study.folder)
    job = tiny_study.plan.scores["fold-00", "classical"]
    predicted = ledger.folder(job.inputs["predictions"]) / PREDICTIONS
    cases = {case.id: case for case in read_cohort(study_cohort).cases}
    for row in ledger.result(job)["rows"]:
        mask = cases[row["case"]].load_mask()
        found = np.asarray(nib.Nifti1Image.from_filename(predicted / row["case"] / RESULT).dataobj)
        assert mask is not None
        expected = score_masks(mask.data, found, affine=mask.affine).to_json()
        assert {name: row[name] for name in expected} == expected
        assert row["lesion_voxels"] == (mask.data == 1).sum()
        assert row["predicted_voxels"] == (found > 0).sum()


def test_a_prediction_of_a_training_case_is_refused(study, tiny_study):
    job = tiny_study.plan.predictions["fold-00", "classical"]
    given = context(study, job)
    trained = tiny_study.plan.folds[0].train[0]
    given.params["cases"] = {trained: {}}
    with pytest.raises(LeakError, match=f"case {trained} is to be tested on, and the segmenter has seen it"):
        predict(given, Places.of(given.folder))


def test_a_prediction_from_slices_of_a_held_out_case_is_refused(study, tiny_study):
    """As when somebody exchanges the segmenter's folder for another."""
    job = tiny_study.plan.predictions["fold-00", "classical+synthetic"]
    given = context(study, job)
    path = given.inputs["member-0"] / SEGMENTER / "manifest.json"
    other = tiny_study.plan.predictions["fold-01", "classical+synthetic"]
    manifest = json.loads(path.read_text())
    theirs = json.loads((context(study, other).inputs["member-0"] / SEGMENTER / "manifest.json").read_text())
    path.write_text(json.dumps(sealed_model({**manifest, "synthetic": theirs["synthetic"]})))
    with pytest.raises(LeakError, match="its generator has seen it"):
        predict(given, Places.of(given.folder))


def test_a_case_that_has_gone_is_named(study, tiny_study):
    given = context(study, tiny_study.plan.scores["fold-00", "classical"])
    given.params["cases"]["P777"] = {}
    with pytest.raises(DataError, match="has no case P777"):
        run(given)


def test_the_best_share_is_chosen_and_of_equals_the_smallest():
    def judged(**dsc: list[float | None]) -> float:
        results = {f"share-{key[1:]}": {"rows": [{"dsc": value} for value in values]} for key, values in dsc.items()}
        shares = [float(key[1:]) for key in dsc]
        return choose_share(given_to(CHOOSE, {"shares": shares}, results=results), Places(Path()))["share"]

    assert judged(s1=[0.1, 0.3], s2=[0.5, 0.3]) == 2
    assert judged(s1=[0.4, 0.4], s2=[0.5, 0.3]) == 1
    # Nothing there and nothing found is a hit.
    assert judged(s1=[None, 0.3], s2=[0.9, 0.3]) == 1


@pytest.fixture
def named(tmp_path) -> tuple[Path, Path]:
    """A job's folder in a study under pseudonyms, and the scans of DoeJane and RoeRichard."""
    (tmp_path / "key").write_bytes(bytes(32))
    for name, number in (("DoeJane", 11), ("RoeRichard", 12)):
        write_case(tmp_path / "scans" / "Site" / name, number)
    study = tmp_path / "study"
    Places(tmp_path / "scans", device="cpu", pseudonymise=tmp_path / "key").write(study)
    folder = study / "jobs" / "prepare-1"
    folder.mkdir(parents=True)
    return folder, tmp_path / "scans"


def test_a_job_reads_under_the_pseudonyms_of_its_study(named):
    folder, _ = named
    assert Places.of(folder).pseudonymise == folder.parents[2] / "key"
    run(given_to(PREPARE, {"config": {"size": [16, 16]}}, folder=folder))
    manifest = (folder / "store" / "manifest.json").read_text()
    assert "p-" in manifest
    assert not any(name in manifest for name in ("DoeJane", "RoeRichard"))
    with using(folder.parents[2] / "key"):
        known = know_cohort(named[1], folder / "cohort.json")
        assert facts_of(known)["name"] == "cohort"
    assert {case["id"] for case in json.loads(manifest)["cases"]} == set(known.patients)
    assert not any(name in (folder / "cohort.json").read_text() for name in ("DoeJane", "RoeRichard"))


def test_a_job_that_fails_names_no_one(named):
    folder, scans = named
    (scans / "Site" / "DoeJane" / "pre" / "T1.nii.gz").write_bytes(b"")
    with pytest.raises(DataError, match=r"^p-[0-9a-f]{12}/T1: an empty file") as caught:
        run(given_to(PREPARE, {"config": {"size": [16, 16]}}, folder=folder))
    assert "DoeJane" not in str(caught.value)


@pytest.mark.parametrize("kind", [DataError, KeyError])
def test_errors_of_a_job_tell_no_path_above_the_folders_of_the_study(tmp_path, monkeypatch, kind):
    study = tmp_path / "study"
    Places(tmp_path / "Jane Doe" / "scans", start_from=tmp_path / "run").write(study)
    folder = study / "jobs" / "prepare-1"

    def fail(context, places):
        raise kind(f"{places.data}/p1/T1.nii.gz", f"differs from {context.folder}/store and {places.start_from}")

    monkeypatch.setitem(KINDS, PREPARE, Kind(fail))
    with pytest.raises(DataError if kind is DataError else RuntimeError) as caught:
        run(given_to(PREPARE, {}, folder=folder))
    assert "scans/p1/T1.nii.gz" in str(caught.value)
    assert "study/jobs/prepare-1/store and run" in str(caught.value)
    assert str(tmp_path) not in str(caught.value)


def test_a_study_goes_on_under_the_names_it_began_with(named):
    folder, _ = named
    study = folder.parents[1]
    _require_same_names(study)  # it has no settings yet, so it was not begun
    (study / "config.toml").touch()
    with using(study.parent / "key"):
        _require_same_names(study)
    with pytest.raises(ConfigError, match=r"was begun with --pseudonymise .*key; go on in the same way"):
        _require_same_names(study)


def test_who_was_held_out_is_free_and_who_was_trained_on_is_not(tiny_segmenter, phantom_cohort, phantom_store):
    for case in read_cohort(phantom_cohort).cases:
        (known,) = phantom_store.known([phantom_store.case(case.id)])
        if case.id == "P001":
            require_unseen(case, known, [tiny_segmenter])
        else:
            with pytest.raises(LeakError, match=rf"FLAIR.*{case.id} is to be tested on.*segmenter has.*manifest.json"):
                require_unseen(case, known, [tiny_segmenter])


@pytest.mark.parametrize(
    ("key", "words"), [("training_cases", "its generator has"), ("inherited_cases", "its generator's parent has")]
)
def test_the_generator_and_its_parent_count(tiny_segmenter, phantom_cohort, phantom_store, tmp_path, key, words):
    case = next(case for case in read_cohort(phantom_cohort).cases if case.id == "P001")
    folder = shutil.copytree(tiny_segmenter, tmp_path / "segmenter")
    manifest = json.loads((folder / "manifest.json").read_text())
    # One channel is enough, under whatever id.
    seen = {"id": "other", "hashes": {"T1": phantom_store.case("P001").hashes["T1"]}}
    manifest["synthetic"] = {key: [seen]}
    (folder / "manifest.json").write_text(json.dumps(sealed_model(manifest)))
    with pytest.raises(LeakError, match=f"{words} seen it as other"):
        require_unseen(case, phantom_store.known(phantom_store.cases[:1])[0], [tiny_segmenter, folder])


def test_a_judge_knows_the_training_patients(tiny_run, phantom_store):
    judge = sample_judge(tiny_run, phantom_store.path)
    batch = phantom_store.read(slice(0, 6))
    assert judge(batch.images_NCHW, batch.masks_NHW) == [COPY] * 6
    nothing = np.full_like(batch.images_NCHW, batch.images_NCHW.min())
    assert judge(nothing, batch.masks_NHW) == [NO_BRAIN] * 6


def test_a_judge_wants_the_very_patients(tiny_run, phantom_store, tmp_path):
    other = shutil.copytree(phantom_store.path, tmp_path / "store")
    manifest = json.loads((other / "manifest.json").read_text())
    manifest["cases"][0]["hashes"]["T1"] = "sha256:0"
    (other / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(DataError, match="does not hold case P001, which the generator"):
        sample_judge(tiny_run, other)
