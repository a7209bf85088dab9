from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from trees import ids, lesion_mask, mask_name, picture_pair, save, save_picture, voxels

from labelgan.data.layouts.detect import read_cohort


@pytest.mark.parametrize(
    ("images", "masks"), [("images", "masks"), ("Img", "Labels"), ("scans", "gt"), ("image", "mask")]
)
@pytest.mark.parametrize("ending", ["png", "tif"])
def test_folder_names(tmp_path: Path, images: str, masks: str, ending: str) -> None:
    for name in ("a", "b"):
        picture_pair(tmp_path, name, images, masks, ending)
    cohort = read_cohort(tmp_path)
    assert (ids(cohort), cohort.channels) == (["a", "b"], ("ch0",))
    assert mask_name(cohort) == f"{masks}/a.{ending}"


def test_nifti_files(tmp_path: Path) -> None:
    save(tmp_path / "images" / "a.nii.gz", voxels("a"))
    save(tmp_path / "masks" / "a_mask.nii", lesion_mask("a"))
    cohort = read_cohort(tmp_path)
    assert (ids(cohort), mask_name(cohort)) == (["a"], "masks/a_mask.nii")


@pytest.mark.parametrize("suffix", ["_mask", "-mask", "_seg", "_label", "_gt"])
def test_mask_suffixes(tmp_path: Path, suffix: str) -> None:
    picture_pair(tmp_path, "a")
    (tmp_path / "masks" / "a.png").rename(tmp_path / "masks" / f"a{suffix}.png")
    assert mask_name(read_cohort(tmp_path)) == f"masks/a{suffix}.png"


@pytest.mark.parametrize("inner", [False, True])
def test_with_splits(tmp_path: Path, inner: bool) -> None:
    for split in ("train", "test"):
        folders = (f"images/{split}", f"masks/{split}") if inner else (f"{split}/images", f"{split}/masks")
        picture_pair(tmp_path, "same", *folders)
        picture_pair(tmp_path, f"only-{split}", *folders)
    cohort = read_cohort(tmp_path)
    assert {case.id: case.split for case in cohort.cases} == {
        "only-train": "training",
        "only-test": "test",
        "training_same": "training",
        "test_same": "test",
    }
    assert len(cohort.patients) == 4


def test_images_and_masks_left_alone(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        picture_pair(tmp_path, name)
    (tmp_path / "masks" / "b.png").unlink()
    (tmp_path / "images" / "c.png").unlink()
    cohort = read_cohort(tmp_path)
    assert [(case.id, case.mask is None) for case in cohort.cases] == [("a", False), ("b", True)]
    assert [note.path.name for note in cohort.notes] == ["c.png"]


def test_colour_components_become_channels(tmp_path: Path) -> None:
    for name in ("a", "b"):
        picture_pair(tmp_path, name)
        save_picture(tmp_path / "images" / f"{name}.png", (voxels(name, shape=(5, 6, 3)) % 250).astype(np.uint8))
    assert read_cohort(tmp_path).channels == ("ch0", "ch1", "ch2")
    (tmp_path / "manifest.json").write_text(json.dumps({"channels": ["t1", "flair", "x"]}))
    cohort = read_cohort(tmp_path)
    assert cohort.channels == ("FLAIR", "T1", "x")
    assert cohort.cases[0].images["FLAIR"].component == 1


def test_grey_stored_as_colour_is_one_channel(tmp_path: Path) -> None:
    for name, components in (("a", 3), ("b", 4)):
        picture_pair(tmp_path, name)
        grey = (voxels(name, shape=(5, 6, 1)) % 250).astype(np.uint8)
        opaque = [np.full_like(grey, 255)] * (components - 3)
        save_picture(tmp_path / "images" / f"{name}.png", np.concatenate([grey] * 3 + opaque, axis=2))
    cohort = read_cohort(tmp_path)
    assert cohort.channels == ("ch0",)
    assert all(case.load_image("ch0").data.any() for case in cohort.cases)


def test_one_file_per_channel(tmp_path: Path) -> None:
    for channel in ("T1", "flair"):
        save(tmp_path / "images" / f"p1_{channel}.nii.gz", voxels(channel))
    save(tmp_path / "masks" / "p1.nii.gz", lesion_mask("p1"))
    cohort = read_cohort(tmp_path)
    assert (ids(cohort), cohort.channels) == (["p1"], ("FLAIR", "T1"))


def test_beside_each_other_in_a_folder_per_patient(tmp_path: Path) -> None:
    for patient in ("TCGA_1", "TCGA_2"):
        for index in (1, 2):
            name = f"{patient}_{index}"
            save_picture(tmp_path / patient / f"{name}.tif", (voxels(name, shape=(5, 6)) % 250).astype(np.uint8))
            save_picture(tmp_path / patient / f"{name}_mask.tif", np.eye(5, 6, dtype=np.uint8) * 255)
    cohort = read_cohort(tmp_path)
    assert ids(cohort) == ["TCGA_1_1", "TCGA_1_2", "TCGA_2_1", "TCGA_2_2"]
    assert cohort.patients == ("TCGA_1", "TCGA_2")
    assert mask_name(cohort) == "TCGA_1/TCGA_1_1_mask.tif"
