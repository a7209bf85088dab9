"""What the processes of a team do in tests. Both run these functions, which the other finds by name."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from labelgan.core.rng import generator_for
from labelgan.data.store import SliceStore
from labelgan.gan.inputs.batches import BatchSource, training_rows
from labelgan.gan.inputs.inputs import make_inputs
from labelgan.gan.trainer import Trainer
from labelgan.seg.batches import SegBatches
from labelgan.seg.folder import MemberFolder
from labelgan.seg.losses import cross_entropy, soft_dice_loss
from labelgan.seg.member import Member
from labelgan.training.checkpoint import save_tensors
from labelgan.training.team import Team
from tiny import tiny_config, tiny_seg_config

STEPS = 3

# The second of three R3GAN rounds is without R1 and R2; wgan-gp mixes, and normalises its generator; dcgan normalises
# both. The augmentations are all that there are.
GAMES = {
    "r3gan": ("r3gan", "objective.penalty_every=2", 'augment.policy=["flip", "translate", "cutout", "intensity"]'),
    "wgan-gp": ("wgan-gp", "objective.critic_steps=2", "mask.encoding=gaussian"),
    "dcgan": ("dcgan",),
}

SEGMENTERS = {
    "li2018": ("li2018",),
    "li2018, batch norm, cross-entropy": ("li2018", "network.norm=batch", "train.loss=dice+ce"),
    "segresnet": ("segresnet", "network.width=8"),
}

Values = dict[str, Tensor]


def random(*shape: int, name: str) -> Tensor:
    """Normal values of one stream."""
    return torch.from_numpy(generator_for(5, name).standard_normal(shape).astype(np.float32))


def exchange(team: Team) -> Values:
    """All that a team can do, with a batch of eight rows: the same values whatever the team's size."""
    rows = team.part(random(8, 3, name="rows"))
    weight = random(3, name="weight").requires_grad_(True)
    # the cube of a sum over the batch does not fall apart into parts, nor does its second derivative
    loss = team.sum((rows * weight).sum(dim=0)).pow(3).sum()
    (gradient,) = torch.autograd.grad(loss, weight, create_graph=True)
    (team.sum(gradient) / team.size).square().sum().backward()
    team.mean_gradients([weight])
    assert weight.grad is not None
    return {
        "loss": loss.detach(),
        "gradient of the gradient's square": weight.grad,
        "mean": team.mean(rows.mean(dim=0)),
        "flag of the last": torch.tensor(team.any(team.rank == team.size - 1)),
        "no flag": torch.tensor(team.any(False)),
    }


def losses(team: Team) -> Values:
    """Loss and gradient of a convolution that segments eight slices, unequally full of lesion and other pathology."""
    images = team.part(random(8, 2, 6, 6, name="images"))
    drawn = generator_for(5, "masks").integers(0, 3, (8, 6, 6)) * (np.arange(8) > 2)[:, None, None]
    masks = torch.from_numpy(team.part(drawn.astype(np.uint8)))
    found = {}
    for name, loss_of in {"dice": soft_dice_loss, "entropy": cross_entropy}.items():
        kernel = random(1, 2, 3, 3, name="kernel").requires_grad_(True)
        loss = loss_of(torch.nn.functional.conv2d(images, kernel, padding=1), masks, team)
        loss.backward()
        team.mean_gradients([kernel])
        assert kernel.grad is not None
        found |= {name: loss.detach(), f"gradient of {name}": kernel.grad}
    return found


def play(team: Team, store: SliceStore, *settings: str) -> Values:
    """Plays some rounds of a game; gives weights, averages, optimizers and figures."""
    config = tiny_config(*settings)
    trainer = Trainer(config, 3, store.size, make_inputs(config, None), team)
    source = BatchSource(store, training_rows(store, config), config, team.device)
    figures: dict[str, float] = {}
    for step in range(STEPS):
        figures = trainer.step(step, lambda turn, step=step: source.batch(step, turn, team)[0])
    state = {f"{part}.{name}": tensor for part, tensors in trainer.parts().items() for name, tensor in tensors.items()}
    return state | {name: torch.tensor(value) for name, value in figures.items()}


def segment(team: Team, store: SliceStore, folder: Path, *settings: str) -> Values:
    """Makes some steps of a member; gives its weights and its last loss."""
    config = tiny_seg_config(*settings)
    batches = SegBatches(store, store.select(), None, config, 0, team.device)
    member = Member(0, MemberFolder(folder), config, 2, batches, STEPS, team)
    pixels = []
    for step in range(STEPS):
        member.step = step
        member.loss, _, lesion_pixels = member._descend(*batches.batch(step, team))
        pixels.append(lesion_pixels)
    return {**member.network.state_dict(), "loss": torch.tensor(member.loss), "lesion pixels": torch.tensor(pixels)}


def everything(team: Team, path: Path, folder: Path) -> dict[str, Values]:
    """All of the above, one after another; each process leaves what it got in a file of its own."""
    torch.set_num_threads(1)
    store = SliceStore.open(path)
    found = {"exchange": exchange(team), "losses": losses(team)}
    found |= {name: play(team, store, *settings) for name, settings in GAMES.items()}
    found |= {name: segment(team, store, folder, *settings) for name, settings in SEGMENTERS.items()}
    flat = {f"{what}: {name}": value for what, values in found.items() for name, value in values.items()}
    save_tensors(folder / f"{team.size}-{team.rank}.safetensors", flat)
    team.barrier()
    return found


def count(team: Team) -> None:
    """Exchanges something until the other process ends."""
    while True:
        team.any(False)
        time.sleep(0.01)


def die(team: Team) -> None:
    """Ends without a word after one exchange."""
    team.any(False)
    os.kill(os.getpid(), signal.SIGKILL)
