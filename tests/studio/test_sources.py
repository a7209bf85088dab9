from __future__ import annotations

import json
import shutil

import pytest

from labelgan.core.errors import DataError
from labelgan.studio.sources import Keys, find_sources, kind_of


def kinds(root):
    return {source.title: source.kind for source in find_sources([root], Keys())[0]}


def test_every_kind_is_known_by_its_files(phantom_cohort, phantom_store, tiny_run, tiny_samples, tiny_study, tmp_path):
    root = tmp_path / "all"
    for name, folder in (("scans", phantom_cohort), ("store", phantom_store.path), ("run", tiny_run),
                         ("made", tiny_samples)):  # fmt: skip
        shutil.copytree(folder, root / name)
    (root / "audit").mkdir()
    (root / "audit" / "audit.json").write_text("{}")
    assert kinds(root) == {
        "all/scans": "cohort",
        "all/store": "store",
        "all/run": "run",
        "all/made": "synthetic",
        "all/audit": "audit",
    }
    assert kind_of(tiny_study.folder)[0] == "study"


def test_a_study_shows_what_its_folds_made(tiny_study):
    found = list(kinds(tiny_study.folder).items())
    assert found[0] == ("study", "study")
    words = {(title.split(" · ")[1].split(",")[0], kind) for title, kind in found[1:]}
    assert {("prepare", "store"), ("train generator", "run"), ("sample", "synthetic")} <= words
    sources, _ = find_sources([tiny_study.folder], Keys())
    assert {source.sealed for source in sources if source.kind == "synthetic"} == {True}


def test_a_folder_of_cohorts_of_several_layouts_is_no_cohort(phantom_cohort, tiny_samples, tmp_path):
    shutil.copytree(phantom_cohort, tmp_path / "data" / "wmh")
    pairs = tmp_path / "data" / "pairs"
    for name in ("images", "masks"):
        shutil.copytree(tiny_samples / name, pairs / name)
    assert kinds(tmp_path / "data") == {"data/pairs": "cohort", "data/wmh": "cohort"}


def test_a_link_out_of_the_root_is_not_followed(phantom_cohort, tiny_samples, tmp_path):
    root = tmp_path / "root"
    shutil.copytree(tiny_samples, root / "made")
    (root / "elsewhere").symlink_to(phantom_cohort)
    sources, notes = find_sources([root], Keys())
    assert [source.title for source in sources] == ["root/made"]
    assert notes == ["root/elsewhere leads out of root; it was not opened"]
    assert not sources[0].has(phantom_cohort / "manifest.json")
    assert not sources[0].has(root / "made" / ".." / ".." / "x")


def test_a_loop_of_links_ends(tiny_samples, tmp_path):
    root = tmp_path / "root"
    shutil.copytree(tiny_samples, root / "made")
    (root / "loop").symlink_to(root)
    assert "root/made" in kinds(root)
    assert len(find_sources([root, root / "made"], Keys())[0]) == 1


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: None, "no such folder"),
        (lambda path: path.write_text(""), "is a file: give a folder"),
        (lambda path: path.mkdir(), "holds no cohort, run"),
    ],
)
def test_nothing_to_see_is_told(tmp_path, make, said):
    make(tmp_path / "x")
    with pytest.raises(DataError, match=said):
        find_sources([tmp_path / "x"], Keys())


def test_keys_are_of_one_session():
    one, other = Keys(), Keys()
    assert one.of("slice", 1) == one.of("slice", 1) != one.of("slice", 2)
    assert one.of("slice", 1) != other.of("slice", 1)


def test_a_damaged_job_is_named_by_its_folder(tiny_samples, tmp_path):
    study = tmp_path / "study"
    shutil.copytree(tiny_samples, study / "jobs" / "sample-1" / "cohort")
    (study / "study.json").write_text(json.dumps({}))
    (study / "jobs" / "sample-1" / "job.json").write_text("[]")
    assert kinds(study) == {"study": "study", "study · sample-1": "synthetic"}
