"""The smallest settings that still play every game."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from labelgan.config.gan import GanConfig
from labelgan.config.seg import SegConfig
from labelgan.config.study import StudyConfig
from labelgan.data.check.seen import sealed_cohort, sealed_model
from labelgan.data.slices import Slices
from labelgan.gan.choices import choices
from labelgan.gan.inputs.content import Content
from labelgan.gan.run_folder import RunFolder

SIZE = (32, 32)

_NETWORK = [
    "network.latent_dim=8",
    "network.width=4",
    "network.max_width=8",
    "network.group_width=4",
    "network.hidden=16",
]
_LOOP = ["train.batch_size=4", "train.steps=6", "train.threads=1", "train.device=cpu"]
_RHYTHM = ["train.checkpoint_every=2", "train.sample_every=3", "train.log_every=2"]

_CONTENT = ["content.stock=16", "content.keep=32"]

_EVERY = [*_CONTENT, *_NETWORK, *_LOOP, *_RHYTHM]


def settings_of(model: str) -> list[str]:
    """The settings that make a named model tiny, without those that it does not read."""
    made = choices(GanConfig.for_model(model))
    return [text for text in _EVERY if not any(choice.refuses(text.partition("=")[0]) for choice in made)]


SETTINGS = settings_of("r3gan")


def tiny_config(model: str = "r3gan", *settings: str, preset: str | None = None) -> GanConfig:
    """A named model's settings, made tiny; ``settings`` come last."""
    return GanConfig.for_model(model, preset, [*_EVERY, *settings])


def tiny_slices(count: int, seed: int, *, lesions: bool, size: tuple[int, int] = SIZE) -> Slices:
    """Round brains of value 0 with noise, dark outside; every second one has a bright square lesion where so asked."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[: size[0], : size[1]]
    away = np.hypot(rows - size[0] / 2, columns - size[1] / 2)
    brains_NHW = np.repeat((away < 0.4 * min(size))[None], count, axis=0)
    lesions_NHW = np.zeros_like(brains_NHW)
    if lesions:
        for number in range(0, count, 2):
            top, left = rng.integers(size[0] // 3, size[0] // 2, 2)
            lesions_NHW[number, top : top + 4, left : left + 4] = True
    noise = 0.1 * rng.standard_normal((count, 2, *size))
    images_NCHW = np.where(brains_NHW[:, None], noise, -2.0) + 2.0 * lesions_NHW[:, None]
    heights_N = np.linspace(0.15, 0.9, count, dtype=np.float32)
    return Slices(images_NCHW.astype(np.float32), lesions_NHW.astype(np.uint8), brains_NHW, heights_N)


def tiny_content() -> Content:
    """A refining generator's content: eight slices of patients, every second with a lesion, and six of phantoms."""
    return Content(tiny_slices(8, 0, lesions=True), tiny_slices(6, 1, lesions=False))


def folder_bytes(root: Path) -> dict[str, bytes]:
    """Every file under a folder, by its path inside it."""
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def sealed(cohort: dict[str, Any]) -> dict[str, Any]:
    """A synthetic cohort's manifest, and its generator's, with seals that fit, as somebody with intent would."""
    generator = cohort.get("generator")
    return sealed_cohort(cohort | {"generator": sealed_model(generator)} if isinstance(generator, dict) else cohort)


def tell_hashes(run: Path) -> None:
    """Writes the hashes that a run's files have now into its manifest and seals it, as somebody with intent would."""
    manifest = json.loads((run / "manifest.json").read_text())
    manifest = sealed_model(manifest | {"files_sha256": RunFolder(run).hashes()})
    (run / "manifest.json").write_text(json.dumps(manifest))


def with_twin(cohort: Path, out: Path, name: str = "P009", of: str = "P001") -> Path:
    """A copy of a cohort in which a patient has a twin, brighter by a tenth, with a voxel of its mask less."""
    import nibabel as nib

    shutil.copytree(cohort, out)
    (source,) = out.glob(f"*/{of}")
    for path in [*source.rglob("*.nii.gz")]:
        image = nib.Nifti1Image.from_filename(path)
        data = np.asarray(image.dataobj)
        if path.name == "wmh.nii.gz":
            data = data.copy()
            data[tuple(np.argwhere(data == 1)[0])] = 0
        else:
            data = (data * 1.1 + 1).astype(np.float32)
        place = source.with_name(name) / path.relative_to(source)
        place.parent.mkdir(parents=True, exist_ok=True)
        nib.save(nib.Nifti1Image(data, image.affine), place)
    return out


SEG_SETTINGS = [
    *("network.width=4", "train.members=2", "train.steps=6", "train.batch_size=4"),
    *("train.threads=1", "train.device=cpu", "train.checkpoint_every=2", "train.log_every=2", "train.early_step=3"),
]


def tiny_seg_config(network: str = "li2018", *settings: str) -> SegConfig:
    """A named segmenter's settings, made tiny; ``settings`` come last."""
    return SegConfig.for_segmenter(network, [*SEG_SETTINGS, *settings])


def study_settings(model: str) -> list[str]:
    """The settings that make a study with a named model tiny, without those that it does not read."""
    return [
        *(f"generator.{setting}" for setting in settings_of(model)),
        *(f"segmenter.{setting}" for setting in SEG_SETTINGS if not setting.startswith("train.members")),
        *_STUDY,
    ]


_STUDY = [
    *("prepare.size=[32, 32]", "prepare.spacing_mm=6.0", "samples=8", "members=1", "generator.train.collapse_ratio=0"),
    *("audit.encoder.steps=5", "audit.encoder.side=32", "audit.fidelity.projections=16"),
]


def tiny_study_config(*settings: str) -> StudyConfig:
    """A study's settings, made tiny; ``settings`` come last."""
    return StudyConfig().with_settings([*study_settings("r3gan"), *settings])
