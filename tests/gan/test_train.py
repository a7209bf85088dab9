from __future__ import annotations

import csv
import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from labelgan.config.gan import MODELS
from labelgan.core.errors import CheckpointError, ConfigError, DataError, RefusedError, TrainingError
from labelgan.core.files import lock_folder
from labelgan.data.store import SliceStore
from labelgan.gan.recorder import COLUMNS
from labelgan.gan.run_folder import RunFolder
from labelgan.gan.sample import Generator
from labelgan.gan.train import train_generator
from labelgan.training.checkpoint import checkpoint_folders, load_latest, load_tensors, save_tensors
from labelgan.training.launch import _Follower
from tiny import SETTINGS, folder_bytes, tell_hashes, tiny_config


def read_manifest(run: Path) -> dict:
    return json.loads((run / "manifest.json").read_text())


def metrics(run: Path) -> list[dict[str, str]]:
    with (run / "metrics.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def weights(run: Path) -> tuple[bytes, bytes]:
    return (run / "generator.safetensors").read_bytes(), (run / "critic.safetensors").read_bytes()


# What a run leaves behind


def test_the_folder_has_the_contracts_files(tiny_run):
    for name in (
        "config.toml",
        "manifest.json",
        "metrics.csv",
        "generator.safetensors",
        "critic.safetensors",
        "card.md",
    ):
        assert (tiny_run / name).is_file(), name
    assert sorted(path.name for path in (tiny_run / "samples").iterdir()) == ["step-00000003.png", "step-00000006.png"]
    assert sorted(path.name for path in (tiny_run / "checkpoints").iterdir()) == ["step-00000004", "step-00000006"]
    assert [path for path in (tiny_run / "tensorboard").iterdir() if path.name.startswith("events.out.tfevents")]
    assert RunFolder(tiny_run).read_config() == tiny_config("r3gan", "train.collapse_ratio=0")


def test_figures_are_logged(tiny_run):
    rows = metrics(tiny_run)
    assert tuple(rows[0]) == COLUMNS
    assert [row["step"] for row in rows] == ["2", "4", "6"]
    for row in rows:
        for name in ("critic_loss", "generator_loss", "critic_real", "critic_fake", "r1", "r2", "images_per_second"):
            assert np.isfinite(float(row[name])), name
        assert (row["penalty"], row["wasserstein_estimate"]) == ("", "")
    # the watch looks when pictures are drawn
    assert [bool(row["diversity"]) for row in rows] == [False, True, True]


def test_the_manifest_tells_everything_about_the_run(tiny_run, phantom_store):
    manifest = read_manifest(tiny_run)
    assert (manifest["kind"], manifest["status"], manifest["model"], manifest["steps"]) == (
        "generator",
        "complete",
        "r3gan",
        6,
    )
    assert manifest["collapsed"] is False
    assert 0 <= manifest["lesion_rate"] <= 1
    assert manifest["diversity"] >= 0
    assert manifest["channels"] == ["FLAIR", "T1"]
    assert manifest["size"] == [32, 32]
    seen = {case["id"]: case for case in manifest["training_cases"]}
    assert seen.keys() == {case.id for case in phantom_store.cases}
    clean = phantom_store.index[phantom_store.index["other_voxels"] == 0]
    for number, case in enumerate(phantom_store.cases):
        assert seen[case.id]["hashes"] == dict(case.hashes)
        assert seen[case.id]["slices"] == int((clean["case"] == number).sum())
    weights = load_tensors(tiny_run / "generator.safetensors")
    total = sum(tensor.numel() for name, tensor in weights.items() if not name.startswith("value_limit."))
    assert manifest["parameters"]["generator"] == total
    assert manifest["made_with"]["torch"] == torch.__version__


def test_the_weights_that_sample_are_the_averaged_ones(tiny_run):
    newest = load_latest(tiny_run / "checkpoints")
    assert newest is not None
    final = load_tensors(tiny_run / "generator.safetensors")
    assert all(torch.equal(final[name], tensor) for name, tensor in newest.parts["generator_ema"].items())
    assert not all(torch.equal(final[name], tensor) for name, tensor in newest.parts["generator"].items())


@pytest.mark.parametrize("model", [model for model in MODELS if model != "r3gan"])
def test_every_game_trains_and_samples(phantom_store, tmp_path, model):
    config = tiny_config(model, "train.steps=2", "train.sample_every=2", "train.collapse_ratio=0")
    result = train_generator(phantom_store, tmp_path / "run", config)
    assert (result.steps, result.collapsed) == (2, False)
    has_estimate = bool(metrics(result.run)[-1]["wasserstein_estimate"])
    assert has_estimate == model.startswith("wgan")
    assert Generator.load(result.run).sample(2).images_NCHW.shape == (2, 2, 32, 32)


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(phantom_store, tmp_path):
    torch.manual_seed(7)
    runs = [
        train_generator(
            phantom_store, tmp_path / f"run{i}", tiny_config("r3gan", f"train.seed={seed}", "train.steps=3")
        ).run
        for i, seed in enumerate((0, 0, 1))
    ]
    assert weights(runs[0]) == weights(runs[1])
    assert weights(runs[0])[0] != weights(runs[2])[0]
    pictures = [folder_bytes(run / "samples") for run in runs]
    assert pictures[0] == pictures[1] != pictures[2]


def test_neither_looking_nor_logging_nor_saving_changes_the_weights(phantom_store, tmp_path, tiny_run):
    rhythm = ["train.sample_every=1", "train.log_every=5", "train.checkpoint_every=3", "train.collapse_ratio=0"]
    run = train_generator(phantom_store, tmp_path / "run", tiny_config("r3gan", *rhythm)).run
    assert weights(run) == weights(tiny_run)


# Who is trained on


def test_an_excluded_patient_is_neither_seen_nor_listed(phantom_store, tmp_path, monkeypatch):
    held_out = phantom_store.cases[1]
    read: list[int] = []
    plain = SliceStore.read
    monkeypatch.setattr(SliceStore, "read", lambda self, rows: (read.extend(rows), plain(self, rows))[1])
    run = train_generator(
        phantom_store, tmp_path / "run", tiny_config("r3gan", "train.steps=2"), exclude=[held_out.patient]
    ).run
    manifest = read_manifest(run)
    assert {case["id"] for case in manifest["training_cases"]} == {case.id for case in phantom_store.cases} - {
        held_out.id
    }
    assert manifest["excluded"] == [held_out.patient]
    listed = {value for case in manifest["training_cases"] for value in case["hashes"].values()}
    assert not set(held_out.hashes.values()) & listed
    assert len(read) >= 2 * 2 * 4
    assert held_out.id not in {phantom_store.case_of(row).id for row in read}


def test_a_fine_tuned_generator_carries_its_parents_cases(phantom_store, tiny_run, tmp_path):
    kept, *others = phantom_store.cases
    config = tiny_config("r3gan", "train.steps=1", "optimizer.generator_lr=1e-12")
    run = train_generator(
        phantom_store, tmp_path / "run", config, exclude=[case.id for case in others], start_from=tiny_run
    ).run
    manifest = read_manifest(run)
    assert [case["id"] for case in manifest["training_cases"]] == [kept.id]
    assert manifest["inherited_cases"] == read_manifest(tiny_run)["training_cases"]
    child = train_generator(phantom_store, tmp_path / "child", config, exclude=[kept.id], start_from=run).run
    seen = [case["id"] for case in read_manifest(child)["inherited_cases"]]
    assert sorted(seen) == sorted([kept.id, *(case["id"] for case in read_manifest(tiny_run)["training_cases"])])
    # with next to no learning the weights are still the parent's
    before, after = (load_tensors(folder / "generator.safetensors") for folder in (tiny_run, run))
    for name, tensor in before.items():
        if not name.startswith("value_limit."):  # that is of its own slices
            torch.testing.assert_close(after[name], tensor, rtol=1e-5, atol=1e-6)


def test_a_parent_of_other_channels_or_networks_is_refused(phantom_store, tiny_run, tmp_path):
    other = tiny_config("r3gan", "network.latent_dim=9")
    with pytest.raises(CheckpointError, match=r"generator\.safetensors: tensor 'modulate\.weight' has shape"):
        train_generator(phantom_store, tmp_path / "a", other, start_from=tiny_run)
    parent = tmp_path / "parent"
    shutil.copytree(tiny_run, parent)
    manifest = read_manifest(parent)
    manifest |= {"channels": ["T2"], "intensity": {"T2": manifest["intensity"]["T1"]}, "site_intensity": {}}
    (parent / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(CheckpointError, match=r"parent: makes \['T2'\], the store has \['FLAIR', 'T1'\]"):
        train_generator(phantom_store, tmp_path / "b", tiny_config(), start_from=parent)


def test_a_fine_tuning_killed_before_its_first_checkpoint_wants_its_parent_again(phantom_store, tiny_run, tmp_path):
    out = tmp_path / "run"
    config = tiny_config("r3gan", "train.checkpoint_every=100")

    class KilledError(Exception):
        pass

    def die(done: int, total: int, text: str) -> None:
        raise KilledError

    with pytest.raises(KilledError):
        train_generator(phantom_store, out, config, start_from=tiny_run, report=die)
    with pytest.raises(CheckpointError, match=r"run: has no checkpoint yet; name the run it starts from again"):
        train_generator(phantom_store, out, config, resume=True)
    resumed = train_generator(phantom_store, out, config, resume=True, start_from=tiny_run).run
    straight = train_generator(phantom_store, tmp_path / "straight", config, start_from=tiny_run).run
    assert weights(resumed) == weights(straight)


# The diversity watch


def test_a_generator_that_makes_one_slice_is_marked_and_refused(phantom_store, tiny_run, tmp_path):
    parent = tmp_path / "parent"
    shutil.copytree(tiny_run, parent)
    silent = load_tensors(parent / "generator.safetensors")
    silent["paint.weight"].zero_()
    save_tensors(parent / "generator.safetensors", silent)
    tell_hashes(parent)
    config = tiny_config("r3gan", "train.steps=1", "optimizer.generator_lr=1e-9")
    result = train_generator(phantom_store, tmp_path / "run", config, start_from=parent)
    assert result.collapsed
    assert result.diversity < 0.01
    assert read_manifest(result.run)["collapsed"] is True
    assert "collapsed: do not use" in (result.run / "card.md").read_text()
    with pytest.raises(RefusedError):
        Generator.load(result.run)
    assert np.ptp(Generator.load(result.run, force=True).sample(3).images_NCHW, axis=0).max() < 1e-3


def test_the_threshold_of_the_watch_is_a_setting(phantom_store, tmp_path):
    result = train_generator(
        phantom_store, tmp_path / "run", tiny_config("r3gan", "train.steps=1", "train.collapse_ratio=1000")
    )
    assert result.collapsed
    assert result.diversity < 1000


# Going on


def interrupt_after(steps: int):
    def report(done: int, total: int, text: str) -> None:
        if done == steps:
            signal.raise_signal(signal.SIGINT)

    return report


@pytest.mark.parametrize("model", ["r3gan", "gan", "dcgan", "wgan"])
def test_an_interrupted_run_goes_on_to_the_same_bytes(phantom_store, tmp_path, model):
    config = tiny_config(model, "train.checkpoint_every=100")
    straight = train_generator(phantom_store, tmp_path / "straight", config).run
    out = tmp_path / "stopped"
    for stop in (2, 5):
        with pytest.raises(KeyboardInterrupt):
            train_generator(phantom_store, out, config, resume=True, report=interrupt_after(stop - 1))
        assert checkpoint_folders(out / "checkpoints")[-1].name == f"step-{stop:08d}"
        assert read_manifest(out)["status"] == "training"
    train_generator(phantom_store, out, config, resume=True)
    assert weights(out) == weights(straight)
    assert [row["step"] for row in metrics(out)] == [row["step"] for row in metrics(straight)]
    assert folder_bytes(out / "samples") == folder_bytes(straight / "samples")


def test_more_steps_later_are_the_same_as_at_once(phantom_store, tmp_path, tiny_run):
    out = tmp_path / "run"
    short = tiny_config("r3gan", "train.steps=4", "train.collapse_ratio=0")
    assert train_generator(phantom_store, out, short).steps == 4
    result = train_generator(phantom_store, out, tiny_config("r3gan", "train.collapse_ratio=0"), resume=True)
    assert (result.steps, read_manifest(out)["steps"]) == (6, 6)
    assert weights(out) == weights(tiny_run)
    with pytest.raises(ConfigError, match=r"--steps: the run has already made 6 steps"):
        train_generator(phantom_store, out, short, resume=True)


def test_resuming_a_finished_run_changes_nothing(phantom_store, tmp_path, tiny_run):
    out = tmp_path / "run"
    shutil.copytree(tiny_run, out)
    before = folder_bytes(out)
    result = train_generator(phantom_store, out, tiny_config("r3gan", "train.collapse_ratio=0"), resume=True)
    assert result.diversity == read_manifest(out)["diversity"]
    after = folder_bytes(out)
    assert after.keys() == before.keys()
    assert [name for name in before if before[name] != after[name]] == []


def test_resuming_nothing_begins(phantom_store, tmp_path):
    config = tiny_config("r3gan", "train.steps=1")
    assert train_generator(phantom_store, tmp_path / "run", config, resume=True).steps == 1


def test_a_damaged_newest_checkpoint_costs_some_steps_and_nothing_else(phantom_store, tmp_path, tiny_run):
    out = tmp_path / "run"
    shutil.copytree(tiny_run, out)
    (out / "generator.safetensors").unlink()
    newest = checkpoint_folders(out / "checkpoints")[-1] / "critic.safetensors"
    newest.write_bytes(newest.read_bytes()[:-1])
    (out / "checkpoints" / ".step-00000005.tmp").mkdir()
    train_generator(phantom_store, out, tiny_config("r3gan", "train.collapse_ratio=0"), resume=True)
    assert weights(out) == weights(tiny_run)
    assert [row["step"] for row in metrics(out)] == ["2", "4", "6"]
    assert not (out / "checkpoints" / ".step-00000005.tmp").exists()


@pytest.mark.parametrize(
    ("setting", "named"),
    [
        ("train.seed=1", r"train\.seed = 0, not 1"),
        ("train.batch_size=5", r"train\.batch_size = 4, not 5"),
        ("optimizer.critic_lr=0.1", r"optimizer\.critic_lr = 0\.\d+, not 0\.1"),
        ("mask.encoding=hard", r"mask\.encoding = 'distance', not 'hard'"),
        ("train.lesion_fraction=none", r"train\.lesion_fraction = 0\.5, not None"),
    ],
)
def test_other_settings_are_refused(phantom_store, tiny_run, tmp_path, setting, named):
    out = tmp_path / "run"
    shutil.copytree(tiny_run, out)
    before = folder_bytes(out)
    with pytest.raises(CheckpointError, match=rf"run: was trained with {named}$"):
        train_generator(phantom_store, out, tiny_config("r3gan", "train.steps=9", setting), resume=True)
    assert folder_bytes(out) == before


def test_other_cases_are_refused(phantom_store, tiny_run, tmp_path):
    out = tmp_path / "run"
    shutil.copytree(tiny_run, out)
    with pytest.raises(CheckpointError, match=r"run: was trained on other cases than these"):
        train_generator(
            phantom_store, out, tiny_config("r3gan", "train.steps=9"), resume=True, exclude=[phantom_store.cases[0].id]
        )


def test_a_folder_in_use_is_refused(phantom_store, tmp_path):
    with (
        lock_folder(tmp_path / "run"),
        pytest.raises(DataError, match=r"run: another process is at work in this folder"),
    ):
        train_generator(phantom_store, tmp_path / "run", tiny_config())


def test_a_folder_with_something_in_it_is_refused_without_resume(phantom_store, tiny_run):
    before = folder_bytes(tiny_run)
    with pytest.raises(DataError, match=r"run: is not empty; go on with --resume, or name another folder"):
        train_generator(phantom_store, tiny_run, tiny_config())
    assert folder_bytes(tiny_run) == before


def test_slices_that_do_not_divide_by_eight_are_refused(phantom_store, tmp_path):
    odd = dataclasses.replace(phantom_store, manifest=phantom_store.manifest.model_copy(update={"size": (36, 32)}))
    with pytest.raises(DataError, match=r"store: slices of 36×32 cannot be trained on: sides must be divisible by 8"):
        train_generator(odd, tmp_path / "run", tiny_config())
    assert not (tmp_path / "run").exists()


# On several devices; test_parallel.py has every game


def test_two_processes_are_interrupted_as_one_and_come_to_the_same(phantom_store, tmp_path, tiny_run, monkeypatch):
    """Two steps by one process, three by two, of which the second is told to stop, and the last by two again."""
    start, pids = _Follower.start, []

    def started(task) -> _Follower:
        follower = start(task)
        pids.append(follower.process.pid)
        return follower

    def tell_the_other(done: int, total: int, text: str) -> None:
        if done == 4:
            os.kill(pids[-1], signal.SIGTERM)

    monkeypatch.setattr(_Follower, "start", started)
    out, settings = tmp_path / "run", ["train.collapse_ratio=0", "train.checkpoint_every=100"]
    with pytest.raises(KeyboardInterrupt):
        train_generator(phantom_store, out, tiny_config("r3gan", *settings), report=interrupt_after(1))
    two = tiny_config("r3gan", *settings, "train.devices=2")
    with pytest.raises(KeyboardInterrupt):
        train_generator(phantom_store, out, two, resume=True, report=tell_the_other)
    assert newest_step(out) in (5, 6)  # a signal takes a moment
    assert read_manifest(out)["status"] == "training"
    result = train_generator(phantom_store, out, two, resume=True)
    assert result.steps == 6
    manifest = read_manifest(out)
    assert (manifest["status"], manifest["device"], manifest["devices"]) == ("complete", "cpu", 2)
    assert read_manifest(tiny_run)["devices"] == 1
    assert manifest["training_cases"] == read_manifest(tiny_run)["training_cases"]
    assert [row["step"] for row in metrics(out)] == [row["step"] for row in metrics(tiny_run)]
    for name in ("generator.safetensors", "critic.safetensors"):
        alone, together = load_tensors(tiny_run / name), load_tensors(out / name)
        for key, expected in alone.items():
            torch.testing.assert_close(together[key], expected, rtol=0, atol=1e-4 * float(expected.abs().max()) + 1e-7)


# When losses explode


def test_a_loss_that_explodes_stops_the_run_and_names_the_slices(phantom_store, tmp_path):
    out = tmp_path / "run"
    config = tiny_config("r3gan", "optimizer.generator_lr=1e30", "train.checkpoint_every=1")
    with pytest.raises(
        TrainingError, match=r"became non-finite at step \d+ on slices P00\d:\d+, .*rolled back to step \d+"
    ) as caught:
        train_generator(phantom_store, out, config)
    assert caught.value.exit_code == 1
    assert "\n" not in str(caught.value)
    failure = json.loads((out / "failure.json").read_text())
    assert failure == read_manifest(out)["failure"]
    assert read_manifest(out)["status"] == "failed"
    assert failure["non_finite"]
    ids = {case.id for case in phantom_store.cases}
    assert failure["slices"]
    assert {name.split(":")[0] for name in failure["slices"]} <= ids
    newest = load_latest(out / "checkpoints")
    step = 0 if newest is None else newest.step
    assert failure["rolled_back_to_step"] == step < failure["step"]
    if newest is not None:
        assert all(bool(t.isfinite().all()) for part in newest.parts.values() for t in part.values())
    assert not (out / "generator.safetensors").exists()
    with pytest.raises(CheckpointError, match=r"status: failed"):
        Generator.load(out)


def test_the_last_good_checkpoint_outlives_an_explosion(phantom_store, tmp_path, monkeypatch):
    from labelgan.gan.trainer import Trainer

    plain = Trainer.step

    def explode(self, step, batch):
        figures = plain(self, step, batch)
        return figures | {"critic_loss": float("nan")} if step == 4 else figures

    monkeypatch.setattr(Trainer, "step", explode)
    with pytest.raises(TrainingError, match=r"critic_loss became non-finite at step 5 .*rolled back to step 4"):
        train_generator(phantom_store, tmp_path / "run", tiny_config())
    assert json.loads((tmp_path / "run" / "failure.json").read_text())["non_finite"] == ["critic_loss"]
    monkeypatch.undo()
    # a fault that has passed, such as a flaky device, is gone on from
    train_generator(phantom_store, tmp_path / "run", tiny_config(), resume=True)
    assert read_manifest(tmp_path / "run")["status"] == "complete"
    assert "failure" not in read_manifest(tmp_path / "run")


# As a process


STEPS = 24


def command(store: SliceStore, out: Path, *more: str, steps: int = STEPS) -> list[str]:
    changes = [*SETTINGS, f"train.steps={steps}", "train.checkpoint_every=1", "train.sample_every=20"]
    settings = [part for setting in changes for part in ("--set", setting)]
    train = [sys.executable, "-m", "labelgan", "train", str(store.path), "--out", str(out), "--model", "r3gan"]
    return [*train, *settings, *more]


@pytest.fixture(scope="module")
def uninterrupted(phantom_store: SliceStore, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("uninterrupted") / "run"
    config = tiny_config("r3gan", f"train.steps={STEPS}", "train.checkpoint_every=1", "train.sample_every=20")
    return train_generator(phantom_store, out, config).run


def newest_step(out: Path) -> int:
    folders = checkpoint_folders(out / "checkpoints")
    return int(folders[-1].name.removeprefix("step-")) if folders else 0


def start_and_wait(arguments: list[str], out: Path, steps: int) -> subprocess.Popen[str]:
    """Starts a training and waits until it has saved ``steps`` more steps."""
    before = newest_step(out)
    process = subprocess.Popen(arguments, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while newest_step(out) < before + steps and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    return process


@pytest.mark.slow
def test_ctrl_c_saves_and_says_how_to_go_on(phantom_store, uninterrupted, tmp_path):
    out = tmp_path / "run"
    process = start_and_wait(command(phantom_store, out), out, 3)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert (
        f"interrupted; the state is saved. Go on with: labelgan train {phantom_store.path} --out {out} --resume" in err
    )
    assert "Traceback" not in err
    assert 3 <= newest_step(out) < STEPS
    train_generator(phantom_store, out, RunFolder(out).read_config(), resume=True)
    assert weights(out) == weights(uninterrupted)
