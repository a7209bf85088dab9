from __future__ import annotations

import dataclasses
import json
import shutil
import signal
from pathlib import Path

import pytest
import torch

from labelgan.core.errors import CheckpointError, ConfigError, DataError, LeakError, TrainingError
from labelgan.core.files import lock_folder, sha256_file
from labelgan.data.store import SliceStore
from labelgan.seg.batches import SegBatches
from labelgan.seg.member import Member
from labelgan.seg.train import train_segmenter
from labelgan.training.checkpoint import load_tensors
from tiny import folder_bytes, tiny_seg_config


def read_manifest(out: Path) -> dict:
    return json.loads((out / "manifest.json").read_text())


def weights(out: Path) -> dict[str, bytes]:
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in sorted(out.glob("members/*/*.safetensors"))}


def interrupt_after(steps: int):
    calls = []

    def report(done: int, total: int, text: str) -> None:
        calls.append(done)
        if len(calls) == steps:
            signal.raise_signal(signal.SIGINT)

    return report


def renamed(store: SliceStore, **changes) -> SliceStore:
    """The store with another patient or hashes for cases, by id."""
    cases = tuple(case.model_copy(update=changes.get(case.id, {})) for case in store.cases)
    return dataclasses.replace(store, manifest=store.manifest.model_copy(update={"cases": cases}))


# What a training leaves behind


def test_the_manifest_tells_everything(tiny_segmenter, phantom_store):
    manifest = read_manifest(tiny_segmenter)
    assert (manifest["kind"], manifest["status"], manifest["network"]) == ("segmenter", "complete", "li2018")
    assert (manifest["channels"], manifest["size"], manifest["steps"]) == (["FLAIR", "T1"], [32, 32], 6)
    assert [case["id"] for case in manifest["training_cases"]] == ["P002", "P003"]
    assert manifest["excluded"] == ["P001"]
    assert [case["id"] for case in manifest["held_out_cases"]] == ["P001"]
    assert manifest["made_with"]["torch"] == torch.__version__
    final = load_tensors(tiny_segmenter / "members/0/weights.safetensors")
    assert manifest["parameters"] == sum(tensor.numel() for tensor in final.values())
    assert len(manifest["members"]) == 2
    for number, member in enumerate(manifest["members"]):
        assert (member["steps"], member["starts"]) == (6, 1)
        assert 0 < member["loss"] <= 1
        assert member["sha256"] == sha256_file(tiny_segmenter / f"members/{number}/weights.safetensors")
    assert "synthetic" not in manifest


@pytest.mark.parametrize("network", ["dynunet", "segresnet"])
def test_every_network_trains(phantom_store, tmp_path, network):
    config = tiny_seg_config(network, "network.width=8", "train.steps=2", "train.members=1")
    result = train_segmenter(phantom_store, tmp_path / "seg", config)
    assert (result.members, result.steps, len(result.losses)) == (1, 2, 1)


def test_the_same_seed_gives_the_same_bytes(phantom_store, tiny_segmenter, tmp_path):
    torch.manual_seed(5)
    again = train_segmenter(phantom_store, tmp_path / "a", tiny_seg_config(), exclude=["P001"]).folder
    assert weights(again) == weights(tiny_segmenter)
    other = train_segmenter(phantom_store, tmp_path / "b", tiny_seg_config("li2018", "train.seed=1"), exclude=["P001"])
    assert weights(other.folder) != weights(tiny_segmenter)


def test_steps_are_told_over_all_members(phantom_store, tmp_path):
    told = []
    config = tiny_seg_config("li2018", "train.steps=2")
    train_segmenter(phantom_store, tmp_path / "seg", config, report=lambda *progress: told.append(progress[:2]))
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_two_processes_train_the_same_ensemble_as_one(phantom_store, tiny_segmenter, tmp_path):
    config = tiny_seg_config("li2018", "train.devices=2")
    told = []
    result = train_segmenter(
        phantom_store, tmp_path / "seg", config, exclude=["P001"], report=lambda *progress: told.append(progress[:2])
    )
    assert told == [(step, 12) for step in range(1, 13)]
    alone, together = read_manifest(tiny_segmenter), read_manifest(result.folder)
    assert (alone["devices"], together["devices"], together["device"]) == (1, 2, "cpu")
    assert together["training_cases"] == alone["training_cases"]
    assert weights(result.folder).keys() == weights(tiny_segmenter).keys()
    for name in weights(tiny_segmenter):
        expected, found = load_tensors(tiny_segmenter / name), load_tensors(result.folder / name)
        for key, value in expected.items():
            torch.testing.assert_close(found[key], value, rtol=0, atol=1e-4 * float(value.abs().max()) + 1e-7)
    # one process goes on with what two have begun, and finds nothing left to do
    before = weights(result.folder)
    train_segmenter(phantom_store, result.folder, tiny_seg_config(), exclude=["P001"], resume=True)
    assert weights(result.folder) == before


# Who is trained on


def test_an_excluded_patient_is_never_read(phantom_store, tmp_path, monkeypatch):
    read: list[int] = []
    plain = SliceStore.read
    monkeypatch.setattr(SliceStore, "read", lambda self, rows: (read.extend(rows), plain(self, rows))[1])
    config = tiny_seg_config("li2018", "train.steps=12", "train.members=1")
    train_segmenter(phantom_store, tmp_path / "seg", config, exclude=["P002"])
    assert {phantom_store.case_of(row).id for row in read} == {"P001", "P003"}


def test_a_case_id_holds_out_its_whole_patient(phantom_store):
    store = renamed(phantom_store, P002={"patient": "one"}, P003={"patient": "one"})
    for name in ("P002", "P003", "one"):
        assert [case.id for case in store.hold_out([name])] == ["P002", "P003"]
    assert store.hold_out([]) == ()
    with pytest.raises(ConfigError, match=r"^--exclude P009: no such case or patient"):
        store.hold_out(["P009"])


def test_a_held_out_image_under_another_patient_is_a_leak(phantom_store, tmp_path):
    twin = {**phantom_store.cases[1].hashes, "T1": phantom_store.cases[0].hashes["T1"]}
    store = renamed(phantom_store, P002={"hashes": twin})
    with pytest.raises(LeakError, match=r"case P002 is the held-out case P001 \(the same voxels as P001\)"):
        train_segmenter(store, tmp_path / "seg", tiny_seg_config(), exclude=["P001"])
    assert not (tmp_path / "seg").exists()
    assert len(store.hold_out(["P001", "P002"])) == 2


def test_synthetic_slices_of_a_held_out_patient_are_a_leak(phantom_store, tiny_samples, tmp_path):
    with pytest.raises(LeakError, match=r"was made from the held-out case P002"):
        train_segmenter(phantom_store, tmp_path / "s", tiny_seg_config(), synthetic=tiny_samples, exclude=["P002"])
    assert not (tmp_path / "s").exists()


def test_synthetic_slices_are_mixed_in_and_told(phantom_store, tiny_samples, tmp_path):
    config = tiny_seg_config("li2018", "train.members=1", "train.steps=2")
    out = train_segmenter(phantom_store, tmp_path / "with", config, synthetic=tiny_samples).folder
    synthetic = read_manifest(out)["synthetic"]
    assert (synthetic["slices"], synthetic["slices_a_batch"]) == (6, 1)
    assert {case["id"] for case in synthetic["training_cases"]} == {"P001", "P002", "P003"}
    without = train_segmenter(phantom_store, tmp_path / "without", config).folder
    assert weights(out) != weights(without)
    with pytest.raises(CheckpointError, match=r"was trained with the synthetic cohort samples; name it again"):
        train_segmenter(phantom_store, out, config, resume=True)
    with pytest.raises(CheckpointError, match=r"was trained with other synthetic slices, or none"):
        train_segmenter(phantom_store, without, config, synthetic=tiny_samples, resume=True)


# Going on


@pytest.mark.parametrize("stops", [(2, 3), (5,), (6,), (7, 2)])
def test_an_interrupted_training_goes_on_to_the_same_bytes(phantom_store, tiny_segmenter, tmp_path, stops):
    config = tiny_seg_config("li2018", "train.checkpoint_every=100")
    for stop in stops:
        with pytest.raises(KeyboardInterrupt):
            train_segmenter(
                phantom_store, tmp_path, config, exclude=["P001"], resume=True, report=interrupt_after(stop)
            )
        assert read_manifest(tmp_path)["status"] == "training"
    train_segmenter(phantom_store, tmp_path, config, exclude=["P001"], resume=True)
    assert weights(tmp_path) == weights(tiny_segmenter)
    assert read_manifest(tmp_path)["members"] == read_manifest(tiny_segmenter)["members"]


def test_every_step_takes_the_slices_of_its_own_number(phantom_store, tmp_path, monkeypatch):
    asked = []
    batch = SegBatches.batch

    def recorded(batches: SegBatches, step: int, *more) -> tuple[torch.Tensor, torch.Tensor]:
        asked.append(step)
        return batch(batches, step, *more)

    monkeypatch.setattr(SegBatches, "batch", recorded)
    config = tiny_seg_config("li2018", "train.members=1", "train.steps=4")
    with pytest.raises(KeyboardInterrupt):
        train_segmenter(phantom_store, tmp_path, config, report=interrupt_after(2))
    train_segmenter(phantom_store, tmp_path, config, resume=True)
    assert asked == [0, 1, 2, 3]


ARMS = {
    "lesions": ["train.lesion_share=0.5", "train.schedule=cosine", "train.loss=dice+ce"],
    "copypaste": ["train.copypaste=0.5"],
    "synthetic": ["train.synthetic_share=1"],
    "shuffled": ["train.shuffle_synthetic_masks=true", "train.lesion_share=0.75"],
}


@pytest.mark.parametrize("arm", ARMS)
def test_every_arm_goes_on_to_the_same_bytes(phantom_store, tiny_samples, tmp_path, arm):
    synthetic = tiny_samples if arm in ("synthetic", "shuffled") else None
    config = tiny_seg_config("li2018", "train.members=1", "train.checkpoint_every=100", *ARMS[arm])
    straight, stopped = tmp_path / "straight", tmp_path / "stopped"
    train_segmenter(phantom_store, straight, config, synthetic=synthetic)
    with pytest.raises(KeyboardInterrupt):
        train_segmenter(phantom_store, stopped, config, synthetic=synthetic, report=interrupt_after(4))
    train_segmenter(phantom_store, stopped, config, synthetic=synthetic, resume=True)
    assert weights(stopped) == weights(straight)
    plain = tmp_path / "plain"
    train_segmenter(phantom_store, plain, tiny_seg_config("li2018", "train.members=1"), synthetic=synthetic)
    assert weights(plain)["members/0/weights.safetensors"] != weights(straight)["members/0/weights.safetensors"]


def first_weights(store, out: Path, *settings: str, synthetic: Path | None = None) -> dict[str, torch.Tensor]:
    """Weights after one step too small to change them."""
    config = tiny_seg_config("li2018", "train.members=1", "train.steps=1", "train.lr=1e-30", *settings)
    train_segmenter(store, out, config, synthetic=synthetic)
    return load_tensors(out / "members/0/weights.safetensors")


def test_arms_of_one_seed_begin_alike_and_seeds_share_nothing(phantom_store, tiny_samples, tmp_path):
    arms = [
        first_weights(phantom_store, tmp_path / "real", "augment.flip=0", "augment.rotate=0"),
        first_weights(phantom_store, tmp_path / "copypaste", "train.copypaste=0.5"),
        first_weights(
            phantom_store, tmp_path / "synthetic", "train.shuffle_synthetic_masks=true", synthetic=tiny_samples
        ),
    ]
    first = arms[0]
    for arm in arms[1:]:
        assert all(torch.allclose(arm[name], values, rtol=0, atol=1e-20) for name, values in first.items())
    other = first_weights(phantom_store, tmp_path / "other", "train.seed=1")
    drawn = [name for name, values in first.items() if values.max() - values.min() > 1e-3]
    assert drawn
    assert not any(torch.isclose(first[name], other[name]).float().mean() > 0.01 for name in drawn)


def test_synthetic_settings_without_synthetic_slices_are_refused(phantom_store, tmp_path):
    for setting in ("train.synthetic_share=1", "train.shuffle_synthetic_masks=true"):
        with pytest.raises(ConfigError, match=rf"{setting.partition('=')[0]}: is .*there is no synthetic cohort"):
            train_segmenter(phantom_store, tmp_path / "seg", tiny_seg_config("li2018", setting))
    assert not (tmp_path / "seg").exists()


def test_a_member_that_learnt_nothing_is_told(phantom_store, tmp_path, monkeypatch):
    plain = Member._descend
    monkeypatch.setattr(Member, "_descend", lambda self, *batch: (plain(self, *batch)[0], 1.0, 1))
    config = tiny_seg_config("li2018", "train.restart_after=2", "train.restarts=1")
    result = train_segmenter(phantom_store, tmp_path / "seg", config)
    assert result.stuck == (0, 1)
    assert [member["stuck"] for member in read_manifest(tmp_path / "seg")["members"]] == [True, True]
    assert read_manifest(tmp_path / "seg")["status"] == "complete"


def test_steps_of_a_falling_rate_are_settled(phantom_store, tmp_path):
    config = tiny_seg_config("li2018", "train.members=1", "train.schedule=cosine", "train.steps=3")
    train_segmenter(phantom_store, tmp_path / "seg", config)
    longer = config.with_settings(["train.steps=5"])
    with pytest.raises(CheckpointError, match=r"was trained with train\.steps = 3, not 5"):
        train_segmenter(phantom_store, tmp_path / "seg", longer, resume=True)


def test_more_steps_and_more_members_later(phantom_store, tiny_segmenter, tmp_path):
    out = tmp_path / "seg"
    train_segmenter(phantom_store, out, tiny_seg_config("li2018", "train.steps=4", "train.members=1"), exclude=["P001"])
    train_segmenter(phantom_store, out, tiny_seg_config(), exclude=["P001"], resume=True)
    assert weights(out) == weights(tiny_segmenter)
    with pytest.raises(ConfigError, match=r"--steps: member 0 has already made 6 steps"):
        train_segmenter(phantom_store, out, tiny_seg_config("li2018", "train.steps=4"), exclude=["P001"], resume=True)


def test_resuming_a_finished_training_changes_no_weights(phantom_store, tiny_segmenter, tmp_path):
    out = tmp_path / "seg"
    shutil.copytree(tiny_segmenter, out)
    train_segmenter(phantom_store, out, tiny_seg_config(), exclude=["P001"], resume=True)
    before, after = folder_bytes(tiny_segmenter), folder_bytes(out)
    manifests = [json.loads(files.pop("manifest.json")) for files in (before, after)]
    assert before == after
    for manifest in manifests:
        manifest.pop("made_with")  # may name another revision
    assert manifests[0] == manifests[1]


@pytest.mark.parametrize(
    ("setting", "named"),
    [
        ("train.seed=1", r"train\.seed = 0, not 1"),
        ("train.lr=0.1", r"train\.lr = 0\.0002, not 0\.1"),
        ("network.norm=batch", r"network\.norm = None, not 'batch'"),
        ("augment.flip=0", r"augment\.flip = 0\.5, not 0"),
    ],
)
def test_other_settings_are_refused(phantom_store, tiny_segmenter, tmp_path, setting, named):
    out = tmp_path / "seg"
    shutil.copytree(tiny_segmenter, out)
    config = tiny_seg_config("li2018", "predict.threshold=0.5", setting)
    with pytest.raises(CheckpointError, match=rf"seg: was trained with {named}"):
        train_segmenter(phantom_store, out, config, exclude=["P001"], resume=True)
    assert folder_bytes(out) == folder_bytes(tiny_segmenter)


def test_other_cases_are_refused(phantom_store, tiny_segmenter, tmp_path):
    out = tmp_path / "seg"
    shutil.copytree(tiny_segmenter, out)
    with pytest.raises(CheckpointError, match=r"was trained on other cases than these"):
        train_segmenter(phantom_store, out, tiny_seg_config(), resume=True)


def test_a_folder_in_use_or_with_something_in_it_is_refused(phantom_store, tiny_segmenter, tmp_path):
    with pytest.raises(DataError, match=r"is not empty; go on with --resume"):
        train_segmenter(phantom_store, tiny_segmenter, tiny_seg_config())
    with lock_folder(tmp_path / "seg"), pytest.raises(DataError, match=r"another process is at work"):
        train_segmenter(phantom_store, tmp_path / "seg", tiny_seg_config())


def test_what_cannot_be_trained_is_told_before_anything_is_made(phantom_store, tmp_path):
    small = dataclasses.replace(phantom_store, manifest=phantom_store.manifest.model_copy(update={"size": (24, 32)}))
    with pytest.raises(DataError, match=r"slices of 24×32 are too small; 32 pixels are needed"):
        train_segmenter(small, tmp_path / "seg", tiny_seg_config())
    with pytest.raises(ConfigError, match=r"network\.name: unknown 'unet'"):
        train_segmenter(phantom_store, tmp_path / "seg", tiny_seg_config("li2018", "network.name=unet"))
    assert not (tmp_path / "seg").exists()
    with pytest.raises(DataError, match=r"no labelled slice is left to train on"):
        train_segmenter(phantom_store, tmp_path / "seg", tiny_seg_config(), exclude=["P001", "P002", "P003"])


def test_a_failure_is_in_the_manifest(phantom_store, tmp_path, monkeypatch):
    monkeypatch.setattr(Member, "_descend", lambda self, *batch: (float("nan"), 1.0, 1))
    with pytest.raises(TrainingError, match=r"members/0: the loss became non-finite at step 1"):
        train_segmenter(phantom_store, tmp_path / "seg", tiny_seg_config())
    manifest = read_manifest(tmp_path / "seg")
    assert manifest["status"] == "failed"
    assert "non-finite" in manifest["failure"]
