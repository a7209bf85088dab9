from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from trees import lesion_mask, nnunet_cohort, save, wmh_case, wmh_cohort

from labelgan.core.errors import DataError
from labelgan.data.layouts.detect import read_cohort
from labelgan.data.volume import ImageRef
from labelgan.scoring.match import find_masks, find_predictions, find_references, match


@pytest.fixture
def two_sites(tmp_path) -> Path:
    """Ids in the cohort's order: 2, Alpha_1, 3, Beta_1."""
    for site, ids in {"Alpha": ("1", "2"), "Beta": ("1", "3")}.items():
        wmh_cohort(tmp_path / "cohort", ids, site)
    return tmp_path / "cohort"


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    return root


def matched(reference: Path, predictions: Path) -> dict[str, str | None]:
    """Case id to where its prediction lies; none may be claimed twice."""
    pairs = match(find_references(reference), find_predictions(predictions)).pairs
    assert not any(isinstance(found, DataError) for _, found in pairs)
    return {
        case.id: found.path.relative_to(predictions).as_posix() if isinstance(found, ImageRef) else None
        for case, found in pairs
    }


@pytest.mark.parametrize(
    "names",
    [
        ("Alpha_1/result.nii.gz", "2/result.nii.gz", "Beta_1/result.nii.gz", "3/result.nii.gz"),
        ("Alpha_1.nii.gz", "2.nii.gz", "Beta_1.nii.gz", "3.nii.gz"),
        ("Alpha/1/result.nii.gz", "Alpha/2/result.nii.gz", "Beta/1/result.nii.gz", "Beta/3/result.nii.gz"),
        ("Alpha/1/wmh.nii", "Alpha/2/wmh.nii", "Beta/1/wmh.nii", "Beta/3/wmh.nii"),
        ("Alpha_1_pred.nii.gz", "2_seg.nii.gz", "Beta_1_mask.nii.gz", "3_dseg.nii.gz"),
        ("Alpha/1.nii.gz", "Alpha/2.nii.gz", "Beta/1.nii.gz", "Beta/3.nii.gz"),
    ],
)
def test_ways_to_name_predictions(two_sites, tmp_path, names) -> None:
    found = matched(two_sites, touch(tmp_path / "out", *names))
    assert found == dict(zip(("Alpha_1", "2", "Beta_1", "3"), names, strict=True))
    assert match(find_references(two_sites), find_predictions(tmp_path / "out")).extra == ()


def test_what_belongs_to_nobody_is_extra_and_who_has_none_is_told(two_sites, tmp_path) -> None:
    out = touch(tmp_path / "out", "2/result.nii.gz", "stranger/result.nii.gz", "1/result.nii.gz", "notes.txt")
    result = match(find_references(two_sites), find_predictions(out))
    assert [case.id for case, found in result.pairs if found is None] == ["Alpha_1", "3", "Beta_1"]
    # two cases go by the number 1, each with its site; a plain 1 is neither's
    assert result.extra == (out / "1" / "result.nii.gz", out / "stranger" / "result.nii.gz")


def test_probabilities_beside_a_result_are_no_predictions(two_sites, tmp_path) -> None:
    out = touch(tmp_path / "out", "2/result.nii.gz", "2/probability.nii.gz", "3/probability.nii.gz")
    assert matched(two_sites, out) == {**dict.fromkeys(("Alpha_1", "Beta_1", "3")), "2": "2/result.nii.gz"}
    # alone it is told of: a result is missing
    assert match(find_references(two_sites), find_predictions(out)).extra == (out / "3" / "probability.nii.gz",)
    container = touch(tmp_path / "container", "result.nii.gz", "probability.nii.gz")
    wmh_case(tmp_path / "one" / "7")
    assert matched(tmp_path / "one", container) == {"7": "result.nii.gz"}


def test_a_name_that_is_one_cases_id_is_its_own(tmp_path) -> None:
    wmh_cohort(tmp_path / "cohort", ("1",), "Alpha")
    wmh_case(tmp_path / "cohort" / "1")
    out = touch(tmp_path / "out", "1/result.nii.gz")
    assert matched(tmp_path / "cohort", out) == {"1": "1/result.nii.gz", "Alpha_1": None}


def test_a_second_readers_cohort_is_a_prediction(two_sites, tmp_path) -> None:
    second = tmp_path / "second"
    shutil.copytree(two_sites, second)
    masks = {case.id: case.mask.path.relative_to(two_sites) for case in read_cohort(two_sites).cases if case.mask}
    assert matched(two_sites, second) == {case: path.as_posix() for case, path in masks.items()}
    assert match(find_references(two_sites), find_predictions(second)).extra == ()
    for path in second.rglob("wmh.nii.gz"):  # a result beside the second reader's mask comes first
        touch(path.parent, "result.nii.gz")
    assert set(matched(two_sites, second).values()) == {
        f"{path.parent.as_posix()}/result.nii.gz" for path in masks.values()
    }


def test_two_predictions_of_one_case_are_not_guessed_between(two_sites, tmp_path) -> None:
    out = touch(tmp_path / "out", "2.nii.gz", "later/2.nii.gz")
    result = match(find_references(two_sites), find_predictions(out))
    ((case, error),) = [(case.id, found) for case, found in result.pairs if found is not None]
    assert case == "2"
    assert isinstance(error, DataError)
    assert "several predictions" in error.reason
    assert "later/2.nii.gz" in error.reason
    assert result.extra == ()


def test_of_one_name_nifti_comes_before_pictures(two_sites, tmp_path) -> None:
    out = touch(tmp_path / "out", "2.png", "2.nii.gz")
    assert matched(two_sites, out)["2"] == "2.nii.gz"
    assert [mask.rank for mask in sorted(find_masks(out), key=lambda mask: mask.rank)] == [(True, 0), (True, 2)]


def test_masks_alone_are_a_reference(tmp_path) -> None:
    for identifier in ("a", "b"):
        save(tmp_path / "flat" / f"{identifier}.nii.gz", lesion_mask(identifier))
        save(tmp_path / "tree" / "Alpha" / identifier / "wmh.nii.gz", lesion_mask(identifier))
        touch(tmp_path / "out", f"{identifier}/result.nii.gz")
    expected = {"a": "a/result.nii.gz", "b": "b/result.nii.gz"}
    assert matched(tmp_path / "flat", tmp_path / "out") == matched(tmp_path / "tree", tmp_path / "out") == expected
    assert [case.site for case in find_references(tmp_path / "tree").cases] == ["Alpha", "Alpha"]
    assert find_references(tmp_path / "flat").layout == "masks"


def test_an_nnunet_folder_and_its_predictions(tmp_path) -> None:
    root = nnunet_cohort(tmp_path / "Dataset001_X", ids=("c1", "c2", "c3"))
    out = touch(tmp_path / "out", "c1.nii.gz", "c2.nii.gz", "c3.nii.gz")
    assert matched(root, out) == {name: f"{name}.nii.gz" for name in ("c1", "c2", "c3")}


def test_one_case_takes_the_one_result_whatever_it_is_called(two_sites, tmp_path) -> None:
    (alone,) = match(
        find_references(two_sites / "Alpha" / "2"), find_predictions(touch(tmp_path / "o", "result.nii.gz"))
    ).pairs
    assert alone[1] == ImageRef(tmp_path / "o" / "result.nii.gz")
    named = find_predictions(touch(tmp_path / "n", "somebody.nii.gz"))
    assert match(find_references(two_sites / "Alpha" / "2"), named).extra == (tmp_path / "n" / "somebody.nii.gz",)


def test_a_cohort_without_masks_is_no_reference(two_sites, tmp_path) -> None:
    for path in two_sites.rglob("wmh.nii.gz"):
        path.unlink()
    with pytest.raises(DataError, match="no case of this wmh cohort has a mask"):
        find_references(two_sites)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty: no case"):
        find_references(tmp_path / "empty")
    with pytest.raises(DataError, match="no case in the bids layout"):
        find_references(two_sites, "bids")


def test_a_deep_tree_and_a_loop_of_links_end(tmp_path) -> None:
    touch(tmp_path, "a/b/c/d/e/near.nii", "a/b/c/d/e/f/far.nii")
    (tmp_path / "a" / "again").symlink_to(tmp_path / "a", target_is_directory=True)
    names = {mask.way[-1] for mask in find_masks(tmp_path)}
    assert "near" in names
    assert "far" not in names
