"""How often real patients whom nobody has seen would fail the audit's range gate, and what its range leaves out.

Run: python -m bench.experiments.range_gate STORE... [--draws 60]
The patients of each store are dealt into training, held-out and unseen ones; the unseen stand for samples.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from labelgan.audit.fidelity.outside import MARGIN
from labelgan.config.audit import GateConfig
from labelgan.core.provenance import measured_at
from labelgan.core.rng import generator_for
from labelgan.data.prepare.limits import ValueRange
from labelgan.data.store import SliceStore

SPLITS = ((40, 20, 20), (20, 10, 10), (10, 10, 10), (10, 3, 3), (5, 3, 2), (3, 3, 4), (1, 1, 1))
PIXEL_TAIL = 0.0005  # of the quantiles of pixels that the range is held against


def cut(images_NCHW: np.ndarray, low_C: np.ndarray, high_C: np.ndarray) -> tuple[float, float]:
    """Share of slices with a pixel outside, and of pixels."""
    out = (images_NCHW < low_C[:, None, None]) | (images_NCHW > high_C[:, None, None])
    return float(out.any((1, 2, 3)).mean()), float(out.mean())


def sides(images_NCHW: np.ndarray, values: ValueRange) -> np.ndarray:
    """Shares of pixels above and below, as the gate counts them."""
    low_C, high_C = values.low_C - MARGIN * values.width_C, values.high_C + MARGIN * values.width_C
    return np.array([(images_NCHW > high_C[:, None, None]).mean(), (images_NCHW < low_C[:, None, None]).mean()])


def main() -> None:
    """Prints a row for each store and split."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stores", type=Path, nargs="+")
    parser.add_argument("--draws", type=int, default=60)
    arguments = parser.parse_args()
    print(measured_at() + "\n")
    print("| store | training, held-out, unseen | fails above | fails below | training slices cut by the range "
          "| by quantiles of pixels |\n|---|---|--:|--:|--:|--:|")  # fmt: skip
    for path in arguments.stores:
        store = SliceStore.open(path)
        patients = np.array([store.cases[case].patient for case in store.index["case"]])
        names = np.unique(patients)
        images = {name: np.asarray(store.images[np.flatnonzero(patients == name)], np.float32) for name in names}
        for split in (split for split in SPLITS if sum(split) <= len(names)):
            failed, slices, by_pixels = [], [], []
            for draw in range(arguments.draws):
                order = generator_for(draw, "range gate", *split).permutation(names)
                groups = np.split(order[: sum(split)], np.cumsum(split)[:-1])
                train, held_out, unseen = (np.concatenate([images[name] for name in group]) for group in groups)
                values = ValueRange.of(train)
                limits = np.maximum(GateConfig().max_outside, sides(held_out, values))
                failed.append(sides(unseen, values) > limits)
                slices.append(cut(train, values.low_C, values.high_C)[0])
                ends = np.quantile(train, (PIXEL_TAIL, 1 - PIXEL_TAIL), axis=(0, 2, 3))
                by_pixels.append(cut(train, *ends)[0])
            above, below = np.mean(failed, axis=0)
            shares = f"{np.mean(slices):.1%} | {np.mean(by_pixels):.0%}"
            print(f"| {path.name} | {', '.join(map(str, split))} | {above:.0%} | {below:.0%} | {shares} |")


if __name__ == "__main__":
    main()
