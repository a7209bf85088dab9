"""What an audit costs: samples against as many training slices, part by part, in seconds and in memory.

    python bench/audit_speed.py --slices 10000 --side 128 --threads 2

Slices are drawn: smooth textures of patients inside an ellipse, with lesions. The clock is the processor's, so that a
busy machine shows as little as may be; elapsed time stands beside it.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from labelgan.audit import run
from labelgan.audit.slices import AuditData, AuditSlices
from labelgan.config_audit import AuditConfig
from labelgan.rng import generator_for


def drawn(count: int, side: int, patients: int, name: str) -> AuditSlices:
    """Slices of ``patients`` patients of two channels, each a mix of the patient's own texture and the slice's."""
    rows, columns = np.mgrid[:side, :side].astype(np.float32) / (side - 1) - 0.5
    brain = (rows / 0.45) ** 2 + (columns / 0.38) ** 2 < 1
    images = np.empty((count, 2, side, side), np.float32)
    masks = np.zeros((count, side, side), np.uint8)
    cells = side // 8
    for row in range(count):
        draw, own = generator_for(0, name, row), generator_for(0, name, "patient", row % patients)
        coarse = own.standard_normal((2, cells, cells)) + draw.standard_normal((2, cells, cells))
        image = torch.nn.functional.interpolate(
            torch.from_numpy(coarse.astype(np.float32))[None], size=(side, side), mode="bilinear"
        )[0].numpy()
        if row % 2:
            down, right = draw.uniform(-0.25, 0.25, 2)
            masks[row] = (rows - down) ** 2 + (columns - right) ** 2 < draw.uniform(0.02, 0.06) ** 2
            image[0] += 2.5 * masks[row]
        images[row] = np.where(brain, image, np.float32(-4))
        images[row] += 0.1 * draw.standard_normal((2, side, side), dtype=np.float32)
    who = np.array([f"{name}{row % patients}" for row in range(count)])
    brains = np.broadcast_to(brain.astype(np.uint8), masks.shape).copy()
    heights = np.full(count, 0.5, np.float32)
    return AuditSlices(images, masks, brains, who, who, heights, np.array([f"{name}/{row}" for row in range(count)]))


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slices", type=int, default=10_000, help="samples, and training slices")
    parser.add_argument("--held-out", type=int, default=2_000)
    parser.add_argument("--side", type=int, default=128)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    data = AuditData(
        samples=drawn(options.slices, options.side, options.slices, "s"),
        train=drawn(options.slices, options.side, 100, "t"),
        held_out=drawn(options.held_out, options.side, 25, "h"),
    )
    rows: list[tuple[str, float, float, float]] = []
    last = "", time.process_time(), time.monotonic()

    def report(done: int, steps: int, what: str) -> None:
        nonlocal last
        now = time.process_time(), time.monotonic()
        if last[0]:
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
            rows.append((last[0], now[0] - last[1], now[1] - last[2], peak / 2**30))
            print("{:<10} {:8.1f} s processor {:8.1f} s elapsed   peak {:.2f} GiB".format(*rows[-1]), flush=True)
        last = what, *now

    facts = {name: {} for name in ("samples", "train", "held_out")}
    config = AuditConfig()
    with tempfile.TemporaryDirectory() as folder:
        run.audit_slices(data, Path(folder), config, torch.device("cpu"), facts=facts, notes=[], report=report)
    spent, elapsed = sum(row[1] for row in rows), sum(row[2] for row in rows)
    print(f"{'in all':<10} {spent:8.1f} s processor {elapsed:8.1f} s elapsed   peak {rows[-1][3]:.2f} GiB")


if __name__ == "__main__":
    main()
