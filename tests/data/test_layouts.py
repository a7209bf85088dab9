from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from trees import lesion_mask, nnunet_cohort, save, save_picture, voxels, wmh_case, wmh_cohort

from labelgan.data.case import Cohort, ImageRef
from labelgan.data.layouts import LAYOUTS, detect_layout, read_cohort
from labelgan.data.layouts_common import unique_ids
from labelgan.data.layouts_slices import patient_names
from labelgan.errors import DataError


def ids(cohort: Cohort) -> list[str]:
    return [case.id for case in cohort.cases]


def mask_name(cohort: Cohort, index: int = 0) -> str | None:
    mask = cohort.cases[index].mask
    return None if mask is None else mask.path.relative_to(cohort.root).as_posix()


def picture_pair(root: Path, name: str, images: str = "images", masks: str = "masks", ending: str = "png") -> None:
    save_picture(root / images / f"{name}.{ending}", (voxels(name, shape=(5, 6)) % 250).astype(np.uint8))
    save_picture(root / masks / f"{name}.{ending}", (lesion_mask(name, shape=(5, 6)) == 1).astype(np.uint8) * 255)


def bids_subject(root: Path, subject: str, session: str | None = None, mask: str | None = "label-lesion_mask") -> None:
    name = f"sub-{subject}" + (f"_ses-{session}" if session else "")
    folder = Path(f"sub-{subject}", *([f"ses-{session}"] if session else []), "anat")
    save(root / folder / f"{name}_T1w.nii.gz", voxels("T1", name))
    save(root / folder / f"{name}_FLAIR.nii.gz", voxels("FLAIR", name))
    if mask:
        save(root / "derivatives" / "manual" / folder / f"{name}_{mask}.nii.gz", lesion_mask(name))


# --- finding -----------------------------------------------------------------------------------------------------


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
    (root / "manifest.json").write_text(json.dumps({"kind": "synthetic-slices"}))
    assert read_cohort(root).slices_only
    for other in ('{"kind": "phantom"}', "[1]", "no json", ""):
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


# --- wmh ---------------------------------------------------------------------------------------------------------


def test_wmh_as_published(tmp_path: Path) -> None:
    """The challenge's own tree: numbers are given per site, and test sites share names with training sites."""
    for way in ("training/Utrecht/0", "training/Singapore/50", "training/Amsterdam/GE3T/100", "test/Utrecht/3"):
        wmh_case(tmp_path / way)
        save(tmp_path / way / "orig" / "FLAIR.nii.gz", voxels("orig"))
        save(tmp_path / way / "orig" / "3DT1.nii.gz", voxels("3d", shape=(3, 3, 3)))
    wmh_case(tmp_path / "test" / "Amsterdam" / "Philips_VU .PETMR_01." / "160")
    save(
        tmp_path / "additional_annotations" / "observer_o3" / "training" / "Utrecht" / "0" / "result.nii.gz", voxels(1)
    )
    cohort = read_cohort(tmp_path)
    assert cohort.layout == "wmh"
    assert cohort.channels == ("FLAIR", "T1")
    assert not cohort.notes
    assert {case.id: (case.site, case.split) for case in cohort.cases} == {
        "0": ("Utrecht", "training"),
        "3": ("Utrecht", "test"),
        "50": ("Singapore", "training"),
        "100": ("Amsterdam_GE3T", "training"),
        "160": ("Amsterdam_Philips_VU_.PETMR_01.", "test"),
    }
    assert all(list(case.images) == ["FLAIR", "T1"] for case in cohort.cases)
    assert all(ref.path.parent.name == "pre" for case in cohort.cases for ref in case.images.values())
    assert [case.id for case in cohort.cases] == [
        case.id for case in sorted(cohort.cases, key=lambda case: (case.site or "", case.id))
    ]


def test_wmh_without_site_without_split_and_alone(tmp_path: Path) -> None:
    wmh_case(tmp_path / "flat" / "p1")
    wmh_case(tmp_path / "flat" / "p2")
    assert [(case.id, case.site) for case in read_cohort(tmp_path / "flat").cases] == [("p1", None), ("p2", None)]
    alone = read_cohort(tmp_path / "flat" / "p1").cases
    assert [(case.id, case.site, list(case.images)) for case in alone] == [("p1", None, ["FLAIR", "T1"])]
    wmh_case(tmp_path / "test" / "Utrecht" / "9")
    assert read_cohort(tmp_path / "test").cases[0].split == "test"


def test_wmh_falls_back_to_orig_and_to_uncompressed_files(tmp_path: Path) -> None:
    case = wmh_case(tmp_path / "S" / "p1", ending=".nii")
    (case / "pre").rename(case / "orig")
    cohort = read_cohort(tmp_path)
    assert mask_name(cohort) == "S/p1/wmh.nii"
    assert cohort.cases[0].images["T1"].path == case / "orig" / "T1.nii"
    save(case / "brain_mask.nii.gz", lesion_mask("b"))
    assert read_cohort(tmp_path).cases[0].brain_mask == ImageRef(case / "brain_mask.nii.gz")


def test_wmh_equal_numbers_at_two_sites_are_two_patients(tmp_path: Path) -> None:
    for way in ("training/Utrecht/1", "training/Singapore/1", "training/Singapore/2", "test/Singapore/1"):
        wmh_case(tmp_path / way)
    cohort = read_cohort(tmp_path)
    assert sorted(ids(cohort)) == ["2", "Utrecht_1", "test_Singapore_1", "training_Singapore_1"]
    assert len(cohort.patients) == 4


def test_wmh_incomplete_cases_stay_in_sight(tmp_path: Path) -> None:
    wmh_cohort(tmp_path)
    shutil.rmtree(tmp_path / "Utrecht" / "p2" / "pre")
    (tmp_path / "Utrecht" / "p3" / "pre" / "T1.nii.gz").unlink()
    (tmp_path / "Amsterdam" / "GE3T").mkdir(parents=True)
    cohort = read_cohort(tmp_path)
    assert [(case.id, list(case.images)) for case in cohort.cases] == [
        ("p1", ["FLAIR", "T1"]),
        ("p2", []),
        ("p3", ["FLAIR"]),
    ]
    assert [note.path for note in cohort.notes] == [tmp_path / "Amsterdam"]


# --- bids --------------------------------------------------------------------------------------------------------


def test_bids_sessions_are_cases_of_one_patient(tmp_path: Path) -> None:
    bids_subject(tmp_path, "01", "01")
    bids_subject(tmp_path, "01", "02")
    bids_subject(tmp_path, "02", mask=None)
    cohort = read_cohort(tmp_path)
    assert ids(cohort) == ["sub-01_ses-01", "sub-01_ses-02", "sub-02"]
    assert [case.patient for case in cohort.cases] == ["sub-01", "sub-01", "sub-02"]
    assert [case.session for case in cohort.cases] == ["01", "02", None]
    assert cohort.channels == ("FLAIR", "T1")
    assert mask_name(cohort, 1) == "derivatives/manual/sub-01/ses-02/anat/sub-01_ses-02_label-lesion_mask.nii.gz"
    assert cohort.cases[2].mask is None


@pytest.mark.parametrize(
    "name",
    [
        "label-lesion_mask",
        "space-orig_label-lesion_mask",
        "label-L_mask",
        "label-L_desc-manual_mask",
        "space-T1w_label-L_mask",
        "dseg",
        "desc-lesion_dseg",
        "label-WMH_mask",
    ],
)
def test_bids_mask_names(tmp_path: Path, name: str) -> None:
    bids_subject(tmp_path, "01", mask=name)
    assert (mask_name(read_cohort(tmp_path)) or "").endswith(f"sub-01_{name}.nii.gz")


@pytest.mark.parametrize("name", ["desc-brain_mask", "label-GM_mask", "desc-aseg_dseg", "label-L_probseg", "T1w"])
def test_bids_what_is_no_lesion_mask(tmp_path: Path, name: str) -> None:
    bids_subject(tmp_path, "01", mask=name)
    case = read_cohort(tmp_path).cases[0]
    assert case.mask is None
    assert (case.brain_mask is not None) == (name == "desc-brain_mask")


def test_bids_prefers_the_surest_mask_on_the_images_own_grid(tmp_path: Path) -> None:
    bids_subject(tmp_path, "01", mask="dseg")
    folder = tmp_path / "derivatives" / "manual" / "sub-01" / "anat"
    for name in ("label-L_mask", "space-MNI152NLin2009cAsym_label-lesion_mask", "label-lesion_mask"):
        save(folder / f"sub-01_{name}.nii.gz", lesion_mask(name))
    cohort = read_cohort(tmp_path)
    assert (mask_name(cohort) or "").endswith("/sub-01_label-lesion_mask.nii.gz")


def test_bids_takes_the_first_run_and_says_so(tmp_path: Path) -> None:
    bids_subject(tmp_path, "01")
    anat = tmp_path / "sub-01" / "anat"
    (anat / "sub-01_FLAIR.nii.gz").rename(anat / "sub-01_run-2_FLAIR.nii.gz")
    save(anat / "sub-01_run-1_FLAIR.nii.gz", voxels("run 1"))
    cohort = read_cohort(tmp_path)
    assert cohort.cases[0].images["FLAIR"].path.name == "sub-01_run-1_FLAIR.nii.gz"
    assert [(note.case, "run-2" in note.reason) for note in cohort.notes] == [("sub-01", True)]


# --- nnunet ------------------------------------------------------------------------------------------------------


def test_nnunet_channels_splits_and_labels(tmp_path: Path) -> None:
    nnunet_cohort(tmp_path)
    save(tmp_path / "imagesTs" / "t1_0000.nii.gz", voxels("t1"))
    save(tmp_path / "imagesTs" / "t1_0001.nii.gz", voxels("t1", 1))
    cohort = read_cohort(tmp_path)
    assert cohort.channels == ("FLAIR", "T1")
    assert [(case.id, case.split, case.mask is None) for case in cohort.cases] == [
        ("c1", "training", False),
        ("c2", "training", False),
        ("t1", "test", True),
    ]
    assert cohort.cases[0].images["FLAIR"].path.name == "c1_0001.nii.gz"
    assert cohort.cases[0].images["T1"].path.name == "c1_0000.nii.gz"
    assert dict(cohort.labels) == {0: 0, 1: 1}


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ({"background": 0, "tumour": 1}, {0: 0, 1: 1}),
        ({"background": 0, "anything": 1}, {0: 0, 1: 1}),
        ({"0": "background", "1": "WMH", "2": "other pathology"}, {0: 0, 1: 1, 2: 2}),
        ({"background": 0, "other": 1, "lesion": 2}, {0: 0, 1: 2, 2: 1}),
        ({"background": 0, "lesion": 1, "ignore": 3}, {0: 0, 1: 1, 3: 2}),
        ({"background": 0, "whole tumor": [1, 2, 3], "core": [2]}, {0: 0, 1: 1, 2: 1, 3: 1}),
        ({"background": 0, "grey matter": 1, "lesion": 2}, {0: 0, 1: 2, 2: 1}),
    ],
)
def test_nnunet_labels(tmp_path: Path, labels: dict[str, object], expected: dict[int, int]) -> None:
    cohort = read_cohort(nnunet_cohort(tmp_path, labels))
    assert dict(cohort.labels) == expected
    mask = cohort.cases[0].mask
    assert mask is not None
    assert dict(mask.labels) == expected
    assert bool(cohort.notes) == any(name in labels for name in ("core", "grey matter"))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"labels": {"background": 0, "a": 1, "b": 2}}, "which one is the lesion.*a, b"),
        ({"labels": {"background": 0}}, "which one is the lesion.*none"),
        ({"labels": {"background": 0, "lesion": "x"}}, "whole number"),
        ({"labels": None}, "labels is missing"),
        ({"channel_names": {}}, "channel_names"),
        ({"channel_names": {"first": "T1"}}, "no numbers"),
        ({"file_ending": 3}, "file_ending"),
    ],
)
def test_nnunet_descriptions_that_say_too_little(tmp_path: Path, change: dict, reason: str) -> None:
    path = nnunet_cohort(tmp_path) / "dataset.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(DataError, match=reason) as caught:
        read_cohort(tmp_path)
    assert caught.value.subject == str(path)


@pytest.mark.parametrize("content", ["", "[]", "{", "\xff", "[" * 100_000])
def test_nnunet_damaged_descriptions(tmp_path: Path, content: str) -> None:
    path = nnunet_cohort(tmp_path) / "dataset.json"
    path.write_text(content, encoding="latin-1")
    with pytest.raises(DataError) as caught:
        read_cohort(tmp_path)
    assert caught.value.subject == str(path)


def test_nnunet_colour_pictures(tmp_path: Path) -> None:
    colours = (voxels("rgb", shape=(5, 6, 3)) % 250).astype(np.uint8)
    save_picture(tmp_path / "imagesTr" / "a_0000.png", colours)
    save_picture(tmp_path / "labelsTr" / "a.png", (lesion_mask("a", shape=(5, 6)) == 1).astype(np.uint8))
    description = {"channel_names": {"0": "R", "1": "G", "2": "B"}, "labels": {"background": 0, "lesion": 1}}
    (tmp_path / "dataset.json").write_text(json.dumps(description | {"file_ending": ".png"}))
    cohort = read_cohort(tmp_path)
    assert cohort.channels == ("R", "G", "B")
    np.testing.assert_array_equal(cohort.cases[0].load_image("G").data[..., 0].T, colours[..., 1])


# --- pairs -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("images", "masks"), [("images", "masks"), ("Img", "Labels"), ("scans", "gt"), ("image", "mask")]
)
@pytest.mark.parametrize("ending", ["png", "tif"])
def test_pairs_folder_names(tmp_path: Path, images: str, masks: str, ending: str) -> None:
    for name in ("a", "b"):
        picture_pair(tmp_path, name, images, masks, ending)
    cohort = read_cohort(tmp_path)
    assert (ids(cohort), cohort.channels) == (["a", "b"], ("ch0",))
    assert mask_name(cohort) == f"{masks}/a.{ending}"


def test_pairs_of_nifti(tmp_path: Path) -> None:
    save(tmp_path / "images" / "a.nii.gz", voxels("a"))
    save(tmp_path / "masks" / "a_mask.nii", lesion_mask("a"))
    cohort = read_cohort(tmp_path)
    assert (ids(cohort), mask_name(cohort)) == (["a"], "masks/a_mask.nii")


@pytest.mark.parametrize("suffix", ["_mask", "-mask", "_seg", "_label", "_gt"])
def test_pairs_mask_suffixes(tmp_path: Path, suffix: str) -> None:
    picture_pair(tmp_path, "a")
    (tmp_path / "masks" / "a.png").rename(tmp_path / "masks" / f"a{suffix}.png")
    assert mask_name(read_cohort(tmp_path)) == f"masks/a{suffix}.png"


@pytest.mark.parametrize("inner", [False, True])
def test_pairs_with_splits(tmp_path: Path, inner: bool) -> None:
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


def test_pairs_left_alone(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        picture_pair(tmp_path, name)
    (tmp_path / "masks" / "b.png").unlink()
    (tmp_path / "images" / "c.png").unlink()
    cohort = read_cohort(tmp_path)
    assert [(case.id, case.mask is None) for case in cohort.cases] == [("a", False), ("b", True)]
    assert [note.path.name for note in cohort.notes] == ["c.png"]


def test_pairs_colour_components_become_channels(tmp_path: Path) -> None:
    for name in ("a", "b"):
        picture_pair(tmp_path, name)
        save_picture(tmp_path / "images" / f"{name}.png", (voxels(name, shape=(5, 6, 3)) % 250).astype(np.uint8))
    assert read_cohort(tmp_path).channels == ("ch0", "ch1", "ch2")
    (tmp_path / "manifest.json").write_text(json.dumps({"channels": ["t1", "flair", "x"]}))
    cohort = read_cohort(tmp_path)
    assert cohort.channels == ("FLAIR", "T1", "x")
    assert cohort.cases[0].images["FLAIR"].component == 1


def test_pairs_grey_stored_as_colour_is_one_channel(tmp_path: Path) -> None:
    for name, components in (("a", 3), ("b", 4)):
        picture_pair(tmp_path, name)
        grey = (voxels(name, shape=(5, 6, 1)) % 250).astype(np.uint8)
        opaque = [np.full_like(grey, 255)] * (components - 3)
        save_picture(tmp_path / "images" / f"{name}.png", np.concatenate([grey] * 3 + opaque, axis=2))
    cohort = read_cohort(tmp_path)
    assert cohort.channels == ("ch0",)
    assert all(case.load_image("ch0").data.any() for case in cohort.cases)


def test_pairs_one_file_per_channel(tmp_path: Path) -> None:
    for channel in ("T1", "flair"):
        save(tmp_path / "images" / f"p1_{channel}.nii.gz", voxels(channel))
    save(tmp_path / "masks" / "p1.nii.gz", lesion_mask("p1"))
    cohort = read_cohort(tmp_path)
    assert (ids(cohort), cohort.channels) == (["p1"], ("FLAIR", "T1"))


def test_pairs_beside_each_other_in_a_folder_per_patient(tmp_path: Path) -> None:
    for patient in ("TCGA_1", "TCGA_2"):
        for index in (1, 2):
            name = f"{patient}_{index}"
            save_picture(tmp_path / patient / f"{name}.tif", (voxels(name, shape=(5, 6)) % 250).astype(np.uint8))
            save_picture(tmp_path / patient / f"{name}_mask.tif", np.eye(5, 6, dtype=np.uint8) * 255)
    cohort = read_cohort(tmp_path)
    assert ids(cohort) == ["TCGA_1_1", "TCGA_1_2", "TCGA_2_1", "TCGA_2_2"]
    assert cohort.patients == ("TCGA_1", "TCGA_2")
    assert mask_name(cohort) == "TCGA_1/TCGA_1_1_mask.tif"


@pytest.mark.parametrize(
    ("names", "patients"),
    [
        (["p1_slice01", "p1_slice02", "p2_slice1"], ["p1", "p1", "p2"]),
        (["p1-z3", "p1_s4"], ["p1", "p1"]),
        (["img_001", "img_002"], ["img_001", "img_002"]),
        (["100_1", "100_2", "101_1"], ["100", "100", "101"]),
        (["2019_1", "2019_2"], ["2019_1", "2019_2"]),
        (["a", "b"], ["a", "b"]),
        ([], []),
    ],
)
def test_slices_of_one_patient_stay_one_patient(names: list[str], patients: list[str]) -> None:
    assert patient_names(names) == patients


def test_volumes_are_taken_for_slices_only_when_they_say_so() -> None:
    names = ["BraTS19_A_1", "BraTS19_A_2", "BraTS19_B_1", "p_slice1", "p_slice2"]
    assert patient_names(names, volumes=True) == [*names[:3], "p", "p"]


def test_ids_take_only_as_many_parts_as_they_need() -> None:
    parts = [("training", "A", "1"), ("test", "A", "1"), ("training", "B", "1"), (None, None, "2"), (None, "C d", "1")]
    assert unique_ids(parts) == ["training_A_1", "test_A_1", "B_1", "2", "C_d_1"]
