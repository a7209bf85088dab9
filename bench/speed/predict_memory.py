"""Measures the peak memory of ``labelgan segment predict``: Li et al.'s networks, full width, on a volume 256×256×192.

The scan is noise in a ball, which the networks find as dear as any scan; their weights are random. The prediction runs
in a process of its own, and its peak resident memory is the kernel's count. The reference is 2 GB.

Run: ``python -m bench.speed.predict_memory [--shape 256x256x192] [--size 200x200] [--members 3] [--threads 1]``. The
networks work on a few slices at a time: ``--slices 16``, which empties all but 16, shows about the same peak much
sooner.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from labelgan.config.base import PrepareConfig
from labelgan.config.seg import SegConfig
from labelgan.core.files import write_bytes_atomic, write_text_atomic
from labelgan.core.rng import generator_for, reseed_torch
from labelgan.data.export.write import nifti_bytes
from labelgan.seg.folder import SegmenterFolder
from labelgan.seg.networks import build_segmenter
from labelgan.training.checkpoint import save_tensors

LIMIT_BYTES = 2 * 10**9


def write_scan(case: Path, shape: tuple[int, ...]) -> None:
    """FLAIR and T1 of one case of the challenge's tree: a noisy ball in noisy air, 1 mm voxels, int16."""
    random = generator_for(0, "bench", "predict memory", *shape)
    axes = np.ogrid[tuple(slice(-1, 1, side * 1j) for side in shape)]
    ball = sum(axis**2 for axis in axes) < 0.8
    for name in ("FLAIR", "T1"):
        values = random.normal(np.where(ball, 500, 20), 15).clip(0).astype(np.int16)
        write_bytes_atomic(case / "pre" / f"{name}.nii.gz", nifti_bytes(values, np.eye(4)))


def write_segmenter(path: Path, members: int, size: tuple[int, int]) -> None:
    """An ensemble of untrained networks as wide as published."""
    config = SegConfig.for_segmenter("li2018", [f"train.members={members}"])
    folder = SegmenterFolder(path)
    for number in range(members):
        reseed_torch(0, "bench", "member", number)
        save_tensors(folder.member(number).weights, build_segmenter(config.network, 2).state_dict())
    write_text_atomic(folder.config, config.to_toml())
    write_text_atomic(folder.prepare, PrepareConfig.build({"size": size}).to_toml())
    facts = {"channels": ["FLAIR", "T1"], "size": list(size), "training_cases": [], "excluded": []}
    folder.write_manifest("complete", network="li2018", **facts)


def main() -> int:
    """Prints one line; exit code 1 where the limit is passed or the prediction fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", default="256x256x192")
    parser.add_argument("--size", default="200x200", help="rows and columns that the networks see")
    parser.add_argument("--members", type=int, default=3)
    parser.add_argument("--slices", type=int, help="slices that the networks look at; all but the published share")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    shape = tuple(int(side) for side in options.shape.split("x"))
    rows, columns = (int(side) for side in options.size.split("x"))
    with tempfile.TemporaryDirectory() as work:
        write_scan(Path(work, "scans", "Noise", "1"), shape)
        write_segmenter(Path(work, "segmenter"), options.members, (rows, columns))
        arguments = ["segment", "predict", f"{work}/segmenter", f"{work}/scans", "--out", f"{work}/out"]
        if options.slices:
            arguments += ["--set", f"predict.emptied={(1 - options.slices / shape[2]) / 2}"]
        started = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-m", "labelgan", *arguments, "--device", "cpu"],
            env={**os.environ, "OMP_NUM_THREADS": str(options.threads)},
            check=False,
        )
        seconds = time.monotonic() - started
    # kilobytes on Linux; of all children the largest, and there was one
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    print(
        f"volume {options.shape}, slices {options.size}, {options.members} networks, {options.threads} threads: "
        f"peak {peak / 1e9:.2f} GB (limit {LIMIT_BYTES / 1e9:.0f} GB), {seconds:.0f} s, exit code {done.returncode}"
    )
    return int(done.returncode != 0 or peak > LIMIT_BYTES)


if __name__ == "__main__":
    sys.exit(main())
