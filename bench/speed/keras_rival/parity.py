"""Compares Li et al.'s U-Net in Keras with ours, after ``segment import-li``: the largest difference of probabilities.

The Keras half (``keras_unet.py``) runs in an environment of its own, made here on the first call: keras on the torch
backend. The weights are random, the slices are noise; sizes that do not halve evenly make the skips be cropped.

Run: ``python -m bench.speed.keras_rival.parity [--venv DIR] [--width 64]``. Prints one table; exit code 1 where a
difference is 1e-4 or more, or where Keras' probabilities are nearly all the same and so prove nothing.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from labelgan.cli.app import run_command
from labelgan.core.provenance import measured_at
from labelgan.seg.predict import Ensemble

SIZES = ("200x200", "201x187")
LIMIT = 1e-4
LEAST_SPREAD = 0.1


@dataclass(frozen=True)
class Row:
    """One comparison: ``difference`` is the largest of all pixels, ``spread`` the range of Keras' probabilities."""

    file: str
    channels: int
    size: str
    difference: float
    spread: float


def make_venv(folder: Path) -> Path:
    """Makes an environment with keras, the same torch as ours and h5py, where there is none yet; gives its Python."""
    python = folder / "bin" / "python"
    if not python.is_file():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        # torch by its version: a plain torch would pull gigabytes of CUDA packages
        subprocess.run([*install, f"torch=={version('torch').split('+')[0]}"], check=True)
        subprocess.run([*install, "keras>=3", "h5py>=3.10"], check=True)
    return python


def compare(python: Path, work: Path, channels: int, width: int) -> Iterator[Row]:
    """Lets Keras answer and save, imports both kinds of file, and compares at every size."""
    script = Path(__file__).with_name("unet.py")
    arguments = ["--channels", channels, "--width", width, "--sizes", ",".join(SIZES), "--seed", channels]
    environment = {**os.environ, "KERAS_BACKEND": "torch", "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [str(part) for part in (python, script, work, *arguments)]
    subprocess.run(command, check=True, env=environment, stdout=subprocess.PIPE)
    with np.load(work / "answers.npz") as archive:
        answers = dict(archive)
    for file in ("weights.h5", "model.h5"):
        segmenter = work / f"segmenter-{file.removesuffix('.h5')}"
        code = run_command(["segment", "import-li", str(work / file), "--out", str(segmenter)])
        if code:
            raise SystemExit(code)
        (network,) = Ensemble.load(segmenter, device="cpu").networks
        for size in SIZES:
            slices_NCHW = torch.from_numpy(answers[f"slices_{size}"].transpose(0, 3, 1, 2).copy())
            with torch.no_grad():
                ours_NHW = network(slices_NCHW)[:, 0].sigmoid().numpy()
            keras_NHW = answers[f"probabilities_{size}"][..., 0]
            yield Row(file, channels, size, float(np.abs(ours_NHW - keras_NHW).max()), float(np.ptp(keras_NHW)))


def main() -> int:
    """Compares one and two channels, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--venv", type=Path, default=Path(__file__).parents[3] / ".venv-keras")
    parser.add_argument("--width", type=int, default=64)
    options = parser.parse_args()
    python = make_venv(options.venv)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as work:
        for channels in (1, 2):
            rows += compare(python, Path(work, str(channels)), channels, options.width)
    print(measured_at() + "\n")
    print("| file | channels | slices | range of probabilities | largest difference |\n|---|---|---|---|---|")
    for row in rows:
        print(
            f"| {row.file} | {row.channels} | {row.size.replace('x', '×')} | {row.spread:.3f} | {row.difference:.1e} |"
        )
    return int(any(row.difference >= LIMIT or row.spread < LEAST_SPREAD for row in rows))


if __name__ == "__main__":
    sys.exit(main())
