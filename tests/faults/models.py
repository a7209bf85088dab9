"""Generators, segmenters, samples and predictions that were damaged, edited, or made by another version."""

from __future__ import annotations

import json
import shutil
import struct

import numpy as np
from trees import save

from faults.ground import CASE, MASK, Ground, Kind
from faults.spoil import Plant, cohort, cut, edited, headed, nothing, set_key, taken, written
from faults.stores import SEGMENT

SAMPLE = "sample run --out samples --num 2 --device cpu"
PREDICT = "segment predict segmenter phantoms --out masks --device cpu"
WEIGHTS = r"run/generator\.safetensors: "


def _renamed(change: str, value: object) -> Plant:
    return edited("run", "manifest.json", set_key(change, value))


def _weights(content: bytes) -> Plant:
    """Puts other bytes in place of the weights, and their hash into the manifest, as somebody with intent would."""

    def spoil(ground: Ground) -> None:
        from tiny import tell_hashes

        (ground.root / "run/generator.safetensors").write_bytes(content)
        tell_hashes(ground.root / "run")

    return taken("run", spoil=spoil)


def _other_shape(ground: Ground) -> None:
    from labelgan.training.checkpoint import load_tensors, save_tensors
    from tiny import tell_hashes

    path = ground.root / "run/generator.safetensors"
    tensors = load_tensors(path)
    name = sorted(tensors)[0]
    save_tensors(path, {**tensors, name: tensors[name][..., :1].clone()})
    tell_hashes(ground.root / "run")


def _flip(name: str, file: str) -> Plant:
    def spoil(ground: Ground) -> None:
        path = ground.root / name / file
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)

    return taken(name, "phantoms", spoil=spoil)


def _pickled() -> bytes:
    import pickle

    return pickle.dumps(print)


def _huge_tensor() -> bytes:
    header = json.dumps({"w": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}).encode()
    return struct.pack("<Q", len(header)) + header


MODELS: tuple[Kind, ...] = (
    # generators
    Kind("no run folder", nothing, SAMPLE, 2, "run: there is no such run folder"),
    Kind("a store for a run", lambda ground: ground.take("store", "run"), SAMPLE, 2, "is not the manifest of a gen"),
    Kind(
        "a run's settings from another version",
        headed("run", "config.toml", 'physics = "mri"'),
        SAMPLE,
        2,
        r"run/config\.toml: unknown setting 'physics'",
    ),
    Kind("a run of another format", _renamed("format", 99), SAMPLE, 2, r"run/manifest\.json: has format 99"),
    Kind("a run's size edited by hand", _renamed("size", [10**9, 8]), SAMPLE, 2, r"run/manifest\.json: is damaged"),
    Kind("a channel named ../x", _renamed("channels", ["../x", "T1"]), SAMPLE, 2, r"run/manifest\.json: is damaged"),
    Kind(
        "intensities that are no numbers",
        _renamed("intensity", {"FLAIR": None, "T1": []}),
        SAMPLE,
        2,
        r"run/manifest\.json: is damaged",
    ),
    Kind("a run that is not finished", _renamed("status", "training"), SAMPLE, 2, "run: its training is not complete"),
    Kind("a collapsed generator", _renamed("collapsed", True), SAMPLE, 3, "run: the generator has collapsed"),
    Kind("weights of another shape", taken("run", spoil=_other_shape), SAMPLE, 2, f"{WEIGHTS}tensor '.*' has shape"),
    Kind("weights with one bit flipped", _flip("run", "generator.safetensors"), SAMPLE, 2, f"{WEIGHTS}.*SHA-256"),
    Kind("weights cut off", cut("run", "generator.safetensors"), SAMPLE, 2, f"{WEIGHTS}.*SHA-256"),
    Kind("weights cut off, hash mended", _weights(bytes(40)), SAMPLE, 2, f"{WEIGHTS}is not a whole"),
    Kind(
        "weights whose header claims 4 EiB",
        _weights(struct.pack("<Q", 2**62) + b"{}"),
        SAMPLE,
        2,
        f"{WEIGHTS}is not a whole",
    ),
    Kind("a tensor that claims 4 TiB", _weights(_huge_tensor()), SAMPLE, 2, f"{WEIGHTS}is not a whole"),
    Kind("a pickle in place of weights", _weights(_pickled()), SAMPLE, 2, f"{WEIGHTS}is not a whole"),
    Kind("a format that there is not", taken("run"), f"{SAMPLE} --format dcm", 2, "--format dcm: unknown format"),
    # segmenters
    Kind("no segmenter folder", taken("phantoms"), PREDICT, 2, "segmenter: there is no such segmenter folder"),
    Kind(
        "a segmenter's manifest edited by hand",
        taken("phantoms", "segmenter", spoil=lambda g: g.edit_json("segmenter/manifest.json", set_key("channels", 3))),
        PREDICT,
        2,
        r"segmenter/manifest\.json: is damaged",
    ),
    Kind(
        "a segmenter with a member gone",
        taken("segmenter", "phantoms", spoil=lambda ground: shutil.rmtree(ground.root / "segmenter/members/1")),
        PREDICT,
        2,
        r"segmenter/members/1/weights\.safetensors: does not exist",
    ),
    Kind(
        "a member's weights with one bit flipped",
        _flip("segmenter", "members/0/weights.safetensors"),
        PREDICT,
        2,
        r"segmenter/members/0/weights\.safetensors: .*SHA-256",
    ),
    # masks that are scored
    Kind(
        "a prediction of another shape",
        cohort(lambda folder: save(folder.parent / "masks/12.nii.gz", np.zeros((5, 5, 5), np.uint8))),
        f"score {MASK} masks/12.nii.gz",
        2,
        "^masks/12.*",
    ),
    Kind(
        "a reference that is a web page",
        cohort(lambda folder: (folder / "Site/12/wmh.nii.gz").write_text("<html>")),
        f"score {MASK} {CASE}/pre/T1.nii.gz",
        2,
        "web page",
    ),
    # synthetic cohorts, studies
    Kind(
        "curation that is no JSON",
        taken("store", "samples", spoil=lambda ground: (ground.root / "samples/curation.json").write_text("[")),
        f"{SEGMENT} --synthetic samples",
        2,
        r"samples/curation\.json: ",
    ),
    Kind(
        "samples that do not say who was seen",
        taken("store", spoil=written("samples", "manifest.json", "{}")),
        f"{SEGMENT} --synthetic samples --exclude P001",
        3,
        "^samples: .*does not tell",
    ),
    Kind(
        "synthetic slices of a held-out patient",
        taken("store", "samples"),
        f"{SEGMENT} --synthetic samples --exclude P001",
        3,
        "^.*P001",
    ),
    Kind("a folder that is no study", lambda g: (g.root / "study").mkdir(), "report study", 2, "study: holds no study"),
)
