from __future__ import annotations

import json
import shutil
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from nibabel import nifti1
from nibabel.affines import voxel_sizes
from nibabel.orientations import aff2axcodes
from scipy import ndimage

from labelgan.core.errors import ConfigError, DataError
from labelgan.data.phantom.cohort import PhantomPatient, phantom_patient, write_phantom_cohort

TINY = (48, 48, 12)


def components(mask: np.ndarray) -> np.ndarray:
    """Labels of the 26-connected components."""
    labels = np.zeros(mask.shape, dtype=np.int32)
    ndimage.label(mask, np.ones((3, 3, 3)), output=labels)
    return labels


@pytest.fixture(scope="module")
def tiny() -> list[PhantomPatient]:
    return [phantom_patient(7, index, shape=TINY) for index in range(16)]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first two of them, written."""
    out = tmp_path_factory.mktemp("written") / "cohort"
    told: list[str] = []
    assert write_phantom_cohort(out, 2, 7, shape=TINY, progress=told.append) == told == ["P001", "P002"]
    return out


@pytest.fixture(scope="module")
def patient() -> PhantomPatient:
    """Half of Alpha's resolution in plane; a patient with a good number of lesions."""
    return phantom_patient(1, 0, scanner="Alpha", shape=(120, 120, 48))


def test_patient_depends_on_seed_and_index_alone(tiny: list[PhantomPatient]) -> None:
    again = phantom_patient(7, 4, shape=TINY)
    for field in fields(PhantomPatient):
        np.testing.assert_array_equal(getattr(again, field.name), getattr(tiny[4], field.name))


def test_seed_and_index_change_anatomy_and_lesions(tiny: list[PhantomPatient]) -> None:
    for other in (tiny[7], phantom_patient(8, 4, shape=TINY)):
        assert other.site == tiny[4].site
        assert (other.tissue != tiny[4].tissue).mean() > 0.01
        assert (other.mask != tiny[4].mask).any()


def test_scanners_are_dealt_round_robin(tiny: list[PhantomPatient]) -> None:
    assert [each.site for each in tiny[:4]] == ["Alpha", "Beta", "Gamma", "Alpha"]
    assert [each.id for each in tiny[:2]] == ["P001", "P002"]


def test_full_size_patient() -> None:
    full = phantom_patient(0, 2)
    assert full.t1.shape == full.flair.shape == full.mask.shape == (132, 256, 83)
    assert full.t1.dtype == full.flair_orig.dtype == np.int16
    assert full.mask.dtype == np.uint8
    np.testing.assert_allclose(voxel_sizes(full.affine), (0.98, 0.98, 1.2))


def test_intensity_scale_differs_by_scanner(tiny: list[PhantomPatient]) -> None:
    white = [np.median(each.flair[each.tissue == 3]) for each in tiny[:3]]
    assert white[1] > 2 * white[0]
    assert white[2] > 2 * white[1]
    assert white[0] > 50


def test_tissues_contrast_as_in_life(patient: PhantomPatient) -> None:
    healthy = patient.mask == 0
    t1 = [np.median(patient.t1[healthy & (patient.tissue == tissue)]) for tissue in (1, 2, 3)]
    flair = [np.median(patient.flair[healthy & (patient.tissue == tissue)]) for tissue in (1, 2, 3)]
    assert t1[0] < t1[1] < t1[2]
    assert flair[0] < 0.6 * flair[2] < flair[2] < flair[1]


def test_brain_is_one_piece_of_plausible_size_inside_a_bright_head(patient: PhantomPatient) -> None:
    litres = patient.brain.sum() * np.abs(np.linalg.det(patient.affine[:3, :3])) / 1e6
    assert 1.1 < litres < 1.9
    labels = components(patient.brain)
    assert np.bincount(labels[labels > 0]).max() > 0.98 * patient.brain.sum()
    white = np.median(patient.t1[patient.tissue == 3])
    fat = (patient.t1 > 1.3 * white) & ~patient.brain
    assert fat.sum() > 0.02 * patient.brain.sum()
    assert not (patient.tissue[~patient.brain] > 0).any()


def test_lesions_lie_in_white_matter_and_off_the_skull(patient: PhantomPatient) -> None:
    lesion = patient.mask == 1
    assert lesion.any()
    assert not (lesion & ~patient.brain).any()
    assert (patient.tissue[lesion] == 3).mean() > 0.7
    assert (patient.tissue[lesion] == 1).mean() < 0.1


def test_lesions_are_bright_on_flair_and_a_little_dark_on_t1(patient: PhantomPatient) -> None:
    lesion = patient.mask == 1
    near = np.ones((7, 7, 1), dtype=bool)
    around, close = (np.asarray(ndimage.binary_dilation(lesion, box)) for box in (near, near[:5, :5]))
    ring = around & np.logical_not(close) & (patient.mask == 0) & (patient.tissue == 3)
    assert 1.2 < np.median(patient.flair[lesion]) / np.median(patient.flair[ring]) < 1.9
    assert 0.7 < np.median(patient.t1[lesion]) / np.median(patient.t1[ring]) < 0.99


def test_load_is_heavy_tailed_and_stated_truly(tiny: list[PhantomPatient]) -> None:
    loads = np.array([each.lesion_ml for each in tiny])
    assert loads.max() > 4 * np.median(loads) > 0
    assert loads.mean() > 1.2 * np.median(loads)
    assert loads.min() < 0.3 * np.median(loads)
    voxel_ml = np.abs(np.linalg.det(tiny[3].affine[:3, :3])) / 1000
    assert tiny[3].lesion_ml == pytest.approx((tiny[3].mask == 1).sum() * voxel_ml)
    assert tiny[3].lesion_count == components(tiny[3].mask == 1).max()


def test_other_pathology_in_some_patients_only(tiny: list[PhantomPatient]) -> None:
    share = np.mean([(each.mask == 2).any() for each in tiny])
    assert 0.05 < share < 0.5
    assert all((each.other_ml > 0) == (each.mask == 2).any() for each in tiny)


def test_air_has_a_rician_floor(patient: PhantomPatient) -> None:
    air = patient.flair_orig[:6, :6].astype(float)
    # Without signal Rician noise is Rayleigh: mean / standard deviation = sqrt(pi / (4 - pi)); rounding adds a little.
    assert air.min() >= 0
    assert air.mean() / air.std() == pytest.approx(1.913, rel=0.05)


def test_pre_has_less_shading_than_orig() -> None:
    shaded = phantom_patient(3, 0, scanner="Gamma", shape=(66, 128, 28))
    white = (shaded.tissue == 3) & (shaded.mask == 0)
    spread = [np.std(each[white]) / np.mean(each[white]) for each in (shaded.t1, shaded.t1_orig)]
    assert spread[0] < spread[1]


@pytest.mark.parametrize(
    ("arguments", "subject"),
    [
        ({"index": -1}, "index"),
        ({"index": 0, "scanner": "Delta"}, "scanner"),
        ({"index": 0, "shape": (48, 48, 1)}, "shape"),
    ],
)
def test_bad_arguments_are_named(arguments: dict, subject: str) -> None:
    with pytest.raises(ConfigError) as error:
        phantom_patient(0, **arguments)
    assert error.value.subject == subject


def test_cohort_tree_and_manifest(written: Path) -> None:
    manifest = json.loads((written / "manifest.json").read_text())
    assert manifest["kind"] == "phantom"
    assert manifest["seed"] == 7
    for row in manifest["patients"]:
        folder = written / row["site"] / row["id"]
        found = sorted(str(path.relative_to(folder)) for path in folder.rglob("*.nii.gz"))
        assert found == ["orig/FLAIR.nii.gz", "orig/T1.nii.gz", "pre/FLAIR.nii.gz", "pre/T1.nii.gz", "wmh.nii.gz"]
        mask = nifti1.load(folder / "wmh.nii.gz")
        values = np.asanyarray(mask.dataobj)
        assert values.dtype == np.float32
        assert set(np.unique(values)) <= {0.0, 1.0, 2.0}
        assert row["lesion_ml"] == pytest.approx(
            (values == 1).sum() * np.prod(mask.header.get_zooms()) / 1000, abs=1e-3
        )
    assert len(list(written.rglob("*"))) == 2 * 8 + 2 + 1


def test_files_hold_the_patient_and_nothing_descriptive(written: Path, tiny: list[PhantomPatient]) -> None:
    image = nifti1.load(written / "Beta" / "P002" / "pre" / "FLAIR.nii.gz")
    np.testing.assert_array_equal(np.asanyarray(image.dataobj), tiny[1].flair)
    assert image.affine is not None
    np.testing.assert_allclose(image.affine, tiny[1].affine, atol=1e-4)
    assert aff2axcodes(image.affine) == ("L", "A", "S")
    for name in ("descrip", "aux_file", "db_name", "intent_name"):
        assert bytes(image.header[name]).strip(b"\0") == b""
    assert not image.header.extensions


def test_cohort_is_the_same_bytes_again_and_grows_by_adding(tmp_path: Path, written: Path) -> None:
    write_phantom_cohort(tmp_path, 1, 7, shape=TINY)
    files = list(tmp_path.rglob("*.nii.gz"))
    assert len(files) == 5
    for path in files:
        assert path.read_bytes() == (written / path.relative_to(tmp_path)).read_bytes()


def test_refuses_a_folder_in_use_unless_forced(tmp_path: Path, written: Path) -> None:
    shutil.copytree(written, tmp_path, dirs_exist_ok=True)
    (tmp_path / "note.txt").write_text("mine")
    with pytest.raises(DataError, match="not empty"):
        write_phantom_cohort(tmp_path, 1, 0, shape=TINY)
    assert (tmp_path / "Beta" / "P002" / "wmh.nii.gz").exists()
    write_phantom_cohort(tmp_path, 1, 0, shape=TINY, force=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["Alpha", "manifest.json", "note.txt"]


def test_refuses_a_file_for_a_folder(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    with pytest.raises(DataError, match="is a file"):
        write_phantom_cohort(tmp_path / "out", 1, 0, shape=TINY, force=True)


def test_refuses_no_patients_before_touching_the_disk(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="at least 1"):
        write_phantom_cohort(tmp_path / "out", 0, 0)
    assert not (tmp_path / "out").exists()
