"""The adversarial games: what the critic and the generator each minimise.

Every loss takes the critic and batches that have been augmented alike; ``D(x)`` is one number a slice.
Shape suffixes as in `labelgan.gan.networks.families`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from labelgan.config.gan import ObjectiveConfig


@dataclass(frozen=True)
class CriticTurn:
    """What one critic step plays with.

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
    """What one generator step plays with; ``fake_NCHW`` carries the generator's graph."""

    critic: nn.Module
    real_NCHW: Tensor
    fake_NCHW: Tensor
    settings: ObjectiveConfig


Loss = tuple[Tensor, dict[str, Tensor]]


@dataclass(frozen=True)
class Objective:
    """One game.

    Attributes:
        critic_loss: gives the critic's loss and figures to log.
        generator_loss: gives the generator's loss.
        clips: critic weights are clipped after each step.
        wasserstein: E[D(real)] - E[D(fake)] estimates the Wasserstein-1 distance, up to the Lipschitz constant.
        source: paper and equation.
    """

    critic_loss: Callable[[CriticTurn], Loss]
    generator_loss: Callable[[GeneratorTurn], Tensor]
    source: str
    clips: bool = False
    wasserstein: bool = False


def _figures(real_N: Tensor, fake_N: Tensor, **more: Tensor) -> dict[str, Tensor]:
    figures = {"critic_real": real_N.mean(), "critic_fake": fake_N.mean(), **more}
    return {name: value.detach() for name, value in figures.items()}


def _minimax_critic(turn: CriticTurn) -> Loss:
    # max_D E[log D(x)] + E[log(1 - D(G(z)))] with D = sigmoid(logit): log D = -softplus(-logit)
    real_N, fake_N = turn.critic(turn.real_NCHW), turn.critic(turn.fake_NCHW)
    return F.softplus(-real_N).mean() + F.softplus(fake_N).mean(), _figures(real_N, fake_N)


def _minimax_generator(turn: GeneratorTurn) -> Tensor:
    fake_N = turn.critic(turn.fake_NCHW)
    # min_G E[log(1 - D)] when saturating, min_G -E[log D] otherwise (Goodfellow et al. 2014, section 3)
    return -F.softplus(fake_N).mean() if turn.settings.saturating else F.softplus(-fake_N).mean()


def _wasserstein_critic(turn: CriticTurn) -> Loss:
    real_N, fake_N = turn.critic(turn.real_NCHW), turn.critic(turn.fake_NCHW)
    return fake_N.mean() - real_N.mean(), _figures(real_N, fake_N)


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
    loss, figures = _wasserstein_critic(turn)
    penalty = gradient_penalty(turn.critic, turn.real_NCHW, turn.fake_NCHW, turn.mix_N)
    return loss + turn.settings.penalty * penalty, {**figures, "penalty": penalty.detach()}


def _relativistic_critic(turn: CriticTurn) -> Loss:
    every = turn.settings.penalty_every
    if turn.index % every:
        real_N, fake_N = turn.critic(turn.real_NCHW), turn.critic(turn.fake_NCHW)
        return F.softplus(fake_N - real_N).mean(), _figures(real_N, fake_N)
    real_N, real_gradient = input_gradient(turn.critic, turn.real_NCHW)
    fake_N, fake_gradient = input_gradient(turn.critic, turn.fake_NCHW)
    # R1 and R2: squared gradient norm at real and at fake slices, summed over pixels in fp32
    r1 = real_gradient.float().square().sum(dim=(1, 2, 3)).mean()
    r2 = fake_gradient.float().square().sum(dim=(1, 2, 3)).mean()
    loss = F.softplus(fake_N - real_N).mean() + every * turn.settings.penalty / 2 * (r1 + r2)
    return loss, _figures(real_N, fake_N, r1=r1, r2=r2)


def _relativistic_generator(turn: GeneratorTurn) -> Tensor:
    with torch.no_grad():
        real_N = turn.critic(turn.real_NCHW)
    return F.softplus(real_N - turn.critic(turn.fake_NCHW)).mean()


OBJECTIVES: dict[str, Objective] = {
    "gan": Objective(_minimax_critic, _minimax_generator, "Goodfellow et al. 2014, equation 1"),
    "dcgan": Objective(
        _minimax_critic, _minimax_generator, "Radford et al. 2016, on Goodfellow et al. 2014, equation 1"
    ),
    "wgan": Objective(
        _wasserstein_critic, _wasserstein_generator, "Arjovsky et al. 2017, algorithm 1", clips=True, wasserstein=True
    ),
    "wgan-gp": Objective(
        _wgan_gp_critic, _wasserstein_generator, "Gulrajani et al. 2017, equation 3", wasserstein=True
    ),
    "r3gan": Objective(_relativistic_critic, _relativistic_generator, "Huang et al. 2024, equations 2 to 4"),
}
