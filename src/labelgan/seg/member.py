"""One network of the ensemble, from its first weights to its last: steps, new beginnings, checkpoints."""

from __future__ import annotations

import csv
import io
import math
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from labelgan.config.seg import SegConfig, SegTrainConfig
from labelgan.core.errors import CheckpointError, ConfigError, TrainingError
from labelgan.core.files import sweep, write_text_atomic
from labelgan.core.interrupts import Interrupts
from labelgan.core.rng import reseed_torch
from labelgan.data.volume import LESION
from labelgan.seg.batches import SegBatches
from labelgan.seg.folder import MemberFolder
from labelgan.seg.losses import SMOOTH, cross_entropy, soft_dice_loss
from labelgan.seg.networks import build_segmenter
from labelgan.training.checkpoint import (
    checkpoint_folders,
    load_latest,
    load_weights,
    pack_optimizer,
    save_checkpoint,
    save_tensors,
    unpack_optimizer,
)
from labelgan.training.device import autocast
from labelgan.training.team import Team, join_norms

COLUMNS = ("step", "start", "seconds", "loss")


class Member:
    """The state of one member's training.

    Attributes:
        start: which beginning this is, from 0; every one has first weights of its own.
        step: steps made since then.
        total: steps made in all, those of given-up beginnings too.
        stuck: steps on lesion batches in a row on which it had learnt nothing; see `is_stuck`.
        loss: of the last step.
        unwritten: losses since the last row of metrics.csv.
        team: the processes that train it together; all but the first write nothing.
    """

    def __init__(
        self, number: int, folder: MemberFolder, config: SegConfig, channels: int, team: Team | torch.device
    ) -> None:
        self.number, self.folder, self.config = number, folder, config
        self.team = team if isinstance(team, Team) else Team(team)
        self.channels, self.device = channels, self.team.device
        self.total = 0
        self.loss = math.nan
        self.unwritten: list[float] = []
        self._begin(0)

    def _begin(self, start: int) -> None:
        self.start, self.step, self.stuck = start, 0, 0
        reseed_torch(self.config.train.seed, "member", self.number, "first weights", start)
        network = build_segmenter(self.config.network, self.channels)
        self.network: nn.Module = join_norms(network.to(self.device), self.team)
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=self.config.train.lr)

    def restore(self, steps: int) -> None:
        """Goes back to the last checkpoint, where there is one.

        Raises:
            CheckpointError: it is damaged, or of another network.
            ConfigError: it has more than ``steps`` steps already.
        """
        checkpoint = load_latest(self.folder.checkpoints)
        if self.team.is_first:
            sweep(self.folder.path)
            for stale in self.folder.checkpoints.glob(".*.tmp"):
                shutil.rmtree(stale)
        if checkpoint is None:
            return
        counts = [checkpoint.state.get(name) for name in ("start", "since_start", "stuck")]
        if not all(isinstance(count, int) for count in counts) or not isinstance(checkpoint.state.get("loss"), float):
            raise CheckpointError(checkpoint.folder, "its state.json is damaged: it does not tell where training was")
        if checkpoint.state["since_start"] > steps:
            raise ConfigError(
                "--steps", f"member {self.number} has already made {checkpoint.state['since_start']} steps"
            )
        self._begin(checkpoint.state["start"])
        self.total, self.step = checkpoint.step, checkpoint.state["since_start"]
        self.stuck, self.loss = checkpoint.state["stuck"], checkpoint.state["loss"]
        self.unwritten = list(checkpoint.state.get("unwritten", []))
        load_weights(self.network, checkpoint.part("network"), checkpoint.folder / "network.safetensors")
        unpack_optimizer(self.optimizer, checkpoint.part("optimizer"))

    def play(self, batches: SegBatches, steps: int, interrupts: Interrupts, report: Callable[[int, str], None]) -> None:
        """Trains up to ``steps`` steps after the last beginning, and writes the weights.

        Raises:
            TrainingError: the loss became non-finite.
            KeyboardInterrupt: interrupted; the state is saved.
        """
        settings = self.config.train
        table = _LossTable(self.folder.metrics, self.total) if self.team.is_first else None
        self.network.train()
        while self.step < steps:
            for group in self.optimizer.param_groups:
                group["lr"] = learning_rate(settings, self.step, steps)
            self.loss, dice_loss, lesion_pixels = self._descend(*batches.batch(self.step, self.team))
            if not math.isfinite(self.loss):
                raise TrainingError(
                    self.folder.path,
                    f"the loss became non-finite at step {self.total + 1}; rolled back to step {self._saved()}. "
                    "Lower the learning rate (--set train.lr=...) or normalise (--set network.norm=batch) in a new run",
                )
            self.step += 1
            self.total += 1
            if lesion_pixels:
                learns_nothing = is_stuck(dice_loss, lesion_pixels, settings.restart_above)
                self.stuck = self.stuck + 1 if learns_nothing else 0
            self.unwritten.append(self.loss)
            if self.total % settings.log_every == 0 or self.step == steps:
                if table is not None:
                    table.write(self.total, self.start, self.unwritten)
                self.unwritten = []
            if self.step == settings.early_step:
                self._write(self.folder.early)
            if self.learns_nothing and self.start < settings.restarts:
                self._begin_again()
            stop = self.team.any(interrupts.wanted)
            if self.total % settings.checkpoint_every == 0 or self.step == steps or stop:
                self._save()
            report(self.step, f"member {self.number + 1}/{settings.members} loss {self.loss:.3f}")
            if stop and self.step < steps:
                raise KeyboardInterrupt
        self._write(self.folder.weights)

    @property
    def learns_nothing(self) -> bool:
        """Whether it has learnt nothing for so long that it should begin again, if it may."""
        return self.stuck >= self.config.train.restart_after

    def _descend(self, images_NCHW: Tensor, masks_NHW: Tensor) -> tuple[float, float, int]:
        """Makes one step; gives the loss, the Dice loss in it and the lesion pixels of the batch."""
        apart = [self.team.rank] if self.team.rank else []  # dropout, where there is any, is each process's own
        reseed_torch(self.config.train.seed, "member", self.number, "step", self.step, *apart)
        with autocast(self.device, self.config.train.precision):
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

    def _begin_again(self) -> None:
        if self.team.is_first:
            self.folder.early.unlink(missing_ok=True)
        self._begin(self.start + 1)
        self.network.train()

    def _saved(self) -> int:
        folders = checkpoint_folders(self.folder.checkpoints)
        return int(folders[-1].name.removeprefix("step-")) if folders else 0

    def _write(self, path: Path) -> None:
        if self.team.is_first:
            save_tensors(path, self.network.state_dict())

    def _save(self) -> None:
        if not self.team.is_first:
            return
        parts = {"network": dict(self.network.state_dict()), "optimizer": pack_optimizer(self.optimizer)}
        state = {"start": self.start, "since_start": self.step, "stuck": self.stuck, "loss": self.loss}
        state |= {"unwritten": self.unwritten}
        save_checkpoint(self.folder.checkpoints, self.total, parts, state)


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


class _LossTable:
    """metrics.csv: the mean loss since the row before; rows after the resumed step are dropped first."""

    def __init__(self, path: Path, total: int) -> None:
        self.path = path
        kept = [row for row in _read_rows(path) if int(row[0]) <= total]
        self.began = time.monotonic() - (float(kept[-1][2]) if kept else 0.0)
        write_text_atomic(path, _as_csv([list(COLUMNS), *kept]))

    def write(self, total: int, start: int, losses: list[float]) -> None:
        mean = math.fsum(losses) / len(losses)
        row = [str(total), str(start), f"{time.monotonic() - self.began:.2f}", f"{mean:.6g}"]
        with self.path.open("a", encoding="utf-8") as stream:
            stream.write(_as_csv([row]))


def _as_csv(rows: list[list[str]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def _read_rows(path: Path) -> list[list[str]]:
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.reader(stream))[1:]
    # A killed process may leave half a row at the end.
    return [row for row in rows if len(row) == len(COLUMNS) and row[0].isdigit() and row[-1]]
