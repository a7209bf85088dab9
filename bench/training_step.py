"""Times a training step of `labelgan train` against a bare loop of the same networks and game, in one process.

Run: python bench/training_step.py [--steps 20] [--size 64]
Prints seconds a step for both, their ratio, and the share of this machine's own matrix-product rate.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
from torch import Tensor

from labelgan import api
from labelgan.config_gan import GanConfig
from labelgan.gan.batches import BatchSource, training_rows
from labelgan.gan.inputs import gather_content, make_inputs
from labelgan.gan.objectives import OBJECTIVES, CriticTurn, GeneratorTurn
from labelgan.gan.trainer import Trainer, build_networks
from labelgan.rng import generator_for
from study_scale import Counter

MODELS = ("r3gan", "wgan-gp", "refiner")


def bare_step(config: GanConfig, size: tuple[int, int], given: tuple[Tensor, ...]):
    """Gives a function that makes one step of the same game on fixed tensors, without augmentation, average or data."""
    generator, critic = build_networks(config, 3, size)
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

    return step


def matmul_gflops() -> float:
    """The machine's own ceiling: fp32 products of 1024×1024 matrices."""
    a, b = torch.randn(1024, 1024), torch.randn(1024, 1024)
    times = []
    for _ in range(10):
        started = time.perf_counter()
        torch.mm(a, b)
        times.append(time.perf_counter() - started)
    return 2 * 1024**3 / median(times) / 1e9


def gflop_a_step(step: Callable[[int], None], every: int) -> float:
    """Multiplications and additions of a step, in thousand millions, over one round of the lazy penalty."""
    with Counter() as counter:
        for index in range(every):
            step(index)
    return counter.total / every / 1e9


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--size", type=int, default=64)
    arguments = parser.parse_args()
    size = (arguments.size, arguments.size)
    ceiling = matmul_gflops()
    print(f"threads {torch.get_num_threads()}, matrix products {ceiling:.0f} GFLOP/s")
    print(f"{'model':<10} {'ours s/step':>12} {'bare s/step':>12} {'ratio':>7} {'GFLOP/step':>11} {'of ceiling':>11}")
    with tempfile.TemporaryDirectory() as folder:
        api.phantom(Path(folder) / "phantom", 2, 0)
        store = api.prepare(
            Path(folder) / "phantom", Path(folder) / "store", size=size, spacing_mm=205 / arguments.size
        )
        for model in MODELS:
            config = GanConfig.for_model(model, "laptop")
            rows = training_rows(store, config)
            inputs = make_inputs(config, gather_content(store, rows, config))
            given = inputs.batch(generator_for(0, "bench"), config.train.batch_size)
            trainer = Trainer(config, 3, size, inputs, torch.device("cpu"))
            source = BatchSource(store, rows, config, torch.device("cpu"))
            bare = bare_step(config, size, given)
            gflop = gflop_a_step(bare, config.objective.penalty_every)
            ours_times, bare_times = [], []
            for index in range(arguments.steps + 2):
                started = time.perf_counter()
                trainer.step(index, lambda turn, index=index, source=source: source.batch(index, turn)[0])
                between = time.perf_counter()
                bare(index)
                ours_times.append(between - started)
                bare_times.append(time.perf_counter() - between)
            # The lazy penalty makes every fourth step dearer: means, after two warm-up steps.
            ours, rival = (sum(times[2:]) / arguments.steps for times in (ours_times, bare_times))
            share = gflop / ours / ceiling
            print(f"{model:<10} {ours:>12.4f} {rival:>12.4f} {ours / rival:>7.3f} {gflop:>11.2f} {share:>10.0%}")


if __name__ == "__main__":
    main()
