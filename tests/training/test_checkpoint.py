from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import labelgan
from labelgan.core.errors import CheckpointError
from labelgan.core.files import sha256_file
from labelgan.training import checkpoint
from labelgan.training.checkpoint import (
    checkpoint_folders,
    load_latest,
    load_tensors,
    load_weights,
    pack_optimizer,
    save_checkpoint,
    save_tensors,
    unpack_optimizer,
)
from labelgan.training.device import channels_last

DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.uint8, torch.bool)


def tensors(seed: int, count: int = 3) -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(seed)
    return {f"layer.{i}.weight": torch.randn(i + 1, 4, generator=random) for i in range(count)}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(
        one[name].dtype == other[name].dtype and torch.equal(one[name], other[name]) for name in one
    )


@given(shapes=st.lists(st.lists(st.integers(0, 3), max_size=3), max_size=4), dtype=st.sampled_from(DTYPES))
@settings(max_examples=30, deadline=None)
def test_tensors_round_trip_bit_for_bit(tmp_path_factory, shapes, dtype):
    path = tmp_path_factory.getbasetemp() / "round-trip.safetensors"
    random = torch.Generator().manual_seed(0)
    written = {f"t{i}": (100 * torch.randn(shape, generator=random)).to(dtype) for i, shape in enumerate(shapes)}
    save_tensors(path, written)
    assert same(load_tensors(path), written)


def test_not_a_number_and_signed_zero_keep_their_bits(tmp_path):
    odd = torch.tensor([float("nan"), -0.0, float("inf"), 1e-45])
    save_tensors(tmp_path / "odd.safetensors", {"odd": odd})
    assert torch.equal(load_tensors(tmp_path / "odd.safetensors")["odd"].view(torch.int32), odd.view(torch.int32))


def test_the_same_tensors_and_metadata_give_the_same_bytes(tmp_path):
    first, second, third = (tmp_path / f"{i}.safetensors" for i in range(3))
    save_tensors(first, tensors(0), {"model": "gan", "size": [3, 4], "a": 1})
    backwards = dict(reversed(list(tensors(0).items())))
    save_tensors(second, backwards, {"a": 1, "size": [3, 4], "model": "gan"})
    save_tensors(third, tensors(0), {"a": 2})
    assert first.read_bytes() == second.read_bytes()
    assert first.read_bytes() != third.read_bytes()


def test_views_are_written_as_they_look(tmp_path):
    base = torch.arange(12.0).reshape(3, 4)
    save_tensors(tmp_path / "view.safetensors", {"view": base.T, "part": base[1:2]})
    loaded = load_tensors(tmp_path / "view.safetensors")
    assert torch.equal(loaded["view"], base.T)
    assert torch.equal(loaded["part"], base[1:2])


@pytest.mark.parametrize("damage", ["absent", "empty", "cut", "text", "folder", "huge header"])
def test_damaged_files_are_named(tmp_path, damage):
    path = tmp_path / "generator.safetensors"
    save_tensors(path, tensors(0))
    content = path.read_bytes()
    path.unlink()
    if damage == "folder":
        path.mkdir()
    elif damage != "absent":
        path.write_bytes({"empty": b"", "cut": content[:-5], "text": b"weights", "huge header": b"\xff" * 64}[damage])
    with pytest.raises(CheckpointError, match=r"generator\.safetensors: ") as caught:
        load_tensors(path)
    assert "\n" not in str(caught.value)


def test_a_hash_that_is_told_must_be_the_files(tmp_path):
    path = tmp_path / "generator.safetensors"
    save_tensors(path, tensors(0))
    assert load_tensors(path, sha256=sha256_file(path)).keys() == tensors(0).keys()
    told = sha256_file(path)
    flip_a_bit(path)
    with pytest.raises(CheckpointError, match=r"generator\.safetensors: its SHA-256 is not the one in the manifest"):
        load_tensors(path, sha256=told)
    path.unlink()
    with pytest.raises(CheckpointError, match="does not exist"):
        load_tensors(path, sha256=told)


def test_files_too_large_to_be_weights_are_refused_unread(tmp_path, monkeypatch):
    path = tmp_path / "generator.safetensors"
    save_tensors(path, tensors(0))
    monkeypatch.setattr(checkpoint, "MAX_WEIGHT_BYTES", path.stat().st_size)
    load_tensors(path)
    monkeypatch.setattr(checkpoint, "MAX_WEIGHT_BYTES", path.stat().st_size - 1)
    with pytest.raises(CheckpointError, match="is larger than"):
        load_tensors(path)


def test_weights_that_do_not_fit_are_named():
    module, path = nn.Linear(3, 2), Path("run/generator.safetensors")
    sound = {name: tensor + 1 for name, tensor in module.state_dict().items()}
    load_weights(module, sound, path)
    assert torch.equal(module.weight, sound["weight"])
    for wrong, reason in (
        ({"weight": sound["weight"]}, "tensor 'bias' is missing"),
        ({**sound, "extra": sound["bias"]}, "tensor 'extra' is not one of this network"),
        ({**sound, "weight": torch.zeros(2, 4)}, r"tensor 'weight' has shape \(2, 4\), the network has \(2, 3\)"),
    ):
        with pytest.raises(CheckpointError, match=rf"^run/generator\.safetensors: {reason}$"):
            load_weights(module, wrong, path)
        assert torch.equal(module.weight, sound["weight"])


OPTIMIZERS = {
    "adam": lambda parameters: torch.optim.Adam(parameters, lr=0.01, betas=(0.5, 0.9)),
    "rmsprop": lambda parameters: torch.optim.RMSprop(parameters, lr=0.01),
    "sgd": lambda parameters: torch.optim.SGD(parameters, lr=0.01, momentum=0.5),
    "sgd without momentum": lambda parameters: torch.optim.SGD(parameters, lr=0.01),
}


def descend(module: nn.Linear, optimizer: torch.optim.Optimizer, steps: range) -> None:
    for step in steps:
        optimizer.zero_grad()
        module(torch.full((1, 3), 1.0 + step)).square().sum().backward()
        optimizer.step()


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer_goes_on_from_the_file_bit_for_bit(tmp_path, name):
    torch.manual_seed(0)
    module = nn.Linear(3, 2)
    optimizer = OPTIMIZERS[name](module.parameters())
    descend(module, optimizer, range(3))
    folder = save_checkpoint(tmp_path, 3, {"net": module.state_dict(), "optimizer": pack_optimizer(optimizer)}, {})
    descend(module, optimizer, range(3, 6))

    loaded = load_latest(tmp_path)
    assert loaded is not None
    assert (loaded.folder, loaded.step) == (folder, 3)
    again = nn.Linear(3, 2)
    load_weights(again, loaded.parts["net"], folder)
    resumed = OPTIMIZERS[name](again.parameters())
    unpack_optimizer(resumed, loaded.parts["optimizer"])
    descend(again, resumed, range(3, 6))
    assert torch.equal(again.weight, module.weight)
    assert torch.equal(again.bias, module.bias)
    assert same(pack_optimizer(resumed), pack_optimizer(optimizer))


def test_an_optimizer_that_has_not_stepped_has_nothing_to_keep():
    module = nn.Linear(3, 2)
    optimizer = torch.optim.Adam(module.parameters())
    assert pack_optimizer(optimizer) == {}
    unpack_optimizer(optimizer, {})
    descend(module, optimizer, range(1))


def save(root: Path, step: int, **state) -> Path:
    return save_checkpoint(root, step, {"generator": tensors(step), "critic": tensors(-step)}, state)


def latest(root: Path) -> int | None:
    found = load_latest(root)
    return None if found is None else found.step


def test_a_checkpoint_round_trips_with_its_state(tmp_path):
    save(tmp_path, 7, model="gan")
    found = load_latest(tmp_path)
    assert found is not None
    assert found.step == 7
    assert found.state["model"] == "gan"
    assert same(found.parts["generator"], tensors(7))
    assert same(found.parts["critic"], tensors(-7))


def test_without_checkpoints_there_is_none(tmp_path):
    assert load_latest(tmp_path) is None
    assert load_latest(tmp_path / "absent") is None
    assert checkpoint_folders(tmp_path / "absent") == []


def test_the_last_two_are_kept_in_the_order_of_their_steps(tmp_path):
    for step in (2, 10, 9, 100):
        save(tmp_path, step)
    assert [folder.name for folder in checkpoint_folders(tmp_path)] == ["step-00000010", "step-00000100"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000010", "step-00000100"]
    assert latest(tmp_path) == 100


def test_a_step_saved_again_replaces_the_first(tmp_path):
    save(tmp_path, 5, note="first")
    save(tmp_path, 5, note="second")
    found = load_latest(tmp_path)
    assert found is not None
    assert found.state["note"] == "second"


def test_what_a_crash_left_half_written_is_passed_over(tmp_path):
    save(tmp_path, 1)
    half = tmp_path / ".step-00000002.tmp"
    shutil.copytree(tmp_path / "step-00000001", half)
    (half / "state.json").unlink()
    assert latest(tmp_path) == 1
    save(tmp_path, 2)
    assert latest(tmp_path) == 2
    assert not half.exists()


@pytest.mark.parametrize("moment", ["save_tensors", "write_json_atomic", "sha256_file", "os.replace"])
def test_dying_at_any_moment_of_saving_leaves_the_one_before(tmp_path, monkeypatch, moment):
    save(tmp_path, 1)

    class KilledError(BaseException):
        pass

    def die(*_, **__):
        raise KilledError

    owner, _, name = moment.rpartition(".")
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint.os if owner else checkpoint, name, die)
        with pytest.raises(KilledError):
            save(tmp_path, 2)
    assert latest(tmp_path) == 1
    save(tmp_path, 2)
    assert latest(tmp_path) == 2


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


DAMAGES = {
    "bit": lambda folder: flip_a_bit(folder / "generator.safetensors"),
    "cut": lambda folder: (folder / "critic.safetensors").write_bytes(b""),
    "gone": lambda folder: (folder / "critic.safetensors").unlink(),
    "no state": lambda folder: (folder / "state.json").unlink(),
    "state is a list": lambda folder: (folder / "state.json").write_text("[]"),
    "state is half": lambda folder: (folder / "state.json").write_text('{"step": 2, "sha'),
    "state without hashes": lambda folder: (folder / "state.json").write_text('{"step": 2}'),
    "hashes are a list": lambda folder: (folder / "state.json").write_text('{"step": 2, "sha256": ["critic"]}'),
    "hashes are text": lambda folder: (folder / "state.json").write_text('{"step": 2, "sha256": "critic"}'),
    "hashes are a number": lambda folder: (folder / "state.json").write_text('{"step": 2, "sha256": 5}'),
    "step is text": lambda folder: (folder / "state.json").write_text('{"step": "2", "sha256": {}}'),
    "part outside": lambda folder: (folder / "state.json").write_text('{"step": 2, "sha256": {"../x": "0"}}'),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_newest_falls_back_to_the_one_before(tmp_path, damage):
    save(tmp_path, 1)
    DAMAGES[damage](save(tmp_path, 2))
    assert latest(tmp_path) == 1


@pytest.mark.parametrize("damage", DAMAGES)
def test_when_all_are_damaged_the_newest_is_named(tmp_path, damage):
    for step in (1, 2):
        DAMAGES[damage](save(tmp_path, step))
    with pytest.raises(CheckpointError, match="step-00000002"):
        load_latest(tmp_path)


def test_hashes_stand_beside_the_weights(tmp_path):
    folder = save(tmp_path, 1)
    hashes = json.loads((folder / "state.json").read_text())["sha256"]
    assert hashes.keys() == {"generator", "critic"}
    assert all(re.fullmatch("[0-9a-f]{64}", value) for value in hashes.values())


def test_nothing_in_the_package_pickles():
    """Untrusted files stay data: no module may load or save through pickle, in whatever disguise."""
    forbidden = re.compile(
        r"\bc?pickle\b|\bjoblib\b|\bdill\b|\bmarshal\b|\bshelve\b|torch\.(load|save)\b|allow_pickle\s*=\s*True|\bread_pickle\b|\beval\("
    )
    source = Path(labelgan.__file__).parent
    modules = sorted(source.rglob("*.py"))
    assert len(modules) > 30
    found = []
    # It hands a task to its own child through a pipe, as multiprocessing does: no file, nothing from outside.
    own_children = {Path("training/launch.py")}
    for path in (module for module in modules if module.relative_to(source) not in own_children):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            # docstrings may say that there is none; module.eval() is torch's
            bare = line.replace("never pickle", "").replace(".eval(", "")
            if forbidden.search(bare):
                found.append(f"{path.relative_to(source)}:{number}: {line.strip()}")
    assert not found


def test_a_part_that_is_not_there_is_named(tmp_path):
    save_checkpoint(tmp_path, 1, {"generator": tensors(0)}, {})
    checkpoint = load_latest(tmp_path)
    assert checkpoint is not None
    assert same(checkpoint.part("generator"), tensors(0))
    with pytest.raises(CheckpointError, match=r"step-00000001: has no critic; it is of another model"):
        checkpoint.part("critic")


def test_an_optimisers_state_comes_back_in_the_layout_of_its_weights():
    """An update over two layouts is slower, and on a GPU takes another way through the arithmetic."""
    layer = channels_last(nn.Conv2d(3, 4, 3))
    optimizer = torch.optim.Adam(layer.parameters())
    layer(torch.ones(1, 3, 5, 5)).sum().backward()
    optimizer.step()
    packed = {name: tensor.contiguous() for name, tensor in pack_optimizer(optimizer).items()}
    again = torch.optim.Adam(layer.parameters())
    unpack_optimizer(again, packed)
    state = again.state[layer.weight]
    assert state["exp_avg"].stride() == layer.weight.stride()
    assert torch.equal(state["exp_avg"], optimizer.state[layer.weight]["exp_avg"])
    assert state["step"] == 1
