"""Times sampling against bare forward passes of the same generator.

Run: ``python -m bench.speed.sampling_speed [--short]``. Prints one table.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported

import shutil
import tempfile
from functools import partial
from pathlib import Path
from statistics import median

import torch

from bench.speed.measure import Bench, Figure, Ratio, main, median_interval, median_ratio, take_turns
from bench.speed.training_step import SETTINGS, SIDE, make_store
from labelgan import api
from labelgan.gan.sample import BLOCK, Generator

MODELS = ("refiner", "r3gan")
BLOCKS = 3  # a turn


@torch.no_grad()
def forward_passes(network: torch.nn.Module, given: tuple[torch.Tensor, ...]) -> None:
    """The network alone, on one block's inputs again and again."""
    for _ in range(BLOCKS):
        network(*given)


def figures(short: bool) -> list[Figure]:
    """Trains a step each, and samples."""
    torch.set_num_threads(1)
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        store = make_store(folder)
        for model in MODELS:
            settings = [*SETTINGS, "train.checkpoint_every=1"]
            settings += ["content.stock=16"] if model == "refiner" else []
            run, out = folder / model, folder / "samples"
            api.train(store.path, run, model=model, preset="laptop", steps=1, settings=settings)
            generator = Generator.load(run, device="cpu", force=True)
            network, given = generator._generator, generator.inputs.samples(0, range(BLOCK))
            count = BLOCKS * BLOCK

            def drawn(generator: Generator = generator, count: int = count) -> None:
                for _ in generator.iterate(count):
                    pass

            def written(run: Path = run, out: Path = out, count: int = count) -> None:
                shutil.rmtree(out, ignore_errors=True)
                api.sample(run, out, count, format="npz", device="cpu", force=True)

            bare, ours, files = take_turns([partial(forward_passes, network, given), drawn, written], 3 if short else 6)
            for what, times in (("`Generator.iterate`", ours), ("`labelgan sample`, to files", files)):
                rates = [count / seconds for seconds in times]
                rate = Ratio(median(rates), *median_interval(rates), len(rates))
                rows.append(
                    Figure(
                        name=f"{what}, `{model}`",
                        against="bare forward passes",
                        ratio=median_ratio(times, bare),
                        better="lower",
                        detail=f"{rate.value:,.0f} slices/s; {count / median(bare):,.0f} slices/s",
                    )
                )
    return rows


BENCH = Bench(
    name="sampling",
    title="Sampling",
    command="python -m bench.speed.sampling_speed",
    text=f"""
Cost of a sample against a forward pass of its generator in the same blocks of {BLOCK}, slices of {SIDE}×{SIDE}, laptop
preset, one thread. A sample of `r3gan` is a draw of z and a forward pass; one of `refiner` is first composed out of an
anatomy and lesions, and then given a tone of its own, each from a stream of its own. `labelgan sample` also loads the
generator and writes cohort, card and manifest, here for {BLOCKS * BLOCK} slices.
""",
    figures=figures,
)

if __name__ == "__main__":
    main(BENCH)
