from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
from nibabel import nifti1

from labelgan.api import segment as api_segment
from labelgan.cli.app import run_command
from labelgan.config.seg import SegConfig
from labelgan.seg.train import SegTrainingResult
from tiny import SEG_SETTINGS, folder_bytes


def run(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    capsys.readouterr()
    code = run_command([str(argument) for argument in ("segment", *arguments)])
    out, err = capsys.readouterr()
    return code, out, err


def tiny(*more: str) -> list[str]:
    return [part for setting in (*SEG_SETTINGS, *more) for part in ("--set", setting)]


def test_train_predict_and_score(capsys, phantom_store, phantom_cohort, tmp_path):
    seg, out = tmp_path / "seg", tmp_path / "out"
    named = ["--ensemble", "1", "--steps", "4", "--seed", "3", "--exclude", "P001", "--network", "segresnet"]
    code, words, err = run(capsys, "train", phantom_store.path, "--out", seg, *named, *tiny("network.width=8"))
    assert code == 0, err
    assert words.startswith(f"1 networks of 4 steps in {seg}; last losses 0.")
    assert "segment 4/4" in err
    config = SegConfig.from_toml(seg / "config.toml")
    assert (config.network.name, config.train.seed, config.train.members) == ("segresnet", 3, 1)
    code, words, err = run(capsys, "predict", seg, phantom_cohort, "--out", out, "--probabilities")
    assert (code, words) == (0, f"3 masks in {out}\n")
    assert "warning: 2 cases were trained on: P002, P003" in err
    assert (out / "P001" / "probability.nii.gz").is_file()
    assert run_command(["score", str(phantom_cohort), str(out), "--json"]) == 0


def test_a_preset_and_a_threshold_chosen_on_the_training_patients(capsys, phantom_store, phantom_cohort, tmp_path):
    seg = tmp_path / "seg"
    arguments = ["train", phantom_store.path, "--out", seg, "--preset", "laptop", "--exclude", "P001", "--steps", "20"]
    small = ["--device", "cpu", "--threads", "1", "--ensemble", "1", "--fit-threshold"]
    code, _, err = run(capsys, *arguments, *small)
    assert code == 0, err
    config = SegConfig.from_toml(seg / "config.toml")
    assert (config.preset, config.train.fit_threshold) == ("laptop", True)
    told = json.loads((seg / "manifest.json").read_text())["threshold"]
    assert told["cases"] == ["P002", "P003"]
    curve = {point["threshold"]: point["dsc"] for point in told["mean_dsc"]}
    assert told["value"] == config.predict.threshold
    assert curve[told["value"]] >= max(curve.values()) - 0.005
    # gone on with, the same is chosen; a prediction uses it
    before = folder_bytes(seg)
    code, _, err = run(capsys, *arguments[:4], "--resume")
    assert code == 0, err
    after = folder_bytes(seg)
    assert {name for name in before if before[name] != after[name]} <= {"manifest.json"}
    assert run(capsys, "predict", seg, phantom_cohort, "--out", tmp_path / "out")[0] == 0
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["predict"]["threshold"] == manifest["segmenter"]["threshold"]["value"] == told["value"]
    code, _, err = run(capsys, *arguments[:4], "--resume", "--preset", "tiny")
    assert (code, err) == (2, f"error: --preset tiny: {seg} was made with preset laptop\n")


def test_networks_that_learnt_nothing_are_told_of(capsys, phantom_store, tmp_path, monkeypatch):
    result = SegTrainingResult(tmp_path / "seg", 3, 10, (0.5, 1.0, 1.0), stuck=(1, 2))
    monkeypatch.setattr(api_segment, "segment_train", lambda *arguments, **options: result)
    code, words, err = run(capsys, "train", phantom_store.path, "--out", tmp_path / "seg")
    assert (code, words) == (0, f"3 networks of 10 steps in {tmp_path / 'seg'}; last losses 0.500, 1.000, 1.000\n")
    assert err.splitlines()[-1] == "warning: of 3 networks these have learnt nothing: 2, 3"


def test_a_leak_is_refused(capsys, phantom_store, tiny_samples, tmp_path):
    arguments = ["train", phantom_store.path, "--out", tmp_path / "seg", "--synthetic", tiny_samples]
    code, _, err = run(capsys, *arguments, "--exclude", "P003", *tiny())
    assert code == 3
    assert err == (
        f"error: {tiny_samples}: was made from the held-out case P003 (the same voxels as P003); "
        "sample a generator that was trained with --exclude\n"
    )
    assert not (tmp_path / "seg").exists()


def test_failed_cases_are_named_and_the_code_tells(capsys, tiny_segmenter, phantom_cohort, tmp_path):
    cohort = tmp_path / "cohort"
    shutil.copytree(phantom_cohort, cohort)
    next(cohort.glob("*/P002/pre/FLAIR.nii.gz")).unlink()
    code, words, err = run(capsys, "predict", tiny_segmenter, cohort, "--out", tmp_path / "out")
    assert (code, words) == (2, f"2 masks in {tmp_path / 'out'}\n")
    assert err.splitlines()[-1] == "error: P002: has no FLAIR image"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["train", "/no/such", "--out", "x"], "/no/such: is not a slice store: it has no manifest.json"),
        (["train", "/no/such"], "--out: Missing option"),
        (["train", "/no/such", "--out", "x", "--network", "unet"], "--network unet: unknown network; one of li2018"),
        (["train", "/no/such", "--out", "x", "--preset", "tiny"], "--preset tiny: unknown preset; one of laptop"),
        (["train", "/no/such", "--out", "x", "--set", "train.x=1"], "--set train.x=1: unknown setting 'train.x'"),
        (["train", "/no/such", "--out", "x", "--ensemble", "0"], "--ensemble: Input should be greater"),
        (["predict", "/no/such", "/no/input", "--out", "x"], "/no/such: there is no such segmenter folder"),
    ],
)
def test_wrong_usage_is_one_line_that_names_it(capsys, tmp_path, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    code, _, err = run(capsys, *arguments)
    assert code == 2
    assert err.startswith(f"error: {said}")
    assert len(err.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_training_says_how_to_go_on_and_does(
    capsys, phantom_store, tiny_segmenter, tmp_path, monkeypatch
):
    seg = tmp_path / "seg"
    plain = api_segment.segment_train

    def interrupted(*arguments, report, **options):
        def tell(done: int, total: int, text: str) -> None:
            if done == 3:
                signal.raise_signal(signal.SIGINT)

        return plain(*arguments, report=tell, **options)

    monkeypatch.setattr(api_segment, "segment_train", interrupted)
    code, _, err = run(capsys, "train", phantom_store.path, "--out", seg, "--exclude", "P001", *tiny())
    assert code == 130
    assert f"Go on with: labelgan segment train {phantom_store.path} --out {seg} --resume" in err
    monkeypatch.undo()
    # settings and exclusions come from the folder
    code, _, err = run(capsys, "train", phantom_store.path, "--out", seg, "--resume")
    assert code == 0, err
    assert json.loads((seg / "manifest.json").read_text())["excluded"] == ["P001"]
    before, after = (
        {name: content for name, content in folder_bytes(folder).items() if name.endswith("weights.safetensors")}
        for folder in (tiny_segmenter, seg)
    )
    assert before == after


def refuse_constant(name: str) -> None:
    raise AssertionError(f"{name} is no JSON")


def test_bad_scans_from_check_to_score_are_told_in_single_lines(capsys, tiny_segmenter, phantom_cohort, tmp_path):
    """A case without FLAIR, an image of zeros, an empty reference, and at last a prediction on another grid."""
    cohort, out = tmp_path / "cohort", tmp_path / "out"
    shutil.copytree(phantom_cohort, cohort)
    missing, zeros, empty = (next(cohort.glob(f"*/{name}")) for name in ("P001", "P002", "P003"))
    (missing / "pre/FLAIR.nii.gz").unlink()
    for path in (zeros / "pre/FLAIR.nii.gz", empty / "wmh.nii.gz"):
        image = nifti1.load(path)
        nifti1.save(nifti1.Nifti1Image(np.zeros(image.shape, np.uint8), image.affine), path)

    assert run_command(["check", str(cohort), "--json"]) == 1
    problems = {problem["case"]: problem for problem in json.loads(capsys.readouterr().out)["problems"]}
    assert {case: problem["severity"] for case, problem in problems.items()} == {
        "P001": "error",
        "P002": "error",
        "P003": "warning",
    }
    assert problems["P002"]["reason"] == (
        "the image is all zero: export it again, or leave the case out (`labelgan prepare --exclude ID`)"
    )

    for excluded, said in (
        ("P002", "error: P001: has no FLAIR image"),
        ("P001", f"error: {zeros / 'pre/FLAIR.nii.gz'}: the FLAIR image holds one value only"),
    ):
        store = tmp_path / "store"
        assert run_command(["prepare", str(cohort), str(store), "--size", "32x32", "--exclude", excluded]) == 2
        assert capsys.readouterr().err.splitlines()[-1] == said

    code, words, err = run(capsys, "predict", tiny_segmenter, cohort, "--out", out, "--probabilities")
    assert (code, words) == (2, f"1 masks in {out}\n")
    assert [line for line in err.splitlines() if line.startswith("error")] == [
        "error: P001: has no FLAIR image",
        f"error: {zeros / 'pre/FLAIR.nii.gz'}: the FLAIR image holds one value only (case P002)",
    ]

    assert run_command(["score", str(cohort), str(out), "--json"]) == 0
    told = capsys.readouterr()
    report = json.loads(told.out, parse_constant=refuse_constant)
    (case,) = report["cases"]
    assert (case["case"], case["hd95_mm"], case["avd_percent"]) == ("P003", None, None)
    assert None not in (case["dsc"], case["lesion_recall"], case["lesion_f1"])
    assert report["summary"]["overall"]["hd95_mm"]["undefined"] == 1
    assert "warning: 2 cases have no prediction: P001, P002" in told.err
    assert report["extra"] == []

    result = out / "P003" / "result.nii.gz"
    image = nifti1.load(result)
    moved = image.affine + np.array([[0, 0, 0, 2.0], *[[0.0] * 4] * 3])  # pyright: ignore[reportOptionalOperand]
    nifti1.save(nifti1.Nifti1Image(np.asarray(image.dataobj), moved), result)
    assert run_command(["score", str(cohort), str(out)]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "grid" in line]
    assert line.startswith(
        f"error: {result}: is not on the grid of {empty / 'wmh.nii.gz'}: the affines put a corner 2 mm"
    )


def test_the_containers_entry_point_does_what_the_challenge_asks(capsys, tiny_segmenter, phantom_cohort, tmp_path):
    """The container cannot be built here; its command can be run, with this machine's folders in place of its own."""
    dockerfile = Path(__file__).parents[2] / "Dockerfile"
    (line,) = [line for line in dockerfile.read_text().splitlines() if line.startswith("ENTRYPOINT ")]
    program, *arguments = json.loads(line.removeprefix("ENTRYPOINT "))
    assert (program, arguments[0]) == ("labelgan", "segment")
    mounted, output = tmp_path / "mounted", tmp_path / "output"
    for name in ("orig", "pre"):
        shutil.copytree(next(phantom_cohort.glob("*/P001/pre")), mounted / name)
    output.mkdir()
    places = {"/opt/segmenter": tiny_segmenter, "/input": mounted, "/output": output}
    assert places.keys() <= set(arguments)
    code, _, err = run(capsys, *[places.get(argument, argument) for argument in arguments[1:]])
    assert code == 0, err
    assert [path.name for path in output.iterdir()] == ["result.nii.gz"]
