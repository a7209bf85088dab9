"""Times the steps of `labelgan train` and `labelgan segment train` against bare loops of the same networks.

Run: ``python -m bench.speed.training_step [--short]``. Prints one table: overhead, share of the machine's rate of
matrix products, share of a step that waits for its data.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported

import itertools
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from bench.speed.measure import (
    PRODUCT_GFLOP,
    Bench,
    Figure,
    Ratio,
    Turns,
    in_rounds,
    main,
    matrix_product,
    median_ratio,
    stopwatch,
)
from bench.speed.study.scale import Counter
from labelgan import api
from labelgan.config.gan import GanConfig
from labelgan.config.seg import SegConfig
from labelgan.core.rng import generator_for, reseed_torch
from labelgan.data.store import SliceStore
from labelgan.gan.inputs.batches import BatchSource, training_rows
from labelgan.gan.inputs.inputs import Compositions, Latents, gather_content, make_inputs
from labelgan.gan.objectives import OBJECTIVES, CriticTurn, GeneratorTurn
from labelgan.gan.train import train_generator
from labelgan.gan.trainer import build_networks
from labelgan.seg.batches import SegBatches
from labelgan.seg.losses import soft_dice_loss
from labelgan.seg.networks import build_segmenter
from labelgan.seg.train import train_segmenter

SIDE = 64
MODELS = ("refiner", "r3gan", "wgan-gp")
OVERHEAD, WAITING = 1.05, 0.05
SETTINGS = ["train.device=cpu", "train.threads=1"]

Step = Callable[[int], object]

OURS, PLAIN = torch.channels_last, torch.contiguous_format


def laid_out(network: nn.Module, layout: torch.memory_format) -> nn.Module:
    """The network with its convolution weights in a layout."""
    return network.to(memory_format=layout)  # pyright: ignore[reportCallIssue]


def bare(step: Step) -> Step:
    """The step as a plain loop makes it: without the deterministic mode that the training beside it has switched on."""

    def run(index: int) -> None:
        torch.use_deterministic_algorithms(False)
        try:
            step(index)
        finally:
            torch.use_deterministic_algorithms(True, warn_only=True)

    return run


def bare_game(
    config: GanConfig, size: tuple[int, int], given: tuple[Tensor, ...], layout: torch.memory_format = OURS
) -> Step:
    """One step of the same game on fixed tensors, without augmentation, averaging or data."""
    generator, critic = (laid_out(network, layout) for network in build_networks(config, 3, size))
    objective, settings = OBJECTIVES[config.objective.name], config.objective
    betas = (config.optimizer.beta1, config.optimizer.beta2)
    g_optimizer = torch.optim.Adam(generator.parameters(), lr=config.optimizer.generator_lr, betas=betas)
    c_optimizer = torch.optim.Adam(critic.parameters(), lr=config.optimizer.critic_lr, betas=betas)
    count = config.train.batch_size
    real, mix = torch.randn(count, 3, *size).tanh(), torch.rand(count)

    def step(index: int) -> None:
        for turn in range(settings.critic_steps):
            with torch.no_grad():
                fake = generator(*given)
            critic_turn = CriticTurn(critic, real, fake, mix, index * settings.critic_steps + turn, settings)
            c_optimizer.zero_grad(set_to_none=True)
            objective.critic_loss(critic_turn)[0].backward()
            c_optimizer.step()
        critic.requires_grad_(False)
        g_optimizer.zero_grad(set_to_none=True)
        fake = generator(*given)
        loss = objective.generator_loss(GeneratorTurn(critic, real, fake, settings))
        if settings.keep:
            loss = loss + settings.keep * (fake - given[0])[:, :-1].abs().mean()
        loss.backward()
        g_optimizer.step()
        critic.requires_grad_(True)
        float(loss.detach())

    return step


def bare_segmenter(config: SegConfig, channels: int, size: tuple[int, int], layout: torch.memory_format = OURS) -> Step:
    """One step of the same segmenter on one fixed batch, without augmentation or data."""
    reseed_torch(0, "bench", "segmenter")
    network = laid_out(build_segmenter(config.network, channels).train(), layout)
    optimizer = torch.optim.Adam(network.parameters(), lr=config.train.lr)
    images_NCHW = torch.randn(config.train.batch_size, channels, *size)
    masks_NHW = (torch.rand(config.train.batch_size, *size) < 0.02).to(torch.uint8)

    def step(index: int) -> None:
        loss = soft_dice_loss(network(images_NCHW), masks_NHW)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        float(loss.detach())

    return step


@dataclass(frozen=True)
class Measured:
    """Seconds of rounds of steps, all of one length, and what is known of them.

    Attributes:
        ours, bare, plain, product: of each round; ``plain`` of the bare loop in torch's own layout of weights,
            ``product`` of as many matrix products as a round has steps.
        data, inputs: seconds a step that reading real slices takes, and composing or drawing what a generator is given.
        gflop: of a round.
        length: steps of a round.
        last: of the last step of all, which also draws a picture and saves.
    """

    ours: list[float]
    bare: list[float]
    plain: list[float]
    product: list[float]
    data: list[float]
    gflop: float
    length: int
    last: float

    @property
    def overhead(self) -> Ratio:
        """Ours over bare."""
        return median_ratio(self.ours, self.bare)

    @property
    def layout(self) -> Ratio:
        """Torch's own layout over ours, both bare."""
        return median_ratio(self.plain, self.bare)

    @property
    def ceiling(self) -> Ratio:
        """Share of the rate of matrix products."""
        made = [self.gflop / seconds for seconds in self.ours]
        return median_ratio(made, [PRODUCT_GFLOP * self.length / seconds for seconds in self.product])

    @property
    def waiting(self) -> Ratio:
        """Share of a round in which the next batch is being made."""
        return median_ratio(self.data, self.ours)


def watch(
    train: Callable[[Any], object], rival: Step, plain: Step, watched: Sequence[tuple[Any, str]], length: int = 1
) -> Measured:
    """Runs a training with its rival, and a matrix product, between its steps.

    Args:
        train: takes a ``report`` and trains.
        rival: the bare step.
        plain: the same in torch's own layout of weights.
        watched: methods that make data, as (class, name).
        length: steps after which the work repeats, as the lazy penalty has it.
    """
    multiply = matrix_product()
    with Counter() as counter:
        for index in range(length):
            rival(index)
    turns = Turns([bare(rival), bare(plain), lambda _: multiply()])
    marks: list[float] = []
    with ExitStack() as stack:
        spent = [stack.enter_context(stopwatch(owner, name)) for owner, name in watched]

        def report(done: int, steps: int, text: str) -> None:
            marks.append(sum(map(sum, spent)))
            turns(done, steps, text)

        train(report)
    data = [after - before for before, after in itertools.pairwise(marks)]
    ours, rivals, plains, products, data = (in_rounds(times[:-1], length) for times in (*turns.times, data))
    return Measured(ours, rivals, plains, products, data, counter.total / 1e9, length, turns.times[0][-1])


def generator_config(model: str, steps: int) -> GanConfig:
    """The laptop preset of a model on one thread."""
    return GanConfig.for_model(model, "laptop", [*SETTINGS, f"train.steps={steps}"])


def segmenter_config(steps: int) -> SegConfig:
    """The laptop preset, one member on one thread."""
    return SegConfig.for_segmenter("li2018", [*SETTINGS, f"train.steps={steps}", "train.members=1"], "laptop")


def generator_training(store: SliceStore, config: GanConfig, out: Path) -> Callable[[Any], object]:
    """The training that a ``report`` can be given to."""
    return lambda report: train_generator(store, out, config, report=report)


def segmenter_training(store: SliceStore, config: SegConfig, out: Path) -> Callable[[Any], object]:
    """Likewise."""
    return lambda report: train_segmenter(store, out, config, report=report)


def watch_generator(store: SliceStore, config: GanConfig, out: Path) -> Measured:
    """A generator's training beside its bare loop."""
    rows = training_rows(store, config)
    inputs = make_inputs(config, gather_content(store, rows, config))
    given = inputs.batch(generator_for(0, "bench"), config.train.batch_size)
    data = [(BatchSource, "batch"), (Compositions, "batch"), (Latents, "batch")]
    rival, plain = (bare_game(config, store.size, given, layout) for layout in (OURS, PLAIN))
    return watch(generator_training(store, config, out), rival, plain, data, config.objective.penalty_every)


def watch_segmenter(store: SliceStore, config: SegConfig, out: Path) -> Measured:
    """A segmenter's training beside its bare loop."""
    rival, plain = (bare_segmenter(config, len(store.channels), store.size, layout) for layout in (OURS, PLAIN))
    return watch(segmenter_training(store, config, out), rival, plain, [(SegBatches, "batch")])


def make_store(folder: Path, side: int = SIDE) -> SliceStore:
    """Three phantoms, cut to slices of ``side`` pixels."""
    api.phantom(folder / "phantom", 3, 0)
    return api.prepare(folder / "phantom", folder / "store", size=(side, side), spacing_mm=205 / side)


def rows_of(what: str, measured: Measured, saved_every: int) -> list[Figure]:
    """The four figures of one training."""
    steps = measured.length
    ours, rival = (median(times) / steps for times in (measured.ours, measured.bare))
    rate = PRODUCT_GFLOP * steps / median(measured.product)
    saving = max(0.0, measured.last - ours)
    data = median(measured.data) / steps
    return [
        Figure(
            name=f"{what}, cost of a step",
            against="bare loop",
            ratio=measured.overhead,
            better="lower",
            target=OVERHEAD,
            detail=f"{ours * 1e3:.0f} ms; {rival * 1e3:.0f} ms; a save and picture every {saved_every} steps add "
            f"{saving / saved_every / ours:.1%}",
        ),
        Figure(
            name=f"{what}, a bare step in torch's own layout of weights",
            against="bare loop, channels last",
            ratio=measured.layout,
            better="higher",
            detail=f"{median(measured.plain) / steps * 1e3:.0f} ms; {rival * 1e3:.0f} ms",
            slack=0.05,
        ),
        Figure(
            name=f"{what}, share of the machine's ceiling",
            against="rate of 1024×1024 matrix products",
            ratio=measured.ceiling,
            better="higher",
            detail=f"{measured.gflop / steps:.1f} GFLOP a step; ceiling {rate:.0f} GFLOP/s",
        ),
        Figure(
            name=f"{what}, waiting for data",
            against="the whole step",
            ratio=measured.waiting,
            better="lower",
            target=WAITING,
            detail=f"{data * 1e3:.1f} ms",
            slack=0.02,
        ),
    ]


def figures(short: bool) -> list[Figure]:
    """Trains every model for some steps."""
    torch.set_num_threads(1)
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        store = make_store(folder)
        for model in MODELS:
            every = generator_config(model, 1).objective.penalty_every
            rounds = (3 if short else 5) if every > 1 else (5 if short else 7)
            config = generator_config(model, rounds * every + 2)
            rows += rows_of(f"`{model}`", watch_generator(store, config, folder / model), config.train.checkpoint_every)
        config = segmenter_config(16 if short else 32)
        rows += rows_of(
            "segmenter", watch_segmenter(store, config, folder / "segmenter"), config.train.checkpoint_every
        )
    return rows


BENCH = Bench(
    name="training-step",
    title="Training steps",
    command="python -m bench.speed.training_step",
    text=f"""
The loops of `labelgan train` and `labelgan segment train` themselves, timed from report to report (data, augmentation,
averaged generator, figures, logs), against a bare loop of the same networks and the same losses on one fixed batch:
no data, no augmentation, no average, no deterministic mode; its weights are laid out as ours, channels last, and
once more in torch's own layout. Laptop preset, slices of {SIDE}×{SIDE} of phantoms, one
thread. Steps take turns, ours, bare, and a matrix product, which is the ceiling; lazy penalties are summed over their
round. *Waiting for data* is the share of our step in which reading, composing and augmenting make the next batch.
Batches are made where they are used: nothing is read ahead.
""",
    figures=figures,
)

if __name__ == "__main__":
    main(BENCH)
