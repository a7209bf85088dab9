from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from labelgan.core.errors import CheckpointError, ConfigError, TrainingError
from labelgan.core.interrupts import Interrupts
from labelgan.data.store import SliceStore
from labelgan.seg.batches import SegBatches
from labelgan.seg.folder import MemberFolder
from labelgan.seg.losses import soft_dice_loss
from labelgan.seg.member import Member, is_stuck, learning_rate
from labelgan.training.checkpoint import checkpoint_folders, load_latest, load_tensors
from labelgan.training.team import ALONE
from tiny import tiny_seg_config


def member_of(
    folder: Path,
    store: SliceStore,
    *settings: str,
    steps: int = 6,
    network: str = "li2018",
    number: int = 0,
    rows: np.ndarray | None = None,
) -> Member:
    config = tiny_seg_config(network, *settings)
    batches = SegBatches(store, store.select() if rows is None else rows, None, config, number, ALONE.device)
    return Member(number, MemberFolder(folder), config, 2, batches, steps, ALONE)


def train(member: Member) -> list[tuple[int, str]]:
    told: list[tuple[int, str]] = []
    with Interrupts() as interrupts:
        member.run(interrupts, lambda step, steps, text: told.append((step, text)))
    return told


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.parametrize("network", ["li2018", "dynunet", "segresnet"])
def test_one_lesion_slice_is_learnt_by_heart(phantom_store, tmp_path, network):
    row = int(np.argmax(phantom_store.index["lesion_voxels"]))
    still = ["augment.flip=0", "augment.rotate=0", "augment.shear=0", "augment.zoom=[1, 1]"]
    more = ["network.width=8", "train.batch_size=1", "train.lr=3e-3", "network.norm=instance", "train.log_every=50"]
    more += ["train.checkpoint_every=1000"]
    member = member_of(tmp_path, phantom_store, *still, *more, steps=120, network=network, rows=np.array([row]))
    train(member)
    member.network.eval()
    slices = phantom_store.read([row])
    with torch.no_grad():
        found = member.network(torch.from_numpy(slices.images_NCHW))[:, 0].sigmoid().numpy() > 0.45
    truth = slices.masks_NHW == 1
    assert truth.sum() >= 10
    assert 2 * (found & truth).sum() / (found.sum() + truth.sum()) > 0.8


def test_what_a_member_leaves_behind(phantom_store, tmp_path):
    member = member_of(tmp_path, phantom_store)
    told = train(member)
    assert [step for step, _ in told] == [1, 2, 3, 4, 5, 6]
    assert told[-1][1] == f"member 1/2 loss {member.loss:.3f}"
    rows = rows_of(tmp_path)
    assert [(row["step"], row["start"]) for row in rows] == [("2", "0"), ("4", "0"), ("6", "0")]
    assert all(0 < float(row["loss"]) <= 1 for row in rows)
    newest = load_latest(tmp_path / "checkpoints")
    assert newest is not None
    assert newest.step == 6
    final, early = load_tensors(tmp_path / "weights.safetensors"), load_tensors(tmp_path / "early.safetensors")
    assert all(torch.equal(final[name], tensor) for name, tensor in newest.parts["network"].items())
    assert not all(torch.equal(final[name], early[name]) for name in final)
    train(member_of(tmp_path / "shorter", phantom_store, steps=3))
    assert (tmp_path / "shorter" / "weights.safetensors").read_bytes() == (tmp_path / "early.safetensors").read_bytes()


def test_members_begin_and_go_different_ways(phantom_store, tmp_path):
    for number in (0, 1):
        train(member_of(tmp_path / str(number), phantom_store, steps=2, number=number))
    assert (tmp_path / "0/weights.safetensors").read_bytes() != (tmp_path / "1/weights.safetensors").read_bytes()


def test_stuck_is_above_the_limit_or_at_an_empty_mask():
    assert is_stuck(0.995, 20, 0.99)
    assert not is_stuck(0.98, 20, 0.99)
    empty = torch.full((1, 1, 8, 8), -50.0), torch.ones(1, 8, 8, dtype=torch.uint8)
    assert is_stuck(float(soft_dice_loss(*empty)), 64, 0.99)
    assert not is_stuck(float(soft_dice_loss(empty[0] + 48, empty[1])), 64, 0.99)


def dying(monkeypatch, until: int) -> list[int]:
    """Makes every beginning before number ``until`` a network that finds nothing; gives the beginnings met."""
    plain, met = Member._descend, []

    def descend(self, images, masks):
        met.append(self.start)
        loss, _, pixels = plain(self, images, masks)
        loss = 1.0 if self.start < until else min(loss, 0.9)
        return loss, loss, max(pixels, 1)

    monkeypatch.setattr(Member, "_descend", descend)
    return met


def test_a_member_that_learns_nothing_begins_again_with_other_weights(phantom_store, tmp_path, monkeypatch):
    met = dying(monkeypatch, until=2)
    member = member_of(tmp_path, phantom_store, "train.restart_after=4")
    train(member)
    assert met == [0] * 4 + [1] * 4 + [2] * 6
    assert (member.start, member.step, member.total) == (2, 6, 14)
    assert [(row["step"], row["start"]) for row in rows_of(tmp_path)][-2:] == [("12", "2"), ("14", "2")]
    first = member_of(tmp_path / "other", phantom_store, "train.restart_after=4")
    assert not all(
        torch.equal(a, b)
        for a, b in zip(first.network.state_dict().values(), member.network.state_dict().values(), strict=True)
    )


@pytest.mark.parametrize("stop", [3, 4, 5, 9])
def test_a_new_beginning_is_the_same_after_a_kill(phantom_store, tmp_path, monkeypatch, stop):
    dying(monkeypatch, until=1)
    settings = ["train.restart_after=4", "train.checkpoint_every=3"]
    train(member_of(tmp_path / "straight", phantom_store, *settings))

    class KilledError(Exception):
        pass

    calls = []

    def die(step: int, steps: int, text: str) -> None:
        calls.append(step)
        if len(calls) == stop:
            raise KilledError

    with Interrupts() as interrupts, pytest.raises(KilledError):
        member_of(tmp_path / "killed", phantom_store, *settings).run(interrupts, die)
    resumed = member_of(tmp_path / "killed", phantom_store, *settings)
    resumed.resume()
    train(resumed)
    for name in ("weights.safetensors", "early.safetensors"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "straight" / name).read_bytes()
    assert [(row["step"], row["start"]) for row in rows_of(tmp_path / "killed")] == [
        (row["step"], row["start"]) for row in rows_of(tmp_path / "straight")
    ]


def test_a_member_that_never_learns_goes_on_after_its_last_beginning(phantom_store, tmp_path, monkeypatch):
    met = dying(monkeypatch, until=99)
    member = member_of(tmp_path, phantom_store, "train.restart_after=2", "train.restarts=1")
    train(member)
    assert met == [0] * 2 + [1] * 6
    assert (member.start, member.step, member.learns_nothing) == (1, 6, True)
    assert (tmp_path / "weights.safetensors").is_file()
    resumed = member_of(tmp_path, phantom_store, "train.restart_after=2", "train.restarts=1")
    resumed.resume()
    assert resumed.learns_nothing


def test_the_rate_falls_as_a_cosine():
    settings = tiny_seg_config("li2018", "train.lr=4e-3", "train.schedule=cosine").train
    rates = [learning_rate(settings, step, 8) for step in (0, 2, 4, 6, 8)]
    half = math.sqrt(0.5)
    assert rates == pytest.approx([4e-3, 2e-3 * (1 + half), 2e-3, 2e-3 * (1 - half), 0])
    assert learning_rate(tiny_seg_config().train, 7, 8) == tiny_seg_config().train.lr


def test_the_schedule_and_the_loss_reach_the_weights(phantom_store, tmp_path):
    changes = {"plain": (), "cosine": ("train.schedule=cosine",), "entropy": ("train.loss=dice+ce",)}
    for name, settings in changes.items():
        train(member_of(tmp_path / name, phantom_store, *settings, steps=4))
    assert len({(tmp_path / name / "weights.safetensors").read_bytes() for name in changes}) == 3
    # the first step of a cosine has the full rate
    for name in ("plain", "cosine"):
        train(member_of(tmp_path / f"{name} once", phantom_store, *changes[name], steps=1))
    assert (tmp_path / "plain once/weights.safetensors").read_bytes() == (
        tmp_path / "cosine once/weights.safetensors"
    ).read_bytes()


def test_batches_without_lesions_say_nothing(phantom_store, tmp_path):
    rows = np.flatnonzero(phantom_store.index["lesion_voxels"] == 0)
    member = member_of(tmp_path, phantom_store, "train.restart_after=1", steps=4, rows=rows)
    train(member)
    assert (member.start, member.stuck) == (0, 0)


def test_a_loss_that_is_not_finite_stops_at_the_last_checkpoint(phantom_store, tmp_path, monkeypatch):
    plain = Member._descend
    monkeypatch.setattr(
        Member, "_descend", lambda self, *batch: (math.nan, 1.0, 1) if self.step == 4 else plain(self, *batch)
    )
    with pytest.raises(TrainingError, match=r"became non-finite at step 5; rolled back to step 4\. Lower the learning"):
        train(member_of(tmp_path, phantom_store))
    state = json.loads((tmp_path / "checkpoints/step-00000004/state.json").read_text())
    assert math.isfinite(state["loss"])


def test_fewer_steps_than_were_made_are_refused(phantom_store, tmp_path):
    train(member_of(tmp_path, phantom_store))
    with pytest.raises(ConfigError, match=r"^--steps: member 0 has already made 6 steps$"):
        member_of(tmp_path, phantom_store, steps=5).resume()


@pytest.mark.parametrize("change", [{"start": "0"}, {"since_start": None}, {"stuck": 1.5}, {"loss": "0.5"}])
def test_a_checkpoint_that_does_not_tell_where_training_was_is_damaged(phantom_store, tmp_path, change):
    train(member_of(tmp_path, phantom_store, steps=2))
    state = checkpoint_folders(tmp_path / "checkpoints")[-1] / "state.json"
    state.write_text(json.dumps(json.loads(state.read_text()) | change))
    with pytest.raises(CheckpointError, match=r"step-00000002: its state\.json is damaged: it does not tell where"):
        member_of(tmp_path, phantom_store).resume()
