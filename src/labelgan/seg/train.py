"""Training of an ensemble of segmenters: who is held out, what is refused, the members, and the manifest."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from labelgan.config.seg import SegConfig
from labelgan.core.errors import CheckpointError, ConfigError, DataError, TrainingError
from labelgan.core.files import require_free, sha256_file, write_text_atomic
from labelgan.core.interrupts import Interrupts
from labelgan.core.progress import Report
from labelgan.data.store import SliceStore, StoredCase
from labelgan.seg.batches import SegBatches, split_batch, steps_of
from labelgan.seg.folder import SegmenterFolder, describe_training
from labelgan.seg.member import Member
from labelgan.seg.networks import SEGMENTERS, parameter_count
from labelgan.seg.predict import Ensemble, load_networks
from labelgan.seg.synthetic import SyntheticCohort, read_synthetic
from labelgan.seg.threshold import fit_threshold, require_lesions
from labelgan.training.checkpoint import require_same_settings
from labelgan.training.loop import FREE_SETTINGS, require_same_cases, train_as_team
from labelgan.training.team import Team

MIN_SIDE = 32  # pixels; the networks halve a slice four times, and normalisation needs more than one pixel


@dataclass(frozen=True)
class SegTrainingResult:
    """Result of a finished training.

    Attributes:
        folder: the segmenter folder.
        members: how many networks.
        steps: of each.
        losses: each one's last loss.
        stuck: numbers of the members that had learnt nothing after their last beginning either.
    """

    folder: Path
    members: int
    steps: int
    losses: tuple[float, ...]
    stuck: tuple[int, ...] = ()


def train_segmenter(
    store: SliceStore,
    out: Path,
    config: SegConfig,
    *,
    synthetic: Path | None = None,
    exclude: Collection[str] = (),
    resume: bool = False,
    report: Report | None = None,
    read_report: Report | None = None,
) -> SegTrainingResult:
    """Trains an ensemble on a store and leaves a segmenter folder behind.

    Args:
        store: prepared slices.
        out: segmenter folder; new or empty unless ``resume``.
        config: every setting.
        synthetic: cohort of labelled synthetic slices to mix in.
        exclude: case or patient ids to hold out. A patient one of whose cases is named is held out whole.
        resume: go on from the last checkpoints; the same weights come out as without the interruption, bit for bit.
        report: called after every step with (steps done, steps in all, text), over all members.
        read_report: called for every synthetic case that is read.

    Raises:
        ConfigError, DataError: a setting or the data cannot be used.
        LeakError: held-out cases, or synthetic data made from them, would meet the training.
        CheckpointError: ``out`` holds a segmenter of other data or settings.
        TrainingError: a loss became non-finite; the last checkpoint stands.
        KeyboardInterrupt: interrupted; state saved.
    """
    if config.network.name not in SEGMENTERS:
        raise ConfigError("network.name", f"unknown '{config.network.name}'; one of {', '.join(SEGMENTERS)}")
    if min(store.size) < MIN_SIDE:
        raise DataError(
            store.path, f"slices of {store.size[0]}×{store.size[1]} are too small; {MIN_SIDE} pixels are needed"
        )
    held_out = store.hold_out(exclude)
    if not resume:
        require_free(out, "go on with --resume, or name another folder")
    if synthetic is None:
        _require_no_synthetic(config)
        extra = None
    else:
        extra = read_synthetic(synthetic, store, held_out, read_report)
        if config.train.shuffle_synthetic_masks and len(extra.slices) < 2:
            raise DataError(synthetic, "has one slice; there is no other one to change masks with")
    _training_rows(store, held_out, config, extra)  # what cannot be trained on is refused before there is a folder
    task = store, SegmenterFolder(out), config, synthetic, tuple(exclude)
    return train_as_team(EnsembleTraining, out, config.train, *task, extra=extra, report=report)


def _require_no_synthetic(config: SegConfig) -> None:
    """Refuses settings that ask for synthetic slices where there are none."""
    if config.train.synthetic_share == 1:
        raise ConfigError("train.synthetic_share", "is 1, and there is no synthetic cohort")
    if config.train.shuffle_synthetic_masks:
        raise ConfigError("train.shuffle_synthetic_masks", "is set, and there is no synthetic cohort")


def _training_rows(
    store: SliceStore, held_out: tuple[StoredCase, ...], config: SegConfig, extra: SyntheticCohort | None
) -> np.ndarray:
    """Rows of the labelled slices of patients who are not held out; raises DataError where they teach nothing."""
    rows = store.select(exclude=[case.id for case in held_out])
    if not len(rows):
        raise DataError(store.path, "no labelled slice is left to train on")
    if config.train.fit_threshold:
        require_lesions(store, rows)
    if extra is None and not store.index["lesion_voxels"][rows].any():
        raise DataError(
            store.path, f"none of its {len(rows)} slices to train on has a lesion: there is nothing to find"
        )
    return rows


class EnsembleTraining:
    """The training of an ensemble into a segmenter folder, member after member, by one process of a team."""

    def __init__(
        self,
        team: Team,
        store: SliceStore,
        folder: SegmenterFolder,
        config: SegConfig,
        synthetic: Path | None,
        exclude: Collection[str],
        extra: SyntheticCohort | None = None,
        report: Report | None = None,
    ) -> None:
        held_out = store.hold_out(exclude)
        if extra is None and synthetic is not None:  # too large to be sent to the other processes
            extra = read_synthetic(synthetic, store, held_out)
        self.store, self.folder, self.config, self.extra = store, folder, config, extra
        self.team, self.report = team, report
        self.rows = _training_rows(store, held_out, config, extra)
        self.steps = steps_of(config, len(self.rows))
        self.facts: dict[str, Any] = {
            "network": config.network.name,
            **describe_training(store, self.rows, held_out, exclude),
        }
        if extra is not None:
            of_batch, _ = split_batch(config, True)
            self.facts["synthetic"] = {**extra.facts, "slices_a_batch": of_batch}

    def train(self, interrupts: Interrupts) -> SegTrainingResult | None:
        """Trains every member from its last checkpoint on; gives the result in the first process."""
        first, in_all = self.team.is_first, self.steps * self.config.train.members
        if first:
            self._begin()
        members: list[dict[str, Any]] = []  # entries of the manifest
        for number in range(self.config.train.members):
            if self.team.any(interrupts.wanted):
                raise KeyboardInterrupt
            member = self._member(number)
            member.resume()

            def tell(step: int, _: int, text: str, before: int = number * self.steps) -> None:
                if self.report is not None:
                    self.report(before + step, in_all, text)

            try:
                if member.step < self.steps or not member.folder.weights.is_file():
                    member.run(interrupts, tell)
            except TrainingError as error:
                if first:
                    self.folder.write_manifest("failed", failure=error.reason, **self.facts)
                raise
            self.facts.setdefault("parameters", parameter_count(member.network))
            members.append(_entry(member) if first else {})
        return self._finish(members) if first else None

    def _member(self, number: int) -> Member:
        slices = None if self.extra is None else self.extra.slices
        batches = SegBatches(self.store, self.rows, slices, self.config, number, self.team.device)
        return Member(
            number, self.folder.member(number), self.config, len(self.store.channels), batches, self.steps, self.team
        )

    def _finish(self, members: list[dict[str, Any]]) -> SegTrainingResult:
        if self.config.train.fit_threshold:
            self.facts["threshold"] = self._fit_threshold()
        where = {"device": self.team.device.type, "devices": self.team.size}
        self.folder.write_manifest("complete", **self.facts, steps=self.steps, members=members, **where)
        losses = tuple(entry["loss"] for entry in members)
        stuck = tuple(number for number, entry in enumerate(members) if entry["stuck"])
        return SegTrainingResult(self.folder.path, len(members), self.steps, losses, stuck)

    def _fit_threshold(self) -> dict[str, Any]:
        """Writes the threshold that is best on the training patients into the settings; gives what the choice was."""
        channels = self.store.channels
        networks = load_networks(self.folder, self.config, len(channels))
        ensemble = Ensemble(networks, channels, self.store.config, self.config, self.team.device)
        fitted = fit_threshold(ensemble, self.store, self.rows)
        chosen = self.config.replace({"predict.threshold": fitted.value})
        write_text_atomic(self.folder.config, chosen.to_toml())
        return fitted.as_json()

    def _begin(self) -> None:
        """Writes config and manifest; a folder that is gone on with must be of this training."""
        if self.folder.manifest.is_file() and self.folder.config.is_file():
            self._require_same(self.folder.read_manifest().content, self.folder.read_config())
        self.folder.write_manifest("training", **self.facts)  # first, because it tells who is held out
        write_text_atomic(self.folder.config, self.config.to_toml())
        write_text_atomic(self.folder.prepare, self.store.config.to_toml())

    def _require_same(self, manifest: dict[str, Any], config: SegConfig) -> None:
        """Refuses to go on with other data or settings; what does not change weights may change."""
        require_same_cases(manifest, self.facts, self.folder.path)
        before, now = (facts.get("synthetic") for facts in (manifest, self.facts))
        if before is not None and now is None:
            raise CheckpointError(
                self.folder.path, f"was trained with the synthetic cohort {before['name']}; name it again (--synthetic)"
            )
        if before != now:
            raise CheckpointError(self.folder.path, "was trained with other synthetic slices, or none")
        free = (FREE_SETTINGS - {"steps"}) | {"members", "fit_threshold", "early_step"}
        if config.train.schedule == "constant":  # any other ends where the steps end
            free |= {"steps", "epochs"}
        skipped = {"preset": True, "train": free, "predict": True}
        before, now = (item.model_dump(exclude=skipped) for item in (config, self.config))
        require_same_settings(before, now, self.folder.path)


def _entry(member: Member) -> dict[str, Any]:
    """A trained member's entry in the manifest."""
    entry = {
        "steps": member.step,
        "starts": member.start + 1,
        "loss": member.loss,
        "stuck": member.learns_nothing,
        "sha256": sha256_file(member.folder.weights),
    }
    early = member.folder.early
    return entry | ({"early_sha256": sha256_file(early)} if early.is_file() else {})
