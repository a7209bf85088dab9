"""Training of a generator: what is refused, what a step is, and what a run folder holds at the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from labelgan.config.gan import GanConfig
from labelgan.core.errors import CheckpointError, DataError, TrainingError
from labelgan.core.files import require_free, write_json_atomic, write_text_atomic
from labelgan.core.interrupts import Interrupts
from labelgan.core.progress import Report
from labelgan.core.words import some
from labelgan.data.prepare.limits import ValueRange
from labelgan.data.store import SliceStore
from labelgan.gan.card import generator_card
from labelgan.gan.inputs.batches import BatchSource, training_rows
from labelgan.gan.inputs.inputs import gather_content, make_inputs
from labelgan.gan.networks.families import parameter_count
from labelgan.gan.recorder import Recorder
from labelgan.gan.run_folder import RunFolder, describe_training
from labelgan.gan.tracking import require_tracker
from labelgan.gan.trainer import Trainer
from labelgan.gan.watch import Watch
from labelgan.training.checkpoint import Checkpoint, checkpoint_folders, require_same_settings, save_tensors
from labelgan.training.loop import FREE_SETTINGS, Training, require_same_cases, train_as_team
from labelgan.training.team import Team

PICTURED = 12  # samples in a grid
SHOWN = {"critic_loss": "critic", "generator_loss": "generator", "wasserstein_estimate": "W", "diversity": "diversity"}


@dataclass(frozen=True)
class TrainingResult:
    """Result of a finished run; ``collapsed`` says that the diversity watch found one image over and over."""

    run: Path
    steps: int
    collapsed: bool
    diversity: float
    lesion_rate: float


def train_generator(
    store: SliceStore,
    out: Path,
    config: GanConfig,
    *,
    exclude: Collection[str] = (),
    resume: bool = False,
    start_from: Path | None = None,
    tracker: str | None = None,
    report: Report | None = None,
) -> TrainingResult:
    """Trains a generator on a store and leaves a run folder behind.

    Args:
        store: prepared slices.
        out: run folder; new or empty unless ``resume``.
        config: every setting.
        exclude: case or patient ids that the generator must never see.
        resume: go on from the last checkpoint; the same weights come out as without the interruption, bit for bit.
        start_from: run folder whose weights to begin with (fine-tuning); its training cases join this run's manifest.
        tracker: key of ``gan.tracking.TRACKERS`` that gets settings and metrics too; none by default.
        report: called after every step with (steps done, steps in all, metrics as text).

    Raises:
        ConfigError, DataError: a setting or the store cannot be used.
        CheckpointError: ``out`` holds a run of other data or settings.
        TrainingError: a loss became non-finite; the last checkpoint stands.
        KeyboardInterrupt: interrupted; state saved.
    """
    require_tracker(tracker)
    if any(side % 8 for side in store.size):
        raise DataError(
            store.path, f"slices of {store.size[0]}×{store.size[1]} cannot be trained on: sides must be divisible by 8"
        )
    if not resume:
        require_free(out, "go on with --resume, or name another folder", ours=["store"])
    training_rows(store, config, exclude)  # what cannot be trained on is refused before there is a folder
    task = store, RunFolder(out), config, tuple(exclude), start_from
    return train_as_team(GeneratorTraining, out, config.train, *task, tracker=tracker, report=report)


class GeneratorTraining(Training):
    """The training of one generator and its critic into a run folder, by one process of a team."""

    def __init__(
        self,
        team: Team,
        store: SliceStore,
        run: RunFolder,
        config: GanConfig,
        exclude: Collection[str],
        start_from: Path | None,
        tracker: str | None = None,
        report: Report | None = None,
    ) -> None:
        self.recorder = Recorder(run.path, config.train.batch_size, tracker, config.model_dump(mode="json"))
        super().__init__(team, config.train, run.checkpoints, self.recorder, config.train.steps, "the run")
        self.store, self.run_folder, self.config, self.report = store, run, config, report
        rows = training_rows(store, config, exclude)
        cases = Counter(store.case_of(row).id for row in rows)
        self.facts: dict[str, Any] = {"model": config.model, **describe_training(store, cases, exclude)}
        self.source = BatchSource(store, rows, config, team.device)
        content = gather_content(store, rows, config)
        self.inputs = make_inputs(config, content)
        if content is not None:
            self.facts["content"] = {"patients": len(content.patients), "phantoms": len(content.phantoms)}
            if team.is_first:
                content.save(run.content)
        self.trainer = Trainer(config, len(store.channels) + 1, store.size, self.inputs, team)
        self.trainer.hold_to(ValueRange.of(store.images, rows))
        if start_from is not None:
            self._start_from(RunFolder(start_from))
        self.facts["parameters"] = {
            "generator": parameter_count(self.trainer.generator),
            "critic": parameter_count(self.trainer.critic),
        }
        self.seen: list[np.ndarray] = []  # store rows of the last step's batches
        if team.is_first:
            self.watch = Watch(self.inputs, self.source, config.train.seed)

    def _start_from(self, parent: RunFolder) -> None:
        manifest = parent.read_manifest()
        if list(manifest.channels) != self.facts["channels"]:
            raise CheckpointError(
                parent.path, f"makes {list(manifest.channels)}, the store has {self.facts['channels']}"
            )
        generator, critic = (parent.load(path, manifest) for path in (parent.generator, parent.critic))
        self.trainer.start_from(generator, critic, str(parent.path))
        # What the parent saw, this generator has seen: the leak guard must know.
        told = manifest.content
        self.facts["inherited_cases"] = told["training_cases"] + told.get("inherited_cases", [])
        self.facts["started_from"] = {"model": told.get("model"), "steps": told.get("steps")}

    def train(self, interrupts: Interrupts) -> TrainingResult | None:
        """Trains from the last checkpoint on, unless the run has ended; gives the result in the first process."""
        if self.team.is_first:
            self._require_same_run()
        self.resume()
        if not (self.team.is_first and self._begin()):
            self.run(interrupts, self.report)
        return self._result() if self.team.is_first else None

    def _require_same_run(self) -> None:
        """Refuses to go on with other data or settings; what does not change weights may change."""
        run = self.run_folder
        if not checkpoint_folders(run.checkpoints):
            begun_from = run.manifest.is_file() and "started_from" in run.read_manifest().content
            if begun_from and "started_from" not in self.facts:
                raise CheckpointError(
                    run.path, "has no checkpoint yet; name the run it starts from again (--start-from)"
                )
            return
        manifest = run.read_manifest().content
        require_same_cases(manifest, self.facts, run.path)
        skipped = {"train": FREE_SETTINGS | {"sample_every", "collapse_ratio"}, "preset": True, "model": True}
        before, now = (config.model_dump(exclude=skipped) for config in (run.read_config(), self.config))
        require_same_settings(before, now, run.path)
        # What the parent of a fine-tuned run saw stays known, whether or not it is named again.
        self.facts |= {key: manifest[key] for key in ("inherited_cases", "started_from") if key in manifest}

    def _begin(self) -> bool:
        """Writes settings and manifest; True where the run has ended already, and its manifest stays."""
        run = self.run_folder
        # The card is written last: while it is missing, the run has not ended.
        done = self.step == self.steps and run.card.is_file() and run.read_manifest().status == "complete"
        if not done:
            run.card.unlink(missing_ok=True)
            run.write_manifest("training", **self.facts)  # before the settings, because it says who is left out
        write_text_atomic(run.config, self.config.to_toml())
        return done

    def train_step(self) -> dict[str, float]:
        self.seen = []
        return self.trainer.step(self.step, self._batch)

    def _batch(self, turn: int) -> torch.Tensor:
        images_NCHW, rows = self.source.batch(self.step, turn, self.team)
        self.seen.append(rows)
        return images_NCHW

    def evaluate(self) -> dict[str, float]:
        """Draws the fixed samples from time to time: a picture, and the diversity watch."""
        if not self.is_due(self.config.train.sample_every):
            return {}
        images_NCHW, masks_NHW = self.watch.samples(self.trainer.averaged, self.team.device)
        pictured = slice(0, PICTURED)
        self.recorder.picture(self.step, images_NCHW[pictured, :-1].cpu().numpy(), masks_NHW[pictured].cpu().numpy())
        return self.watch.metrics(images_NCHW, masks_NHW)

    def describe(self) -> str:
        return " ".join(f"{label} {self.logged[name]:.3g}" for name, label in SHOWN.items() if name in self.logged)

    def parts(self) -> dict[str, dict[str, torch.Tensor]]:
        return self.trainer.parts()

    def state(self) -> dict[str, Any]:
        # Exact, and JSON takes infinities so.
        unwritten = {name: [value.hex() for value in values] for name, values in self.table.unwritten.items()}
        return {"model": self.config.model, "unwritten": unwritten}

    def restore(self, checkpoint: Checkpoint) -> None:
        self.step = self.total = checkpoint.step
        self.trainer.restore(checkpoint)
        for name, values in checkpoint.state.get("unwritten", {}).items():
            self.table.unwritten[name] = [float.fromhex(value) for value in values]

    def failure(self, bad: Sequence[str]) -> TrainingError:
        """Names the batch, here and in failure.json; the last checkpoint stands as the run's state."""
        z = self.store.index["z"]
        seen = dict.fromkeys(int(row) for rows in self.seen for row in rows)
        slices = [f"{self.store.case_of(row).id}:{z[row]}" for row in seen]
        back_to = self.last_saved()
        failure = {"step": self.step, "non_finite": [*bad], "slices": slices, "rolled_back_to_step": back_to}
        if self.team.is_first:
            write_json_atomic(self.run_folder.path / "failure.json", failure)
            self.run_folder.write_manifest("failed", failure=failure, **self.facts)
        shown = some(slices) + (" (failure.json)" if len(slices) > 4 else "")
        return TrainingError(
            self.run_folder.path,
            f"{', '.join(bad)} became non-finite at step {self.step} on slices {shown}; rolled back to step {back_to}. "
            "Lower the learning rates (--set optimizer.generator_lr=..., optimizer.critic_lr=...) in a new run",
        )

    def finish(self) -> None:
        run, watched = self.run_folder, self.watch.metrics(*self.watch.samples(self.trainer.averaged, self.team.device))
        save_tensors(run.generator, self.trainer.averaged.state_dict())
        save_tensors(run.critic, self.trainer.critic.state_dict())
        manifest = run.write_manifest(
            "complete",
            **self.facts,
            steps=self.steps,
            collapsed=self._is_collapsed(watched["diversity"]),
            **watched,
            device=self.team.device.type,
            devices=self.team.size,
            files_sha256=run.hashes(),
        )
        write_text_atomic(run.card, generator_card(manifest, self.config))

    def _result(self) -> TrainingResult:
        """Gives the result as the manifest of the finished run has it."""
        manifest = self.run_folder.read_manifest()
        collapsed = self._is_collapsed(manifest.diversity)
        return TrainingResult(self.run_folder.path, self.steps, collapsed, manifest.diversity, manifest.lesion_rate)

    def _is_collapsed(self, diversity: float) -> bool:
        return diversity < self.config.train.collapse_ratio
