"""Whole audits of planted faults: three groups of patients of one cohort, of whom one plays the samples."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from labelgan.audit.run import AuditReport, run_audit
from labelgan.audit.slices import AuditSlices
from labelgan.config.audit import AuditConfig
from labelgan.config.base import PrepareConfig
from labelgan.core.rng import generator_for
from labelgan.data.prepare.cohort import prepare_store
from labelgan.data.store import SliceStore
from plants import DISGUISES, MASK_FAULTS, present_as_samples, with_images, with_masks

ONE_SLICE = "one slice over and over"
GATE_OF = {
    **{f"masks {name}": "labels" for name in MASK_FAULTS},
    ONE_SLICE: "diversity",
    **{f"training slices, {name}": "copies" for name in DISGUISES},
}
"""Planted fault to the gate that it must fail."""

ONE_DISGUISE = [f"training slices, {name}" for name in [*DISGUISES][1:-1]]
"""Found more easily than all disguises at once; tests/audit/copies has each."""


@dataclass(frozen=True, eq=False)
class Audited:
    """A cohort whose patients are training patients, held out, or seen by nobody.

    Attributes:
        store: of the training and the held-out patients.
        learned: the training patients.
        held_out: patients.
        unseen: slices of the others, who play the samples.
        folder: to write into.
        config: of the audits.
    """

    store: SliceStore
    learned: tuple[str, ...]
    held_out: tuple[str, ...]
    unseen: AuditSlices
    folder: Path
    config: AuditConfig

    @classmethod
    def split(
        cls, root: Path, folder: Path, prepare: PrepareConfig, config: AuditConfig, *,
        sizes: tuple[int, int], seed: int = 0, leave_out: Collection[str] = (),
    ) -> Audited:  # fmt: skip
        """Prepares a cohort and draws how many patients are learned from and held out; the others are unseen."""
        whole = prepare_store(root, folder / "whole", prepare, exclude=leave_out)
        patients = np.unique([case.patient for case in whole.cases])
        names = generator_for(seed, "real split").permutation(patients).tolist()
        learned, held_out, unseen = np.split(np.array(names), np.cumsum(sizes))
        store = prepare_store(root, folder / "store", prepare, exclude=[*leave_out, *unseen.tolist()])
        slices = AuditSlices.from_store(whole, keep=unseen.tolist())
        # one encoder serves all audits of one set of training slices
        return cls(store, tuple(learned.tolist()), tuple(held_out.tolist()), slices, folder, config)

    def audit(self, samples: AuditSlices) -> AuditReport:
        """Audits slices, presented as a generator's samples, from folder to gates."""
        count = len(list(self.folder.glob("samples-*")))
        root = present_as_samples(samples, self.folder / f"samples-{count}", self.store, self.learned)
        encoder = self.folder / "encoder.safetensors"
        config = self.config.with_settings([f"encoder.path={encoder}"]) if encoder.is_file() else self.config
        out = self.folder / f"audit-{count}"
        report = run_audit(root, self.store, self.held_out, out, config)
        if not encoder.is_file():
            (out / "encoder.safetensors").rename(encoder)
        return report

    def planted(self, fault: str) -> AuditSlices:
        """The slices with a fault of `GATE_OF` in them."""
        if fault == ONE_SLICE:
            with_lesion = np.flatnonzero(self.unseen.lesions_NHW.any((1, 2)))
            return self.unseen.select(np.full(len(self.unseen), with_lesion[3]))
        kind, _, name = fault.partition(" ")
        if kind == "masks":
            return with_masks(self.unseen, MASK_FAULTS[name])
        training = AuditSlices.from_store(self.store, keep=self.learned)
        return with_images(training.select(slice(None, None, 4)), DISGUISES[name.partition(", ")[2]])
