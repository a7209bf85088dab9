"""Cohorts that do not hang together: folders, layouts, ids, patients."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
from trees import bids_subject, nnunet_cohort, picture_pair, save_picture, voxels, wmh_case

from faults.ground import CHECK, PREPARE, Ground, Kind
from faults.spoil import Plant, cohort, nothing, set_key, taken

LOOK = "check cohort"
ENDLESS = {"background": 0, "lesion": float("inf")}
# what a study has learnt of the files, whole, so that they need not be read again
LOOKED = ("study/cohort.json", "study/cohort-fingerprints.npz")
STUDY = "study cohort --out study --dry-run --folds lopo"


def _named(identifier: str) -> Plant:
    return cohort(lambda folder: (folder / "Site/12").rename(folder / "Site" / identifier))


def _owner(patient: str) -> Plant:
    entry = {"cases": [{"id": "12", "patient": patient}]}
    return cohort(lambda folder: (folder / "manifest.json").write_text(json.dumps(entry)))


def _without(file: str) -> Plant:
    return cohort(lambda folder: (folder / "Site/12" / file).unlink())


def _keep(*ids: str) -> Plant:
    def spoil(folder: Path) -> None:
        for path in (folder / "Site").iterdir():
            if path.name not in ids:
                shutil.rmtree(path)

    return cohort(spoil)


def _unlabelled(folder: Path) -> None:
    for number in (11, 12, 13):
        (folder / f"Site/{number}/wmh.nii.gz").unlink()


def _loop(folder: Path) -> None:
    (folder / "Other").mkdir()
    (folder / "Other/again").symlink_to(folder / "Other/again")


def _two_files_of_a_name(ground: Ground) -> None:
    for ending in ("png", "tif"):
        picture_pair(ground.root / "cohort", "a", ending=ending)
    save_picture(ground.root / "cohort/images/a.tif", (voxels("b", shape=(5, 6)) % 250).astype(np.uint8))


def _ids_by_case_alone(ground: Ground) -> None:
    for name in ("Scan", "scan"):
        picture_pair(ground.root / "cohort", name)


def _colours(ground: Ground) -> None:
    picture_pair(ground.root / "cohort", "a")
    picture_pair(ground.root / "cohort", "b")
    colours = np.zeros((5, 6, 3), np.uint8)
    colours[2] = (0, 200, 0)
    save_picture(ground.root / "cohort/masks/a.png", colours)


def _jpeg(ground: Ground) -> None:
    picture_pair(ground.root / "cohort", "a")
    save_picture(ground.root / "cohort/masks/a.png", np.eye(6, dtype=np.uint8)[:5] * 255)
    from PIL import Image

    Image.open(ground.root / "cohort/masks/a.png").save(ground.root / "cohort/masks/a.jpg")
    (ground.root / "cohort/masks/a.png").unlink()


def _bomb(ground: Ground) -> None:
    """A PNG whose header claims 60,000 × 60,000 pixels."""
    import zlib

    picture_pair(ground.root / "cohort", "a")
    path = ground.root / "cohort/images/a.png"
    content = bytearray(path.read_bytes())
    content[16:24] = (60_000).to_bytes(4, "big") * 2
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    path.write_bytes(content)


def _nnunet(key: str, value: object) -> Plant:
    def plant(ground: Ground) -> None:
        nnunet_cohort(ground.root / "cohort")
        ground.edit_json("cohort/dataset.json", set_key(key, value))

    return plant


def _bids_without_masks(ground: Ground) -> None:
    for subject in ("01", "02"):
        bids_subject(ground.root / "cohort", subject, mask=None)


def _two_sites_of_one_name(ground: Ground) -> None:
    """The same numbers at two sites are two patients, and both are read."""
    for site in ("A", "B"):
        wmh_case(ground.root / "cohort" / site / "7", site)


UNREADABLE = Kind(
    "a file without the right to read it",
    cohort(lambda folder: os.chmod(folder / "Site/12/pre/FLAIR.nii.gz", 0)),
    CHECK,
    1,
    r"^Site/12/pre/FLAIR\.nii\.gz: .*denied",
    prepare=2,
)


COHORTS: tuple[Kind, ...] = (
    Kind("no such folder", nothing, LOOK, 2, "^cohort: no such folder"),
    Kind("a file for a folder", lambda g: (g.root / "cohort").touch(), LOOK, 2, "cohort: is a file"),
    Kind("an empty folder", lambda g: (g.root / "cohort").mkdir(), LOOK, 2, "cohort: no layout recognised"),
    Kind("a site without cases", cohort(lambda c: (c / "Empty").mkdir()), CHECK, 0, "^Empty: .*no case", "warning", 0),
    Kind("a case without T1", _without("pre/T1.nii.gz"), CHECK, 1, "^Site/12/pre: missing T1", prepare=2),
    Kind("a case without a mask", _without("wmh.nii.gz"), CHECK, 0, "^Site/12/pre: no mask", "warning", 0),
    Kind("no mask at all", cohort(_unlabelled), CHECK, 1, "no case has a mask: look where", prepare=0),
    Kind("two layouts in one folder", cohort(nnunet_cohort), CHECK, 0, r"^\.: .*nnunet", "warning", 0),
    Kind("a loop of links", cohort(_loop), CHECK, 0, "^Other: holds no case", "warning", 0),
    Kind(
        "a link back to the cohort (sound: read, not refused)",
        cohort(lambda folder: (folder / "Site/12/more").symlink_to(folder)),
        CHECK,
        0,
        "",
        prepare=0,
    ),
    Kind("one name at two sites (sound: read, not refused)", _two_sites_of_one_name, CHECK, 0, ""),
    Kind(
        "the same scan under two ids",
        cohort(lambda folder: shutil.copytree(folder / "Site/12", folder / "Site/99")),
        CHECK,
        1,
        "same voxels as case 12",
        prepare=2,
    ),
    Kind("duplicate ids", _two_files_of_a_name, CHECK, 1, "duplicate id"),
    Kind("ids that differ in case alone", _ids_by_case_alone, CHECK, 1, "duplicate id"),
    Kind("an id with spaces", _named("a b"), CHECK, 1, "unsafe id 'a b'", prepare=2),
    Kind("an id with unicode", _named("Zoë"), CHECK, 1, "unsafe id 'Zoë'", prepare=2),
    Kind("an id of 200 characters", _named("x" * 200), CHECK, 1, "unsafe id 'xxx", prepare=2),
    Kind("an id that is an option (sound: read, not refused)", _named("--force"), CHECK, 0, "", prepare=0),
    Kind("a patient named ../../x", _owner("../../x"), LOOK, 2, r"cohort/manifest\.json: .*'\.\./\.\./x'"),
    Kind("a patient of 300 characters", _owner("y" * 300), LOOK, 2, r"cohort/manifest\.json: .*'yyy"),
    Kind("a patient named by markup", _owner("<script>"), LOOK, 2, r"cohort/manifest\.json: .*'<script>'"),
    Kind("a colour picture as a mask", _colours, CHECK, 1, r"^masks/a\.png: mask: a colour picture"),
    Kind("a JPEG as a mask", _jpeg, CHECK, 1, r"^masks/a\.jpg: mask: .*JPEG.*compression"),
    Kind("a PNG that claims 3.6 gigapixels", _bomb, CHECK, 1, r"^images/a\.png: .*the limit"),
    Kind("dataset.json without its channels", _nnunet("channel_names", None), LOOK, 2, r"dataset\.json: .*channel"),
    Kind("dataset.json with a list of labels", _nnunet("labels", [1, 2]), LOOK, 2, r"dataset\.json: .*labels"),
    Kind("dataset.json with a label without end", _nnunet("labels", ENDLESS), LOOK, 2, r"dataset\.json: labels: every"),
    Kind(
        "dataset.json with half a label", _nnunet("labels", {"lesion": 1.5}), LOOK, 2, r"dataset\.json: labels: every"
    ),
    Kind("BIDS without a mask", _bids_without_masks, CHECK, 1, "no case has a mask: look where the bids"),
    Kind("one patient, lopo", _keep("12"), STUDY, 2, "^--folds: .*too few", leaves=LOOKED),
    Kind("two patients, lopo", _keep("11", "12"), STUDY, 2, "^--folds: .*too few", leaves=LOOKED),
    Kind("more folds than patients", cohort(bool), STUDY.replace("lopo", "5"), 2, "^--folds 5: ", leaves=LOOKED),
    Kind("a study of an id with spaces", _named("a b"), STUDY, 2, "unsafe id 'a b'"),
    Kind("a study without a mask", cohort(_unlabelled), STUDY, 2, "^cohort: no case has a mask"),
    Kind(
        "a study's settings from another version",
        cohort(lambda folder: (folder.parent / "old.toml").write_text("blocks = 3")),
        f"{STUDY} --config old.toml",
        2,
        r"old\.toml: unknown setting 'blocks'",
    ),
    Kind(
        "an export into a folder that is in use",
        cohort(lambda c: ((c.parent / "out").mkdir(), (c.parent / "out/mine.txt").touch())),
        "export cohort --out out",
        2,
        "^out: ",
    ),
    Kind(
        "a store into a folder that is in use",
        cohort(lambda c: ((c.parent / "store").mkdir(), (c.parent / "store/mine.txt").touch())),
        PREPARE,
        2,
        "^store: exists",
    ),
    Kind("excluding a case that is not there", taken("heads"), "prepare heads store --exclude 77", 2, "--exclude 77: "),
)
