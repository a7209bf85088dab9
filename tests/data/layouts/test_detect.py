from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from trees import bids_subject, ids, nnunet_cohort, picture_pair, wmh_cohort

from labelgan.core.errors import DataError
from labelgan.data import manifests
from labelgan.data.layouts.detect import LAYOUTS, detect_layout, read_cohort


def test_the_order_in_which_layouts_are_tried() -> None:
    assert list(LAYOUTS) == ["wmh", "bids", "nnunet", "pairs"]


def build(layout: str, root: Path) -> Path:
    if layout == "wmh":
        wmh_cohort(root)
    elif layout == "bids":
        bids_subject(root, "01")
    elif layout == "nnunet":
        nnunet_cohort(root)
    else:
        picture_pair(root, "a")
    return root


@pytest.mark.parametrize("layout", LAYOUTS)
def test_each_layout_is_found_by_looking(tmp_path: Path, layout: str) -> None:
    root = build(layout, tmp_path)
    name, evidence = detect_layout(root)
    assert name == layout
    assert evidence
    cohort = read_cohort(root)
    assert cohort == read_cohort(root, layout)
    assert (cohort.layout, cohort.root) == (layout, root)
    assert all(case.mask is not None for case in cohort.cases)
    assert not cohort.notes
    assert not cohort.slices_only
    for case in cohort.cases:
        mask = case.load_mask()
        assert mask is not None
        for channel in cohort.channels:
            assert case.load_image(channel).data.shape == mask.data.shape


@pytest.mark.parametrize("layout", LAYOUTS)
def test_hidden_files_and_loops_of_links_change_nothing(tmp_path: Path, layout: str) -> None:
    root = build(layout, tmp_path / "data")
    before = read_cohort(root)
    for folder in [root, *(path for path in root.rglob("*") if path.is_dir())]:
        (folder / ".hidden.nii.gz").write_bytes(b"")
        (folder / "._FLAIR.nii.gz").write_bytes(b"")
        (folder / ".DS_Store").write_bytes(b"")
    (root / "around").symlink_to("around")
    after = read_cohort(root)
    assert after.cases == before.cases


def test_a_link_back_to_the_root_ends(tmp_path: Path) -> None:
    wmh_cohort(tmp_path / "d")
    (tmp_path / "d" / "Utrecht" / "again").symlink_to(tmp_path / "d", target_is_directory=True)
    assert {case.patient[-2:] for case in read_cohort(tmp_path / "d").cases} == {"p1", "p2", "p3"}
    bids_subject(tmp_path / "b", "01")
    (tmp_path / "b" / "derivatives" / "again").symlink_to(tmp_path / "b", target_is_directory=True)
    assert ids(read_cohort(tmp_path / "b")) == ["sub-01"]


def test_what_cannot_be_a_cohort(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("x")
    (tmp_path / "empty").mkdir()
    for path, reason in [
        (tmp_path / "absent", "no such folder"),
        (file, "is a file"),
        (tmp_path / "empty", "no layout recognised; looked for wmh: .*bids: .*nnunet: .*pairs: "),
    ]:
        with pytest.raises(DataError, match=reason) as caught:
            read_cohort(path)
        assert caught.value.subject == str(path)
    with pytest.raises(DataError, match="unknown layout 'dicom'"):
        read_cohort(tmp_path, "dicom")
    for layout in ("wmh", "bids", "pairs"):
        with pytest.raises(DataError, match=f"no case in the {layout} layout"):
            read_cohort(tmp_path / "empty", layout)


def test_a_manifest_declares_synthetic_slices(tmp_path: Path) -> None:
    root = wmh_cohort(tmp_path)
    samples = [{"id": case.id} for case in read_cohort(root).cases]
    (root / "manifest.json").write_text(json.dumps({"kind": "synthetic-slices", "samples": samples}))
    assert read_cohort(root).slices_only
    for wrong, reason in (({"samples": samples[1:]}, f"does not list {samples[0]['id']}"), ({}, "lists no samples")):
        (root / "manifest.json").write_text(json.dumps({"kind": "synthetic-slices", **wrong}))
        with pytest.raises(DataError, match=reason):
            read_cohort(root)
    for other in ('{"kind": "phantom"}', "[1]"):
        (root / "manifest.json").write_text(other)
        assert not read_cohort(root).slices_only


def test_eighty_cases_are_read_at_once(tmp_path: Path) -> None:
    for index in range(80):
        for name in ("pre/FLAIR.nii.gz", "pre/T1.nii.gz", "wmh.nii.gz"):
            path = tmp_path / "Site" / f"{index:03d}" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"")
    start = time.perf_counter()
    assert len(read_cohort(tmp_path).cases) == 80
    assert time.perf_counter() - start < 1


def test_a_manifest_is_read_once_with_its_cohort(phantom_cohort, tiny_samples, monkeypatch):
    read: list[Path] = []
    from_disk = manifests.read_json
    monkeypatch.setattr(manifests, "read_json", lambda path: read.append(path) or from_disk(path))
    for root, kind in ((phantom_cohort, "phantom"), (tiny_samples, "synthetic-slices")):
        read.clear()
        cohort = read_cohort(root)
        assert (cohort.manifest.kind, cohort.manifest.is_synthetic) == (kind, kind == "synthetic-slices")
        assert read == [root / "manifest.json"]
