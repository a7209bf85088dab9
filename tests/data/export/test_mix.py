from __future__ import annotations

import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from mixes import a_slice, scan_mask, scans, synthetic_cohort
from nibabel import nifti1
from trees import AFFINE, bids_subject, voxels, wmh_case

from labelgan.core.errors import ConfigError, DataError, LeakError
from labelgan.data.check.integrity import check_cohort
from labelgan.data.export.mix import Exported, export_sources
from labelgan.data.export.sources import Source
from labelgan.data.export.write import FORMATS
from labelgan.data.layouts.detect import LAYOUTS, read_cohort
from labelgan.data.manifests import CohortManifest, read_manifest
from labelgan.data.prepare.cohort import prepare_store
from labelgan.data.pseudonyms import using
from labelgan.data.reading.read import voxel_hash
from labelgan.study.cohort import know_cohort

NIFTI = ["wmh", "bids", "nnunet", "monai"]
IDS = ["p1", "p2", "p3", "p4"]


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> dict[str, Path]:
    """Four scanned patients, and the slices of two generators, each of which saw two of them."""
    root = tmp_path_factory.mktemp("world")
    real = scans(root / "real", IDS)
    return {
        "real": real,
        "a": synthetic_cohort(root / "a", real, exclude=["p1", "p2"]),
        "b": synthetic_cohort(root / "b", real, exclude=["p3", "p4"], format="npz"),
        "blind": synthetic_cohort(root / "blind", real),
        "unknown": synthetic_cohort(root / "unknown", None),
    }


def export(world: dict[str, Path], names: str, out: Path, format: str, **options) -> Exported:
    return export_sources([world[name] for name in names.split()], out, format, **options)


@pytest.mark.parametrize("format", NIFTI)
def test_scans_come_back_voxel_by_voxel_and_where_they_were(world, tmp_path, format):
    done = export(world, "real", tmp_path / "out", format)
    assert (done.real, done.synthetic) == (4, 0)
    report = check_cohort(tmp_path / "out")
    assert report.ok, report.problems
    before = {case.id: case for case in read_cohort(world["real"]).cases}
    for case in report.cohort.cases:
        source = before[case.id.removeprefix("sub-")]
        for channel in ("FLAIR", "T1"):
            volume, wanted = case.load_image(channel), source.load_image(channel)
            assert np.array_equal(volume.data, wanted.data)
            assert np.array_equal(volume.affine, wanted.affine)
        mask, drawn = case.load_mask(), source.load_mask()
        assert mask is not None
        assert drawn is not None
        assert np.array_equal(mask.data, drawn.data)


@pytest.mark.parametrize("format", [*NIFTI, "png", "npz"])
def test_a_mix_keeps_every_label_and_says_who_is_synthetic(world, tmp_path, format):
    if format in NIFTI:
        done = export(world, "real a b", tmp_path / "out", format)
    else:  # noise has no brain to take z-scores in
        done = export(world, "a b", tmp_path / "out", format)
    cases = {case.id.removeprefix("sub-"): case for case in LAYOUTS[_layout(format)].read(tmp_path / "out").cases}
    strip = (lambda name: name.replace("_", "")) if format == "bids" else str
    for folder in "ab":
        for number in range(3):
            mask = cases[strip(f"{folder}_syn{number}")].load_mask()
            assert mask is not None
            assert np.array_equal(mask.data[:, :, 0].T, a_slice(f"syn{number}").mask_HW)
    if format in NIFTI:
        for name in IDS:
            mask = cases[name].load_mask()
            assert mask is not None
            turned = scan_mask(name) if format in ("wmh", "bids") else scan_mask(name)[:, ::-1]
            assert np.array_equal(mask.data, turned)
            hashes = voxel_hash(cases[name].load_image("T1"))
            assert hashes == voxel_hash(read_cohort(world["real"]).cases[IDS.index(name)].load_image("T1"))
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["kind"] == "mixed-cohort"
    assert {entry["id"]: entry["synthetic"] for entry in manifest["cases"]} == {
        **(dict.fromkeys(IDS, False) if format in NIFTI else {}),
        **{f"{folder}_syn{number}": True for folder in "ab" for number in range(3)},
    }
    assert (done.real, done.synthetic) == (4 if format in NIFTI else 0, 6)
    if format in NIFTI:
        told = check_cohort(tmp_path / "out")
        assert sum(case.synthetic for case in told.cohort.cases) == 6
        assert not [problem for problem in told.problems if "single-voxel" in problem.reason]


def _layout(format: str) -> str:
    layout = FORMATS[format].layout
    assert layout is not None
    return layout


def test_folds_keep_synthetic_cases_out_of_validation_and_patients_from_their_generator(world, tmp_path):
    done = export(world, "real a b", tmp_path / "out", "nnunet")
    splits = json.loads((tmp_path / "out" / "splits_final.json").read_text())
    made = {folder: [f"{folder}_syn{number}" for number in range(3)] for folder in "ab"}
    assert splits == [
        {"train": ["p3", "p4", *made["a"]], "val": ["p1", "p2"]},
        {"train": ["p1", "p2", *made["b"]], "val": ["p3", "p4"]},
    ]
    assert done.never_validated == ()
    alone = export(world, "real a", tmp_path / "alone", "nnunet")
    assert alone.never_validated == ("p3", "p4")
    assert {name for fold in alone.folds for name in fold.validation} == {"p1", "p2"}
    assert (tmp_path / "alone" / "imagesTr" / "syn0_0000.nii.gz").is_file()  # no clash of ids: as they are


@pytest.mark.parametrize(("keyed", "names"), [(False, ("scans-1", "scans-2")), (True, ("cohort-1", "cohort-2"))])
def test_folders_of_one_name_are_numbered_and_those_above_them_not_told(tmp_path, keyed, names):
    (tmp_path / "key").write_bytes(bytes(32))
    roots = []
    for number, above in enumerate(("JaneDoe", "RichardRoe")):
        roots.append(tmp_path / above / "scans")
        wmh_case(roots[-1] / "Utrecht" / "p1", number)
    with using(tmp_path / "key" if keyed else None):
        export_sources(roots, tmp_path / "out", "nnunet")
        ids = sorted(case.id for root in roots for case in read_cohort(root).cases)
    files = sorted(path.name for path in (tmp_path / "out" / "labelsTr").iterdir())
    assert files == [f"{name}_{identifier}.nii.gz" for name, identifier in zip(names, ids, strict=True)]
    assert not any("Doe" in path.read_text() for path in (tmp_path / "out").glob("*.json"))


def test_a_scan_that_a_generator_saw_under_other_names_is_found_by_its_voxels(world, tmp_path):
    renamed = tmp_path / "renamed"
    for name in IDS:
        shutil.copytree(world["real"] / "Utrecht" / name, renamed / "Utrecht" / f"q{name}")
    done = export_sources([renamed, world["a"]], tmp_path / "out", "nnunet")
    assert {name for fold in done.folds for name in fold.validation} == {"qp1", "qp2"}
    with pytest.raises(LeakError, match=r"blind: its generator has seen all 4 annotated patients"):
        export_sources([renamed, world["blind"]], tmp_path / "no", "nnunet")
    assert not (tmp_path / "no").exists()


def test_what_names_tell_is_refused_before_anything_is_read(world, tmp_path, monkeypatch):
    monkeypatch.setattr(Source, "read", lambda *_, **__: pytest.fail("a case was read"))
    with pytest.raises(LeakError, match="has seen all 4 annotated patients"):
        export(world, "real blind", tmp_path / "out", "nnunet")


@pytest.mark.parametrize("format", ["nnunet", "monai"])
def test_what_would_leak_is_refused_and_leaves_nothing(world, tmp_path, format):
    with pytest.raises(LeakError, match=r"blind: its generator has seen all 4 annotated patients"):
        export(world, "real blind", tmp_path / "out", format)
    with pytest.raises(LeakError, match=r"unknown: its manifest does not tell"):
        export(world, "real unknown", tmp_path / "out", format)
    assert list(tmp_path.iterdir()) == []


def test_a_scan_for_test_that_a_generator_has_seen_is_refused(world, tmp_path):
    moved = tmp_path / "moved"
    shutil.copytree(world["real"] / "Utrecht" / "p3", moved / "test" / "Utrecht" / "p3")
    shutil.copytree(world["real"] / "Utrecht" / "p1", moved / "training" / "Utrecht" / "p1")
    with pytest.raises(LeakError, match=r"a: was made from the held-out case p3"):
        export_sources([moved, world["a"]], tmp_path / "out", "nnunet")
    done = export_sources([moved, world["b"]], tmp_path / "out", "nnunet", exclude=["p1"])
    assert done.folds == ()
    assert sorted(path.name for path in (tmp_path / "out" / "labelsTs").iterdir()) == ["p3.nii.gz"]


@pytest.mark.parametrize("format", ["wmh", "nnunet", "png", "npz"])
def test_synthetic_slices_alone_stay_what_they_were(world, tmp_path, format):
    export(world, "a", tmp_path / "out", format)
    report = check_cohort(tmp_path / "out")
    assert report.ok, report.problems
    assert report.cohort.slices_only
    assert (tmp_path / "out" / "card.md").is_file()
    before, after = (read_manifest(root, CohortManifest) for root in (world["a"], tmp_path / "out"))
    assert before.seen == after.seen
    assert Source.open(tmp_path / "out").synthetic


def test_no_word_of_a_source_header_is_in_an_export(world, tmp_path):
    root = tmp_path / "real"
    shutil.copytree(world["real"], root)
    for path in root.rglob("*.nii.gz"):
        image = nifti1.load(path)
        image.header["descrip"] = image.header["db_name"] = image.header["aux_file"] = b"SECRET"
        image.header["intent_name"] = b"SECRET"
        image.header.extensions.append(nifti1.Nifti1Extension("comment", b"SECRET"))
        nib.save(nifti1.Nifti1Image(np.asanyarray(image.dataobj), None, image.header), path)
    for format in NIFTI:
        export_sources([root], tmp_path / format, format)
        for path in (tmp_path / format).rglob("*"):
            if path.name.endswith(".nii.gz"):
                image = nifti1.load(path)
                assert b"SECRET" not in image.header.binaryblock
                assert len(image.header.extensions) == 0
            elif path.is_file():
                assert b"SECRET" not in path.read_bytes()


def test_other_pathology_can_be_left_out(world, tmp_path):
    export(world, "real", tmp_path / "out", "nnunet", drop_other=True)
    assert json.loads((tmp_path / "out" / "dataset.json").read_text())["labels"] == {"background": 0, "lesion": 1}
    for case in read_cohort(tmp_path / "out").cases:
        mask = case.load_mask()
        assert mask is not None
        assert np.array_equal(mask.data, np.where(scan_mask(case.id) == 2, 0, scan_mask(case.id)))


def test_channels_can_be_chosen_and_ordered(world, tmp_path):
    export(world, "real a", tmp_path / "out", "nnunet", channels=["T1"])
    image = nifti1.load(tmp_path / "out" / "imagesTr" / "p1_0000.nii.gz")
    assert np.array_equal(np.asanyarray(image.dataobj), voxels("T1", "p1")[:, ::-1])
    assert not np.array_equal(np.asarray(image.affine), AFFINE)
    told = json.loads((tmp_path / "out" / "dataset.json").read_text())
    assert told["channel_names"] == {"0": "T1"}


def test_one_scan_under_two_patients_is_refused(world, tmp_path):
    twice = tmp_path / "twice"
    shutil.copytree(world["real"] / "Utrecht" / "p1", twice / "Utrecht" / "q1")
    with pytest.raises(DataError, match=r"patient q1 has the voxels of case p1 of patient p1; --exclude one of them"):
        export_sources([world["real"], twice], tmp_path / "out", "wmh")
    assert not (tmp_path / "out").exists()


def test_a_mix_is_for_other_tools(world, tmp_path):
    """Here its slices would count as patients."""
    out = tmp_path / "out"
    export(world, "real a", out, "wmh")
    for work in (
        lambda: export_sources([out], tmp_path / "again", "wmh"),
        lambda: prepare_store(out, tmp_path / "again"),
        lambda: know_cohort(out, tmp_path / "cache.json"),
    ):
        with pytest.raises(LeakError, match=r"out: holds scans and synthetic slices together"):
            work()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("format", ["nnunet", "monai", "wmh", "bids"])
def test_two_sessions_stay_one_patient(tmp_path, format):
    for session in ("a", "b"):
        bids_subject(tmp_path / "bids", "01", session)
    bids_subject(tmp_path / "bids", "02", "a")
    done = export_sources([tmp_path / "bids"], tmp_path / "out", format)
    assert sorted(case.patient for case in read_cohort(tmp_path / "out").cases) == ["sub-01", "sub-01", "sub-02"]
    assert {frozenset(fold.validation) for fold in done.folds} == (
        {frozenset({"sub-01_ses-a", "sub-01_ses-b"}), frozenset({"sub-02_ses-a"})}
        if format in ("nnunet", "monai")
        else set()
    )


def test_wrong_requests(world, tmp_path):
    def refused(error, match, names="real", format="nnunet", **options):
        with pytest.raises(error, match=match):
            export(world, names, tmp_path / "out", format, **options)

    refused(ConfigError, r"^--format zip: unknown format; one of wmh, bids, nnunet", format="zip")
    refused(ConfigError, r"^--folds 3: wmh keeps no folds; nnunet and monai do$", format="wmh", folds=3)
    refused(ConfigError, r"^--exclude p9: no such case or patient$", exclude=["p9"])
    refused(DataError, r"real: no case is left to export$", exclude=IDS)
    refused(ConfigError, r"^--folds 7: there are 4 patients", folds=7)
    with pytest.raises(ConfigError, match="name at least one cohort"):
        export_sources([], tmp_path / "out", "wmh")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("mine")
    with pytest.raises(DataError, match="is not empty; name another folder"):
        export(world, "real", tmp_path / "full", "wmh")
    assert {path.name for path in tmp_path.iterdir()} == {"full"}
