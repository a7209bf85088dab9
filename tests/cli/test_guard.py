"""The guard from the command line: exit code 3 or a warning, and the patient's name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from labelgan.cli.app import run_command
from tiny import SEG_SETTINGS, SETTINGS, with_twin

SAID = "warning: patients P001 and P009 may be one person"
CROP = ("--size", "32", "--spacing", "6")


@pytest.fixture
def run(capsys):
    """Exit code and stderr of a command line."""

    def command(*arguments: str | Path) -> tuple[int, str]:
        capsys.readouterr()
        code = run_command([str(argument) for argument in arguments])
        return code, capsys.readouterr().err

    return command


def tiny(settings: list[str]) -> list[str]:
    return [part for setting in settings for part in ("--set", setting)]


@pytest.fixture(scope="module")
def twins(phantom_cohort, tmp_path_factory) -> Path:
    return with_twin(phantom_cohort, tmp_path_factory.mktemp("guard") / "cohort")


def test_a_twin_of_an_excluded_patient_is_kept_from_every_training(twins, tmp_path, run):
    store = tmp_path / "store"
    code, said = run("prepare", twins, store, *CROP)
    assert (code, SAID in said) == (0, True), said
    for command, settings in (("train", "--model", "r3gan"), SETTINGS), (("segment", "train"), SEG_SETTINGS):
        given = (*command, store, "--out", tmp_path / "out", "--exclude", "P001", *tiny(settings))
        code, said = run(*given)
        assert code == 3
        assert "case P009 is the held-out case P001" in said
        assert not (tmp_path / "out").exists()
    code, said = run(
        "train",
        "--model",
        "r3gan",
        store,
        "--out",
        tmp_path / "run",
        "--exclude",
        "P001,P009",
        "--steps",
        "1",
        *tiny(SETTINGS),
    )
    assert (code, SAID in said) == (0, True), said
    seen = json.loads((tmp_path / "run" / "manifest.json").read_text())["training_cases"]
    assert {case["id"] for case in seen} == {"P002", "P003"}


def test_check_warns_and_a_study_refuses(twins, tmp_path, run):
    code, _ = run("check", twins)
    assert code == 0
    code, said = run("study", twins, "--out", tmp_path / "study", "--dry-run", "--preset", "laptop")
    assert code == 3
    assert "case P009 (patient P009) may be case P001" in said
    assert not list(tmp_path.rglob("generator.safetensors"))


def sessions(source: Path, root: Path) -> Path:
    """Patients in BIDS, of whom the first has two sessions."""
    import shutil

    places = sorted(path.parent for path in source.rglob("wmh.nii.gz"))
    for place, subject, session in zip(places, ("A", "A", "B"), ("1", "2", "1"), strict=True):
        name = f"sub-{subject}_ses-{session}"
        folder = root / f"sub-{subject}" / f"ses-{session}" / "anat"
        labels = root / "derivatives" / "manual" / f"sub-{subject}" / f"ses-{session}" / "anat"
        folder.mkdir(parents=True)
        labels.mkdir(parents=True)
        shutil.copy(place / "pre/FLAIR.nii.gz", folder / f"{name}_FLAIR.nii.gz")
        shutil.copy(place / "pre/T1.nii.gz", folder / f"{name}_T1w.nii.gz")
        shutil.copy(place / "wmh.nii.gz", labels / f"{name}_label-lesion_mask.nii.gz")
    (root / "dataset_description.json").write_text('{"Name": "two", "BIDSVersion": "1.8.0"}')
    return root


def test_a_session_leaves_out_its_patient_whole_and_says_so(phantom_cohort, tmp_path, run):
    from labelgan.data.store import SliceStore

    store = tmp_path / "store"
    assert run("prepare", sessions(phantom_cohort, tmp_path / "bids"), store, *CROP)[0] == 0
    cases = SliceStore.open(store).cases
    first = [case.id for case in cases if case.patient == cases[0].patient]
    assert len(first) == 2
    out = tmp_path / "run"
    code, said = run(
        "train", "--model", "r3gan", store, "--out", out, "--exclude", first[1], "--steps", "1", *tiny(SETTINGS)
    )
    assert code == 0
    assert f"--exclude {first[1]} leaves out patient {cases[0].patient} whole: {', '.join(first)}" in said
    seen = json.loads((out / "manifest.json").read_text())["training_cases"]
    assert [case["id"] for case in seen] == [cases[2].id]


def test_a_parent_that_has_seen_an_excluded_patient_is_told(phantom_store, tiny_run, tmp_path, run):
    given = (phantom_store.path, "--start-from", tiny_run, "--steps", "1", "--out", tmp_path / "run")
    code, said = run("train", *given, "--exclude", "P001")
    assert code == 0
    assert "was made from the held-out case P001" in said
    assert "the new generator has seen that patient too" in said
