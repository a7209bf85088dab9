"""The weights of Li et al. 2018 as the authors publish them, Keras ``.h5`` files, turned into a segmenter folder.

The files come from strangers: links and data kept outside the file are not followed, and every shape is compared with
the network's before a value is read.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from labelgan.config.base import PrepareConfig
from labelgan.config.seg import SegConfig
from labelgan.core.errors import CheckpointError, ConfigError
from labelgan.core.files import lock_folder, require_free, sha256_file, write_text_atomic
from labelgan.core.words import times
from labelgan.seg.folder import SegmenterFolder
from labelgan.seg.networks_li2018 import Li2018
from labelgan.training.checkpoint import save_tensors

if TYPE_CHECKING:
    import h5py
    from torch import Tensor

CHANNELS = ("FLAIR", "T1")
ORIGIN = "weights of Li et al., NeuroImage 183 (2018) 650-665, imported from Keras files"
TRAINED_ON = "not known from the files; the authors trained theirs on the challenge's 60 public scans"
MAX_FILE_BYTES = 2**30
MAX_ATTRIBUTE_BYTES = 2**20
MAX_LAYERS = 1000
MIN_WIDTH, MAX_WIDTH = 4, 128


@dataclass(frozen=True)
class ImportedLi:
    """Result of an import: the folder, how many networks, their channels, width and number of values each."""

    folder: Path
    members: int
    channels: tuple[str, ...]
    width: int
    parameters: int


@dataclass(frozen=True)
class _Weights:
    """One file's network: tensors by our names, and what the first kernel says of its shape."""

    channels: int
    width: int
    tensors: dict[str, Tensor]


def import_li(
    files: Sequence[Path], out: Path, *, brain_mask: str = "li2018", brain_threshold: float | None = None
) -> ImportedLi:
    """Turns Keras weight files into an ensemble with as many members, ready for ``segment predict``.

    Scans are prepared as the authors did: brain by a FLAIR threshold, 200×200 pixels, every slice predicted; the masks
    are made at the published threshold, 0.45.

    Args:
        files: ``.h5`` files that ``save_weights`` or ``save`` of Keras 1, 2 or (legacy format) 3 wrote.
        out: segmenter folder, new or empty.
        brain_mask: how brains of new scans are found; ``li2018`` as published, ``auto`` for any intensity scale.
        brain_threshold: FLAIR value of the li2018 mask; None takes the default, that of two of the three scanners.

    Raises:
        ConfigError: h5py is not installed, or a setting is out of range.
        CheckpointError: a file is no weight file of this network, two differ in channels or width or are one and the
            same.
        DataError: ``out`` is not empty.
    """
    if not files:
        raise ConfigError("FILE", "name at least one .h5 file")
    settings = {"brain_mask": brain_mask, "drop_empty": False}
    if brain_threshold is not None:
        settings["li2018_threshold"] = brain_threshold
    prepare = PrepareConfig.build(settings, "--brain-mask")
    require_free(out)
    networks, hashes = [], {}
    for path in files:
        weights = read_keras_weights(path)
        if networks and (weights.channels, weights.width) != (networks[0].channels, networks[0].width):
            raise CheckpointError(path, f"has {_inputs(weights)}, and {files[0]} {_inputs(networks[0])}")
        digest = sha256_file(path)
        if digest in hashes:
            raise CheckpointError(path, f"is the same file as {hashes[digest]}")
        networks.append(weights)
        hashes[digest] = path
    first = networks[0]
    config = SegConfig.for_segmenter("li2018", {"network.width": first.width, "train.members": len(files)})
    parameters = sum(value.numel() for value in first.tensors.values())
    folder, members = SegmenterFolder(out), []
    with lock_folder(out):
        for number, weights in enumerate(networks):
            place = folder.member(number)
            save_tensors(place.weights, weights.tensors)
            members.append({"sha256": sha256_file(place.weights)})
        write_text_atomic(folder.config, config.to_toml())
        write_text_atomic(folder.prepare, prepare.to_toml())
        folder.write_manifest(
            "complete",
            network=config.network.name,
            channels=list(CHANNELS[: first.channels]),
            size=list(prepare.size),
            training_cases=[],
            excluded=[],
            held_out_cases=[],
            parameters=parameters,
            members=members,
            origin={
                "note": ORIGIN,
                "trained_on": TRAINED_ON,
                "files": [{"name": path.name, "sha256": digest} for digest, path in hashes.items()],
            },
        )
    return ImportedLi(out, len(files), CHANNELS[: first.channels], first.width, parameters)


def _inputs(weights: _Weights) -> str:
    return f"{weights.channels} channel{'s' * (weights.channels > 1)} and width {weights.width}"


def read_keras_weights(path: Path) -> _Weights:
    """Reads the nineteen convolutions of one file into our names and axes.

    Raises:
        ConfigError: h5py is not installed.
        CheckpointError: naming the file, and the layer where one is at fault.
    """
    try:
        import h5py
    except ImportError as error:
        raise ConfigError(path, f"the h5py package cannot be used ({error}): pip install 'labelgan[keras]'") from None
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise CheckpointError(path, f"is larger than {MAX_FILE_BYTES >> 20} MiB; refused")
        with h5py.File(path, "r") as file:
            return _read(file, path)
    except FileNotFoundError:
        raise CheckpointError(path, "no such file") from None
    except IsADirectoryError:
        raise CheckpointError(path, "is a folder; name the .h5 files in it") from None
    # What h5py raises on damaged files is not of one kind.
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, AttributeError, UnicodeDecodeError) as error:
        raise CheckpointError(path, f"is not a whole Keras .h5 file: {error}") from None


def _read(file: h5py.File, path: Path) -> _Weights:
    import torch

    root = _child(file, "model_weights", path) if "model_weights" in file else file
    if "layer_names" not in root.attrs and "layer_names0" not in root.attrs:
        newer = "layers" in root or "_layer_checkpoint_dependencies" in root
        advice = ", but of the newer .weights.h5 layout; save it as .h5" if newer else ""
        raise CheckpointError(path, f"is no Keras weight file in the layout of Keras 1 and 2{advice}")
    pairs = _kernels_and_biases(root, path)
    names, expected, channels, width, axes = _expectations(pairs, path)
    flipped = _is_theanos(file, root, pairs)
    tensors = {}
    for number, (layer, kernel, bias) in enumerate(pairs):
        shapes = (expected[2 * number], expected[2 * number + 1])
        for what, dataset, shape in (("kernel", kernel, shapes[0]), ("bias", bias, shapes[1])):
            of_file = tuple(shape[axis] for axis in axes) if what == "kernel" else shape
            if dataset.shape != of_file or dataset.dtype.kind != "f":
                raise CheckpointError(
                    path,
                    f"layer {number + 1} of {len(pairs)} ({layer}): its {what} is {times(dataset.shape)} "
                    f"{dataset.dtype}, the network's {times(of_file)} float32",
                )
        values = np.asarray(kernel[()], dtype=np.float32).transpose(np.argsort(axes))
        # Theano turns kernels by 180 degrees as it convolves; TensorFlow and torch do not.
        values = values[:, :, ::-1, ::-1] if flipped else values
        for name, value in ((names[2 * number], values), (names[2 * number + 1], np.asarray(bias[()], np.float32))):
            if not np.isfinite(value).all():
                raise CheckpointError(path, f"layer {number + 1} of {len(pairs)} ({layer}) holds NaN or Inf")
            tensors[name] = torch.from_numpy(value.copy())
    return _Weights(channels, width, tensors)


Pair = tuple[str, "h5py.Dataset", "h5py.Dataset"]


def _kernels_and_biases(root: h5py.Group, path: Path) -> list[Pair]:
    """Layer name, kernel and bias of every layer with weights, in the order of the network."""
    layers = _names(root, "layer_names", path)
    if len(layers) > MAX_LAYERS:
        raise CheckpointError(path, f"lists {len(layers)} layers; refused")
    pairs = []
    for layer in layers:
        group = _child(root, layer, path)
        weights = _names(group, "weight_names", path)
        if weights and len(weights) != 2:
            raise CheckpointError(
                path, f"layer {layer} has {len(weights)} weights; a convolution of this network has a kernel and a bias"
            )
        if weights:
            kernel, bias = (_child(group, name, path) for name in weights)
            if not (hasattr(kernel, "shape") and hasattr(bias, "shape")):
                raise CheckpointError(path, f"layer {layer} has a group where its weights should be")
            pairs.append((layer, kernel, bias))
    return pairs


def _child(group: h5py.Group, name: str, path: Path) -> Any:
    """Gives the entry at a name such as ``a/b``; nothing outside the file is touched."""
    import h5py

    node: Any = group
    for part in [part for part in name.split("/") if part]:
        if not isinstance(node, h5py.Group) or part not in node:
            raise CheckpointError(path, f"names {name}, and does not hold it")
        if not isinstance(node.get(part, getlink=True), h5py.HardLink):
            raise CheckpointError(path, f"has a link at {name}; refused")
        node = node[part]
    if isinstance(node, h5py.Dataset) and (node.external or node.is_virtual):
        raise CheckpointError(path, f"keeps {name} in another file; refused")
    return node


def _names(group: h5py.Group, key: str, path: Path) -> list[str]:
    """An attribute's list of names; Keras breaks a long one into ``key0``, ``key1``, ..."""
    chunks = [key] if key in group.attrs else []
    while not chunks or chunks[0] != key:
        numbered = f"{key}{len(chunks)}"
        if numbered not in group.attrs:
            break
        chunks.append(numbered)
    names = []
    for chunk in chunks:
        stored = group.attrs.get_id(chunk)
        if stored.get_space().get_simple_extent_npoints() * stored.dtype.itemsize > MAX_ATTRIBUTE_BYTES:
            raise CheckpointError(path, f"its {key} are longer than 1 MiB; refused")
        for name in np.asarray(group.attrs[chunk]).ravel():
            names.append(name.decode("utf-8") if isinstance(name, bytes) else str(name))
    return names


def _expectations(pairs: list[Pair], path: Path) -> tuple[list[str], list[tuple[int, ...]], int, int, tuple[int, ...]]:
    """Our tensors' names and shapes, channels, width, and which of our axes (O, I, H, W) each of a file's kernels is.

    The first kernel tells them: (5, 5, channels, width) as TensorFlow orders axes, (width, channels, 5, 5) as Theano
    does.
    """
    import torch

    shape = pairs[0][1].shape if pairs else ()
    if len(shape) == 4 and shape[:2] == (5, 5):
        axes, channels, width = (2, 3, 1, 0), shape[2], shape[3]
    elif len(shape) == 4 and shape[2:] == (5, 5):
        axes, channels, width = (0, 1, 2, 3), shape[1], shape[0]
    else:
        found = f"begins with a kernel of {times(shape)}" if shape else "has no layer with weights"
        raise CheckpointError(path, f"{found}; the network of Li et al. begins with one of 5×5×channels×width")
    if not (1 <= channels <= len(CHANNELS) and MIN_WIDTH <= width <= MAX_WIDTH):
        raise CheckpointError(
            path, f"has {channels} channels and width {width}; FLAIR, or FLAIR and T1, and width 64 are expected"
        )
    with torch.device("meta"):
        ours = Li2018(channels, width).state_dict()
    if len(pairs) != len(ours) // 2:
        raise CheckpointError(path, f"has {len(pairs)} layers with weights; the network of Li et al. has 19")
    return list(ours), [tuple(value.shape) for value in ours.values()], channels, width, axes


def _is_theanos(file: h5py.File, root: h5py.Group, pairs: list[Pair]) -> bool:
    """Whether Theano trained the weights. Keras 1 does not say, but TensorFlow's names end as in ``kernel:0``."""
    for group in (root, file):
        if "backend" in group.attrs:
            backend = group.attrs["backend"]
            return (backend.decode("utf-8") if isinstance(backend, bytes) else str(backend)) == "theano"
    return not re.search(r":\d+$", str(pairs[0][1].name))
