"""An audit from folders to ``audit.json``: reads three sets of slices, measures every part, judges the gates."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from labelgan.audit.copies.privacy import privacy
from labelgan.audit.fidelity.diversity import diversity
from labelgan.audit.fidelity.encoder import LearnedEncoder, fit_encoder, load_encoder
from labelgan.audit.fidelity.fidelity import fidelity
from labelgan.audit.fidelity.outside import outside
from labelgan.audit.gates import ONE_HELD_OUT, Finding, Gate, judge
from labelgan.audit.inputs import Instrument, audited_cases
from labelgan.audit.labels.labels import labels
from labelgan.audit.slices import AuditData, AuditSlices
from labelgan.config.audit import AuditConfig
from labelgan.core.files import write_json_atomic, write_text_atomic
from labelgan.core.progress import Report
from labelgan.core.provenance import provenance
from labelgan.core.rng import generator_for, make_deterministic
from labelgan.data.case import Cohort
from labelgan.data.layouts.detect import read_cohort
from labelgan.data.pictures import mosaic, save_png
from labelgan.data.store import SliceStore
from labelgan.training.device import choose_device

FORMAT_VERSION = 1
SHOWN = 12  # slices in a picture of the page

Part = Callable[[AuditData, AuditConfig], list[Finding]]

# To add a part, enter it here; its findings reach audit.json and the page by themselves.
PARTS: dict[str, Part] = {
    "fidelity": fidelity,
    "range": outside,
    "diversity": diversity,
    "labels": labels,
    "privacy": privacy,
}


@dataclass(frozen=True)
class AuditReport:
    """Result of an audit.

    Attributes:
        findings: every figure, in order.
        gates: every gate that has a limit.
        facts: names and sizes of the three sets.
        notes: what a reader must know besides.
    """

    findings: list[Finding]
    gates: list[Gate]
    facts: dict[str, Any]
    notes: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether no gate failed."""
        return all(gate.passed is not False for gate in self.gates)

    @property
    def failed_gates(self) -> list[Gate]:
        """The gates that failed."""
        return [gate for gate in self.gates if gate.passed is False]

    @property
    def closest(self) -> list[dict[str, Any]]:
        """The samples closest to a training slice, with that slice, closest first."""
        shares = [finding for finding in self.findings if finding.name == "copies.share"]
        return shares[0].extra["closest"] if shares else []

    def finding(self, name: str) -> Finding:
        """The figure of a name."""
        return next(finding for finding in self.findings if finding.name == name)

    def to_json(self) -> dict[str, Any]:
        """Gives plain JSON values."""
        return {
            "format": FORMAT_VERSION,
            "kind": "audit",
            "passed": self.passed,
            **self.facts,
            "gates": [gate.to_json() for gate in self.gates],
            "findings": [finding.to_json() for finding in self.findings],
            "notes": self.notes,
        }


def run_audit(
    samples: Path | Cohort,
    train: SliceStore,
    held_out: SliceStore | Collection[str],
    out: Path,
    config: AuditConfig | None = None,
    *,
    segmenter: Instrument | None = None,
    critic: Instrument | None = None,
    report: Report | None = None,
    read_report: Report | None = None,
) -> AuditReport:
    """Audits a labelled cohort against the slices that its generator learned from, and slices that it never saw.

    Leaves behind ``out/{audit.json,config.toml,encoder.safetensors,pictures/}``.

    Args:
        samples: the cohort, synthetic or real, or its folder.
        train: store of the generator's training patients.
        held_out: store of other patients, or ids of patients or cases of `train` that the generator never saw.
        out: folder to write into; files of an earlier audit are replaced.
        config: all settings.
        segmenter: lesion probabilities, of `audit.slices.Segmenter`, of one that was trained on real patients alone.
        critic: scores, of `audit.slices.Critic`, of the samples' generator's critic.
        report: called as (steps done, steps, what is being done).
        read_report: called for every case of the cohort that is read.

    Raises:
        LeakError: training and held-out cases share a patient or voxels, or the generator has seen a held-out case.
        ConfigError, DataError, CheckpointError: as their subjects tell.
    """
    config = config or AuditConfig()
    samples = samples if isinstance(samples, Cohort) else read_cohort(samples)
    cases = audited_cases(samples, train, held_out, config.data)
    for instrument in (segmenter, critic):
        if instrument is not None:
            instrument.require_unseen(cases, train, config.data)
    device = choose_device(config.data.device)
    make_deterministic()
    if config.data.threads:
        torch.set_num_threads(config.data.threads)
    with threadpool_limits(config.data.threads or None):  # NumPy's products have a team of their own
        most, seed = config.data.max_slices, config.data.seed
        data = AuditData(
            samples=AuditSlices.from_cohort(samples, train, max_slices=most, seed=seed, progress=read_report),
            train=AuditSlices.from_store(train, keep=cases.train_ids, max_slices=most, seed=seed),
            held_out=AuditSlices.from_store(
                cases.held_out_store, keep=cases.held_out_ids, max_slices=config.data.max_held_out, seed=seed
            ),
            channels=train.channels,
            pixel_mm=cases.pixel_mm,
            segmenter=None if segmenter is None else segmenter.ask,
            critic=None if critic is None else critic.ask,
        )
        return audit_slices(
            data, out, config, device, facts=_facts(samples, train, data), notes=cases.notes, report=report
        )


def audit_slices(
    data: AuditData,
    out: Path,
    config: AuditConfig,
    device: torch.device,
    *,
    facts: dict[str, Any],
    notes: list[str],
    report: Report | None = None,
) -> AuditReport:
    """Measures, judges and writes; ``data`` needs no encoder yet. See `run_audit`."""
    steps = ["encoder", *PARTS]

    def tell(done: int, what: str) -> None:
        if report is not None:
            report(done, len(steps), what)

    tell(0, "encoder")
    if config.encoder.path is None:
        encoder = fit_encoder(data.train, config.encoder, config.data.seed, device)
    else:
        encoder = load_encoder(Path(config.encoder.path), len(data.channels), device)
    data = dataclasses.replace(data, encoder=encoder)
    findings: list[Finding] = []
    for done, (name, part) in enumerate(PARTS.items(), start=1):
        tell(done, name)
        findings += part(data, config)
    tell(len(steps), "")
    held_out = len(set(data.held_out.patients))
    if held_out == 1:
        notes = [*notes, f"Every gate is {ONE_HELD_OUT}."]
    result = AuditReport(findings, judge(findings, config.gates, held_out_patients=held_out), facts, notes)
    out.mkdir(parents=True, exist_ok=True)
    if isinstance(encoder, LearnedEncoder):
        encoder.save(out / "encoder.safetensors")
    _draw(data, result, out, config.data.seed)
    if config.encoder.path is not None:  # what lies above it may name people
        named = config.encoder.model_copy(update={"path": Path(config.encoder.path).name})
        config = config.model_copy(update={"encoder": named})
    write_text_atomic(out / "config.toml", config.to_toml())
    made = {"config": config.model_dump(mode="json"), "made_with": provenance()}
    write_json_atomic(out / "audit.json", {**result.to_json(), **made})
    return result


def _facts(samples: Cohort, train: SliceStore, data: AuditData) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "channels": list(train.channels),
        "size": list(train.size),
        "samples": {
            "name": samples.root.resolve().name,
            "synthetic": samples.manifest.is_synthetic,
            "slices": len(data.samples),
        },
    }
    for name, part in (("train", data.train), ("held_out", data.held_out)):
        facts[name] = {"slices": len(part), "patients": len(set(part.patients)), "cases": len(set(part.cases))}
    return facts


def _draw(data: AuditData, result: AuditReport, out: Path, seed: int) -> None:
    """Pictures for the page: some samples, some training slices, and the closest pairs side by side."""
    pictures = out / "pictures"
    for old in pictures.glob("closest_*.png"):
        old.unlink()
    for name, part in (("samples", data.samples), ("train", data.train)):
        shown = part.select(np.sort(generator_for(seed, "shown", name).permutation(len(part))[:SHOWN]))
        save_png(pictures / f"{name}.png", mosaic(shown.z_scores(), shown.lesions_NHW, columns=2))
    for number, pair in enumerate(result.closest, start=1):
        rows = ((data.samples, pair["sample_row"]), (data.train, pair["train_row"]))
        images_NCHW = np.stack([part.z_scores(row) for part, row in rows])
        masks_NHW = np.stack([part.lesions_NHW[row] for part, row in rows])
        save_png(pictures / f"closest_{number:02d}.png", mosaic(images_NCHW, masks_NHW, columns=2))
