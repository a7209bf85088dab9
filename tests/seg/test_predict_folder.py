from __future__ import annotations

import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from labelgan.core.errors import DataError
from labelgan.scoring.files import score_paths
from labelgan.seg.predict import Ensemble
from labelgan.seg.predict_folder import is_challenge_input, predict_folder


@pytest.fixture
def cohort(phantom_cohort, tmp_path) -> Path:
    shutil.copytree(phantom_cohort, tmp_path / "cohort")
    return tmp_path / "cohort"


def case_folder(cohort: Path, name: str) -> Path:
    return next(cohort.glob(f"*/{name}"))


def test_a_cohort_becomes_a_folder_of_masks_that_can_be_scored(tiny_segmenter, phantom_cohort, tmp_path):
    told: list[tuple[int, int, str]] = []
    report = predict_folder(
        tiny_segmenter, phantom_cohort, tmp_path / "out", report=lambda *progress: told.append(progress)
    )
    assert told == [(0, 3, "P001"), (1, 3, "P002"), (2, 3, "P003"), (3, 3, "")]
    assert report.written == {name: tmp_path / "out" / name / "result.nii.gz" for name in ("P001", "P002", "P003")}
    assert (report.failures, report.trained_on) == ([], ["P002", "P003"])
    for name, path in report.written.items():
        mask = nib.load(path)  # pyright: ignore[reportPrivateImportUsage]
        image = nib.load(case_folder(phantom_cohort, name) / "pre" / "FLAIR.nii.gz")  # pyright: ignore
        assert mask.shape == image.shape  # pyright: ignore
        np.testing.assert_allclose(mask.affine, image.affine, atol=1e-5)  # pyright: ignore
        assert mask.get_data_dtype() == np.uint8  # pyright: ignore
        assert not {path.name for path in (tmp_path / "out" / name).iterdir()} - {"result.nii.gz"}
    scores = score_paths(phantom_cohort, tmp_path / "out")
    assert len(scores.rows) == 3
    assert not scores.failures
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["kind"] == "predictions"
    assert [case["trained_on"] for case in manifest["cases"]] == [False, True, True]
    assert manifest["predict"]["threshold"] == 0.45


def test_one_case_and_types(tiny_segmenter, phantom_cohort, tmp_path):
    settings = ["predict.dtype=float32", "predict.probabilities=true", "predict.threshold=0.01"]
    source = case_folder(phantom_cohort, "P003")
    report = predict_folder(tiny_segmenter, source, tmp_path / "out", settings=settings)
    assert list(report.written) == ["P003"]
    mask = nib.load(report.written["P003"])  # pyright: ignore[reportPrivateImportUsage]
    assert mask.get_data_dtype() == np.float32  # pyright: ignore
    values = np.asarray(mask.dataobj)  # pyright: ignore
    assert set(np.unique(values)) == {0.0, 1.0}
    probability = np.asarray(nib.load(tmp_path / "out/P003/probability.nii.gz").dataobj)  # pyright: ignore
    assert np.array_equal(probability > 0.01, values == 1)


def test_a_case_that_fails_is_named_and_the_others_are_finished(tiny_segmenter, cohort, tmp_path):
    (case_folder(cohort, "P001") / "pre" / "FLAIR.nii.gz").unlink()
    flair = case_folder(cohort, "P002") / "pre" / "FLAIR.nii.gz"
    flair.write_bytes(flair.read_bytes()[:500])
    report = predict_folder(tiny_segmenter, cohort, tmp_path / "out")
    assert list(report.written) == ["P003"]
    assert [case for case, _ in report.failures] == ["P001", "P002"]
    assert str(report.failures[0][1]) == "P001: has no FLAIR image"
    assert str(flair) in str(report.failures[1][1])
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert [failure["case"] for failure in manifest["failures"]] == ["P001", "P002"]


def test_an_image_of_zeros_is_told(tiny_segmenter, cohort, tmp_path):
    path = case_folder(cohort, "P002") / "pre" / "FLAIR.nii.gz"
    image = nib.load(path)  # pyright: ignore[reportPrivateImportUsage]
    nib.save(nib.Nifti1Image(np.zeros(image.shape, np.float32), image.affine), path)  # pyright: ignore
    report = predict_folder(tiny_segmenter, cohort, tmp_path / "out")
    assert len(report.written) == 2
    ((case, error),) = report.failures
    assert (case, error.reason) == ("P002", "the FLAIR image holds one value only")


def test_a_fault_of_the_machine_is_that_cases_alone(tiny_segmenter, phantom_cohort, tmp_path, monkeypatch):
    plain = Ensemble.predict

    def short(self, case):
        if case.id == "P001":
            raise RuntimeError("not enough memory:\n you tried to allocate 9 GB")
        return plain(self, case)

    monkeypatch.setattr(Ensemble, "predict", short)
    report = predict_folder(tiny_segmenter, phantom_cohort, tmp_path / "out")
    ((case, error),) = report.failures
    assert str(error) == "P001: prediction failed: RuntimeError: not enough memory: you tried to allocate 9 GB"
    assert len(report.written) == 2
    assert case == "P001"


def challenge_input(phantom_cohort: Path, folder: Path) -> Path:
    source = case_folder(phantom_cohort, "P002")
    for name in ("orig", "pre"):
        shutil.copytree(source / "pre", folder / name)
    return folder


def test_the_challenges_input_gives_one_result(tiny_segmenter, phantom_cohort, tmp_path):
    source = challenge_input(phantom_cohort, tmp_path / "input")
    report = predict_folder(tiny_segmenter, source, tmp_path / "output")
    assert [path.name for path in (tmp_path / "output").iterdir()] == ["result.nii.gz"]
    assert report.written == {"input": tmp_path / "output" / "result.nii.gz"}
    named = predict_folder(tiny_segmenter, case_folder(phantom_cohort, "P002"), tmp_path / "named")
    assert (tmp_path / "output/result.nii.gz").read_bytes() == named.written["P002"].read_bytes()
    forced = challenge_input(phantom_cohort, tmp_path / "elsewhere")
    predict_folder(tiny_segmenter, forced, tmp_path / "forced", challenge=True)
    assert [path.name for path in (tmp_path / "forced").iterdir()] == ["result.nii.gz"]


def test_what_the_challenges_input_looks_like(tmp_path, monkeypatch):
    for name in ("input/pre", "other/pre", "empty/input/x"):
        (tmp_path / name).mkdir(parents=True)
    assert is_challenge_input(tmp_path / "input")
    assert not is_challenge_input(tmp_path / "other")
    assert not is_challenge_input(tmp_path / "empty/input")
    monkeypatch.chdir(tmp_path / "input")
    assert is_challenge_input(Path("."))


def test_no_case_is_one_line(tiny_segmenter, tmp_path):
    with pytest.raises(DataError, match=r"nowhere: no such folder"):
        predict_folder(tiny_segmenter, tmp_path / "nowhere", tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"empty: no layout recognised"):
        predict_folder(tiny_segmenter, tmp_path / "empty", tmp_path / "out")
    assert not (tmp_path / "out").exists()
