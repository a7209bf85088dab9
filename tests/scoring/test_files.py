from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from trees import AFFINE, nnunet_cohort, save, save_picture, wmh_cohort

import labelgan
from labelgan.cli.app import run_command
from labelgan.core.errors import DataError
from labelgan.core.rng import generator_for
from labelgan.data.layouts.detect import read_cohort
from labelgan.data.volume import ImageRef
from labelgan.scoring.files import score_files, score_paths

SHAPE = (12, 10, 6)


@pytest.fixture(autouse=True)
def wide(monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")


def blob(*name: str | int, at: int = 2, size: int = 4, shape: tuple[int, int, int] = SHAPE) -> np.ndarray:
    """A block with some voxels missing, uint8."""
    mask = np.zeros(shape, dtype=np.uint8)
    mask[at : at + size, 2:7, 1:4] = generator_for(3, *name).random(mask[at : at + size, 2:7, 1:4].shape) > 0.2
    return mask


def cohort(root: Path, sites: dict[str, tuple[str, ...]]) -> Path:
    """A wmh cohort whose masks are known blobs."""
    for site, ids in sites.items():
        wmh_cohort(root, ids, site)
        for identifier in ids:
            for name in ("FLAIR", "T1"):
                save(root / site / identifier / "pre" / f"{name}.nii.gz", np.ones(SHAPE, np.int16))
            save(root / site / identifier / "wmh.nii.gz", blob(site, identifier).astype(np.float32))
    return root


def run(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    capsys.readouterr()
    code = run_command([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return code, out, err


# Two files


def test_two_files(tmp_path, capsys) -> None:
    reference = save(tmp_path / "wmh.nii.gz", blob("a").astype(np.float32))
    prediction = save(tmp_path / "result.nii.gz", blob("a", at=3))
    code, out, err = run(capsys, "score", reference, prediction, "--json")
    assert code == 0
    assert err == ""
    scores = json.loads(out)
    assert list(scores) == ["dsc", "hd95_mm", "avd_percent", "lesion_recall", "lesion_f1"]
    assert 0 < scores["dsc"] < 1
    code, out, _ = run(capsys, "score", reference, prediction)
    assert code == 0
    assert f"{scores['dsc']:.3f}" in out
    assert "HD95, mm ↓" in out
    assert labelgan.score(reference, prediction).to_json() == scores


def test_an_empty_reference_gives_null(tmp_path, capsys) -> None:
    reference = save(tmp_path / "wmh.nii.gz", np.zeros(SHAPE, np.uint8))
    prediction = save(tmp_path / "result.nii.gz", blob("a"))
    code, out, _ = run(capsys, "score", reference, prediction, "--json")
    assert code == 0
    assert json.loads(out) == {
        "dsc": 0.0,
        "hd95_mm": None,
        "avd_percent": None,
        "lesion_recall": 1.0,
        "lesion_f1": 0.0,
    }
    assert "undefined" in run(capsys, "score", reference, prediction)[1]


def test_types_on_disk_do_not_matter(tmp_path) -> None:
    truth, guess = blob("a"), blob("b")
    expected = score_files(*(ImageRef(save(tmp_path / f"{i}.nii", mask)) for i, mask in enumerate((truth, guess))))[0]
    for dtype in (np.int16, np.float32, np.float64, np.int32):
        reference = ImageRef(save(tmp_path / "r.nii", truth.astype(dtype)))
        prediction = ImageRef(save(tmp_path / "p.nii", (guess * 7).astype(dtype)))
        assert score_files(reference, prediction)[0] == expected
    probabilities = np.where(guess, 0.5, 0.4999).astype(np.float32)
    assert score_files(reference, ImageRef(save(tmp_path / "p.nii", probabilities)))[0] == expected


def test_other_pathology_of_a_file(tmp_path) -> None:
    truth = blob("a")
    truth[9:, :, 5] = 2
    guess = np.where(truth > 0, 1, 0).astype(np.uint8)
    scores, _ = score_files(ImageRef(save(tmp_path / "r.nii", truth)), ImageRef(save(tmp_path / "p.nii", guess)))
    assert (scores.dsc, scores.avd_percent, scores.lesion_f1) == (1.0, 0.0, 1.0)


def test_values_that_are_no_numbers_are_told(tmp_path, capsys) -> None:
    guess = blob("a").astype(np.float32)
    guess[0, 0, 0] = np.nan
    paths = save(tmp_path / "r.nii", blob("a")), save(tmp_path / "p.nii", guess)
    code, out, err = run(capsys, "score", *paths, "--json")
    assert code == 0
    assert json.loads(out)["dsc"] == 1.0
    assert err == f"warning: {paths[1]}: 1 voxels are NaN or infinite, and count as background\n"


def test_pictures_have_no_geometry(tmp_path) -> None:
    square = np.zeros((8, 9), dtype=np.uint8)
    square[2:5, 2:5] = 255
    reference = save_picture(tmp_path / "r.png", square)
    assert score_paths(reference, save_picture(tmp_path / "p.png", square)).to_json()["dsc"] == 1.0
    small = save_picture(tmp_path / "small.png", square[:7])
    for resample in (False, True):
        with pytest.raises(DataError, match="9×7×1 against 9×8×1"):
            score_paths(reference, small, resample=resample)


# Grids


def shifted(millimetres: float) -> np.ndarray:
    affine = AFFINE.copy()
    affine[0, 3] += millimetres
    return affine


@pytest.mark.parametrize(
    ("affine", "shape", "said"),
    [
        (shifted(0.5), SHAPE, "the affines put a corner 0.5 mm apart"),
        (AFFINE @ np.diag([1.01, 1, 1, 1]), SHAPE, "mm apart"),
        (AFFINE, (12, 10, 5), "shape 12×10×5 against 12×10×6"),
    ],
)
def test_another_grid_is_refused(tmp_path, capsys, affine, shape, said) -> None:
    reference = save(tmp_path / "r.nii.gz", blob("a"))
    prediction = save(tmp_path / "p.nii.gz", blob("a", shape=shape), affine)
    code, out, err = run(capsys, "score", reference, prediction)
    assert code == 2
    assert out == ""
    assert err.startswith(f"error: {prediction}: is not on the grid of {reference}: ")
    assert said in err
    assert "--resample" in err
    assert err.count("\n") == 1


def test_rounding_in_a_header_is_no_other_grid(tmp_path) -> None:
    reference = save(tmp_path / "r.nii.gz", blob("a"))
    assert score_paths(reference, save(tmp_path / "p.nii.gz", blob("a"), shifted(0.01))).to_json()["dsc"] == 1.0


def test_resampling_undoes_a_turn_and_a_crop(tmp_path, capsys) -> None:
    truth = blob("a")
    reference = save(tmp_path / "r.nii.gz", truth)
    turn = np.array([[0, -1.0, 0, 11], [0, 0, 1, 0], [1, 0, 0, 0], [0, 0, 0, 1]])  # to stored (Z, X reversed, Y)
    turned = save(tmp_path / "turned.nii.gz", truth.transpose(2, 0, 1)[:, ::-1], AFFINE @ turn)
    crop = np.eye(4)
    crop[:3, 3] = (1, 2, 1)
    cropped = save(tmp_path / "cropped.nii.gz", truth[1:9, 2:8, 1:5], AFFINE @ crop)
    for prediction in (turned, cropped):
        code, out, err = run(capsys, "score", reference, prediction, "--json", "--resample")
        assert code == 0
        assert json.loads(out)["dsc"] == 1.0
        assert "resampled to the reference's grid" in err


def test_resampling_takes_the_nearest_voxel(tmp_path) -> None:
    """A grid twice as fine in the plane: every voxel of the reference takes one of its four."""
    truth = blob("a")
    reference = save(tmp_path / "r.nii.gz", truth)
    fine = np.repeat(np.repeat(truth, 2, axis=0), 2, axis=1)
    affine = AFFINE @ np.array([[0.5, 0, 0, -0.25], [0, 0.5, 0, -0.25], [0, 0, 1, 0], [0, 0, 0, 1]])
    assert score_paths(reference, save(tmp_path / "p.nii.gz", fine, affine), resample=True).to_json()["dsc"] == 1.0


def test_voxels_outside_a_predictions_grid_are_background(tmp_path) -> None:
    truth = blob("a")
    reference = save(tmp_path / "r.nii.gz", truth)
    half = save(tmp_path / "p.nii.gz", truth[:4])
    kept = truth[:4].sum()
    expected = 2 * kept / (kept + truth.sum())
    assert score_paths(reference, half, resample=True).to_json()["dsc"] == pytest.approx(expected)


# Folders


@pytest.fixture
def two_sites(tmp_path) -> Path:
    return cohort(tmp_path / "cohort", {"Alpha": ("1", "2"), "Beta": ("1", "3")})


def predict(root: Path, name: str, mask: np.ndarray) -> Path:
    return save(root / name, mask)


def test_a_cohort_by_case_and_site(two_sites, tmp_path, capsys) -> None:
    out = tmp_path / "out"
    ids = [case.id for case in read_cohort(two_sites).cases]
    assert ids == ["2", "Alpha_1", "3", "Beta_1"]
    predict(out, "Alpha_1/result.nii.gz", blob("Alpha", "1"))
    predict(out, "2/result.nii.gz", np.zeros(SHAPE, np.uint8))
    predict(out, "Beta_1/result.nii.gz", blob("Beta", "1", at=3))
    predict(out, "stranger/result.nii.gz", blob("x"))
    code, text, err = run(capsys, "score", two_sites, out, "--json", "--csv", tmp_path / "scores.csv")
    assert code == 0
    found = json.loads(text)
    assert [row["case"] for row in found["cases"]] == ["2", "Alpha_1", "Beta_1"]
    assert [row["site"] for row in found["cases"]] == ["Alpha", "Alpha", "Beta"]
    assert [row["dsc"] for row in found["cases"][:2]] == [0.0, 1.0]
    assert found["cases"][0]["hd95_mm"] is None
    assert found["missing"] == ["3"]
    assert found["extra"] == [(out / "stranger" / "result.nii.gz").as_posix()]
    alpha = found["summary"]["sites"]["Alpha"]
    assert alpha["dsc"] == {
        "mean": 0.5,
        "sd": pytest.approx(0.5**0.5),
        "median": 0.5,
        "defined": 2,
        "undefined": 0,
    }
    assert alpha["hd95_mm"] == {"mean": 0.0, "sd": None, "median": 0.0, "defined": 1, "undefined": 1}
    overall = found["summary"]["overall"]
    assert overall["hd95_mm"]["undefined"] == 1
    assert overall["hd95_mm"]["defined"] == 2
    assert "counted beside" in found["undefined_policy"]
    assert "1 cases have no prediction: 3" in err
    assert "stranger" in err
    rows = list(csv.DictReader(io.StringIO((tmp_path / "scores.csv").read_text())))
    assert [row["status"] for row in rows] == ["scored"] * 3 + ["no prediction"]
    assert rows[0]["hd95_mm"] == ""
    assert float(rows[2]["dsc"]) == found["cases"][2]["dsc"]


def test_the_table_shows_cases_sites_and_the_undefined(two_sites, tmp_path, capsys) -> None:
    out = tmp_path / "out"
    predict(out, "Alpha_1/result.nii.gz", blob("Alpha", "1"))
    predict(out, "Beta_1/result.nii.gz", np.zeros(SHAPE, np.uint8))
    code, text, _ = run(capsys, "score", two_sites, out)
    assert code == 0
    cells = [[cell.strip() for cell in line.strip("│").split("│")] for line in text.splitlines() if "│" in line]
    assert ["Alpha_1", "Alpha", "1.000", "0.000", "0.000", "1.000", "1.000"] in cells
    assert ["Beta_1", "Beta", "0.000", "-", "100.0", "0.000", "0.000"] in cells
    assert ["all (2)", "DSC ↑", "0.500", "0.707", "0.500", "0"] in cells
    assert ["", "HD95, mm ↓", "0.000", "-", "0.000", "1"] in cells
    assert ["Alpha (1)", "DSC ↑", "1.000", "-", "1.000", "0"] in cells
    assert "counted beside" in text


def test_a_case_that_fails_is_named_and_the_others_are_scored(two_sites, tmp_path, capsys) -> None:
    out = tmp_path / "out"
    predict(out, "Alpha_1/result.nii.gz", blob("Alpha", "1"))
    broken = out / "2" / "result.nii.gz"
    broken.parent.mkdir()
    broken.write_bytes((out / "Alpha_1" / "result.nii.gz").read_bytes()[:60])
    moved = save(out / "3" / "result.nii.gz", blob("Beta", "3"), shifted(3))
    code, text, err = run(capsys, "score", two_sites, out, "--json", "--csv", tmp_path / "scores.csv")
    assert code == 2
    errors = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 2
    assert errors[0].startswith(f"error: {broken}: truncated")
    assert errors[0].endswith("(case 2)")
    assert errors[1].startswith(f"error: {moved}: is not on the grid")
    found = json.loads(text)
    assert [row["case"] for row in found["cases"]] == ["Alpha_1"]
    assert [failure["case"] for failure in found["failed"]] == ["2", "3"]
    assert found["missing"] == ["Beta_1"]
    statuses = [row["status"] for row in csv.DictReader(io.StringIO((tmp_path / "scores.csv").read_text()))]
    assert [status.split(":")[0] for status in statuses] == ["scored", "failed", "failed", "no prediction"]


def test_an_nnunet_folder_and_its_predictions(tmp_path) -> None:
    root = nnunet_cohort(tmp_path / "Dataset001_X", ids=("c1", "c2", "c3"))
    for path in (root / "labelsTr").iterdir():
        shutil.copy(path, predict(tmp_path / "out", path.name, blob("x")))
    report = score_paths(root, tmp_path / "out")
    assert [row.scores.dsc for row in report.rows] == [1.0] * 3


def test_one_case_and_the_challenges_output(two_sites, tmp_path) -> None:
    result = predict(tmp_path / "output", "result.nii.gz", blob("Alpha", "2"))
    for prediction in (result, result.parent):
        report = score_paths(two_sites / "Alpha" / "2", prediction)
        assert [row.scores.dsc for row in report.rows] == [1.0]
    with pytest.raises(DataError, match="is a file, and the reference holds 4 cases"):
        score_paths(two_sites, result)
    with pytest.raises(DataError, match="is a folder, and the reference is a file"):
        score_paths(result, result.parent)


@pytest.mark.parametrize("place", ["reference", "prediction"])
def test_what_is_not_there_is_one_line(two_sites, tmp_path, capsys, place) -> None:
    missing = tmp_path / "nowhere"
    arguments = (missing, two_sites) if place == "reference" else (two_sites, missing)
    code, out, err = run(capsys, "score", *arguments)
    assert (code, out, err) == (2, "", f"error: {missing}: no such file or folder\n")


def test_nothing_that_belongs_is_one_line(two_sites, tmp_path, capsys) -> None:
    (tmp_path / "empty").mkdir()
    predict(tmp_path / "others", "zzz/result.nii.gz", blob("x"))
    for folder, found in (("empty", "found no image"), ("others", "found result.nii.gz")):
        code, out, err = run(capsys, "score", two_sites, tmp_path / folder)
        assert (code, out) == (2, "")
        assert err.count("\n") == 1
        assert "no prediction belongs to any of the 4 annotated cases" in err
        assert found in err
