"""Times the steps of `labelgan train` and `labelgan segment train` against the same networks in Keras 3 with jit.

The Keras half (``keras_steps.py``) runs in an environment of its own, made here on the first call: keras on jax, whose
steps XLA compiles whole. Both sides make their steps in turns.

Run: ``python -m bench.speed.keras_rival.speed [--short]``. Prints one table.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any, Self

import torch
from torch import nn

from bench.speed.measure import ROOT, Bench, Figure, Turns, in_rounds, main, median_ratio
from bench.speed.training_step import (
    SIDE,
    generator_config,
    generator_training,
    make_store,
    segmenter_config,
    segmenter_training,
)
from labelgan.config.gan import GanConfig
from labelgan.config.seg import SegConfig
from labelgan.gan.networks.families import parameter_count
from labelgan.gan.networks.grid import plan_grid, stage_widths
from labelgan.gan.trainer import build_networks
from labelgan.seg.networks import build_segmenter

VENV = ROOT / ".venv-keras-jax"
MODELS = ("refiner", "wgan-gp")


def make_venv(folder: Path = VENV) -> Path:
    """Makes an environment with keras and jax, where there is none yet; gives its Python."""
    python = folder / "bin" / "python"
    if not (folder / "complete").is_file():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*install, "keras>=3", "jax>=0.4", "h5py>=3.10"], check=True)
        (folder / "complete").touch()
    return python


def game_task(config: GanConfig) -> dict[str, Any]:
    """What ``keras_steps.py`` has to know of a generator's training."""
    network, objective, optimizer = config.network, config.objective, config.optimizer
    return {
        "network": config.model,
        "side": SIDE,
        "channels": 3,
        "batch_size": config.train.batch_size,
        "width": network.width,
        "critic_width": network.critic_width,
        "widths": stage_widths(network, plan_grid((SIDE, SIDE)).stages - 1),
        "blocks": network.blocks,
        "latent_dim": network.latent_dim,
        "noise_maps": network.noise_maps,
        "objective": objective.name,
        "critic_steps": objective.critic_steps,
        "penalty": objective.penalty,
        "penalty_every": objective.penalty_every,
        "keep": objective.keep,
        "rate": optimizer.generator_lr,
        "betas": [optimizer.beta1, optimizer.beta2],
    }


def segmenter_task(config: SegConfig) -> dict[str, Any]:
    """What it has to know of a segmenter's."""
    return {
        "network": "li2018",
        "side": SIDE,
        "channels": 2,
        "batch_size": config.train.batch_size,
        "width": config.network.width,
        "normalised": config.network.norm == "batch",
        "rate": config.train.lr,
        "betas": [0.9, 0.999],
    }


class Keras:
    """The other process; it has one core to run on."""

    def __init__(self, python: Path, task: dict[str, Any]) -> None:
        self.process = subprocess.Popen(
            [str(python), str(Path(__file__).with_name("steps.py")), json.dumps(task)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu", "TF_CPP_MIN_LOG_LEVEL": "3"},
            preexec_fn=_one_core,
        )
        self.versions = self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"error: Keras ended with exit code {self.process.wait()}")
        return json.loads(line)

    def step(self, index: int) -> float:
        """Has a step made; gives the seconds that it took there."""
        assert self.process.stdin is not None
        print(index, file=self.process.stdin, flush=True)
        return float(self._answer()["seconds"])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(60)


def _one_core() -> None:
    if hasattr(os, "sched_setaffinity"):  # jax makes a thread for every core it may use
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def compare(what: str, training: Any, keras: Keras, networks: Sequence[nn.Module], length: int) -> Figure:
    """Trains with Keras' steps in between; stops the bench where the networks have not equally many weights."""
    ours = [parameter_count(network) for network in networks]
    if keras.versions["weights"] != ours:
        raise SystemExit(f"error: {what}: networks of {ours} weights here, of {keras.versions['weights']} in Keras")
    for index in range(length):
        keras.step(index)  # compiles
    turns = Turns([keras.step])
    training(turns)
    spent, theirs = (in_rounds(times[:-1], length) for times in turns.times)
    return Figure(
        name=f"{what}, times as fast as Keras",
        against=f"Keras {keras.versions['keras']} on {keras.versions['backend']}, jit",
        ratio=median_ratio(theirs, spent),
        better="higher",
        target=1.0,
        detail=f"{median(spent) / length * 1e3:.0f} ms; {median(theirs) / length * 1e3:.0f} ms",
    )


def figures(short: bool) -> list[Figure]:
    """Compares two games, the short run one, and the segmenter."""
    torch.set_num_threads(1)
    python, rows = make_venv(), []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        store = make_store(folder)
        for model in MODELS[:1] if short else MODELS:
            every = generator_config(model, 1).objective.penalty_every
            rounds = 3 if short else 5
            config = generator_config(model, rounds * every + 2)
            with Keras(python, game_task(config)) as keras:
                row = compare(
                    f"`{model}`",
                    generator_training(store, config, folder / model),
                    keras,
                    build_networks(config, 3, store.size),
                    every,
                )
            rows.append(replace(row, short=model == MODELS[0]))
        config = segmenter_config(14 if short else 22)
        with Keras(python, segmenter_task(config)) as keras:
            rows.append(
                compare(
                    "segmenter",
                    segmenter_training(store, config, folder / "segmenter"),
                    keras,
                    [build_segmenter(config.network, 2)],
                    1,
                )
            )
    return rows


BENCH = Bench(
    name="keras",
    title="Against Keras 3 with jit",
    command="python -m bench.speed.keras_rival.speed",
    text=f"""
Our training loops with all that they do, as in [training steps](#training-steps), against the same networks, losses
and optimizers in Keras 3 on jax: a whole round (all turns of the critic, the penalty, the generator, both optimizers)
is one function that XLA compiles, on one fixed batch, without data, augmentation or average. Laptop preset, slices of
{SIDE}×{SIDE}, one core each, the same processor seconds on both sides; compiling does not count. The Keras half has a
process and an environment of its own, and makes its steps while ours waits.
""",
    figures=figures,
)

if __name__ == "__main__":
    main(BENCH)
