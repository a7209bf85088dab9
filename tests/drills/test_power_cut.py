"""A power cut: what is trusted later was synced, then named, then its name was synced; and what is torn is told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from drill_power import Disk, watched_disk

from labelgan.cli import run_command
from labelgan.data.phantom import write_phantom_cohort
from labelgan.files import write_bytes_atomic
from labelgan.study.engines import InlineEngine
from labelgan.study.run import StudySources, run_study
from tiny import SEG_SETTINGS, SETTINGS, tiny_study_config


def options(settings: list[str]) -> list[str]:
    return [part for setting in settings for part in ("--set", setting)]


@pytest.fixture
def disk():
    with watched_disk() as disk:
        yield disk


# The watch itself, on planted faults


def test_the_watch_finds_nothing_where_all_is_done(disk: Disk, tmp_path: Path):
    write_bytes_atomic(tmp_path / "new" / "folder" / "file", b"x")
    assert disk.lost(tmp_path / "new") == []
    assert (disk.renamed, disk.too_early) == (1, [])


def test_the_watch_finds_what_was_never_synced(disk: Disk, tmp_path: Path):
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "file").write_bytes(b"x")
    lost = [f"the name {tmp_path}/new", f"the name {tmp_path}/new/file", f"the bytes of {tmp_path}/new/file"]
    assert disk.lost(tmp_path / "new") == lost
    (tmp_path / "new").rename(tmp_path / "named")
    assert disk.too_early == [f"the name {tmp_path}/new/file", f"the bytes of {tmp_path}/new/file"]


def test_the_watch_finds_what_was_written_after_the_sync(disk: Disk, tmp_path: Path):
    path = tmp_path / "new" / "file"
    write_bytes_atomic(path, b"x")
    with path.open("ab") as stream:
        stream.write(b"y")
    assert disk.lost(tmp_path / "new") == [f"the bytes of {path}"]


# Every command


def test_a_phantom_cohort(disk: Disk, tmp_path: Path, told):
    write_phantom_cohort(tmp_path / "cohort", 1, 0, shape=(32, 32, 6))
    _judge(disk, tmp_path / "cohort", "phantom", told)


def test_a_slice_store(disk: Disk, phantom_cohort: Path, tmp_path: Path, told):
    out = tmp_path / "deep" / "store"
    assert run_command(["prepare", str(phantom_cohort), str(out), "--size", "32", "--spacing", "6"]) == 0
    _judge(disk, tmp_path / "deep", "prepare", told)
    assert run_command(["prepare", str(phantom_cohort), str(out), "--size", "32", "--spacing", "6", "--force"]) == 0
    _judge(disk, tmp_path / "deep", "prepare --force", told)


@pytest.mark.parametrize("model", ["refiner"])
def test_a_run_folder(disk: Disk, phantom_store, tmp_path: Path, told, model: str):
    settings = options([*SETTINGS, "train.steps=4", "train.collapse_ratio=0"])
    train = ["train", str(phantom_store.path), "--out", str(tmp_path / "runs" / "a"), "--model", model, *settings]
    assert run_command(train) == 0
    _judge(disk, tmp_path / "runs", "train", told)


def test_a_segmenter(disk: Disk, phantom_store, tmp_path: Path, told):
    settings = options([*SEG_SETTINGS, "train.steps=4"])
    assert run_command(["segment", "train", str(phantom_store.path), "--out", str(tmp_path / "seg"), *settings]) == 0
    _judge(disk, tmp_path / "seg", "segment train", told)


@pytest.mark.parametrize("format", ["wmh", "bids", "nnunet", "png", "npz"])
def test_samples(disk: Disk, tiny_run: Path, tmp_path: Path, told, format: str):
    out = tmp_path / "samples"
    assert run_command(["sample", str(tiny_run), "--out", str(out), "--num", "3", "--format", format]) == 0
    _judge(disk, out, f"sample, {format}", told)


def test_an_export(disk: Disk, phantom_cohort: Path, tmp_path: Path, told):
    assert run_command(["export", str(phantom_cohort), "--out", str(tmp_path / "e"), "--format", "nnunet"]) == 0
    _judge(disk, tmp_path / "e", "export", told)


def test_predictions(disk: Disk, tiny_segmenter: Path, phantom_cohort: Path, tmp_path: Path, told):
    out = tmp_path / "masks"
    assert run_command(["segment", "predict", str(tiny_segmenter), str(phantom_cohort), "--out", str(out)]) == 0
    _judge(disk, out, "segment predict", told)


def test_a_study(disk: Disk, study_cohort: Path, tmp_path: Path, told):
    config = tiny_study_config('arms=["classical", "classical+synthetic"]', "folds=2", "generator.train.steps=4")
    out = tmp_path / "study"
    result = run_study(config, StudySources(study_cohort), out, engine=lambda _: InlineEngine(), device="cpu")
    assert result.run.complete
    _judge(disk, out, "study", told)


def _judge(disk: Disk, folder: Path, what: str, told: Callable[..., None]) -> None:
    lost = [*disk.too_early, *disk.lost(folder)]
    told("power cut", what, disk.renamed, len(lost), "renames, each after its bytes; every name synced after it")
    assert lost == []
