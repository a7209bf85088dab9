from __future__ import annotations

import gzip
import json
import shutil
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from trees import (
    AFFINE,
    SHAPE,
    lesion_mask,
    mask_of,
    nnunet_cohort,
    rows,
    save,
    save_picture,
    voxels,
    wmh_case,
    wmh_cohort,
)

from labelgan.config.base import CheckConfig
from labelgan.core.errors import DataError
from labelgan.data.check.integrity import check_cohort
from labelgan.data.layouts.detect import read_cohort
from labelgan.data.prepare.case import require_same_grid

CASE = Path("Utrecht/p2")
FLAIR, T1, MASK = CASE / "pre/FLAIR.nii.gz", CASE / "pre/T1.nii.gz", CASE / "wmh.nii.gz"


def write(relative: Path, content: bytes) -> Callable[[Path], object]:
    return lambda root: (root / relative).write_bytes(content)


def store(relative: Path, data: np.ndarray, affine: np.ndarray = AFFINE) -> Callable[[Path], object]:
    return lambda root: save(root / relative, data, affine)


def remove(relative: Path) -> Callable[[Path], object]:
    return lambda root: (root / relative).unlink()


def cut(relative: Path, keep: float) -> Callable[[Path], object]:
    def plant(root: Path) -> None:
        content = (root / relative).read_bytes()
        (root / relative).write_bytes(content[: int(len(content) * keep)])

    return plant


def with_header(relative: Path, **fields: object) -> Callable[[Path], object]:
    def plant(root: Path) -> None:
        content = bytearray(gzip.decompress((root / relative).read_bytes()))
        header = nib.Nifti1Header(bytes(content[:348]), check=False)
        for name, value in fields.items():
            header[name] = value
        content[:348] = header.binaryblock
        (root / relative).write_bytes(gzip.compress(bytes(content)))

    return plant


def spoilt(value: float) -> np.ndarray:
    data = voxels("x").astype(np.float32)
    data[2, 3, 1] = value
    return data


def shifted(millimetres: float) -> np.ndarray:
    affine = AFFINE.copy()
    affine[1, 3] += millimetres
    return affine


FAULTS: dict[str, tuple[Callable[[Path], object], Path | None, str, str]] = {
    # name: (how to plant it, the file it is told of, the severity, a part of its reason)
    "empty file": (write(FLAIR, b""), FLAIR, "error", "empty file"),
    "web page": (write(FLAIR, b"<html>not found</html>"), FLAIR, "error", "web page"),
    "plain text": (write(T1, b"scanner notes"), T1, "error", "not a NIfTI"),
    "truncated gzip": (cut(FLAIR, 0.6), FLAIR, "error", "truncated"),
    "cut inside the header": (cut(T1, 0.05), T1, "error", "truncated"),
    "gzip with a flipped checksum": (
        lambda root: (root / FLAIR).write_bytes((root / FLAIR).read_bytes()[:-8] + bytes(8)),
        FLAIR,
        "error",
        "corrupted",
    ),
    "terabytes claimed": (
        with_header(FLAIR, dim=[3, 30000, 30000, 30000, 1, 1, 1, 1]),
        FLAIR,
        "error",
        "more than the limit",
    ),
    "more voxels claimed than stored": (
        with_header(FLAIR, dim=[3, 60, 70, 50, 1, 1, 1, 1]),
        FLAIR,
        "error",
        "truncated",
    ),
    "negative axis": (with_header(FLAIR, dim=[3, 6, -7, 5, 1, 1, 1, 1]), FLAIR, "error", "at least one voxel"),
    "gzip bomb": (
        lambda root: (root / FLAIR).write_bytes(
            gzip.compress(gzip.decompress((root / FLAIR).read_bytes()) + bytes(3_000_000))
        ),
        FLAIR,
        "error",
        "goes on after",
    ),
    "unknown data type": (with_header(T1, datatype=999), T1, "error", "data type"),
    "complex voxels": (with_header(T1, datatype=32), T1, "error", "complex"),
    "singular affine": (with_header(T1, srow_x=[0, 0, 0, 0]), T1, "error", "singular"),
    "affine with NaN": (with_header(T1, srow_x=[np.nan, 0, 0, 0]), T1, "error", "NaN"),
    "shape differs": (
        store(T1, voxels("x", shape=(6, 7, 6))),
        T1,
        "error",
        "6×7×6 differs from 6×7×5 of FLAIR",
    ),
    "affine differs": (store(T1, voxels("x"), shifted(2)), T1, "error", "grid corners 2 mm apart"),
    "orientation differs": (store(T1, voxels("x"), AFFINE @ np.diag([-1, 1, 1, 1])), T1, "error", "affine differs"),
    "mask shape differs": (store(MASK, lesion_mask("x", shape=(6, 7, 4))), MASK, "error", "differs"),
    "mask affine differs": (store(MASK, lesion_mask("x"), shifted(0.5)), MASK, "error", "0.5 mm apart"),
    "NaN": (store(FLAIR, spoilt(np.nan)), FLAIR, "error", "1 voxels are NaN or infinite"),
    "infinity": (store(FLAIR, spoilt(-np.inf)), FLAIR, "error", "1 voxels are NaN or infinite"),
    "4-D": (store(T1, voxels("x", shape=(6, 7, 5, 2))), T1, "error", "4-D"),
    "constant image": (store(T1, np.full(SHAPE, 9, np.int16)), T1, "error", "constant (9 everywhere)"),
    "all-zero image": (store(T1, np.zeros(SHAPE, np.int16)), T1, "error", "all zero"),
    "mask of 0 and 255": (store(MASK, mask_of(0, 255)), MASK, "error", "values 0, 255: expected 0, 1, 2"),
    "mask of 0, 1, 255": (store(MASK, mask_of(0, 1, 255)), MASK, "error", "values 0, 1, 255"),
    "mask of probabilities": (store(MASK, mask_of(0, 0.25, 1)), MASK, "error", "threshold it"),
    "mask through a wrong slope": (with_header(MASK, scl_slope=0.5), MASK, "error", "values 0, 0.5, 1"),
    "mask with NaN": (store(MASK, mask_of(0, 1, np.nan)), MASK, "error", "NaN"),
    "mask of label 2 alone": (store(MASK, mask_of(0, 2)), MASK, "warning", "only label 2"),
    "empty mask": (store(MASK, mask_of(0)), MASK, "warning", "empty"),
    "unreadable mask": (write(MASK, b""), MASK, "error", "empty file"),
    "missing T1": (remove(T1), CASE / "pre", "error", "missing T1"),
    "missing FLAIR": (remove(FLAIR), CASE / "pre", "error", "missing FLAIR"),
    "no images at all": (lambda root: shutil.rmtree(root / CASE / "pre"), CASE, "error", "missing FLAIR and T1"),
    "missing mask": (remove(MASK), CASE / "pre", "warning", "no mask"),
    "T1 is FLAIR": (
        lambda root: shutil.copy(root / FLAIR, root / T1),
        T1,
        "error",
        "T1 holds the same voxels as FLAIR",
    ),
    "qform against sform": (
        with_header(FLAIR, qoffset_x=40),
        FLAIR,
        "warning",
        "qform and sform differ (36 mm apart)",
    ),
    "site without cases": (
        lambda root: (root / "Singapore").mkdir(),
        Path("Singapore"),
        "warning",
        "holds no case",
    ),
    "damaged brain mask": (
        write(CASE / "brain_mask.nii.gz", b"x"),
        CASE / "brain_mask.nii.gz",
        "warning",
        "brain mask",
    ),
    "empty brain mask": (
        store(CASE / "brain_mask.nii.gz", mask_of(0)),
        CASE / "brain_mask.nii.gz",
        "warning",
        "brain mask is empty",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_told_once_and_nothing_else(tmp_path: Path, fault: str) -> None:
    plant, file, severity, reason = FAULTS[fault]
    wmh_cohort(tmp_path)
    plant(tmp_path)
    report = check_cohort(tmp_path)
    case = None if fault == "site without cases" else "p2"
    assert rows(report) == [(case, None if file is None else file.as_posix(), severity)], report.problems
    assert reason in report.problems[0].reason
    assert "\n" not in report.problems[0].reason
    assert report.ok == (severity == "warning")
    json.dumps(report.to_json(), allow_nan=False)


# What the message about a common fault says to do next.
CURES: dict[str, str] = {
    "truncated gzip": "copy or download the file again",
    "more voxels claimed than stored": "copy or download the file again",
    "web page": "fetch the file again",
    "4-D": "extract one volume",
    "shape differs": "resample it onto that grid (a mask by nearest neighbour), or export it again",
    "mask shape differs": "resample it onto that grid (a mask by nearest neighbour), or export it again",
    "affine differs": "resample it onto that grid (a mask by nearest neighbour), or export it again",
    "NaN": "make the image again, or leave the case out (`labelgan prepare --exclude ID`)",
    "mask of 0 and 255": "divide by 255, or say what 255 means by storing 1 (lesion) or 2 (other pathology)",
    "mask of probabilities": "it looks like a probability map or an interpolated mask: threshold it",
    "missing T1": "add it, or leave the case out (`labelgan prepare --exclude ID`)",
    "T1 is FLAIR": "fetch the right file",
}


@pytest.mark.parametrize("fault", CURES)
def test_a_common_fault_is_told_with_its_cure(tmp_path: Path, fault: str) -> None:
    wmh_cohort(tmp_path)
    FAULTS[fault][0](tmp_path)
    (problem,) = check_cohort(tmp_path).problems
    assert problem.reason.endswith(CURES[fault])
    assert "\n" not in problem.reason


def test_all_faults_at_once(tmp_path: Path) -> None:
    """One pass tells everything, whatever comes first."""
    wmh_cohort(tmp_path, tuple(f"case-{index:02d}" for index in range(len(FAULTS) + 1)))
    told = 0
    for index, (fault, (plant, _, _, _)) in enumerate(FAULTS.items(), start=1):
        if fault == "site without cases":
            continue
        shutil.move(tmp_path / "Utrecht" / f"case-{index:02d}", tmp_path / CASE)
        plant(tmp_path)
        shutil.move(tmp_path / CASE, tmp_path / "Utrecht" / f"case-{index:02d}")
        told += 1
    report = check_cohort(tmp_path)
    by_case = {problem.case for problem in report.problems}
    assert len(by_case) == told
    assert "case-00" not in by_case


@pytest.mark.parametrize("ending", [".nii.gz", ".nii"])
def test_a_sound_cohort_has_no_problem(tmp_path: Path, ending: str) -> None:
    for identifier in ("a", "b"):
        wmh_case(tmp_path / "S" / identifier, ending=ending)
    report = check_cohort(tmp_path)
    assert report.problems == ()
    assert report.ok
    assert set(report.hashes) == {"a", "b"}
    assert set(report.hashes["a"]) == {"FLAIR", "T1"}


def test_the_json_contract(tmp_path: Path) -> None:
    wmh_cohort(tmp_path, ("p1", "p2"))
    (tmp_path / "Utrecht/p2/wmh.nii.gz").unlink()
    result = json.loads(json.dumps(check_cohort(tmp_path).to_json()))
    assert list(result) == ["layout", "cases", "problems"]
    assert result["layout"] == "wmh"
    first = result["cases"][0]
    wanted = {"id", "patient", "site", "session", "split", "channels", "shape", "spacing_mm", "mask"}
    assert wanted <= set(first)
    assert first["id"] == "p1"
    assert first["channels"] == ["FLAIR", "T1"]
    assert first["shape"] == list(SHAPE)
    assert first["spacing_mm"] == [1.0, 1.5, 3.0]
    assert first["mask"] == "Utrecht/p1/wmh.nii.gz"
    assert result["cases"][1]["mask"] is None
    assert [set(problem) for problem in result["problems"]] == [{"case", "file", "reason", "severity"}]


def test_progress_counts_cases(tmp_path: Path) -> None:
    wmh_cohort(tmp_path)
    seen: list[tuple[int, int]] = []
    check_cohort(tmp_path, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_a_folder_without_cohort_is_an_error_not_a_problem(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no layout recognised"):
        check_cohort(tmp_path)


def test_the_grid_tolerance_can_be_set(tmp_path: Path) -> None:
    wmh_cohort(tmp_path)
    store(T1, voxels("x"), shifted(0.5))(tmp_path)
    assert not check_cohort(tmp_path).ok
    assert check_cohort(tmp_path, CheckConfig.build({"grid_tolerance_mm": 0.6})).ok


@pytest.mark.parametrize(
    ("voxels_off", "severity"), [(0.04, None), (0.06, "warning"), (0.24, "warning"), (0.26, "error"), (1.0, "error")]
)
def test_a_header_that_was_rounded_is_no_other_grid(tmp_path: Path, voxels_off: float, severity: str | None) -> None:
    """Rows are 1.5 mm apart: the same in `check` and in `prepare`, which takes the voxels as they stand."""
    wmh_cohort(tmp_path)
    store(MASK, lesion_mask("x"), shifted(1.5 * voxels_off))(tmp_path)
    found = [problem for problem in check_cohort(tmp_path).problems if "affine differs" in problem.reason]
    assert [problem.severity for problem in found] == ([] if severity is None else [severity])
    case = next(case for case in read_cohort(tmp_path) if case.mask is not None and case.mask.path == tmp_path / MASK)
    mask, grid = case.load_mask(), case.load_image("FLAIR")
    assert mask is not None
    if severity == "error":
        with pytest.raises(DataError, match="mm from the first channel's"):
            require_same_grid(mask, grid, tmp_path / MASK)
    else:
        require_same_grid(mask, grid, tmp_path / MASK)


@pytest.mark.parametrize("spacing", [0.001, 80.0])
def test_implausible_spacing_is_told_of_every_file(tmp_path: Path, spacing: float) -> None:
    wmh_cohort(tmp_path)
    affine = AFFINE @ np.diag([1, 1, spacing / 3, 1])
    store(FLAIR, voxels("x"), affine)(tmp_path)
    store(T1, voxels("y"), affine)(tmp_path)
    store(MASK, lesion_mask("z"), affine)(tmp_path)
    report = check_cohort(tmp_path)
    assert rows(report) == [("p2", path.as_posix(), "warning") for path in (FLAIR, T1, MASK)]
    assert f"implausible voxel size 1×1.5×{spacing:g} mm" in report.problems[0].reason


@pytest.mark.parametrize("name", ["a b", "é", "x" * 65, "a'b", "a;b"])
def test_unsafe_ids(tmp_path: Path, name: str) -> None:
    wmh_cohort(tmp_path)
    wmh_case(tmp_path / "Utrecht" / name)
    problems = check_cohort(tmp_path).problems
    assert [(problem.case, problem.severity) for problem in problems] == [(name, "error")]
    assert "unsafe id" in problems[0].reason


# --- duplicates --------------------------------------------------------------------------------------------------


# --- slices and pictures -----------------------------------------------------------------------------------------


def slice_case(folder: Path) -> None:
    save(folder / "pre" / "FLAIR.nii.gz", voxels("F", folder.name, shape=(6, 7, 1)))
    save(folder / "pre" / "T1.nii.gz", voxels("T", folder.name, shape=(6, 7, 1)))
    save(folder / "wmh.nii.gz", lesion_mask(folder.name, shape=(6, 7, 1)).astype(np.float32))


def test_single_slices_are_refused_unless_the_manifest_declares_them(tmp_path: Path) -> None:
    for name in ("s1", "s2"):
        slice_case(tmp_path / "Synthetic" / name)
    report = check_cohort(tmp_path)
    assert [problem.severity for problem in report.problems] == ["error"] * 6
    assert all("single-voxel axis: shape 6×7×1" in problem.reason for problem in report.problems)
    (tmp_path / "manifest.json").write_text('{"kind": "synthetic-slices", "samples": [{"id": "s1"}, {"id": "s2"}]}')
    assert check_cohort(tmp_path).problems == ()


def test_pictures_may_be_single_black_and_without_lesion(tmp_path: Path) -> None:
    for name in ("a", "b", "c", "d"):
        image = (voxels(name, shape=(9, 8)) % 250).astype(np.uint8) * (name < "c")
        save_picture(tmp_path / "images" / f"{name}.png", image)
        save_picture(tmp_path / "masks" / f"{name}.png", np.eye(9, 8, dtype=np.uint8) * 255 * (name == "a"))
    report = check_cohort(tmp_path)
    assert report.ok
    assert [(problem.case, problem.reason) for problem in report.problems] == [
        ("c", "the image is all zero"),
        ("d", "the image is all zero"),
    ]


def test_pictures_of_other_sizes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save_picture(tmp_path / "images" / f"{name}.png", (voxels(name, shape=(9, 8)) % 250).astype(np.uint8))
        save_picture(tmp_path / "masks" / f"{name}.png", np.eye(9, 8 + (name == "b"), dtype=np.uint8) * 255)
    report = check_cohort(tmp_path)
    assert rows(report) == [("b", "masks/b.png", "error")]
    assert "shape 9×9×1 differs from 8×9×1 of ch0" in report.problems[0].reason


def test_labels_of_the_dataset_are_respected(tmp_path: Path) -> None:
    nnunet_cohort(tmp_path, {"background": 0, "lesion": 4, "other": 1})
    report = check_cohort(tmp_path)
    assert all("only label 2" in problem.reason for problem in report.problems[:2])
    save(tmp_path / "labelsTr/c1.nii.gz", mask_of(0, 4))
    save(tmp_path / "labelsTr/c2.nii.gz", mask_of(0, 1, 2, 4))
    report = check_cohort(tmp_path)
    assert rows(report) == [("c2", "labelsTr/c2.nii.gz", "error")]
    assert "values 0, 1, 2, 4: expected 0, 1, 4" in report.problems[0].reason
    assert report.facts[0].lesion_voxels == int((mask_of(0, 4) == 4).sum())


def test_memory_is_bounded_by_one_case(tmp_path: Path) -> None:
    shape = (128, 96, 32)
    for identifier in range(6):
        for name in ("pre/FLAIR", "pre/T1"):
            save(tmp_path / "S" / f"p{identifier}" / f"{name}.nii.gz", voxels(name, identifier, shape=shape))
        save(tmp_path / "S" / f"p{identifier}" / "wmh.nii.gz", lesion_mask(identifier, shape=shape))
    check_cohort(tmp_path)  # imports and caches
    tracemalloc.start()
    check_cohort(tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * 4 * np.prod(shape)  # float32 voxels of one image, a few times over


def test_faults_of_a_whole_cohort_are_told_with_their_cures(tmp_path: Path) -> None:
    twice, bare, empty = tmp_path / "twice", tmp_path / "bare", tmp_path / "empty"
    wmh_cohort(twice)
    shutil.copytree(twice / CASE, twice / "Utrecht" / "p9")
    (problem,) = check_cohort(twice).problems
    assert problem.reason.endswith(": remove one, or leave it out (`labelgan prepare --exclude ID`)")
    wmh_case(bare / "S" / "p1", mask=False)
    (problem,) = check_cohort(bare).problems
    assert problem.reason == "no case has a mask: look where the wmh layout wants masks (docs/guides/own-data.md)"
    empty.mkdir()
    with pytest.raises(DataError, match=r"`labelgan phantom EXAMPLE` writes one to compare$"):
        check_cohort(empty)


def test_ids_that_differ_in_case_alone_are_duplicates(tmp_path: Path) -> None:
    for name in ("scan", "Scan"):
        save_picture(tmp_path / "images" / f"{name}.png", (voxels(name, shape=(9, 9)) % 250).astype(np.uint8))
        save_picture(tmp_path / "masks" / f"{name}.png", np.eye(9, dtype=np.uint8))
    if len(list((tmp_path / "images").iterdir())) < 2:
        pytest.skip("this file system takes no notice of case")
    problems = check_cohort(tmp_path).problems
    assert len(problems) == 1
    assert "duplicate id" in problems[0].reason


def test_two_files_of_one_name_are_duplicate_ids(tmp_path: Path) -> None:
    for ending in ("png", "tif"):
        save_picture(tmp_path / "images" / f"a.{ending}", (voxels(ending, shape=(9, 9)) % 250).astype(np.uint8))
        save_picture(tmp_path / "masks" / f"a.{ending}", np.eye(9, dtype=np.uint8))
    problems = check_cohort(tmp_path).problems
    assert [(problem.case, problem.severity) for problem in problems] == [("a", "error")]
    assert "duplicate id" in problems[0].reason


def test_the_same_scan_under_two_ids(tmp_path: Path) -> None:
    wmh_cohort(tmp_path)
    shutil.copytree(tmp_path / CASE, tmp_path / "Singapore" / "p9")
    problems = check_cohort(tmp_path).problems
    assert len(problems) == 1
    told = problems[0]
    assert (told.case, told.severity) == ("p2", "error")  # Singapore is read before Utrecht
    assert told.file == tmp_path / CASE / "pre/FLAIR.nii.gz"
    for part in ("case p9", "FLAIR, T1", "Singapore/p9/pre/FLAIR.nii.gz", "patients p9 and p2"):
        assert part in told.reason


@pytest.mark.parametrize("flips", [(1, -1, -1), (-1, 1, 1), (-1, -1, -1)])
def test_the_same_scan_stored_in_another_way(tmp_path: Path, flips: tuple[int, int, int]) -> None:
    """Flipped and transposed storage, another type, no compression, other millimetres."""
    wmh_cohort(tmp_path, ("p1",))
    orientation = [[1, flips[0]], [0, flips[1]], [2, flips[2]]]
    folder = tmp_path / "Utrecht" / "p1"
    for name in ("pre/FLAIR", "pre/T1", "wmh"):
        image = nib.Nifti1Image.from_filename(folder / f"{name}.nii.gz").as_reoriented(orientation)
        save(
            tmp_path / "Other" / "q1" / f"{name}.nii",
            np.asarray(image.dataobj).astype(np.float64),
            np.array(image.affine),
        )
    problems = check_cohort(tmp_path).problems
    assert [(problem.case, problem.severity) for problem in problems] == [("p1", "error")]
    assert "same voxels as case q1" in problems[0].reason


def test_the_same_scan_as_two_sessions_of_one_patient(tmp_path: Path) -> None:
    for session in ("01", "02"):
        for suffix in ("T1w", "FLAIR"):
            folder = tmp_path / "sub-01" / f"ses-{session}" / "anat"
            save(folder / f"sub-01_ses-{session}_{suffix}.nii.gz", voxels(suffix))
        folder = tmp_path / "derivatives" / "x" / "sub-01" / f"ses-{session}" / "anat"
        save(folder / f"sub-01_ses-{session}_label-lesion_mask.nii.gz", lesion_mask(session))
    problems = check_cohort(tmp_path).problems
    assert [(problem.case, problem.severity) for problem in problems] == [("sub-01_ses-02", "error")]
    assert "the same patient, sub-01" in problems[0].reason


def test_one_channel_shared_under_another_name(tmp_path: Path) -> None:
    wmh_cohort(tmp_path)
    shutil.copy(tmp_path / "Utrecht/p1/pre/FLAIR.nii.gz", tmp_path / "Utrecht/p3/pre/T1.nii.gz")
    problems = check_cohort(tmp_path).problems
    assert [problem.case for problem in problems] == ["p3"]
    assert "(T1 as its FLAIR; Utrecht/p1/pre/FLAIR.nii.gz)" in problems[0].reason


def test_a_cohort_without_masks(tmp_path: Path) -> None:
    for name in ("p1", "p2"):
        wmh_case(tmp_path / "train" / "S" / name, mask=False)
    assert rows(check_cohort(tmp_path)) == [(None, ".", "error")]
    (tmp_path / "train").rename(tmp_path / "test")
    assert rows(check_cohort(tmp_path)) == [(None, ".", "warning")]


def test_a_cohort_without_a_lesion(tmp_path: Path) -> None:
    wmh_cohort(tmp_path, ("p1",))
    save(tmp_path / "Utrecht/p1/wmh.nii.gz", mask_of(0))
    problems = check_cohort(tmp_path).problems
    assert [problem.reason for problem in problems] == ["the mask is empty", "no mask of the cohort holds a lesion"]
