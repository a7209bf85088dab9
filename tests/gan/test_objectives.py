from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from labelgan.config.gan import ObjectiveConfig
from labelgan.core.rng import generator_for
from labelgan.gan.objectives import OBJECTIVES, CriticTurn, GeneratorTurn, gradient_penalty, input_gradient

SHAPE = (3, 4, 5)


class Linear(nn.Module):
    """D(x) = w·x, whose gradient is w everywhere."""

    def __init__(self, weight_CHW: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight_CHW)

    def forward(self, images_NCHW: Tensor) -> Tensor:
        return (images_NCHW * self.weight).sum(dim=(1, 2, 3))


class Quadratic(nn.Module):
    """D(x) = a/2·‖x‖², whose gradient is a·x."""

    def __init__(self, a: float) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.tensor(a))

    def forward(self, images_NCHW: Tensor) -> Tensor:
        return self.a / 2 * images_NCHW.square().sum(dim=(1, 2, 3))


class Reads(nn.Module):
    """D(x) = x of single pixels, so that slices are their own logits."""

    def forward(self, images_NCHW: Tensor) -> Tensor:
        return images_NCHW.flatten(1).squeeze(1)


def tensor(*name: str, count: int = 6) -> Tensor:
    return torch.from_numpy(generator_for(3, *name).standard_normal((count, *SHAPE))).float()


def logits(*values: float) -> Tensor:
    return torch.tensor(values)[:, None, None, None]


def critic_turn(critic: nn.Module, real: Tensor, fake: Tensor, index: int = 0, **settings) -> CriticTurn:
    mix_N = torch.from_numpy(generator_for(4, "mix").random(len(real), "float32"))
    return CriticTurn(critic, real, fake, mix_N, index, ObjectiveConfig(**settings))


def generator_turn(critic: nn.Module, real: Tensor, fake: Tensor, **settings) -> GeneratorTurn:
    return GeneratorTurn(critic, real, fake, ObjectiveConfig(**settings))


def log_sigmoid(x: float) -> float:
    return -math.log1p(math.exp(-x))


REAL, FAKE = (0.0, 2.0, -1.0), (0.5, -3.0, 1.0)


@pytest.mark.parametrize("name", ["gan", "dcgan"])
def test_the_minimax_critic_maximises_the_log_likelihood(name):
    loss, figures = OBJECTIVES[name].critic_loss(critic_turn(Reads(), logits(*REAL), logits(*FAKE)))
    # 1 - σ(x) = σ(-x)
    expected = -sum(map(log_sigmoid, REAL)) / 3 - sum(log_sigmoid(-x) for x in FAKE) / 3
    assert float(loss) == pytest.approx(expected, rel=1e-6)
    assert float(figures["critic_real"]) == pytest.approx(sum(REAL) / 3)
    assert float(figures["critic_fake"]) == pytest.approx(sum(FAKE) / 3)


def test_an_undecided_minimax_critic_loses_log_four():
    loss, _ = OBJECTIVES["gan"].critic_loss(critic_turn(Reads(), logits(0.0, 0.0), logits(0.0, 0.0)))
    assert float(loss) == pytest.approx(math.log(4), rel=1e-6)


@pytest.mark.parametrize("name", ["gan", "dcgan"])
def test_the_minimax_generator_in_both_forms(name):
    loss = OBJECTIVES[name].generator_loss
    plain = loss(generator_turn(Reads(), logits(*REAL), logits(*FAKE)))
    saturating = loss(generator_turn(Reads(), logits(*REAL), logits(*FAKE), saturating=True))
    assert float(plain) == pytest.approx(-sum(map(log_sigmoid, FAKE)) / 3, rel=1e-6)
    assert float(saturating) == pytest.approx(sum(log_sigmoid(-x) for x in FAKE) / 3, rel=1e-6)


def test_only_the_saturating_loss_loses_its_gradient_when_the_critic_is_sure():
    gradients = []
    for saturating in (True, False):
        fake = logits(-12.0).requires_grad_(True)
        OBJECTIVES["gan"].generator_loss(generator_turn(Reads(), logits(0.0), fake, saturating=saturating)).backward()
        gradients.append(float(fake.grad.abs().sum()))  # pyright: ignore[reportOptionalMemberAccess]
    assert gradients[0] < 1e-4
    assert gradients[1] == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize("name", ["wgan", "wgan-gp"])
def test_wasserstein_losses_are_differences_of_means(name):
    real, fake, critic = tensor("real"), tensor("fake"), Linear(tensor("w", count=1)[0])
    loss, figures = OBJECTIVES[name].critic_loss(critic_turn(critic, real, fake, penalty=0.0))
    distance = float(figures["critic_real"] - figures["critic_fake"])
    assert float(loss.detach()) == pytest.approx(-distance, rel=1e-5)
    generator = OBJECTIVES[name].generator_loss(generator_turn(critic, real, fake))
    assert float(generator.detach()) == pytest.approx(-float(figures["critic_fake"]), rel=1e-5)
    summary = OBJECTIVES[name].summary
    assert summary is not None
    (estimate,) = summary(figures).values()
    assert float(estimate) == pytest.approx(distance)


def test_the_gradient_penalty_of_a_linear_critic_and_its_own_gradient():
    weight = tensor("w", count=1)[0]
    critic = Linear(weight.clone())
    mix_N = torch.tensor([0.0, 0.1, 0.5, 0.9, 0.99, 0.3])
    penalty = gradient_penalty(critic, tensor("real"), tensor("fake"), mix_N)
    norm = float(weight.norm())
    assert float(penalty.detach()) == pytest.approx((norm - 1) ** 2, rel=1e-5)
    penalty.backward()
    torch.testing.assert_close(critic.weight.grad, 2 * (norm - 1) * weight / norm, rtol=1e-5, atol=1e-6)


def test_a_critic_of_slope_one_has_no_gradient_penalty():
    weight = tensor("w", count=1)[0]
    critic = Linear(weight / weight.norm())
    penalty = gradient_penalty(critic, tensor("real"), tensor("fake"), torch.rand(6, generator=torch.manual_seed(0)))
    assert float(penalty.detach()) == pytest.approx(0.0, abs=1e-10)


@pytest.mark.parametrize(("mix", "where"), [(1.0, "real"), (0.0, "fake"), (0.5, "middle")])
def test_the_gradient_penalty_is_taken_between_real_and_fake(mix, where):
    real, fake = tensor("real"), tensor("fake")
    point = {"real": real, "fake": fake, "middle": (real + fake) / 2}[where]
    penalty = gradient_penalty(Quadratic(0.7), real, fake, torch.full((6,), mix))
    expected = (0.7 * point.flatten(1).norm(dim=1) - 1).square().mean()
    assert float(penalty.detach()) == pytest.approx(float(expected), rel=1e-5)


def test_wgan_gp_adds_lambda_times_the_penalty():
    real, fake, critic = tensor("real"), tensor("fake"), Linear(tensor("w", count=1)[0])
    without, _ = OBJECTIVES["wgan-gp"].critic_loss(critic_turn(critic, real, fake, penalty=0.0))
    loss, figures = OBJECTIVES["wgan-gp"].critic_loss(critic_turn(critic, real, fake, penalty=10.0))
    norm = float(critic.weight.detach().norm())
    assert float(figures["penalty"]) == pytest.approx((norm - 1) ** 2, rel=1e-5)
    assert float((loss - without).detach()) == pytest.approx(10 * (norm - 1) ** 2, rel=1e-5)


@pytest.mark.parametrize("gamma", [0.5, 3.0])
def test_r1_and_r2_of_a_linear_critic_and_their_gradient(gamma):
    weight = tensor("w", count=1)[0]
    critic, same = Linear(weight.clone()), tensor("real")
    # On real = fake the pairing term is log 2 and has no gradient: the penalty remains.
    loss, figures = OBJECTIVES["r3gan"].critic_loss(critic_turn(critic, same, same.clone(), penalty=gamma))
    square = float(weight.square().sum())
    assert float(loss.detach()) == pytest.approx(math.log(2) + gamma / 2 * (square + square), rel=1e-5)
    assert float(figures["r1"]) == pytest.approx(square, rel=1e-5)
    assert float(figures["r2"]) == pytest.approx(square, rel=1e-5)
    loss.backward()
    torch.testing.assert_close(critic.weight.grad, 2 * gamma * weight, rtol=1e-5, atol=1e-5)


def test_r1_is_taken_at_real_and_r2_at_fake_slices():
    real, fake = tensor("real"), 2 * tensor("fake")
    _, figures = OBJECTIVES["r3gan"].critic_loss(critic_turn(Quadratic(0.3), real, fake))
    assert float(figures["r1"]) == pytest.approx(float(0.09 * real.square().sum(dim=(1, 2, 3)).mean()), rel=1e-5)
    assert float(figures["r2"]) == pytest.approx(float(0.09 * fake.square().sum(dim=(1, 2, 3)).mean()), rel=1e-5)


def test_the_relativistic_game_is_the_same_with_the_sides_swapped():
    real, fake, critic = tensor("real"), tensor("fake"), Linear(tensor("w", count=1)[0])
    ours, _ = OBJECTIVES["r3gan"].critic_loss(critic_turn(critic, real, fake, penalty=0.0))
    theirs = OBJECTIVES["r3gan"].generator_loss(generator_turn(critic, fake, real))
    torch.testing.assert_close(ours, theirs)


def test_the_relativistic_losses_differ_by_the_mean_margin():
    # softplus(x) - softplus(-x) = x
    real, fake, critic = tensor("real"), tensor("fake"), Linear(tensor("w", count=1)[0])
    ours, figures = OBJECTIVES["r3gan"].critic_loss(critic_turn(critic, real, fake, penalty=0.0))
    theirs = OBJECTIVES["r3gan"].generator_loss(generator_turn(critic, real, fake))
    margin = figures["critic_fake"] - figures["critic_real"]
    torch.testing.assert_close((ours - theirs).detach(), margin, rtol=1e-4, atol=1e-5)


def test_a_lazy_penalty_comes_every_kth_turn_and_weighs_the_same_in_all():
    real, fake, critic = tensor("real"), tensor("fake"), Linear(tensor("w", count=1)[0])
    loss = OBJECTIVES["r3gan"].critic_loss
    bare = float(loss(critic_turn(critic, real, fake, penalty=0.0))[0].detach())
    eager = float(loss(critic_turn(critic, real, fake, penalty=2.0))[0].detach()) - bare
    lazy = []
    for index in range(8):
        value, figures = loss(critic_turn(critic, real, fake, index, penalty=2.0, penalty_every=4))
        assert ("r1" in figures) == (index in (0, 4))
        lazy.append(float(value.detach()) - bare)
    assert [index for index, extra in enumerate(lazy) if extra > 1e-3] == [0, 4]
    assert sum(lazy) / 8 == pytest.approx(eager, rel=1e-5)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_generator_losses_send_gradient_to_the_fake_slices_alone(name):
    real = tensor("real").requires_grad_(True)
    fake = tensor("fake").requires_grad_(True)
    OBJECTIVES[name].generator_loss(generator_turn(Linear(tensor("w", count=1)[0]), real, fake)).backward()
    assert real.grad is None
    assert fake.grad is not None
    assert float(fake.grad.abs().sum()) > 0


@pytest.mark.parametrize("name", OBJECTIVES)
def test_descending_makes_a_critic_tell_real_from_fake(name):
    """One small step against the gradient lowers the loss, and every figure is detached."""
    real, fake = tensor("real") + 0.2, tensor("fake") - 0.2
    critic = Linear(0.01 * tensor("w", count=1)[0])
    turn = critic_turn(critic, real, fake, penalty=0.1)
    loss, figures = OBJECTIVES[name].critic_loss(turn)
    assert not any(value.requires_grad for value in figures.values())
    (gradient,) = torch.autograd.grad(loss, critic.weight)
    with torch.no_grad():
        critic.weight.sub_(1e-3 * gradient)
    after, figures_after = OBJECTIVES[name].critic_loss(turn)
    assert float(after.detach()) < float(loss.detach())
    margins = [float(f["critic_real"] - f["critic_fake"]) for f in (figures, figures_after)]
    assert margins[1] > margins[0]


def test_the_input_gradient_of_a_known_critic():
    images = tensor("real")
    scores_N, gradient = input_gradient(Quadratic(0.5), images)
    torch.testing.assert_close(gradient, 0.5 * images)
    torch.testing.assert_close(scores_N, 0.25 * images.square().sum(dim=(1, 2, 3)))
    assert not images.requires_grad


def test_only_wgan_clips():
    assert [name for name, objective in OBJECTIVES.items() if objective.after_critic_step] == ["wgan"]
