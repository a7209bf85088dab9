"""One training step of any game: networks, optimizers and the averaged generator. Knows nothing of files."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from labelgan.config.gan import GanConfig
from labelgan.core.errors import ConfigError
from labelgan.core.rng import generator_for, reseed_torch
from labelgan.data.prepare.limits import ValueRange
from labelgan.gan.inputs.augment import augment
from labelgan.gan.inputs.inputs import Inputs
from labelgan.gan.networks.families import family_of
from labelgan.gan.networks.limit import add_limit, has_limit, limit_of, with_limit_of
from labelgan.gan.objectives import TERMS, CriticTurn, GeneratorTurn, objective_of
from labelgan.training.checkpoint import Checkpoint, load_weights, pack_optimizer, unpack_optimizer
from labelgan.training.device import autocast, channels_last
from labelgan.training.team import Team, join_norms

Batch = Callable[[int], Tensor]


def build_networks(config: GanConfig, channels: int, size: tuple[int, int]) -> tuple[nn.Module, nn.Module]:
    """Builds the generator and the critic for slices of ``channels`` (images and mask) and ``size`` (rows, columns).

    What the generator gives passes its limit, [-1, 1] until it is set; see `gan.networks.limit`.
    """
    family = family_of(config.network)
    reseed_torch(config.train.seed, "initial weights")
    generator, critic = family.generator(config.network, channels, size), family.critic(config.network, channels, size)
    add_limit(generator, channels)
    return channels_last(generator), channels_last(critic)


class Trainer:
    """The state of a game between two checkpoints.

    Attributes:
        generator, critic: the networks.
        averaged: exponential moving average of the generator, the copy that samples (the generator itself without one).
        team: the processes that train together; the networks are the same in all of them.
    """

    def __init__(
        self, config: GanConfig, channels: int, size: tuple[int, int], inputs: Inputs, team: Team | torch.device
    ) -> None:
        self.team = team if isinstance(team, Team) else Team(team)
        self.config, self.device, self.inputs = config, self.team.device, inputs
        self.objective = objective_of(config.objective)
        generator, critic = build_networks(config, channels, size)
        self._require_terms()
        self.generator = join_norms(generator.to(self.device), self.team)
        self.critic = join_norms(critic.to(self.device), self.team)
        self.averaged = self.generator
        if config.train.ema_images:
            self.averaged = copy.deepcopy(self.generator).requires_grad_(False)
        optimizer, rates = self.objective.optimizer_of, config.optimizer
        self.generator_optimizer = optimizer(self.generator, rates.generator_lr, rates)
        self.critic_optimizer = optimizer(self.critic, rates.critic_lr, rates)

    def _require_terms(self) -> None:
        family = self.config.network.family
        for term in (TERMS[name] for name in self.objective.terms):
            if getattr(self.config.objective, term.weight) and family_of(self.config.network).inputs != term.inputs:
                raise ConfigError(f"objective.{term.weight}", f"the family {family} has no composed images to keep")

    def hold_to(self, values: ValueRange) -> None:
        """Holds what is generated to a range of z-scores, that of the training slices."""
        for module in (self.generator, self.averaged):
            limit_of(module).set(values)

    def _autocast(self) -> contextlib.AbstractContextManager[object]:
        return autocast(self.device, self.config.train.precision)

    def step(self, step: int, batch: Batch) -> dict[str, float]:
        """Runs one round: the critic's steps, then the generator's.

        Args:
            step: rounds before; every random draw of the round depends on it and the seed alone.
            batch: gives the real slices of a step, (N, C, H, W): this process's part of them.

        Returns:
            Losses and metrics, possibly non-finite: the caller decides what to do then.
        """
        settings, seed = self.config.objective, self.config.train.seed
        reseed_torch(seed, "step", step, *([self.team.rank] if self.team.rank else []))  # dropout: to each its own
        metrics: dict[str, Tensor] = {}
        for turn in range(settings.critic_steps):
            rng = generator_for(seed, "critic turn", step, turn)
            real_NCHW = batch(turn)
            with torch.no_grad(), self._autocast():
                fake_NCHW = self.generator(*self._inputs(rng, len(real_NCHW))).float()
            with self._autocast():
                loss, metrics = self.objective.critic_loss(
                    CriticTurn(
                        critic=self.critic,
                        real_NCHW=augment(real_NCHW, rng, self.config.augment, self.team),
                        fake_NCHW=augment(fake_NCHW, rng, self.config.augment, self.team),
                        mix_N=self._mixtures(rng, len(real_NCHW)),
                        index=step * settings.critic_steps + turn,
                        settings=settings,
                    )
                )
            self._descend(loss, self.critic_optimizer)
            metrics["critic_loss"] = loss.detach()
            if self.objective.after_critic_step is not None:
                self.objective.after_critic_step(self.critic, settings)
        if self.objective.summary is not None:
            metrics |= self.objective.summary(metrics)

        rng = generator_for(seed, "generator turn", step)
        real_NCHW = batch(settings.critic_steps)
        self.critic.requires_grad_(False)
        with self._autocast():
            inputs = self._inputs(rng, len(real_NCHW))
            fake_NCHW = self.generator(*inputs).float()
            loss = self.objective.generator_loss(
                GeneratorTurn(
                    critic=self.critic,
                    real_NCHW=augment(real_NCHW, rng, self.config.augment, self.team),
                    fake_NCHW=augment(fake_NCHW, rng, self.config.augment, self.team),
                    settings=settings,
                )
            )
        for name, (weight, extra) in self.objective.extra_losses(fake_NCHW, inputs, settings).items():
            metrics[name] = extra.detach()
            loss = loss + weight * extra
        self._descend(loss, self.generator_optimizer)
        self.critic.requires_grad_(True)
        metrics["generator_loss"] = loss.detach()
        self._average(step)
        names = sorted(metrics)
        # Every figure is a mean over slices, and all parts have equally many.
        values = self.team.mean(torch.stack([metrics[name].float() for name in names])).tolist()
        return dict(zip(names, values, strict=True))

    def _inputs(self, rng: np.random.Generator, count: int) -> tuple[Tensor, ...]:
        whole = self.inputs.batch(rng, self.team.whole(count))
        return tuple(self.team.part(tensor).to(self.device) for tensor in whole)

    def _mixtures(self, rng: np.random.Generator, count: int) -> Tensor:
        return torch.from_numpy(self.team.part(rng.random(self.team.whole(count), np.float32))).to(self.device)

    def _descend(self, loss: Tensor, optimizer: torch.optim.Optimizer) -> None:
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.team.mean_gradients(parameter for group in optimizer.param_groups for parameter in group["params"])
        optimizer.step()

    @torch.no_grad()
    def _average(self, step: int) -> None:
        if self.averaged is self.generator:
            return
        # Half-life in images (Karras et al. 2018), shorter at first so that the initial weights are forgotten.
        seen = (step + 1) * self.config.train.batch_size
        half_life = min(self.config.train.ema_images, 0.05 * seen)
        weight = 1 - 0.5 ** (self.config.train.batch_size / half_life)
        for average, current in zip(self.averaged.parameters(), self.generator.parameters(), strict=True):
            average.lerp_(current, weight)
        for average, current in zip(self.averaged.buffers(), self.generator.buffers(), strict=True):
            average.copy_(current)

    def parts(self) -> dict[str, dict[str, Tensor]]:
        """Gives everything that training goes on from, as named tensors."""
        parts = {
            "generator": dict(self.generator.state_dict()),
            "critic": dict(self.critic.state_dict()),
            "generator_optimizer": pack_optimizer(self.generator_optimizer),
            "critic_optimizer": pack_optimizer(self.critic_optimizer),
        }
        if self.averaged is not self.generator:
            parts["generator_ema"] = dict(self.averaged.state_dict())
        return parts

    def restore(self, checkpoint: Checkpoint) -> None:
        """Puts a checkpoint back; raises CheckpointError when it is of another network."""
        modules = {"generator": self.generator, "critic": self.critic}
        if self.averaged is not self.generator:
            modules["generator_ema"] = self.averaged
        for name, module in modules.items():
            tensors = checkpoint.part(name)
            if name != "critic" and not has_limit(tensors):  # saved before there was one
                tensors = with_limit_of(module, tensors)
            load_weights(module, tensors, checkpoint.folder / f"{name}.safetensors")
        unpack_optimizer(self.generator_optimizer, checkpoint.part("generator_optimizer"))
        unpack_optimizer(self.critic_optimizer, checkpoint.part("critic_optimizer"))

    def start_from(self, generator: dict[str, Tensor], critic: dict[str, Tensor], source: str) -> None:
        """Begins with another run's weights instead of random ones (fine-tuning); the limit stays this run's."""
        from pathlib import Path

        for module in (self.generator, self.averaged):
            load_weights(module, with_limit_of(module, generator), Path(source) / "generator.safetensors")
        load_weights(self.critic, critic, Path(source) / "critic.safetensors")
