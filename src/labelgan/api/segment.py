"""The verbs of `labelgan segment`: train, predict, import Li et al.'s weights."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from labelgan.core.errors import ConfigError
from labelgan.core.progress import Report

if TYPE_CHECKING:
    from labelgan.config.base import Settings
    from labelgan.config.seg import SegConfig
    from labelgan.seg.import_li import ImportedLi
    from labelgan.seg.predict_folder import PredictReport
    from labelgan.seg.train import SegTrainingResult


def segment_train(
    store: str | Path,
    out: str | Path,
    *,
    network: str | None = None,
    preset: str | None = None,
    ensemble: int | None = None,
    steps: int | None = None,
    seed: int | None = None,
    device: str | None = None,
    devices: int | None = None,
    threads: int | None = None,
    fit_threshold: bool = False,
    synthetic: str | Path | None = None,
    exclude: Collection[str] = (),
    settings: Settings = (),
    config: SegConfig | None = None,
    resume: bool = False,
    report: Report | None = None,
    read_report: Report | None = None,
    warn: Callable[[str], None] | None = None,
) -> SegTrainingResult:
    """Trains an ensemble of segmenters; see `seg.train.train_segmenter`.

    Args:
        store: a slice store.
        out: segmenter folder.
        network: key of ``seg.networks.SEGMENTERS``; li2018 by default.
        preset: key of ``config_seg.PRESETS``.
        ensemble: how many networks.
        steps: optimiser steps of each.
        seed: of every random stream.
        device: auto, cpu, cuda, cuda:1, mps.
        devices: GPUs, or processes of the CPU, that share every batch.
        threads: of the CPU.
        fit_threshold: choose the threshold on the training patients.
        synthetic: cohort of labelled synthetic slices to mix in.
        exclude: case or patient ids to hold out.
        settings: ``["a.b=value"]``, as ``--set`` takes them, or ``{"a.b": value}``; the named ones above come after.
        config: every setting at once, instead of ``network`` and ``preset``; the other named ones still change it.
        resume: go on from the last checkpoints of ``out``, if there are any, with its settings and exclusions.
        report: called after every step.
        read_report: called for every synthetic case that is read.
        warn: called with a line where a patient is left out whom ``exclude`` names by one session alone, or two
            patients' scans look like one scan.
    """
    from labelgan.config.choices import require_read
    from labelgan.config.seg import SegConfig
    from labelgan.data.store import SliceStore
    from labelgan.seg.folder import SegmenterFolder
    from labelgan.seg.networks import choices
    from labelgan.seg.train import train_segmenter

    out = Path(out)
    folder = SegmenterFolder(out)
    named = {"members": ensemble, "steps": steps, "seed": seed, "device": device, "devices": devices}
    named |= {"threads": threads, "fit_threshold": fit_threshold or None}
    if config is None and resume and folder.config.is_file():
        config = folder.read_config()
        if network is not None and network != config.network.name:
            raise ConfigError(f"--network {network}", f"{out} is a segmenter of {config.network.name}")
        if preset is not None and preset != config.preset:
            raise ConfigError(f"--preset {preset}", f"{out} was made with preset {config.preset or 'none'}")
    if config is None:
        config = SegConfig.for_segmenter(network or "li2018", preset=preset)
    before, config = config, config.with_settings(settings)
    config = config.replace({f"train.{key}": value for key, value in named.items() if value is not None})
    if settings:
        require_read(config, settings, choices(config, synthetic=synthetic is not None), before)
    if resume and not exclude and folder.manifest.is_file():
        exclude = folder.read_manifest().excluded
    opened = SliceStore.open(Path(store))
    if warn is not None:
        for line in opened.guard_notes(exclude):
            warn(line)
    return train_segmenter(
        opened,
        out,
        config,
        synthetic=None if synthetic is None else Path(synthetic),
        exclude=exclude,
        resume=resume,
        report=report,
        read_report=read_report,
    )


def segment_predict(
    segmenter: str | Path,
    source: str | Path,
    out: str | Path,
    *,
    device: str = "auto",
    settings: Settings = (),
    challenge: bool = False,
    probabilities: bool = False,
    report: Report | None = None,
) -> PredictReport:
    """Writes the lesion masks of a case, a cohort or the challenge's input; see `seg.predict_folder`."""
    from labelgan.seg.predict_folder import predict_folder

    return predict_folder(
        Path(segmenter), Path(source), Path(out), device=device, settings=settings, challenge=challenge,
        probabilities=probabilities, report=report,
    )  # fmt: skip


def segment_import_li(
    files: Sequence[str | Path],
    out: str | Path,
    *,
    brain_mask: str = "li2018",
    brain_threshold: float | None = None,
) -> ImportedLi:
    """Turns the Keras weights of Li et al. 2018 into a segmenter folder; see `seg.import_li.import_li`."""
    from labelgan.seg.import_li import import_li

    return import_li([Path(file) for file in files], Path(out), brain_mask=brain_mask, brain_threshold=brain_threshold)
