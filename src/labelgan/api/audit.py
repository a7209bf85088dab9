"""The audit's verb: three sets of slices to figures, gates and a page. `labelgan.api.base` has the others.

Example:
    >>> from labelgan.api.audit import audit
    >>> audit("synthetic", "train_store", "audit", held_out="held_out_store").passed  # doctest: +SKIP
    True
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from labelgan.core.errors import ConfigError, DataError
from labelgan.core.progress import Report

if TYPE_CHECKING:
    from labelgan.audit.inputs import Instrument
    from labelgan.audit.run import AuditReport
    from labelgan.config.audit import AuditConfig
    from labelgan.config.base import Settings
    from labelgan.data.case import Cohort
    from labelgan.data.store import SliceStore


def audit(
    samples: str | Path,
    train: str | Path,
    out: str | Path,
    *,
    held_out: str | Path | None = None,
    exclude: Collection[str] = (),
    segmenter: str | Path | None = None,
    generator: str | Path | None = None,
    config: AuditConfig | None = None,
    settings: Settings = (),
    device: str | None = None,
    report: Report | None = None,
    read_report: Report | None = None,
) -> AuditReport:
    """Audits a labelled cohort, and writes ``out/audit.json`` and ``out/audit.html``; see `audit.run.run_audit`.

    The figures also go into the card of a cohort that ``labelgan sample`` wrote, and of its generator where that is
    given, in the place that is kept for them.

    Args:
        samples: the cohort, synthetic or any other.
        train: store of the generator's training patients.
        out: folder to write into.
        held_out: store of patients that the generator has not seen.
        exclude: ids of patients or cases of ``train`` that the generator has not seen, instead of ``held_out``.
        segmenter: folder of a segmenter of real training patients alone; its masks are held against the samples'.
        generator: run folder of the samples' generator; its critic is asked who was trained on.
        config: every setting at once.
        settings: ``["a.b=value"]``, as ``--set`` takes them, or ``{"a.b": value}``.
        device: auto, cpu, cuda, cuda:1, mps.
        report: called before every part.
        read_report: called for every case of the cohort that is read.

    Returns:
        The report; a gate that failed is no exception here.

    Raises:
        LeakError: training and held-out cases share a patient or voxels, or a network has seen a held-out case.
        ConfigError, DataError, CheckpointError: as their subjects tell.
    """
    from labelgan.audit.run import run_audit
    from labelgan.config.audit import AuditConfig
    from labelgan.core.files import read_json
    from labelgan.data.export.card import enter_audit
    from labelgan.data.layouts.detect import read_cohort
    from labelgan.data.store import SliceStore
    from labelgan.report.audit import write_audit_page

    if (held_out is None) == (not exclude):
        raise ConfigError("--held-out", "give either a store of held-out patients, or --exclude with some of --train's")
    config = (config or AuditConfig()).with_settings(settings)
    config = config if device is None else config.replace({"data.device": device})
    store = SliceStore.open(Path(train))
    cohort = read_cohort(Path(samples))
    result = run_audit(
        cohort,
        store,
        list(exclude) if held_out is None else SliceStore.open(Path(held_out)),
        Path(out),
        config,
        segmenter=None if segmenter is None else _segmenter(Path(segmenter), store, config.data.device),
        critic=None if generator is None else _critic(Path(generator), cohort, store, config.data.device),
        report=report,
        read_report=read_report,
    )
    write_audit_page(Path(out))
    content = read_json(Path(out) / "audit.json")
    if cohort.manifest.is_synthetic:
        enter_audit(Path(samples), content)
    if generator is not None:
        enter_audit(Path(generator), content)
    return result


def _segmenter(folder: Path, store: SliceStore, device: str) -> Instrument:
    """An ensemble as what an audit asks; its own threshold decides."""
    import numpy as np

    from labelgan.audit.inputs import Instrument
    from labelgan.data.manifests import SeenCases
    from labelgan.seg.folder import SegmenterFolder
    from labelgan.seg.predict import Ensemble

    manifest = SegmenterFolder(folder).read_manifest()
    if manifest.synthetic is not None:
        raise ConfigError(f"--segmenter {folder}", "learned from synthetic slices too; an independent one is wanted")
    ensemble = Ensemble.load(folder, device=device)
    if ensemble.channels != store.channels:
        raise DataError(folder, f"is a segmenter of {ensemble.channels}, the store has {store.channels}")
    if ensemble.prepare.spacing_mm != store.config.spacing_mm:
        raise DataError(folder, "learned from slices of another spacing than the store's")

    def ask(images_NCHW: np.ndarray) -> np.ndarray:
        return (ensemble.probabilities(images_NCHW) > ensemble.config.predict.threshold).astype(np.float32)

    return Instrument(folder, SeenCases(manifest.training_cases), ask)


def _critic(run: Path, samples: Cohort, store: SliceStore, device: str) -> Instrument:
    """The critic of the generator that made the samples, as what an audit asks."""
    from labelgan.audit.inputs import Instrument
    from labelgan.core.files import sha256_file
    from labelgan.gan.sample import Generator

    generator = Generator.load(run, device=device, force=True)
    made_by = samples.manifest.generator
    if made_by is None or made_by.sha256 != sha256_file(generator.run.generator):
        raise DataError(run, f"is not the generator of the samples in {samples.root}")
    if generator.channels != store.channels or generator.size != store.size:
        raise DataError(run, f"makes {generator.channels} slices of {generator.size}, the store has others")
    return Instrument(run, generator.trained.seen, generator.critic_scores)
