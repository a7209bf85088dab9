"""Measures the floor of the copy gate: limits by sound held-out patients, and by a training patient x 1.1 alone.

Run: ``python -m bench.experiments.copy_floor COHORT... [--exclude ID...]``, some minutes each on one core. Prints the
table of docs/results/audit.md: slices of 64×64 pixels, half of the patients for training, a quarter held out; whole
patterns and parts are compared. Copies are training slices with noise of a tenth of their spread, strangers the slices
of the last quarter.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from labelgan.audit.copies.copies import Comparable, audit_copies, closeness_of, limits_of, neighbours
from labelgan.config.base import PrepareConfig
from labelgan.core.provenance import measured_at
from labelgan.core.rng import generator_for
from labelgan.data.layouts.detect import read_cohort
from labelgan.data.prepare.cohort import prepare_store
from labelgan.data.store import SliceStore

MOST = 300  # slices of each part


def slices_of(store: SliceStore, patients: set[str], name: str) -> tuple[np.ndarray, np.ndarray]:
    """(N, C, H, W) float32 of a seeded draw of some patients' slices, and whose they are."""
    rows = np.array([row for row in range(len(store)) if store.case_of(row).patient in patients])
    rows = np.sort(generator_for(0, name).permutation(rows)[:MOST])
    return store.images[rows].astype(np.float32), np.array([store.case_of(int(row)).patient for row in rows])


def measure(root: Path, exclude: list[str]) -> None:
    """Two rows: sound held-out patients, and the twin."""
    known = {case.id for case in read_cohort(root).cases}
    with TemporaryDirectory() as folder:
        config = PrepareConfig.build({"size": (64, 64), "spacing_mm": "auto"})
        store = prepare_store(root, Path(folder, "store"), config, exclude=[name for name in exclude if name in known])
        patients = sorted({case.patient for case in store.cases})
        patients = [patients[number] for number in generator_for(0, "patients").permutation(len(patients))]
        half, rest = len(patients) // 2, (3 * len(patients)) // 4
        train_NCHW, whose = slices_of(store, set(patients[:half]), "train")
        train = Comparable.of(train_NCHW, whose)
        held_out = {"strangers": Comparable.of(*slices_of(store, set(patients[half:rest]), "held out"))}
        own = whose == whose[0]
        held_out["a twin alone"] = Comparable.of(train_NCHW[own] * 1.1, np.array(["twin"] * int(own.sum())))
        noise = generator_for(0, "noise").normal(size=train_NCHW.shape).astype(np.float32)
        copied = Comparable.of((train_NCHW + 0.1 * train_NCHW.std() * noise)[~own][::3])
        free = Comparable.of(slices_of(store, set(patients[rest:]), "free")[0])
    for name, slices in held_out.items():
        before = limits_of(neighbours(slices, train))
        without = [
            float((closeness_of(neighbours(part, train), before).closeness < 1).mean()) for part in (copied, free)
        ]
        audits = [audit_copies(part, train, slices) for part in (copied, free)]
        limits = [f"{before[space].limit:.2g} / {audits[0].limits[space].limit:.2g}" for space in before]
        shares = [f"{old:.0%} / {audit.share:.0%}" for old, audit in zip(without, audits, strict=True)]
        cells = [f"{root.name}: {name}", *limits, *shares, f"{audits[0].held_out_share:.1%}"]
        print(f"| {' | '.join(cells)} | {'yes' if audits[0].shared_patients else 'no'} |", flush=True)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description="Measures the floor of the copy gate.")
    parser.add_argument("cohorts", nargs="+", type=Path)
    parser.add_argument("--exclude", nargs="*", default=[], help="ids of cases to leave out")
    print(f"{measured_at()}\n")
    heads = ["held out", "limit of wholes, without / with floor", "of parts", "copies found", "strangers called copies"]
    print(f"| {' | '.join([*heads, 'held-out slices called copies', 'shared'])} |")
    print("|---|--:|--:|--:|--:|--:|--:|")
    options = parser.parse_args()
    for root in options.cohorts:
        measure(root, options.exclude)


if __name__ == "__main__":
    main()
