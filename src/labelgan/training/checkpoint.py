"""The only place that saves and loads weights and state: safetensors and JSON, never pickle, never half-written."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labelgan.core.errors import CheckpointError, DataError
from labelgan.core.files import fsync_folder, make_folder, read_json, sha256_file, write_bytes_atomic, write_json_atomic

if TYPE_CHECKING:
    import torch
    from torch import Tensor

MAX_WEIGHT_BYTES = 8 * 2**30
_FOLDER = re.compile(r"^step-(\d{8})$")


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any] | None = None) -> None:
    """Writes tensors as safetensors, atomically; the same tensors and metadata give the same bytes."""
    from safetensors.torch import save

    plain = {name: tensor.detach().to("cpu").contiguous() for name, tensor in tensors.items()}
    # One metadata key: safetensors does not keep the order of several.
    header = {"labelgan": json.dumps(metadata, sort_keys=True)} if metadata else None
    write_bytes_atomic(path, save(plain, header))


def load_tensors(path: Path, device: str | torch.device = "cpu", sha256: str | None = None) -> dict[str, Tensor]:
    """Reads a safetensors file.

    Args:
        path: the file.
        device: where its tensors go.
        sha256: what it must hash to, as a manifest tells; None where none does.

    Raises:
        CheckpointError: naming the file when it is absent, too large, damaged, or not the one that the manifest tells.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        if path.stat().st_size > MAX_WEIGHT_BYTES:
            raise CheckpointError(path, f"is larger than {MAX_WEIGHT_BYTES >> 30} GiB; refused")
        if sha256 is not None and sha256_file(path) != sha256:
            raise CheckpointError(
                path, "its SHA-256 is not the one in the manifest: it was damaged or exchanged; copy the folder again"
            )
        return load_file(path, device=str(device))
    except FileNotFoundError:
        raise CheckpointError(path, "does not exist") from None
    except (OSError, SafetensorError, ValueError, KeyError) as error:
        raise CheckpointError(path, f"is not a whole safetensors file: {error}; copy it again") from None


def load_weights(module: torch.nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Puts tensors into a module; raises CheckpointError naming the first name or shape that does not fit."""
    expected = module.state_dict()
    for name in sorted(expected.keys() | tensors.keys()):
        if name not in tensors or name not in expected:
            raise CheckpointError(
                path, f"tensor '{name}' is {'missing' if name in expected else 'not one of this network'}"
            )
        if tensors[name].shape != expected[name].shape:
            found, wanted = tuple(tensors[name].shape), tuple(expected[name].shape)
            raise CheckpointError(path, f"tensor '{name}' has shape {found}, the network has {wanted}")
    module.load_state_dict(dict(tensors))


def pack_optimizer(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Gives an optimizer's state as named tensors; hyper-parameters come from the configuration, not from here."""
    import torch

    packed = {}
    for index, slots in optimizer.state_dict()["state"].items():
        for name, value in slots.items():
            if value is not None:
                packed[f"{index}.{name}"] = value if isinstance(value, torch.Tensor) else torch.tensor(value)
    return packed


def unpack_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Puts back what `pack_optimizer` gave."""
    import torch

    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        index, _, name = key.partition(".")
        state.setdefault(int(index), {})[name] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    for parameter, slots in optimizer.state.items():
        for name, value in slots.items():
            if value.shape == parameter.shape and value.stride() != parameter.stride():
                # as it was when it was saved: an optimiser is slower over two layouts
                slots[name] = torch.empty_like(parameter).copy_(value)


@dataclass(frozen=True)
class Checkpoint:
    """One complete checkpoint: ``parts`` maps a part's name (generator, critic, ...) to its tensors."""

    folder: Path
    step: int
    parts: dict[str, dict[str, Tensor]]
    state: dict[str, Any]

    def part(self, name: str) -> dict[str, Tensor]:
        """The tensors of a part; raises CheckpointError where it has none of that name."""
        if name not in self.parts:
            raise CheckpointError(self.folder, f"has no {name}; it is of another model or another version")
        return self.parts[name]


def save_checkpoint(
    root: Path, step: int, parts: Mapping[str, Mapping[str, Tensor]], state: Mapping[str, Any], keep: int = 2
) -> Path:
    """Writes ``root/step-NNNNNNNN`` whole (write, fsync, rename), then drops all but the last ``keep``.

    What a killed process left half-written in ``root`` is dropped too.
    """
    make_folder(root)
    final, temporary = root / f"step-{step:08d}", root / f".step-{step:08d}.tmp"
    for stale in root.glob(".step-*.tmp"):
        shutil.rmtree(stale)
    temporary.mkdir()
    hashes = {}
    try:
        for name, tensors in parts.items():
            path = temporary / f"{name}.safetensors"
            save_tensors(path, tensors)
            hashes[name] = sha256_file(path)
        write_json_atomic(temporary / "state.json", {"step": step, "sha256": hashes, **state})
    except OSError:
        shutil.rmtree(temporary, ignore_errors=True)  # on a full disk what is half there is in the way
        raise
    if final.exists():
        shutil.rmtree(final)
    os.replace(temporary, final)
    fsync_folder(root)
    for folder in checkpoint_folders(root)[:-keep]:
        shutil.rmtree(folder, ignore_errors=True)
    return final


def checkpoint_folders(root: Path) -> list[Path]:
    """Gives the complete checkpoints' folders, oldest first."""
    if not root.is_dir():
        return []
    return sorted(path for path in root.iterdir() if path.is_dir() and _FOLDER.match(path.name))


def load_latest(root: Path, device: str | torch.device = "cpu") -> Checkpoint | None:
    """Reads the newest checkpoint whose hashes hold, or gives None when there is none at all.

    Raises:
        CheckpointError: there are checkpoints and every one is damaged.
    """
    damaged: CheckpointError | None = None
    for folder in reversed(checkpoint_folders(root)):
        try:
            return _load(folder, device)
        except CheckpointError as error:
            damaged = damaged or error
    if damaged:
        raise damaged
    return None


def _load(folder: Path, device: str | torch.device) -> Checkpoint:
    try:
        state = read_json(folder / "state.json")
        step, hashes = state["step"], state["sha256"]
        valid = isinstance(step, int) and isinstance(hashes, dict)
        valid = valid and all(re.fullmatch(r"[a-z_]+", name) for name in hashes)
    except (DataError, KeyError, TypeError) as error:
        raise CheckpointError(folder, f"its state.json is damaged ({error})") from None
    if not valid:
        raise CheckpointError(folder, "its state.json is damaged")
    parts = {}
    for name, expected in hashes.items():
        path = folder / f"{name}.safetensors"
        if not path.is_file() or sha256_file(path) != expected:
            raise CheckpointError(path, "is missing or differs from the hash written beside it")
        parts[name] = load_tensors(path, device)
    return Checkpoint(folder, step, parts, state)


def require_same_settings(before: Mapping[str, Any], now: Mapping[str, Any], folder: Path) -> None:
    """Refuses to go on with other settings than a model was begun with: {part: {key: value}} on both sides."""
    for part, values in before.items():
        for key, value in values.items():
            if now[part][key] != value:
                raise CheckpointError(folder, f"was trained with {part}.{key} = {value!r}, not {now[part][key]!r}")
