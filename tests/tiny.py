"""The smallest settings that still play every game."""

from __future__ import annotations

from pathlib import Path

from labelgan.config_gan import GanConfig
from labelgan.config_seg import SegConfig
from labelgan.config_study import StudyConfig

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

SETTINGS = [*_NETWORK, *_LOOP, *_RHYTHM]


def tiny_config(model: str = "r3gan", *settings: str, preset: str | None = None) -> GanConfig:
    """A named model's settings, made tiny; ``settings`` come last."""
    return GanConfig.for_model(model, preset, [*SETTINGS, *settings])


def folder_bytes(root: Path) -> dict[str, bytes]:
    """Every file under a folder, by its path inside it."""
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


SEG_SETTINGS = [
    *("network.width=4", "train.members=2", "train.steps=6", "train.batch_size=4"),
    *("train.threads=1", "train.device=cpu", "train.checkpoint_every=2", "train.log_every=2", "train.early_step=3"),
]


def tiny_seg_config(network: str = "li2018", *settings: str) -> SegConfig:
    """A named segmenter's settings, made tiny; ``settings`` come last."""
    return SegConfig.for_segmenter(network, [*SEG_SETTINGS, *settings])


STUDY_SETTINGS = [
    *(f"generator.{setting}" for setting in SETTINGS),
    *(f"segmenter.{setting}" for setting in SEG_SETTINGS),
    *("prepare.size=[32, 32]", "prepare.spacing_mm=6.0", "samples=8", "members=1", "generator.train.collapse_ratio=0"),
    *("audit.encoder.steps=5", "audit.encoder.side=32", "audit.fidelity.projections=16"),
]


def tiny_study_config(*settings: str) -> StudyConfig:
    """A study's settings, made tiny; ``settings`` come last."""
    return StudyConfig().with_settings([*STUDY_SETTINGS, *settings])
