"""The training loop: steps, figures, checkpoints, and what is done when something goes wrong."""

from __future__ import annotations

import dataclasses
import shutil
import time
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from labelgan.config.gan import GanConfig
from labelgan.core.errors import CheckpointError, ConfigError, DataError, TrainingError
from labelgan.core.files import lock_folder, naming, write_json_atomic, write_text_atomic
from labelgan.core.interrupts import Interrupts
from labelgan.core.rng import make_deterministic
from labelgan.data.store import SliceStore, StoreManifest
from labelgan.gan.card import generator_card
from labelgan.gan.inputs.batches import BatchSource, training_rows
from labelgan.gan.inputs.inputs import gather_content, make_inputs
from labelgan.gan.networks.families import parameter_count
from labelgan.gan.recorder import Recorder
from labelgan.gan.run_folder import RunFolder, describe_training, write_manifest
from labelgan.gan.tracking import open_tracker, require_tracker
from labelgan.gan.trainer import Trainer
from labelgan.gan.watch import Watch
from labelgan.training.checkpoint import (
    checkpoint_folders,
    load_latest,
    require_same_settings,
    save_checkpoint,
    save_tensors,
)
from labelgan.training.launch import gathered
from labelgan.training.team import Team

PICTURED = 12  # samples in a grid

Report = Callable[[int, int, str], None]


@dataclass(frozen=True)
class TrainingResult:
    """What a finished run came to; ``collapsed`` says that the diversity watch found one image over and over."""

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
        tracker: key of ``gan.tracking.TRACKERS`` that is told settings and figures too; none by default.
        report: called after every step with (steps done, steps in all, figures as text).

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
    if not resume and out.is_dir() and any(path.name not in (".lock", "store") for path in out.iterdir()):
        raise DataError(out, "is not empty; go on with --resume, or name another folder")
    training_rows(store, config, exclude)  # what cannot be trained on is refused before there is a folder
    train = config.train
    task = (store.path, store.manifest, out, config, tuple(exclude), start_from)
    with (
        lock_folder(out),
        naming(out),
        Interrupts() as interrupts,
        gathered(train.devices, train.device, train.batch_size, _follow, *task) as team,
    ):
        return _Loop(store, RunFolder(out), config, exclude, start_from, team).play(interrupts, report, tracker)


def _follow(
    team: Team,
    path: Path,
    manifest: StoreManifest,
    out: Path,
    config: GanConfig,
    exclude: Collection[str],
    start_from: Path | None,
) -> None:
    """Trains along in another process of the team."""
    store = dataclasses.replace(SliceStore.open(path), manifest=manifest)
    with Interrupts() as interrupts:
        _Loop(store, RunFolder(out), config, exclude, start_from, team).follow(interrupts)


class _Loop:
    def __init__(
        self,
        store: SliceStore,
        run: RunFolder,
        config: GanConfig,
        exclude: Collection[str],
        start_from: Path | None,
        team: Team,
    ) -> None:
        self.store, self.run, self.config, self.team = store, run, config, team
        if config.train.threads:
            torch.set_num_threads(config.train.threads)
        make_deterministic(config.train.deterministic)
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
        self.unwritten: dict[str, list[str]] = {}
        self.trainer = Trainer(config, len(store.channels) + 1, store.size, self.inputs, team)
        if start_from is not None:
            self._start_from(RunFolder(start_from))
        self.facts["parameters"] = {
            "generator": parameter_count(self.trainer.generator),
            "critic": parameter_count(self.trainer.critic),
        }
        if team.is_first:
            self.watch = Watch(self.inputs, self.source, config.train.seed)

    def _start_from(self, parent: RunFolder) -> None:
        manifest = parent.read_manifest()
        if manifest["channels"] != self.facts["channels"]:
            raise CheckpointError(parent.path, f"makes {manifest['channels']}, the store has {self.facts['channels']}")
        generator, critic = (parent.load(path, manifest) for path in (parent.generator, parent.critic))
        self.trainer.start_from(generator, critic, str(parent.path))
        # What the parent saw, this generator has seen: the leak guard must know.
        self.facts["inherited_cases"] = manifest["training_cases"] + manifest.get("inherited_cases", [])
        self.facts["started_from"] = {"model": manifest.get("model"), "steps": manifest.get("steps")}

    def play(self, interrupts: Interrupts, report: Report | None, tracker: str | None = None) -> TrainingResult:
        run, config, steps = self.run, self.config, self.config.train.steps
        step = self._begin()
        if step is None:
            manifest = run.read_manifest()
            return self._result(steps, manifest["diversity"], manifest["lesion_rate"])
        tracked = open_tracker(tracker, run.path, config.model_dump(mode="json"))
        recorder = Recorder(run.path, step, config.train.batch_size, tracked, self.unwritten)
        started = time.monotonic()
        figures: dict[str, float] = {}
        try:
            while step < steps:
                step_figures, seen = self._step(step)
                if not np.isfinite(list(step_figures.values())).all():
                    self._fail(step, seen, step_figures)
                step += 1
                if step % config.train.sample_every == 0 or step == steps:
                    step_figures |= self._look(step, recorder)
                recorder.add(step_figures)
                if step % config.train.log_every == 0 or step == steps:
                    figures = recorder.log(step, time.monotonic() - started)
                stop = self.team.any(interrupts.wanted)
                if step % config.train.checkpoint_every == 0 or step == steps or stop:
                    self._save(step, seen, step_figures, recorder)
                if report is not None:
                    report(step, steps, _as_text(figures))
                if stop and step < steps:
                    raise KeyboardInterrupt
        finally:
            recorder.close(complete=step == steps)
        return self._finish(steps)

    def follow(self, interrupts: Interrupts) -> None:
        """Makes the steps that `play` makes in the first process, and nothing else."""
        checkpoint = load_latest(self.run.checkpoints)
        if checkpoint is not None:
            self.trainer.restore(checkpoint)
        for step in range(0 if checkpoint is None else checkpoint.step, self.config.train.steps):
            self._step(step)
            if self.team.any(interrupts.wanted):
                return

    def _step(self, step: int) -> tuple[dict[str, float], list[np.ndarray]]:
        """Plays a round; gives its figures and the rows of the slices that it saw."""
        seen: list[np.ndarray] = []

        def batch(turn: int) -> torch.Tensor:
            images_NCHW, rows = self.source.batch(step, turn, self.team)
            seen.append(rows)
            return images_NCHW

        return self.trainer.step(step, batch), seen

    def _begin(self) -> int | None:
        """Writes config and manifest, restores the last checkpoint; gives the step to go on from, None at the end."""
        run, config = self.run, self.config
        checkpoint = load_latest(run.checkpoints)
        manifest = run.read_manifest() if run.manifest.is_file() else {}
        if checkpoint is not None:
            self._require_same_run(manifest, run.read_config())
            # What the parent of a fine-tuned run saw stays known, whether or not it is named again.
            self.facts |= {key: manifest[key] for key in ("inherited_cases", "started_from") if key in manifest}
            if checkpoint.step > config.train.steps:
                raise ConfigError("--steps", f"the run has already made {checkpoint.step} steps")
            self.trainer.restore(checkpoint)
            self.unwritten = checkpoint.state.get("unwritten", {})
        elif "started_from" in manifest and "started_from" not in self.facts:
            raise CheckpointError(run.path, "has no checkpoint yet; name the run it starts from again (--start-from)")
        for stale in run.checkpoints.glob(".*.tmp"):
            shutil.rmtree(stale)
        step = 0 if checkpoint is None else checkpoint.step
        # The card is written last: while it is missing, the run has not ended.
        done = step == config.train.steps and run.card.is_file() and manifest.get("status") == "complete"
        if not done:
            run.card.unlink(missing_ok=True)
            write_manifest(run, "training", **self.facts)  # before the settings, because it tells who is left out
        write_text_atomic(run.config, config.to_toml())
        return None if done else step

    def _require_same_run(self, manifest: dict[str, Any], config: GanConfig) -> None:
        """Refuses to go on with other data or settings; what does not change weights may change."""
        if manifest["training_cases"] != self.facts["training_cases"]:
            raise CheckpointError(self.run.path, "was trained on other cases than these; name another folder")
        free = {"steps", "checkpoint_every", "sample_every", "log_every", "collapse_ratio"}
        free |= {"device", "devices", "threads"}
        before, now = (
            item.model_dump(exclude={"train": free, "preset": True, "model": True}) for item in (config, self.config)
        )
        require_same_settings(before, now, self.run.path)

    def _look(self, step: int, recorder: Recorder) -> dict[str, float]:
        """Draws the fixed samples: a picture, and the diversity watch."""
        images_NCHW, masks_NHW = self.watch.samples(self.trainer.averaged, self.team.device)
        pictured = slice(0, PICTURED)
        recorder.picture(step, images_NCHW[pictured, :-1].cpu().numpy(), masks_NHW[pictured].cpu().numpy())
        return self.watch.figures(images_NCHW, masks_NHW)

    def _save(self, step: int, seen: list[np.ndarray], figures: dict[str, float], recorder: Recorder) -> None:
        parts = self.trainer.parts()
        if not all(bool(tensor.isfinite().all()) for part in parts.values() for tensor in part.values()):
            self._fail(step - 1, seen, figures)
        state = {"model": self.config.model, "unwritten": recorder.unwritten}
        save_checkpoint(self.run.checkpoints, step, parts, state)

    def _fail(self, step: int, seen: list[np.ndarray], figures: dict[str, float]) -> None:
        """Names the batch and leaves the last checkpoint as the run's state."""
        index = self.store.index
        slices = [
            f"{self.store.case_of(row).id}:{index['z'][row]}"
            for row in dict.fromkeys(int(r) for rows in seen for r in rows)
        ]
        folders = checkpoint_folders(self.run.checkpoints)
        back_to = int(folders[-1].name.removeprefix("step-")) if folders else 0
        bad = [name for name, value in figures.items() if not np.isfinite(value)] or ["weights"]
        failure = {"step": step + 1, "non_finite": bad, "slices": slices, "rolled_back_to_step": back_to}
        write_json_atomic(self.run.path / "failure.json", failure)
        write_manifest(self.run, "failed", failure=failure, **self.facts)
        shown = ", ".join(slices[:4]) + (f" and {len(slices) - 4} more (failure.json)" if len(slices) > 4 else "")
        raise TrainingError(
            self.run.path,
            f"{', '.join(bad)} became non-finite at step {step + 1} on slices {shown}; rolled back to step {back_to}. "
            "Lower the learning rates (--set optimizer.generator_lr=..., optimizer.critic_lr=...) in a new run",
        )

    def _finish(self, steps: int) -> TrainingResult:
        figures = self.watch.figures(*self.watch.samples(self.trainer.averaged, self.team.device))
        result = self._result(steps, **figures)
        save_tensors(self.run.generator, self.trainer.averaged.state_dict())
        save_tensors(self.run.critic, self.trainer.critic.state_dict())
        manifest = write_manifest(
            self.run,
            "complete",
            **self.facts,
            steps=steps,
            collapsed=result.collapsed,
            **figures,
            device=self.team.device.type,
            devices=self.team.size,
            files_sha256=self.run.hashes(),
        )
        write_text_atomic(self.run.card, generator_card(manifest, self.config))
        return result

    def _result(self, steps: int, diversity: float, lesion_rate: float) -> TrainingResult:
        return TrainingResult(
            self.run.path, steps, diversity < self.config.train.collapse_ratio, diversity, lesion_rate
        )


def _as_text(figures: dict[str, float]) -> str:
    shown = {
        "critic_loss": "critic",
        "generator_loss": "generator",
        "wasserstein_estimate": "W",
        "diversity": "diversity",
    }
    return " ".join(f"{label} {figures[name]:.3g}" for name, label in shown.items() if name in figures)
