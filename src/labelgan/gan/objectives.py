"""The adversarial games: what the critic and the generator each minimise.

Every loss takes the critic and batches that have been augmented alike; ``D(x)`` is one number a slice.
Shape suffixes as in `labelgan.gan.networks.families`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from labelgan.config.gan import ObjectiveConfig, OptimizerConfig
from labelgan.core.errors import ConfigError


@dataclass(frozen=True)
class CriticTurn:
    """Inputs of one critic step.

    Attributes:
        critic: D.
        real_NCHW: slices of patients.
        fake_NCHW: slices of the generator, detached.
        mix_N: uniform in [0, 1), one a slice, where the penalty is taken between real and fake.
        index: how many critic steps came before.
        settings: the objective's settings.
    """

    critic: nn.Module
    real_NCHW: Tensor
    fake_NCHW: Tensor
    mix_N: Tensor
    index: int
    settings: ObjectiveConfig


@dataclass(frozen=True)
class GeneratorTurn:
    """Inputs of one generator step; ``fake_NCHW`` carries the generator's graph."""

    critic: nn.Module
    real_NCHW: Tensor
    fake_NCHW: Tensor
    settings: ObjectiveConfig


Loss = tuple[Tensor, dict[str, Tensor]]


OptimizerRule = Callable[[Iterable[nn.Parameter], float, OptimizerConfig], torch.optim.Optimizer]


@dataclass(frozen=True)
class Rule:
    """One way from gradients to steps: ``build(parameters, lr, settings)``, and the settings of it that it reads."""

    build: OptimizerRule
    settings: Collection[str] = ()


OPTIMIZERS: dict[str, Rule] = {
    "adam": Rule(
        lambda parameters, lr, settings: torch.optim.Adam(parameters, lr=lr, betas=(settings.beta1, settings.beta2)),
        ("beta1", "beta2"),
    ),
    "rmsprop": Rule(lambda parameters, lr, settings: torch.optim.RMSprop(parameters, lr=lr)),
    "sgd": Rule(
        lambda parameters, lr, settings: torch.optim.SGD(parameters, lr=lr, momentum=settings.momentum), ("momentum",)
    ),
}


@dataclass(frozen=True)
class Term:
    """A further loss of the generator, on its slices as they are before augmentation.

    Attributes:
        weight: name of the field of `ObjectiveConfig` that weighs it; at 0 it is left out.
        loss: of the slices (N, C, H, W) and of what the generator was given.
        inputs: key of `gan.inputs.INPUTS` that it is defined for.
    """

    weight: str
    loss: Callable[[Tensor, tuple[Tensor, ...]], Tensor]
    inputs: str


def _change(slices_NCHW: Tensor, given: tuple[Tensor, ...]) -> Tensor:
    """Mean absolute change of the composed images; the mask channel is free."""
    return (slices_NCHW - given[0])[:, :-1].abs().mean()


# By the name in metrics.csv.
TERMS: dict[str, Term] = {"change": Term("keep", _change, "composition")}


@dataclass(frozen=True)
class Objective:
    """One game, whole: everything in which a step of it differs from a step of another.

    Attributes:
        critic_loss: gives the critic's loss and metrics to log.
        generator_loss: gives the generator's loss.
        source: paper and equation.
        settings: fields of `ObjectiveConfig` that the losses and ``after_critic_step`` read; others are refused where
            they are given. Every game reads ``critic_steps`` and what weighs its terms.
        after_critic_step: called with the critic and the settings after each of its steps.
        summary: further metrics of a step, from those of its last critic step.
        terms: keys of ``TERMS``: further losses of the generator.
        optimizer: the game's own, where none of ``OPTIMIZERS`` will do; `OptimizerConfig.name` is then not read.
        defaults: settings by dotted key, for a game that no entry of `config.gan.MODELS` names: ``--model GAME`` is
            then the model r3gan with these.
    """

    critic_loss: Callable[[CriticTurn], Loss]
    generator_loss: Callable[[GeneratorTurn], Tensor]
    source: str
    settings: Collection[str] = ()
    after_critic_step: Callable[[nn.Module, ObjectiveConfig], None] | None = None
    summary: Callable[[Mapping[str, Tensor]], dict[str, Tensor]] | None = None
    terms: Collection[str] = tuple(TERMS)
    optimizer: Rule | None = None
    defaults: Mapping[str, Any] = field(default_factory=dict)

    def optimizer_of(self, module: nn.Module, lr: float, settings: OptimizerConfig) -> torch.optim.Optimizer:
        """Builds the optimizer of one side."""
        return (self.optimizer or OPTIMIZERS[settings.name]).build(module.parameters(), lr, settings)

    def extra_losses(
        self, slices_NCHW: Tensor, given: tuple[Tensor, ...], settings: ObjectiveConfig
    ) -> dict[str, tuple[float, Tensor]]:
        """Gives weight and value of every further loss of the generator that is not weighed 0, by name."""
        weights = {name: getattr(settings, TERMS[name].weight) for name in self.terms}
        return {name: (weight, TERMS[name].loss(slices_NCHW, given)) for name, weight in weights.items() if weight}


def objective_of(config: ObjectiveConfig) -> Objective:
    """Gives the game that the settings name; raises ConfigError for an unknown one."""
    if config.name not in OBJECTIVES:
        raise ConfigError("objective.name", f"unknown '{config.name}'; one of {', '.join(OBJECTIVES)}")
    return OBJECTIVES[config.name]


def _metrics(real_N: Tensor, fake_N: Tensor, **more: Tensor) -> dict[str, Tensor]:
    metrics = {"critic_real": real_N.mean(), "critic_fake": fake_N.mean(), **more}
    return {name: value.detach() for name, value in metrics.items()}


def _minimax_critic(turn: CriticTurn) -> Loss:
    # max_D E[log D(x)] + E[log(1 - D(G(z)))] with D = sigmoid(logit): log D = -softplus(-logit)
    real_N, fake_N = turn.critic(turn.real_NCHW), turn.critic(turn.fake_NCHW)
    return F.softplus(-real_N).mean() + F.softplus(fake_N).mean(), _metrics(real_N, fake_N)


def _minimax_generator(turn: GeneratorTurn) -> Tensor:
    fake_N = turn.critic(turn.fake_NCHW)
    # min_G E[log(1 - D)] when saturating, min_G -E[log D] otherwise (Goodfellow et al. 2014, section 3)
    return -F.softplus(fake_N).mean() if turn.settings.saturating else F.softplus(-fake_N).mean()


def _wasserstein_critic(turn: CriticTurn) -> Loss:
    real_N, fake_N = turn.critic(turn.real_NCHW), turn.critic(turn.fake_NCHW)
    return fake_N.mean() - real_N.mean(), _metrics(real_N, fake_N)


def _wasserstein_generator(turn: GeneratorTurn) -> Tensor:
    return -turn.critic(turn.fake_NCHW).mean()


def input_gradient(critic: nn.Module, images_NCHW: Tensor) -> tuple[Tensor, Tensor]:
    """Gives D(x), (N,), and dD/dx, (N, C, H, W), both differentiable once more."""
    images_NCHW = images_NCHW.detach().requires_grad_(True)
    scores_N = critic(images_NCHW)
    (gradient_NCHW,) = torch.autograd.grad(scores_N.sum(), images_NCHW, create_graph=True)
    return scores_N, gradient_NCHW


def gradient_penalty(critic: nn.Module, real_NCHW: Tensor, fake_NCHW: Tensor, mix_N: Tensor) -> Tensor:
    """E[(‖∇D(x̂)‖₂ - 1)²] on straight lines between real and fake (Gulrajani et al. 2017, equation 3)."""
    mix_N111 = mix_N[:, None, None, None]
    _, gradient_NCHW = input_gradient(critic, mix_N111 * real_NCHW + (1 - mix_N111) * fake_NCHW)
    return (gradient_NCHW.float().flatten(1).norm(dim=1) - 1).square().mean()


def _wgan_gp_critic(turn: CriticTurn) -> Loss:
    loss, metrics = _wasserstein_critic(turn)
    penalty = gradient_penalty(turn.critic, turn.real_NCHW, turn.fake_NCHW, turn.mix_N)
    return loss + turn.settings.penalty * penalty, {**metrics, "penalty": penalty.detach()}


def _relativistic_critic(turn: CriticTurn) -> Loss:
    every = turn.settings.penalty_every
    if turn.index % every:
        real_N, fake_N = turn.critic(turn.real_NCHW), turn.critic(turn.fake_NCHW)
        return F.softplus(fake_N - real_N).mean(), _metrics(real_N, fake_N)
    real_N, real_gradient = input_gradient(turn.critic, turn.real_NCHW)
    fake_N, fake_gradient = input_gradient(turn.critic, turn.fake_NCHW)
    # R1 and R2: squared gradient norm at real and at fake slices, summed over pixels in fp32
    r1 = real_gradient.float().square().sum(dim=(1, 2, 3)).mean()
    r2 = fake_gradient.float().square().sum(dim=(1, 2, 3)).mean()
    loss = F.softplus(fake_N - real_N).mean() + every * turn.settings.penalty / 2 * (r1 + r2)
    return loss, _metrics(real_N, fake_N, r1=r1, r2=r2)


def _relativistic_generator(turn: GeneratorTurn) -> Tensor:
    with torch.no_grad():
        real_N = turn.critic(turn.real_NCHW)
    return F.softplus(real_N - turn.critic(turn.fake_NCHW)).mean()


def clip_weights(critic: nn.Module, settings: ObjectiveConfig) -> None:
    """Clips every weight to ±``clip`` (Arjovsky et al. 2017, algorithm 1, line 7)."""
    with torch.no_grad():
        for parameter in critic.parameters():
            parameter.clamp_(-settings.clip, settings.clip)


def _wasserstein_estimate(metrics: Mapping[str, Tensor]) -> dict[str, Tensor]:
    # E[D(real)] - E[D(fake)] estimates the Wasserstein-1 distance, up to the Lipschitz constant.
    return {"wasserstein_estimate": metrics["critic_real"] - metrics["critic_fake"]}


OBJECTIVES: dict[str, Objective] = {
    "gan": Objective(
        _minimax_critic, _minimax_generator, "Goodfellow et al. 2014, equation 1", settings=("saturating",)
    ),
    "dcgan": Objective(
        _minimax_critic,
        _minimax_generator,
        "Radford et al. 2016, on Goodfellow et al. 2014, equation 1",
        settings=("saturating",),
    ),
    "wgan": Objective(
        _wasserstein_critic,
        _wasserstein_generator,
        "Arjovsky et al. 2017, algorithm 1",
        settings=("clip",),
        after_critic_step=clip_weights,
        summary=_wasserstein_estimate,
    ),
    "wgan-gp": Objective(
        _wgan_gp_critic,
        _wasserstein_generator,
        "Gulrajani et al. 2017, equation 3",
        settings=("penalty",),
        summary=_wasserstein_estimate,
    ),
    "r3gan": Objective(
        _relativistic_critic,
        _relativistic_generator,
        "Huang et al. 2024, equations 2 to 4",
        settings=("penalty", "penalty_every"),
    ),
}
