"""What revision 74a9d79 made is read, gives the same, and is gone on with; its README.md tells how it was made."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
import tomllib
from pathlib import Path

import numpy as np
import pytest

import labelgan
from labelgan.cli.app import run_command

OLD = Path(__file__).resolve().parent / "made_by_74a9d79"
RECORDED = json.loads((OLD / "recorded.json").read_text())
CLOSE = {"rtol": 0, "atol": 1e-5}  # processors differ in the last bits


@pytest.fixture
def old(tmp_path):
    """A copy of all of it, to write into."""
    return Path(shutil.copytree(OLD, tmp_path / "old"))


def recorded(name):
    """The arrays of one name that the revision itself got, by what they are."""
    with np.load(OLD / "recorded.npz", allow_pickle=False) as arrays:
        found = {key.partition("/")[2]: arrays[key] for key in arrays.files if key.startswith(f"{name}/")}
    assert found
    return found


GO_ON = ("study", "cohort", "--out", "study", "--resume", "--workers", "1", "--device", "cpu")


@pytest.fixture
def go_on(jobs_here, capsys, monkeypatch):
    """Goes on with a study, beside whose folder its cohort lies; gives what was printed."""

    def run(study, words=GO_ON):
        monkeypatch.chdir(study.parent)
        code = run_command([str(word) for word in words])
        out, err = capsys.readouterr()
        assert code == 0, err
        return out

    return run


def assert_samples(run, name):
    generator = labelgan.Generator.load(run, device="cpu")
    samples, known = generator.sample(len(recorded(name)["masks"]), seed=3), recorded(name)
    np.testing.assert_allclose(samples.images_NCHW, known["images"], **CLOSE)
    np.testing.assert_array_equal(samples.masks_NHW, known["masks"])


def job_bytes(study):
    return {path.parent.name: path.read_bytes() for path in (study / "jobs").glob("*/done.json")}


def rows_of(path):
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def assert_same_scores(found, known):
    rows, before = rows_of(found), rows_of(known)
    assert len(rows) == len(before)
    for row, old_row in zip(rows, before, strict=True):
        assert row.keys() == old_row.keys()
        for key, value in old_row.items():
            same = row[key] == value
            assert same or float(row[key]) == pytest.approx(float(value), rel=1e-3), (key, row[key], value)


def test_an_old_cohort_is_understood_as_it_was():
    report = labelgan.check(OLD / "cohort")
    assert report.ok
    assert [case.id for case in report.cohort.cases] == RECORDED["cases"]


def test_an_old_store_opens_and_reads_the_same():
    store = labelgan.SliceStore.open(OLD / "store")
    batch = store.read(np.arange(len(store)))
    arrays = (batch.images_NCHW, batch.masks_NHW, batch.brains_NHW)
    assert [hashlib.sha256(array.tobytes()).hexdigest() for array in arrays] == RECORDED["store"]


def test_an_old_cohort_is_prepared_to_the_old_store(tmp_path):
    store = labelgan.prepare(OLD / "cohort", tmp_path / "store", size=(32, 32), spacing_mm=6.0, exclude=["P004"])
    known = labelgan.SliceStore.open(OLD / "store")
    np.testing.assert_array_equal(store.index, known.index)
    np.testing.assert_allclose(store.images, known.images, rtol=0, atol=4e-3)  # of float16
    np.testing.assert_array_equal(store.masks, known.masks)
    np.testing.assert_array_equal(store.brains, known.brains)


def test_an_old_refiner_samples_the_same():
    assert_samples(OLD / "refiner", "refiner")


def test_an_old_refiner_keeps_the_best_as_its_critic_did():
    generator, known = labelgan.Generator.load(OLD / "refiner", device="cpu"), recorded("refiner-best")
    samples = generator.sample(len(known["indices"]), seed=3, keep_best=0.25)
    np.testing.assert_array_equal(samples.indices, known["indices"])
    np.testing.assert_allclose(samples.critic_scores, known["scores"], **CLOSE)


def test_an_interrupted_run_is_resumed_from_its_checkpoint_to_the_weights_it_would_have_had(old):
    steps = []
    result = labelgan.train(
        old / "store", old / "interrupted", resume=True, report=lambda done, total, text: steps.append(done)
    )
    assert result.steps == RECORDED["interrupted_steps"]
    assert min(steps) == RECORDED["interrupted_at"] + 1
    assert_samples(old / "interrupted", "interrupted")


def test_an_old_run_is_the_parent_of_a_new_one(old):
    settings = ["train.device=cpu", "train.threads=1"]
    run = old / "tuned"
    result = labelgan.train(old / "store", run, start_from=old / "refiner", steps=2, settings=settings)
    assert result.steps == 2
    manifest = json.loads((run / "manifest.json").read_text())
    assert {case["patient"] for case in manifest["inherited_cases"]} == {"P001", "P002", "P003"}


def test_an_old_segmenter_predicts_the_same(tmp_path):
    labelgan.segment_predict(
        OLD / "segmenter", OLD / "cohort", tmp_path / "out", settings=["predict.probabilities=true"], device="cpu"
    )
    import nibabel

    for case, known in recorded("probability").items():
        found = nibabel.Nifti1Image.from_filename(tmp_path / "out" / case / "probability.nii.gz").get_fdata(
            dtype=np.float32
        )
        np.testing.assert_allclose(found, known, **CLOSE)
    for case, known in recorded("mask").items():
        found = np.asarray(nibabel.Nifti1Image.from_filename(tmp_path / "out" / case / "result.nii.gz").dataobj)
        assert np.count_nonzero(found != known) <= 2  # voxels at the threshold itself


def test_a_patient_that_an_old_run_has_seen_is_kept_from_a_segmenter_that_holds_it_out(old):
    synthetic = labelgan.sample(old / "refiner", old / "synthetic", 4, format="npz", device="cpu")
    settings = ["network.width=4", "train.threads=1", "train.device=cpu"]
    with pytest.raises(labelgan.LabelganError, match="P001"):
        labelgan.segment_train(
            old / "store", old / "segmenter-2", ensemble=1, steps=2, synthetic=synthetic, exclude=["P001"],
            settings=settings,
        )  # fmt: skip


@pytest.mark.parametrize("data", ["moved", "gone"])
def test_the_page_of_an_old_study_is_built_again(old, data):
    places = old / "study" / "places.json"
    where = old / "cohort" if data == "moved" else Path("/nowhere/cohort")
    places.write_text(json.dumps(json.loads(places.read_text()) | {"data": str(where)}))
    page = labelgan.build_report(old / "study")
    text = page.read_text()
    verdict = json.loads((OLD / "study" / "verdict.json").read_text())
    assert verdict["headline"].split(":")[0] in text
    assert ("synthetic slices, those with a lesion first" in text) == (data == "moved")
    assert job_bytes(old / "study") == job_bytes(OLD / "study")


def without_new_keys(now, before):
    """A table without the settings that later versions have added."""
    return {
        key: without_new_keys(now[key], value) if isinstance(value, dict) else now[key] for key, value in before.items()
    }


def without_luck(comparison):
    """What a comparison found, without how sure it is of it."""
    return {key: comparison[key] for key in ("arm", "reference", "n_train", "metric", "difference", "n", "undefined")}


# li2018 is trained as published since; what it was trained like before is asked for by these.
AS_BEFORE = [f"segmenter.{setting}" for setting in ("augment.moved=1", "augment.zoom_apart=false", "train.showings=1")]
COMMAND = [*RECORDED["study_command"], *(word for setting in AS_BEFORE for word in ("--set", setting))]


@pytest.mark.parametrize("words", [GO_ON, COMMAND], ids=["resume", "the command that made it"])
def test_an_old_study_goes_on_without_doing_any_job_again(old, words, go_on):
    said = go_on(old / "study", words)
    assert f"0 jobs done, {len(RECORDED['jobs'])} done before, 0 failed" in said
    assert sorted(path.name for path in (old / "study" / "jobs").iterdir()) == RECORDED["jobs"]
    assert job_bytes(old / "study") == job_bytes(OLD / "study")
    assert (old / "study" / "scores.csv").read_bytes() == (OLD / "study" / "scores.csv").read_bytes()
    now, before = (json.loads((root / "study" / "verdict.json").read_text()) for root in (old, OLD))
    assert now["summary"] == before["summary"]
    # Intervals and p are wider than they were: Student's t took the place of the percentiles of few draws.
    assert [without_luck(row) for row in now["comparisons"]] == [without_luck(row) for row in before["comparisons"]]
    before, now = (tomllib.loads((root / "study" / "config.toml").read_text()) for root in (OLD, old))
    assert now.get("repeats", 1) == before.pop("repeats")  # which is not written where nobody set it, now
    assert without_new_keys(now, before) == before


def test_an_old_study_does_again_what_it_lost_and_comes_to_the_same_scores(old, go_on):
    study = old / "study"
    lost = RECORDED["lost"]
    for name in lost:
        shutil.rmtree(study / "jobs" / name)
    said = go_on(study)
    assert f"{len(lost)} jobs done, {len(RECORDED['jobs']) - len(lost)} done before, 0 failed" in said
    assert sorted(path.name for path in (study / "jobs").iterdir()) == RECORDED["jobs"]
    assert_same_scores(study / "scores.csv", OLD / "study" / "scores.csv")


def test_an_old_study_trains_a_lost_generator_again_in_the_same_place(old, go_on):
    study, name = old / "study", RECORDED["lost_generator"]
    shutil.rmtree(study / "jobs" / name)
    said = go_on(study)
    assert "1 jobs done" in said
    assert sorted(path.name for path in (study / "jobs").iterdir()) == RECORDED["jobs"]
    # Not to the same weights: since then training itself holds images to the range of the training slices.
    after = labelgan.Generator.load(study / "jobs" / name / "run", device="cpu", force=True).sample(4)
    assert np.isfinite(after.images_NCHW).all()


def test_old_samples_mix_with_an_old_store():
    synthetic = next((OLD / "study" / "jobs").glob("sample-*")) / "cohort"
    slices = labelgan.MixedSlices(OLD / "study" / "jobs" / RECORDED["prepare"] / "store", synthetic, share=0.5)
    assert len(slices) > 0
