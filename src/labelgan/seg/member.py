"""Trains one network of an ensemble: steps, restarts, checkpoints."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from labelgan.config.seg import SegConfig, SegTrainConfig
from labelgan.core.errors import CheckpointError, TrainingError
from labelgan.core.rng import reseed_torch
from labelgan.data.volume import LESION
from labelgan.seg.batches import SegBatches
from labelgan.seg.folder import MemberFolder
from labelgan.seg.losses import SMOOTH, cross_entropy, soft_dice_loss
from labelgan.seg.networks import build_segmenter
from labelgan.training.checkpoint import Checkpoint, load_weights, pack_optimizer, save_tensors, unpack_optimizer
from labelgan.training.device import autocast
from labelgan.training.loop import Training
from labelgan.training.metrics_csv import MetricsCsv
from labelgan.training.team import Team, join_norms

COLUMNS = ("step", "start", "seconds", "loss")


class Member(Training):
    """The training of one member.

    Args:
        number: of the member, counted from 0.
        folder: its folder.
        config: every setting.
        channels: images of a slice.
        batches: gives the slices of a step.
        steps: to be made after the last start.
        team: the processes that train it together.

    Attributes:
        start: number of restarts so far; each has first weights of its own.
        stuck: steps on lesion batches in a row on which it had learnt nothing; see `is_stuck`.
        loss: of the last step.
    """

    def __init__(
        self,
        number: int,
        folder: MemberFolder,
        config: SegConfig,
        channels: int,
        batches: SegBatches,
        steps: int,
        team: Team,
    ) -> None:
        table = MetricsCsv(folder.metrics, COLUMNS, config.train.batch_size)
        super().__init__(team, config.train, folder.checkpoints, table, steps, f"member {number}")
        self.number, self.folder, self.config = number, folder, config
        self.channels, self.batches = channels, batches
        self.loss = math.nan
        self._begin(0)

    def _begin(self, start: int) -> None:
        self.start, self.step, self.stuck = start, 0, 0
        reseed_torch(self.config.train.seed, "member", self.number, "first weights", start)
        network = build_segmenter(self.config.network, self.channels)
        self.network: nn.Module = join_norms(network.to(self.team.device), self.team)
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=self.config.train.lr)

    @property
    def learns_nothing(self) -> bool:
        """Whether it has learnt nothing for so long that it is restarted, if restarts are left."""
        return self.stuck >= self.config.train.restart_after

    def train_step(self) -> dict[str, float]:
        settings = self.config.train
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(settings, self.step, self.steps)
        self.loss, dice_loss, lesion_pixels = self._descend(*self.batches.batch(self.step, self.team))
        if lesion_pixels:
            learns_nothing = is_stuck(dice_loss, lesion_pixels, settings.restart_above)
            self.stuck = self.stuck + 1 if learns_nothing else 0
        return {"loss": self.loss}

    def _descend(self, images_NCHW: Tensor, masks_NHW: Tensor) -> tuple[float, float, int]:
        """Makes one step; gives the loss, the Dice loss in it and the lesion pixels of the batch."""
        apart = [self.team.rank] if self.team.rank else []  # dropout, where there is any, is each process's own
        reseed_torch(self.config.train.seed, "member", self.number, "step", self.step, *apart)
        with autocast(self.team.device, self.config.train.precision):
            logits_N1HW = self.network(images_NCHW)
        loss = dice = soft_dice_loss(logits_N1HW, masks_NHW, self.team)
        if self.config.train.loss == "dice+ce":
            loss = dice + cross_entropy(logits_N1HW, masks_NHW, self.team)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.team.mean_gradients(self.network.parameters())
        self.optimizer.step()
        lesion_pixels = self.team.sum((masks_NHW == LESION).sum().float())
        value, dice_value, pixels = torch.stack([loss.detach(), dice.detach(), lesion_pixels]).tolist()
        return value, dice_value, int(pixels)

    def cells(self) -> Mapping[str, object]:
        return {"start": self.start}

    def end_step(self) -> None:
        """Keeps the early weights, and restarts a member that has learnt nothing."""
        if self.step == self.config.train.early_step:
            self._write(self.folder.early)
        if self.learns_nothing and self.start < self.config.train.restarts:
            if self.team.is_first:
                self.folder.early.unlink(missing_ok=True)
            self._begin(self.start + 1)

    def describe(self) -> str:
        return f"member {self.number + 1}/{self.config.train.members} loss {self.loss:.3f}"

    def parts(self) -> dict[str, dict[str, Tensor]]:
        return {"network": dict(self.network.state_dict()), "optimizer": pack_optimizer(self.optimizer)}

    def state(self) -> dict[str, Any]:
        state = {"start": self.start, "since_start": self.step, "stuck": self.stuck, "loss": self.loss}
        return state | {"unwritten": self.table.unwritten.get("loss", [])}

    def restore(self, checkpoint: Checkpoint) -> None:
        state = checkpoint.state
        counts = [state.get(name) for name in ("start", "since_start", "stuck")]
        if not all(isinstance(count, int) for count in counts) or not isinstance(state.get("loss"), float):
            raise CheckpointError(checkpoint.folder, "its state.json is damaged: it does not tell where training was")
        self._begin(state["start"])
        self.total, self.step = checkpoint.step, state["since_start"]
        self.stuck, self.loss = state["stuck"], state["loss"]
        self.table.unwritten = {"loss": list(state["unwritten"])} if state.get("unwritten") else {}
        load_weights(self.network, checkpoint.part("network"), checkpoint.folder / "network.safetensors")
        unpack_optimizer(self.optimizer, checkpoint.part("optimizer"))

    def failure(self, bad: Sequence[str]) -> TrainingError:
        return TrainingError(
            self.folder.path,
            f"the {' and '.join(bad)} became non-finite at step {self.total}; rolled back to step {self.last_saved()}. "
            "Lower the learning rate (--set train.lr=...) or normalise (--set network.norm=batch) in a new run",
        )

    def finish(self) -> None:
        self._write(self.folder.weights)

    def _write(self, path: Path) -> None:
        if self.team.is_first:
            save_tensors(path, self.network.state_dict())


def learning_rate(settings: SegTrainConfig, step: int, steps: int) -> float:
    """The rate of a step, counted from 0: constant, or lr (1 + cos(π step / steps)) / 2."""
    if settings.schedule == "constant":
        return settings.lr
    return settings.lr * (1 + math.cos(math.pi * step / steps)) / 2


def is_stuck(loss: float, lesion_pixels: int, above: float) -> bool:
    """Tells a network that has learnt nothing: its Dice loss is above the published limit, or that of an empty mask.

    An empty mask's loss is below the limit where a batch has few lesion pixels, so that the limit alone would not
    find a network whose units have all died.
    """
    empty = 1 - SMOOTH / (lesion_pixels + SMOOTH)
    return loss > above or abs(loss - empty) < 1e-4
