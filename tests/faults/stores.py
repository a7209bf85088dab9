"""Slice stores that were edited, cut off, or made by another version, and trainings that leave nothing to train on."""

from __future__ import annotations

import numpy as np

from faults.ground import Ground, Kind
from faults.spoil import cut, edited, headed, set_key, taken, written

TRAIN = "train store --out run --model r3gan --steps 1 --device cpu"
SEGMENT = "segment train store --out segmenter --steps 1 --device cpu"
UNREAD = r"store/manifest\.json: cannot be read as JSON"


def _no_lesions(ground: Ground) -> None:
    masks = np.load(ground.root / "store/masks.npy")
    index = np.load(ground.root / "store/index.npy")
    index["lesion_voxels"] = 0
    np.save(ground.root / "store/masks.npy", masks * 0)
    np.save(ground.root / "store/index.npy", index)


def _pickled_array(ground: Ground) -> None:
    np.save(ground.root / "store/masks.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)


def _other_cases(ground: Ground) -> None:
    index = np.load(ground.root / "store/index.npy")
    index["case"] = index["case"][::-1]
    np.save(ground.root / "store/index.npy", index)


STORES: tuple[Kind, ...] = (
    Kind("no store at all", taken("heads"), TRAIN, 2, "^store: "),
    Kind("no lesion, generator", taken("store", spoil=_no_lesions), TRAIN, 2, "^.*lesion"),
    Kind("no lesion, segmenter", taken("store", spoil=_no_lesions), SEGMENT, 2, "^.*lesion"),
    Kind(
        "a store's settings from another version",
        headed("store", "config.toml", "sharpen = 3"),
        TRAIN,
        2,
        r"store/config\.toml: unknown setting 'sharpen'",
    ),
    Kind(
        "a store of another format",
        edited("store", "manifest.json", set_key("format_version", 2)),
        TRAIN,
        2,
        r"store/manifest\.json: has format 2; this version reads 1",
    ),
    Kind(
        "a store's manifest edited by hand",
        edited("store", "manifest.json", set_key("slices", 9)),
        TRAIN,
        2,
        r"store/manifest\.json: .*slices",
    ),
    Kind(
        "an id ../x in a store",
        edited("store", "manifest.json", lambda manifest: manifest["cases"][0].update(id="../x")),
        TRAIN,
        2,
        r"store/manifest\.json: is damaged: cases\.0\.id",
    ),
    Kind("JSON cut off", written("store", "manifest.json", "{"), TRAIN, 2, UNREAD),
    Kind("JSON 100,000 deep", written("store", "manifest.json", "[" * 100_000), TRAIN, 2, UNREAD),
    Kind("JSON that is not UTF-8", written("store", "manifest.json", b"\xff\xfe\x00"), TRAIN, 2, UNREAD),
    Kind("JSON with a number of 5,000 digits", written("store", "manifest.json", "9" * 5000), TRAIN, 2, UNREAD),
    Kind(
        "settings that are no TOML",
        written("store", "config.toml", "= ="),
        TRAIN,
        2,
        r"store/config\.toml: cannot be read as TOML",
    ),
    Kind("an array cut off", cut("store", "images.npy"), TRAIN, 2, r"store/images\.npy: cannot be opened"),
    Kind("a pickle in an array", taken("store", spoil=_pickled_array), TRAIN, 2, r"store/masks\.npy: .*"),
    Kind("slices of other cases", taken("store", spoil=_other_cases), TRAIN, 2, r"store/index\.npy: its cases are not"),
    Kind("excluding nobody there is", taken("store"), f"{TRAIN} --exclude P9", 2, "--exclude P9: no such case"),
    Kind("excluding everybody", taken("store"), f"{TRAIN} --exclude P001,P002", 2, "."),
    Kind("a setting there is not", taken("store"), f"{TRAIN} --set train.speed=3", 2, "unknown setting 'train.speed'"),
    Kind("a setting out of range", taken("store"), f"{TRAIN} --set train.batch_size=0", 2, "'train.batch_size'"),
    Kind("a model there is not", taken("store"), TRAIN.replace("r3gan", "vae"), 2, "--model vae: "),
)
