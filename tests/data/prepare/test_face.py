from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from labelgan.cli.app import run_command
from labelgan.data.layouts.detect import read_cohort
from labelgan.data.phantom.cohort import PhantomPatient, phantom_patient
from labelgan.data.prepare.face import LARGEST, shows_face
from labelgan.data.volume import Volume
from real_data import real_cohort

SHAPE = (64, 64, 24)


@pytest.fixture(scope="module")
def patients() -> list[PhantomPatient]:
    """One of each scanner, about 4 mm wide and 6 mm thick."""
    return [phantom_patient(0, index, shape=SHAPE) for index in range(3)]


def defaced(data: np.ndarray, brain: np.ndarray) -> np.ndarray:
    """Everything below a plane that leads from the brain's front, a quarter up, to under its middle is cut off.

    The arrays run to the front along y and to the top along z, as those of phantoms do.
    """
    _, y, z = np.nonzero(brain)
    front, brow, middle, base = y.max(), np.percentile(z, 25), np.median(y), z.min()
    rows, levels = np.indices(data.shape)[1:]
    plane = base + (rows - middle) * (brow - base) / (front - middle)
    return np.where((rows > middle) & (levels < plane), 0, data)


@pytest.mark.parametrize("name", ["t1", "flair", "t1_orig", "flair_orig"])
def test_a_head_shows_a_face_until_it_is_cut_off_or_the_skull_with_it(patients, name):
    for patient in patients:
        data = getattr(patient, name).astype(np.float32)
        assert shows_face(Volume(data, patient.affine)), patient.site
        assert not shows_face(Volume(defaced(data, patient.brain), patient.affine)), patient.site
        assert not shows_face(Volume(data * patient.brain, patient.affine)), patient.site


@pytest.mark.parametrize(
    "change",
    [
        lambda data, affine: (data * 1000, affine),
        lambda data, affine: (data[::-1], affine @ np.diag([-1, 1, 1, 1.0])),
        lambda data, affine: (data.transpose(2, 0, 1), affine[:, [2, 0, 1, 3]]),
        lambda data, affine: (data[:, ::-1, ::-1], affine @ np.diag([1, -1, -1, 1.0])),
        lambda data, affine: (np.repeat(data, 3, axis=0), affine @ np.diag([1 / 3, 1, 1, 1])),
    ],
    ids=["scale", "flipped", "sagittal", "upside down", "finer"],
)
def test_neither_scale_nor_orientation_nor_size_matter(patients, change: Callable):
    for patient in patients:
        for face in (True, False):
            data = patient.t1.astype(np.float32)
            data, affine = change(data if face else defaced(data, patient.brain), patient.affine)
            assert shows_face(Volume(data, affine)) is face


def test_what_is_no_head_shows_no_face():
    affine = np.eye(4)
    assert not shows_face(Volume(np.zeros((40, 40, 40), np.float32), affine))
    assert not shows_face(Volume(np.full((40, 40, 40), np.nan, np.float32), affine))
    assert not shows_face(Volume(np.ones((200, 200, 1), np.float32), affine))
    assert not shows_face(Volume(np.indices((20, 20, 20)).sum(0).astype(np.float32), np.zeros((4, 4))))
    speck = np.zeros((LARGEST, LARGEST, LARGEST), np.float32)
    speck[30:34, 30:34, 30:40] = 1
    assert not shows_face(Volume(speck, affine))


def _cohort(root: Path, patients: list[PhantomPatient], shown: int) -> Path:
    """Phantoms as if they were scans, the first ``shown`` of them with their faces."""
    for number, patient in enumerate(patients):
        folder = root / "Utrecht" / f"p{number}"
        (folder / "pre").mkdir(parents=True)
        for name, data in (("pre/T1", patient.t1), ("pre/FLAIR", patient.flair), ("wmh", patient.mask)):
            kept = data if number < shown or name == "wmh" else defaced(data, patient.brain)
            nib.save(nib.Nifti1Image(kept, patient.affine), folder / f"{name}.nii.gz")
    return root


@pytest.mark.parametrize("shown", [0, 2])
def test_check_and_prepare_warn_once_a_cohort(tmp_path, patients, capsys, shown):
    scans = _cohort(tmp_path / "scans", patients, shown)
    assert run_command(["check", str(scans), "--json"]) == 0
    told = [entry for entry in json.loads(capsys.readouterr().out)["problems"] if "face" in entry["reason"]]
    assert [(entry["case"], entry["severity"]) for entry in told] == [(None, "warning")] * min(shown, 1)
    assert all(entry["reason"].startswith("2 of 3 cases may show a face") for entry in told)
    assert run_command(["prepare", str(scans), str(tmp_path / "store"), "--size", "32", "--spacing", "6"]) == 0
    assert capsys.readouterr().err.count("warning: 2 of 3 cases may show a face") == min(shown, 1)


def test_a_phantoms_face_is_nobodys(phantom_cohort, tmp_path, capsys):
    assert any(shows_face(case.load_image("T1")) for case in read_cohort(phantom_cohort))
    assert run_command(["check", str(phantom_cohort)]) == 0
    assert "face" not in capsys.readouterr().out


@pytest.mark.real
@pytest.mark.parametrize(
    ("name", "most", "fewest", "greatest"),
    [("ms3seg-wmh", 10, 10, 10), ("open-ms-bids", 3, 0, 0), ("Dataset501_LGG", 20, 19, 20)],
)
def test_real_heads_and_stripped_brains_are_told_apart(name, most, fewest, greatest):
    cohort = read_cohort(real_cohort(name))
    cases = dataclasses.replace(cohort, cases=cohort.cases[:most]).cases
    faces = sum(any(shows_face(case.load_image(channel)) for channel in case.images) for case in cases)
    assert fewest <= faces <= greatest
