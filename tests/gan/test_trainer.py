from __future__ import annotations

import hashlib
import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor

from labelgan.config.gan import MODELS, PRESETS, GanConfig
from labelgan.core.errors import CheckpointError, ConfigError
from labelgan.core.rng import generator_for
from labelgan.gan.inputs.inputs import make_inputs
from labelgan.gan.networks.families import family_of
from labelgan.gan.objectives import OBJECTIVES
from labelgan.gan.trainer import Trainer, build_networks
from labelgan.training.checkpoint import Checkpoint
from tiny import tiny_config, tiny_content

CPU = torch.device("cpu")


def real_batch(turn: int, count: int = 4, channels: int = 3, side: int = 32) -> Tensor:
    images = generator_for(9, "real", turn).uniform(-1, 1, (count, channels, side, side))
    return torch.from_numpy(images.astype(np.float32))


def trainer_of(config: GanConfig) -> Trainer:
    content = tiny_content() if family_of(config.network).inputs == "composition" else None
    return Trainer(config, 3, (32, 32), make_inputs(config, content), CPU)


def copies(trainer: Trainer) -> tuple[list[Tensor], list[Tensor]]:
    return tuple([p.detach().clone() for p in m.parameters()] for m in (trainer.generator, trainer.critic))  # pyright: ignore[reportReturnType]


def moved(before: list[Tensor], after: list[Tensor]) -> bool:
    return any(not torch.equal(one, other) for one, other in zip(before, after, strict=True))


GAMES = [(model, None) for model in MODELS] + [
    (model, preset) for preset, models in PRESETS.items() for model in models if preset != "uned2019"
]


@pytest.mark.parametrize(("model", "preset"), GAMES)
def test_one_step_changes_both_players(model, preset):
    config = tiny_config(model, preset=preset)
    trainer = trainer_of(config)
    before = copies(trainer)
    figures = trainer.step(0, real_batch)
    after = copies(trainer)
    assert moved(before[0], after[0])
    assert moved(before[1], after[1])
    assert {"critic_loss", "generator_loss", "critic_real", "critic_fake"} <= figures.keys()
    assert ("wasserstein_estimate" in figures) == config.objective.name.startswith("wgan")
    assert all(math.isfinite(value) for value in figures.values())


def test_every_turn_of_every_step_draws_anew(monkeypatch):
    trainer = trainer_of(tiny_config("wgan"))  # five turns of the critic, one of the generator
    drawn = []
    batch = trainer.inputs.batch

    def recorded(rng: np.random.Generator, count: int) -> tuple[Tensor, ...]:
        drawn.append(batch(rng, count))
        return drawn[-1]

    monkeypatch.setattr(trainer, "inputs", SimpleNamespace(batch=recorded))
    for step in range(3):
        trainer.step(step, real_batch)
    assert len({z_NZ.numpy().tobytes() for (z_NZ,) in drawn}) == 3 * 6


@pytest.mark.slow
def test_one_step_of_the_2019_network_changes_both_players():
    # RMSprop keeps the least state for its 45 million weights
    smaller = ["optimizer.name=rmsprop", "objective.critic_steps=1", "train.batch_size=2", "network.latent_dim=8"]
    trainer = trainer_of(GanConfig.for_model("wgan-gp", "uned2019", smaller))
    ends = [next(module.parameters()) for module in (trainer.generator, trainer.critic)]
    before = [parameter.detach().clone() for parameter in ends]
    trainer.step(0, lambda turn: real_batch(turn, 2))
    assert not torch.equal(before[0], ends[0])
    assert not torch.equal(before[1], ends[1])


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_every_objective_plays_with_the_default_networks(objective):
    trainer = trainer_of(tiny_config("r3gan", f"objective.name={objective}"))
    before = copies(trainer)
    trainer.step(0, real_batch)
    after = copies(trainer)
    assert moved(before[0], after[0])
    assert moved(before[1], after[1])


def test_the_critic_takes_its_turns_before_the_generator_and_on_slices_of_its_own():
    turns: list[int] = []

    def batch(turn: int) -> Tensor:
        turns.append(turn)
        return real_batch(turn)

    trainer_of(tiny_config("wgan-gp", "objective.critic_steps=3")).step(0, batch)
    assert turns == [0, 1, 2, 3]


def test_wgan_weights_are_clipped():
    trainer = trainer_of(tiny_config("wgan", "objective.clip=0.005"))
    trainer.step(0, real_batch)
    largest = max(float(parameter.detach().abs().max()) for parameter in trainer.critic.parameters())
    assert largest == pytest.approx(0.005, rel=1e-6)


def test_other_critics_are_not_clipped():
    trainer = trainer_of(tiny_config("wgan-gp", "objective.clip=0.005"))
    trainer.step(0, real_batch)
    assert max(float(parameter.detach().abs().max()) for parameter in trainer.critic.parameters()) > 0.01


def test_the_generators_turn_leaves_the_critic_and_its_gradients_alone():
    trainer = trainer_of(tiny_config())
    seen: list[list[Tensor]] = []

    def state() -> list[Tensor]:
        parameters = list(trainer.critic.parameters())
        return [p.detach().clone() for p in parameters] + [p.grad.clone() for p in parameters if p.grad is not None]

    def batch(turn: int) -> Tensor:
        if turn == 1:  # the critic has had its turn
            seen.append(state())
        return real_batch(turn)

    trainer.step(0, batch)
    after = state()
    assert len(after) == len(seen[0]) == 2 * len(list(trainer.critic.parameters()))
    assert not moved(seen[0], after)
    assert all(parameter.requires_grad for parameter in trainer.critic.parameters())


@pytest.mark.parametrize("model", ["gan", "dcgan", "r3gan", "wgan"])
def test_steps_depend_on_weights_step_and_seed_alone(model):
    """Restoring after two steps and playing the third gives what three steps in a row give, bit for bit."""
    config = tiny_config(model)
    straight = trainer_of(config)
    for step in range(2):
        straight.step(step, real_batch)
    parts = {part: {k: v.clone() for k, v in tensors.items()} for part, tensors in straight.parts().items()}
    straight.step(2, real_batch)

    torch.manual_seed(12345)
    torch.randn(7)
    resumed = trainer_of(config)
    resumed.restore(Checkpoint(folder=Path("x"), step=2, parts=parts, state={}))
    resumed.step(2, real_batch)
    ours, theirs = straight.parts(), resumed.parts()
    assert ours.keys() == theirs.keys()
    for part, tensors in ours.items():
        assert tensors.keys() == theirs[part].keys()
        for name, tensor in tensors.items():
            assert torch.equal(tensor, theirs[part][name]), (part, name)


def test_another_seed_gives_other_weights():
    one, other = (build_networks(tiny_config("r3gan", f"train.seed={seed}"), 3, (32, 32))[0] for seed in (0, 1))
    assert not torch.equal(one.basis, other.basis)  # pyright: ignore


def test_the_average_lags_behind_the_generator_by_its_half_life():
    config = tiny_config("r3gan", "train.ema_images=2", "train.batch_size=4", "optimizer.generator_lr=0.05")
    trainer = trainer_of(config)
    average = [p.clone() for p in trainer.averaged.parameters()]
    for step in range(16):
        trainer.step(step, real_batch)
        # early on the half-life is a twentieth of what was seen; half of the way is made in one half-life
        weight = 1 - 0.5 ** (4 / min(2.0, 0.05 * 4 * (step + 1)))
        current = list(trainer.generator.parameters())
        average = [(a + weight * (c - a)).detach() for a, c in zip(average, current, strict=True)]
    for expected, found in zip(average, trainer.averaged.parameters(), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert moved(list(trainer.averaged.parameters()), list(trainer.generator.parameters()))
    assert not any(parameter.requires_grad for parameter in trainer.averaged.parameters())


def test_without_an_average_the_generator_itself_samples():
    trainer = trainer_of(tiny_config("r3gan", "train.ema_images=0"))
    assert trainer.averaged is trainer.generator
    assert "generator_ema" not in trainer.parts()


def test_a_checkpoint_of_another_network_is_refused_by_name():
    trainer, wider = trainer_of(tiny_config()), trainer_of(tiny_config("r3gan", "network.latent_dim=9"))
    checkpoint = Checkpoint(Path("run/step-1"), 1, wider.parts(), {})
    with pytest.raises(CheckpointError, match=r"generator\.safetensors: tensor 'modulate\.weight' has shape \(8, 9\)"):
        trainer.restore(checkpoint)


def test_unknown_names_are_refused():
    with pytest.raises(ConfigError, match=r"network\.family: unknown 'nope'; one of r3gan"):
        trainer_of(tiny_config("r3gan", "network.family=nope"))
    with pytest.raises(ConfigError, match=r"objective\.name: unknown 'nope'; one of gan"):
        trainer_of(tiny_config("r3gan", "objective.name=nope"))


# The same weights as by the trainer that had the rules of all games in branches

# SHA-256 of three steps' networks, averages and optimizers, by the trainer that had the rules of all games in branches.
# Kernels round differently elsewhere: torch 2.13.0 on a CPU with AVX-512.
MEASURED_WITH = "2.13.0 AVX512"
MEASURED = {
    ("r3gan", None): "2942478254ca9723",
    ("refiner", None): "99f72ecd96bd104a",
    ("gan", None): "97789f0c4063315c",
    ("dcgan", None): "9f8d92af295d4f50",
    ("wgan", None): "ffe2c53933c7b65c",
    ("wgan-gp", None): "693519b97ee068a3",
    ("r3gan", "laptop"): "cfcb7f58c6876f1e",
    ("refiner", "laptop"): "5095068d04ded94e",
}


@pytest.mark.parametrize(("model", "preset"), MEASURED)
def test_three_steps_give_the_weights_of_before(model, preset):
    here = f"{torch.__version__.partition('+')[0]} {torch.backends.cpu.get_cpu_capability()}"
    if here != MEASURED_WITH:
        pytest.skip(f"weights were measured with torch {MEASURED_WITH}")
    trainer = trainer_of(tiny_config(model, "train.seed=5", preset=preset))
    for step in range(3):
        trainer.step(step, real_batch)
    digest = hashlib.sha256()
    for _, part in sorted(trainer.parts().items()):
        for _, tensor in sorted(part.items()):
            digest.update(tensor.contiguous().numpy().tobytes())
    assert digest.hexdigest()[:16] == MEASURED[model, preset]
