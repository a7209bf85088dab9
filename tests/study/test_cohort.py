from __future__ import annotations

import json
import os
import shutil

import nibabel as nib
import numpy as np
import pytest

from labelgan.config.base import PrepareConfig
from labelgan.core.errors import DataError, LeakError
from labelgan.data.layouts.detect import read_cohort
from labelgan.data.reading.read import voxel_hash
from labelgan.study import cohort as module
from labelgan.study.cohort import facts_of, know_cohort, require_one_patient_a_scan
from labelgan.study.run import StudySources, scan_cohorts
from tiny import with_twin


@pytest.fixture
def copied(phantom_cohort, tmp_path):
    return shutil.copytree(phantom_cohort, tmp_path / "copied")


def test_what_is_known_of_a_case(phantom_cohort, tmp_path):
    known = know_cohort(phantom_cohort, tmp_path / "cache.json")
    case, source = known.cases[0], read_cohort(phantom_cohort).cases[0]
    mask = source.load_mask()
    assert mask is not None
    voxel_ml = abs(np.linalg.det(mask.affine[:3, :3])) / 1000
    assert case.lesion_ml == pytest.approx((mask.data == 1).sum() * voxel_ml)
    assert case.hashes["FLAIR"] == voxel_hash(source.load_image("FLAIR"))
    assert {path.split("/")[-1] for path in case.files} >= {"FLAIR.nii.gz", "T1.nii.gz", "wmh.nii.gz"}
    assert known.load_ml(case.patient) == case.lesion_ml
    assert known.site(case.patient) == case.site
    assert facts_of(known) == {"name": phantom_cohort.name, "patients": 3, "cases": 3, "unlabelled": 0}


def test_nothing_is_read_twice(copied, tmp_path, monkeypatch):
    cache = tmp_path / "cache.json"
    first = know_cohort(copied, cache)
    with monkeypatch.context() as patch:
        patch.setattr(module, "_know", lambda *_: pytest.fail("read again"))
        assert know_cohort(copied, cache) == first
    # A touched file is read again, and found to be what it was.
    touched = next(copied.rglob("wmh.nii.gz"))
    os.utime(touched, ns=(1, 1))
    read = []
    monkeypatch.setattr(module, "_know", lambda *given, know=module._know: read.append(given) or know(*given))
    again = know_cohort(copied, cache)
    assert len(read) == 1
    assert again.fingerprint() == first.fingerprint()


def test_a_damaged_cache_is_made_again(copied, tmp_path):
    cache = tmp_path / "cache.json"
    first = know_cohort(copied, cache)
    cache.write_text('{"cases": [{"id": 1}]}')
    assert know_cohort(copied, cache) == first
    assert len(json.loads(cache.read_text())["cases"]) == 3


def test_a_changed_mask_changes_the_fingerprint(copied, tmp_path):
    first = know_cohort(copied, tmp_path / "cache.json")
    path = next(copied.rglob("wmh.nii.gz"))
    image = nib.Nifti1Image.from_filename(path)
    nib.save(nib.Nifti1Image(np.zeros(image.shape, np.uint8), image.affine), path)
    second = know_cohort(copied, tmp_path / "cache.json")
    assert second.fingerprint() != first.fingerprint()
    assert min(case.lesion_ml for case in second.cases) == 0


def test_a_scan_under_two_patients_names_both_files(copied, tmp_path):
    site = next(path for path in copied.rglob("P001"))
    shutil.copytree(site, site.with_name("P009"))
    with pytest.raises(LeakError, match=r"P009.*FLAIR.*P009 \(patient P009\).*P001 \(patient P001\).*P001.*FLAIR"):
        know_cohort(copied, tmp_path / "cache.json")


def test_a_scan_in_both_cohorts_is_a_leak(phantom_cohort, copied, tmp_path):
    one, other = know_cohort(phantom_cohort, tmp_path / "a.json"), know_cohort(copied, tmp_path / "b.json")
    with pytest.raises(LeakError, match="holds the voxels of case P001"):
        require_one_patient_a_scan(one, other)


PREPARE = PrepareConfig.build({"size": (32, 32), "spacing_mm": 6.0})


def test_a_twin_is_refused_in_one_cohort_and_over_two(phantom_cohort, tmp_path):
    twins = with_twin(phantom_cohort, tmp_path / "twins")
    said = r"case P009 \(patient P009\) may be case P001 of patient P001 in another form, .*FLAIR.*: \d+% of the bits"
    with pytest.raises(LeakError, match=said):
        know_cohort(twins, tmp_path / "twins.json", prepare=PREPARE)
    alone = tmp_path / "alone"
    for path in twins.glob("*/*"):
        if path.name in ("P009", "P002"):
            shutil.copytree(path, alone / path.parent.name / ("Q" + path.name), dirs_exist_ok=True)
    shutil.rmtree(next(alone.glob("*/QP002")))
    one, other = (
        know_cohort(root, tmp_path / f"{root.name}.json", prepare=PREPARE) for root in (phantom_cohort, alone)
    )
    with pytest.raises(LeakError, match=r"case QP009 .* may be case P001 of patient P001"):
        require_one_patient_a_scan(one, other)
    apart = PREPARE.model_copy(update={"fingerprints": False})
    known = know_cohort(twins, tmp_path / "apart.json", prepare=apart)
    assert (len(known.cases), known.prints, known.warnings) == (4, {}, ())


def test_a_mask_under_two_patients_is_refused(copied, tmp_path):
    masks = sorted(copied.rglob("wmh.nii.gz"))
    shutil.copy(masks[0], masks[1])
    with pytest.raises(LeakError, match=r"\(patient P002\) may be case P001 .*: the mask is that of P001"):
        know_cohort(copied, tmp_path / "cache.json")


def test_alike_patients_are_warned_of_below_the_limit(phantom_cohort, tmp_path, monkeypatch):
    monkeypatch.setattr("labelgan.data.check.leaks.REFUSE_AT", 1.1)
    twins = with_twin(phantom_cohort, tmp_path / "twins")
    known = know_cohort(twins, tmp_path / "cache.json", prepare=PREPARE)
    (line,) = known.warnings
    assert line.startswith("patients P001 and P009 may be one person")
    warned: list[str] = []
    scan_cohorts(StudySources(twins), tmp_path / "study", prepare=PREPARE, warn=warned.append)
    assert warned == [line]


def test_prints_are_made_once_and_anew_where_a_file_has_changed(copied, tmp_path, monkeypatch):
    cache, made = tmp_path / "cache.json", []
    monkeypatch.setattr(module, "fingerprints", lambda given, make=module.fingerprints: made.append(1) or make(given))
    first = know_cohort(copied, cache, prepare=PREPARE)
    again = know_cohort(copied, cache, prepare=PREPARE)
    assert len(made) == 3
    for name, prints in first.prints.items():
        assert all(np.array_equal(prints[channel], again.prints[name][channel]) for channel in ("FLAIR", "T1"))
    os.utime(next(copied.rglob("FLAIR.nii.gz")), ns=(1, 1))
    know_cohort(copied, cache, prepare=PREPARE)
    assert len(made) == 4
    place = tmp_path / "cache-fingerprints.npz"
    assert place.stat().st_mode & 0o077 == 0
    place.write_bytes(b"torn")
    know_cohort(copied, cache, prepare=PREPARE)
    assert len(made) == 7


def test_masks_are_hashed_that_an_earlier_version_has_not(copied, tmp_path):
    cache = tmp_path / "cache.json"
    know_cohort(copied, cache)
    told = json.loads(cache.read_text())
    before = [case.pop("mask_hash") for case in told["cases"]]
    cache.write_text(json.dumps(told))
    assert [case.mask_hash for case in know_cohort(copied, cache).cases] == before
    assert any(before)


def test_a_cohort_without_masks_cannot_be_studied(copied, tmp_path):
    for path in copied.rglob("wmh.nii.gz"):
        path.unlink()
    with pytest.raises(DataError, match="no case has a mask"):
        know_cohort(copied, tmp_path / "cache.json")


def test_cases_without_a_mask_are_left_out_and_told(copied, tmp_path):
    next(copied.rglob("wmh.nii.gz")).unlink()
    known = know_cohort(copied, tmp_path / "cache.json")
    assert len(known.cases) == 2
    assert len(known.unlabelled) == 1
