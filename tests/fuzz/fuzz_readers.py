"""What is fuzzed: sound files of each format where the package looks for them, and the calls that read them.

Models and cohorts are the smallest there are, and those of tests/faults. Hashes of weights are taken out of the
manifests: with them hardly any spoilt file would be read further than to its end.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path += [place for place in (f"{ROOT}/tests", f"{ROOT}/tests/data") if place not in sys.path]

from faults.sound import make  # noqa: E402

FORMATS = ("nifti", "json", "toml", "safetensors")


@dataclass(frozen=True)
class Target:
    """A sound file, and what reads it: ``content`` is put back after every file that was tried."""

    path: Path
    content: bytes
    read: Callable[[], object]


def targets(form: str, folder: Path) -> list[Target]:
    """Makes the sound files of a format in an empty folder."""
    return {"nifti": _nifti, "json": _json, "toml": _toml, "safetensors": _safetensors}[form](folder)


def _nifti(folder: Path) -> list[Target]:
    import nibabel as nib

    from labelgan.core.rng import generator_for
    from labelgan.data.reading.read import read_header, read_mask, read_volume, voxel_hash
    from labelgan.data.volume import ImageRef

    ref, random = ImageRef(folder / "scan.nii.gz"), generator_for(0, "sound")
    readers = (lambda: voxel_hash(read_volume(ref)), lambda: read_header(ref), lambda: read_mask(ref))
    made = []
    for kind in (np.int16, np.float32, np.uint8):
        voxels = random.integers(0, 2, (9, 8, 5)).astype(kind)
        for form in (nib.Nifti1Image, nib.Nifti2Image):
            content = form(voxels, np.diag([1.0, 2.0, 3.0, 1.0])).to_bytes()
            made += [Target(ref.path, content, reader) for reader in readers]
    return made


def _sound(folder: Path, name: str) -> Path:
    """A sound thing whose manifest tells no hashes of weights, and is as it was before there were seals."""
    from labelgan.data.check.seen import SEAL

    path = make(folder, name)
    if (manifest := path / "manifest.json").is_file():
        told = json.loads(manifest.read_text())
        told.pop("files_sha256", None)
        for member in told.get("members", []):
            member.pop("sha256", None)
        for part in (told, told.get("generator", {})):
            part.pop(SEAL, None)
            for case in (case for key in ("training_cases", "held_out_cases") for case in part.get(key, [])):
                case.pop("fingerprints", None)
        for sample in told.get("samples", []):
            sample.pop("sha256", None)
        manifest.write_text(json.dumps(told))
    return path


def _json(folder: Path) -> list[Target]:
    from trees import nnunet_cohort

    from labelgan.data.curation import read_curation
    from labelgan.data.layouts.detect import read_cohort
    from labelgan.data.store import SliceStore
    from labelgan.gan.sample import Generator
    from labelgan.report.study_files import read_study
    from labelgan.seg.predict import Ensemble
    from labelgan.seg.synthetic import read_synthetic
    from labelgan.study.engine.ledger import JobFolder
    from labelgan.training.checkpoint import load_latest
    from studies import write_study

    run, segmenter, samples = (_sound(folder, name) for name in ("run", "segmenter", "samples"))
    opened = SliceStore.open(make(folder, "store"))
    stranger = opened.cases[0].model_copy(
        update={"id": "Q1", "patient": "Q1", "hashes": {"T1": "sha256:0"}, "mask_hash": None}
    )
    checkpoints = run / "checkpoints"
    newest = max(checkpoints.iterdir())
    for older in set(checkpoints.iterdir()) - {newest}:
        older.rename(folder / older.name)
    study, job, cohort, judged = (folder / name for name in ("study", "job", "nnunet", "judged"))
    write_study(study)
    nnunet_cohort(cohort)
    job.mkdir()
    judged.mkdir()
    decision = {"decision": "reject", "when": "2024-01-01T00:00:00+00:00", "sha256": "0" * 64}
    curation = {"format": 1, "kind": "curation", "samples": {"syn000000": decision}}
    told: list[tuple[Path, Any, Callable[[], object]]] = [
        (judged / "curation.json", curation, lambda: read_curation(judged)),
        (job / "job.json", {"key": "job", "kind": "sample", "label": "x"}, JobFolder(job).read_job),
        (job / "done.json", {"key": "job", "seconds": 1.0, "result": {"a": 1}}, JobFolder(job).read_done),
    ]
    read: list[tuple[Path, Callable[[], object]]] = [
        (run / "manifest.json", lambda: Generator.load(run, device="cpu").sample(1)),
        (segmenter / "manifest.json", lambda: Ensemble.load(segmenter, device="cpu")),
        (opened.path / "manifest.json", lambda: SliceStore.open(opened.path).read([0])),
        (samples / "manifest.json", lambda: read_synthetic(samples, opened, [stranger])),
        (samples / "manifest.json", lambda: read_cohort(samples)),
        (cohort / "dataset.json", lambda: read_cohort(cohort)),
        (newest / "state.json", lambda: load_latest(checkpoints)),
        (study / "study.json", lambda: read_study(study)),
        (study / "verdict.json", lambda: read_study(study)),
    ]
    made = [Target(path, json.dumps(content).encode(), reader) for path, content, reader in told]
    return [*made, *(Target(path, path.read_bytes(), reader) for path, reader in read)]


def _toml(folder: Path) -> list[Target]:
    from labelgan.config.audit import AuditConfig
    from labelgan.config.base import PrepareConfig
    from labelgan.config.gan import GanConfig
    from labelgan.config.seg import SegConfig
    from labelgan.config.study import StudyConfig

    path = folder / "config.toml"
    configs = (PrepareConfig.build({}), AuditConfig(), GanConfig(), SegConfig(), StudyConfig())
    return [Target(path, config.to_toml().encode(), partial(type(config).from_toml, path)) for config in configs]


def _safetensors(folder: Path) -> list[Target]:
    import torch

    from labelgan.audit.fidelity.encoder import AuditEncoder, load_encoder
    from labelgan.gan.inputs.content import Content
    from labelgan.gan.sample import Generator
    from labelgan.seg.predict import Ensemble
    from labelgan.training.checkpoint import save_tensors
    from tiny import tiny_content

    run, segmenter = (_sound(folder, name) for name in ("run", "segmenter"))
    encoder, content = folder / "encoder.safetensors", folder / "content.safetensors"
    save_tensors(encoder, AuditEncoder(2, 16, 8, 8).state_dict())
    tiny_content().save(content)
    cpu = torch.device("cpu")
    read: list[tuple[Path, Callable[[], object]]] = [
        (run / "generator.safetensors", lambda: Generator.load(run, device="cpu")),
        (segmenter / "members/0/weights.safetensors", lambda: Ensemble.load(segmenter, device="cpu")),
        (encoder, lambda: load_encoder(encoder, 2, cpu)),
        (content, lambda: Content.load(content, ("FLAIR", "T1"), (32, 32))),
    ]
    return [Target(path, path.read_bytes(), reader) for path, reader in read]
