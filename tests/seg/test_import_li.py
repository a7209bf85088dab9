from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from labelgan.cli.app import run_command
from labelgan.core.errors import CheckpointError, ConfigError, DataError
from labelgan.core.files import sha256_file
from labelgan.core.rng import reseed_torch
from labelgan.seg.folder import SegmenterFolder
from labelgan.seg.import_li import MAX_FILE_BYTES, import_li, read_keras_weights
from labelgan.seg.networks_li2018 import Li2018
from labelgan.seg.predict import Ensemble
from labelgan.training.checkpoint import load_tensors

WIDTH = 4
KERAS_VENV = os.environ.get("LABELGAN_KERAS_VENV", "")


def network(channels: int = 2, seed: int = 0) -> Li2018:
    """A narrow network with biases that are not zero."""
    reseed_torch(seed, "test", "import_li")
    made = Li2018(channels, WIDTH)
    with torch.no_grad():
        for name, value in made.named_parameters():
            if name.endswith("bias"):
                value.normal_(0, 0.1)
    return made


def write_h5(path: Path, made: Li2018, style: str = "keras2") -> Path:
    """Writes a network's weights as Keras of some age did.

    keras1: names as ``a_W:0`` under the layer; keras2: ``a/kernel:0`` in a group of the layer's name again, and its
    backend; model: the same below ``model_weights``, with the other things that a saved model has; theano: axes
    (O, I, H, W), kernels turned by 180 degrees; theano-tf: the same, with TensorFlow's axes and the backend's name;
    chunks: the list of layers in pieces.
    """
    values = list(made.state_dict().values())
    with h5py.File(path, "w") as file:
        root = file.create_group("model_weights") if style == "model" else file
        if style == "model":
            file.attrs["model_config"] = np.bytes_("{}")
            file.create_group("optimizer_weights").attrs["weight_names"] = []
        if style not in ("keras1", "theano"):
            root.attrs["backend"] = np.bytes_("theano" if style == "theano-tf" else "tensorflow")
            root.attrs["keras_version"] = np.bytes_("2.0.5")
        layers = []
        for number in range(len(values) // 2):
            kernel, bias = values[2 * number].numpy(), values[2 * number + 1].numpy()
            if style.startswith("theano"):
                kernel = kernel[:, :, ::-1, ::-1]
            if style != "theano":
                kernel = kernel.transpose(2, 3, 1, 0)
            layer = "conv1_1" if number == 0 else f"conv2d_{number + 1}"
            names = {
                "keras1": (f"{layer}_W:0", f"{layer}_b:0"),
                "theano": (f"{layer}_W", f"{layer}_b"),
            }.get(style, (f"{layer}/kernel:0", f"{layer}/bias:0"))
            group = root.create_group(layer)
            group.attrs["weight_names"] = np.array([name.encode() for name in names])
            for name, value in zip(names, (kernel, bias), strict=True):
                group[name] = value
            layers.append(layer)
            if number % 2:  # layers without weights stand between
                pool = f"max_pooling2d_{number}"
                root.create_group(pool).attrs["weight_names"] = np.array([], dtype="S1")
                layers.append(pool)
        encoded = [layer.encode() for layer in layers]
        if style == "chunks":
            root.attrs["layer_names0"], root.attrs["layer_names1"] = encoded[:9], encoded[9:]
        else:
            root.attrs["layer_names"] = encoded
    return path


def same(found: dict[str, torch.Tensor], made: Li2018) -> bool:
    expected = made.state_dict()
    return found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize("style", ["keras1", "keras2", "model", "theano", "theano-tf", "chunks"])
@pytest.mark.parametrize("channels", [1, 2])
def test_every_age_of_keras_is_read_value_by_value(tmp_path, style, channels):
    made = network(channels)
    weights = read_keras_weights(write_h5(tmp_path / "0.h5", made, style))
    assert (weights.channels, weights.width) == (channels, WIDTH)
    assert same(weights.tensors, made)


def test_the_folder_is_an_ensemble_that_predicts(tmp_path):
    networks = [network(2, seed) for seed in range(2)]
    files = [write_h5(tmp_path / f"{number}.h5", made) for number, made in enumerate(networks)]
    result = import_li(files, tmp_path / "seg")
    assert (result.members, result.channels, result.width) == (2, ("FLAIR", "T1"), WIDTH)
    assert result.parameters == sum(value.numel() for value in networks[0].parameters())

    ensemble = Ensemble.load(tmp_path / "seg", device="cpu")
    slices = np.random.default_rng(0).standard_normal((2, 2, 40, 33)).astype(np.float16).astype(np.float32)
    with torch.no_grad():
        expected = sum(made.eval()(torch.from_numpy(slices))[:, 0].sigmoid() for made in networks) / 2
    np.testing.assert_allclose(ensemble.probabilities(slices), np.asarray(expected), atol=1e-5)
    assert (ensemble.config.predict.threshold, ensemble.config.predict.emptied) == (0.45, 0.125)
    assert (ensemble.prepare.brain_mask, ensemble.prepare.size) == ("li2018", (200, 200))
    assert not ensemble.prepare.drop_empty

    manifest = SegmenterFolder(tmp_path / "seg").read_manifest()
    assert (manifest.status, manifest.training_cases) == ("complete", ())
    assert manifest.content["origin"]["files"] == [{"name": path.name, "sha256": sha256_file(path)} for path in files]
    for number, made in enumerate(networks):
        weights = SegmenterFolder(tmp_path / "seg").member(number).weights
        assert same(load_tensors(weights), made)
        assert manifest.members[number].sha256 == sha256_file(weights)


def test_the_command_and_a_scan_of_one_channel(tmp_path, phantom_cohort, capsys):
    files = [str(write_h5(tmp_path / f"{seed}.h5", network(1, seed))) for seed in range(3)]
    seg, out = tmp_path / "seg", tmp_path / "out"
    assert run_command(["segment", "import-li", *files, "--out", str(seg), "--brain-mask", "auto"]) == 0
    told = capsys.readouterr()
    assert told.out.startswith("3 networks of ")
    assert told.out.endswith(f" values, for FLAIR, in {seg}\n")
    assert "note: the published weights have seen the challenge's 60 public scans" in told.err
    assert run_command(["segment", "predict", str(seg), str(phantom_cohort), "--out", str(out)]) == 0
    assert capsys.readouterr().out == f"3 masks in {out}\n"


def test_the_threshold_of_the_brain_can_be_that_of_the_third_scanner(tmp_path):
    import_li([write_h5(tmp_path / "0.h5", network())], tmp_path / "seg", brain_threshold=30)
    assert SegmenterFolder(tmp_path / "seg").read_prepare().li2018_threshold == 30


def refused(path: Path, reason: str) -> None:
    with pytest.raises(CheckpointError, match=reason) as caught:
        read_keras_weights(path)
    assert caught.value.subject == str(path)
    assert "\n" not in str(caught.value)


def replace(layer: str, weight: str, value: np.ndarray) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        group = file[layer]
        assert isinstance(group, h5py.Group)
        del group[weight]
        group[weight] = value

    return change


def rename(file: h5py.File) -> None:
    names = list(file.attrs["layer_names"])  # pyright: ignore
    file.attrs["layer_names"] = [b"elsewhere", *(name.encode() for name in names[1:])]


def one_layer_less(file: h5py.File) -> None:
    file.attrs["layer_names"] = list(file.attrs["layer_names"])[:-1]  # pyright: ignore


def normalised(file: h5py.File) -> None:
    file["conv1_1"].attrs["weight_names"] = [b"a", b"b", b"c", b"d"]


def linked(file: h5py.File) -> None:
    del file["conv1_1"]
    file["conv1_1"] = h5py.ExternalLink("/etc/passwd", "/")


def outside(file: h5py.File) -> None:
    group = file["conv2d_2"]
    assert isinstance(group, h5py.Group)
    del group["conv2d_2/bias:0"]
    group.create_dataset("conv2d_2/bias:0", (WIDTH,), "f4", external=[("/etc/passwd", 0, 16)])


def huge(file: h5py.File) -> None:
    group = file["conv2d_2"]
    assert isinstance(group, h5py.Group)
    del group["conv2d_2/kernel:0"]
    group.create_dataset("conv2d_2/kernel:0", (5, 5, 1 << 20, 1 << 20), "f4", chunks=(5, 5, 64, 64))


CHANGES: dict[str, tuple[Callable[[h5py.File], None], str]] = {
    "wrong shape": (
        replace("conv2d_8", "conv2d_8/kernel:0", np.zeros((3, 3, 16, 16), np.float32)),
        r"layer 8 of 19 \(conv2d_8\): its kernel is 3×3×16×16 float32, the network's 4×4×16×16 float32",
    ),
    "wrong bias": (
        replace("conv2d_19", "conv2d_19/bias:0", np.zeros(2, np.float32)),
        r"layer 19 of 19 \(conv2d_19\): its bias is 2 float32, the network's 1 float32",
    ),
    "integers": (replace("conv2d_3", "conv2d_3/bias:0", np.zeros(6, np.int32)), r"its bias is 6 int32"),
    "not a number": (
        replace("conv2d_3", "conv2d_3/bias:0", np.full(6, np.nan, np.float32)),
        r"layer 3 of 19 \(conv2d_3\) holds NaN or Inf",
    ),
    "3×3 at first": (
        replace("conv1_1", "conv1_1/kernel:0", np.zeros((3, 3, 2, 4), np.float32)),
        r"begins with a kernel of 3×3×2×4; the network of Li et al. begins with one of 5×5×channels×width",
    ),
    "three channels": (
        replace("conv1_1", "conv1_1/kernel:0", np.zeros((5, 5, 3, 4), np.float32)),
        r"has 3 channels and width 4; FLAIR, or FLAIR and T1, and width 64 are expected",
    ),
    "another layer named": (rename, r"names elsewhere, and does not hold it"),
    "one layer less": (one_layer_less, r"has 18 layers with weights; the network of Li et al. has 19"),
    "four weights": (normalised, r"layer conv1_1 has 4 weights; a convolution of this network has a kernel and a bias"),
    "a link out of the file": (linked, r"has a link at conv1_1; refused"),
    "values in another file": (outside, r"keeps conv2d_2/bias:0 in another file; refused"),
    "terabytes": (huge, r"its kernel is 5×5×1048576×1048576 float32, the network's 5×5×4×4 float32"),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_file_of_another_network_is_refused_in_one_line(tmp_path, what):
    change, reason = CHANGES[what]
    path = write_h5(tmp_path / "0.h5", network())
    with h5py.File(path, "r+") as file:
        change(file)
    refused(path, reason)


@pytest.mark.parametrize("keep", [0.0, 0.01, 0.3, 0.9, 0.999])
def test_a_truncated_file_is_refused_in_one_line(tmp_path, keep):
    path = write_h5(tmp_path / "0.h5", network())
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content))])
    refused(path, "is not a whole Keras .h5 file")


def test_what_is_no_weight_file_is_refused_in_one_line(tmp_path, capsys):
    text = tmp_path / "text.h5"
    text.write_text("weights\n")
    refused(text, "is not a whole Keras .h5 file")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["data"] = np.zeros(3)
    refused(tmp_path / "other.h5", "is no Keras weight file in the layout of Keras 1 and 2$")
    with h5py.File(tmp_path / "new.weights.h5", "w") as file:
        file["layers/conv2d/vars/0"] = np.zeros(3)
    refused(tmp_path / "new.weights.h5", r"but of the newer .weights.h5 layout; save it as .h5")
    refused(tmp_path / "none.h5", "no such file")
    refused(tmp_path, "is a folder; name the .h5 files in it")
    with (tmp_path / "sparse.h5").open("wb") as stream:
        stream.truncate(MAX_FILE_BYTES + 1)
    refused(tmp_path / "sparse.h5", "is larger than 1024 MiB; refused")
    assert run_command(["segment", "import-li", str(text), "--out", str(tmp_path / "seg")]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"error: {text}: is not a whole Keras .h5 file")
    assert len(err.splitlines()) == 1
    assert not (tmp_path / "seg").exists()


def test_files_that_do_not_belong_together_are_refused_and_nothing_is_written(tmp_path):
    one, two = write_h5(tmp_path / "one.h5", network(1)), write_h5(tmp_path / "two.h5", network(2))
    with pytest.raises(CheckpointError, match=r"two.h5: has 2 channels and width 4, and .*one.h5 1 channel and width"):
        import_li([one, two], tmp_path / "seg")
    with pytest.raises(CheckpointError, match=r"one.h5: is the same file as"):
        import_li([one, one], tmp_path / "seg")
    with pytest.raises(ConfigError, match="FILE: name at least one"):
        import_li([], tmp_path / "seg")
    with pytest.raises(ConfigError, match="--brain-mask: setting 'brain_mask'"):
        import_li([one], tmp_path / "seg", brain_mask="skull")
    assert not (tmp_path / "seg").exists()
    (tmp_path / "seg").mkdir()
    (tmp_path / "seg" / "mine").touch()
    with pytest.raises(DataError, match="seg: is not empty"):
        import_li([one], tmp_path / "seg")


def test_a_missing_h5py_is_one_line(tmp_path, monkeypatch):
    path = write_h5(tmp_path / "0.h5", network())
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ConfigError, match=r"the h5py package cannot be used .*: pip install 'labelgan\[keras\]'"):
        read_keras_weights(path)


@pytest.mark.slow
@pytest.mark.skipif(not KERAS_VENV, reason="LABELGAN_KERAS_VENV does not name an environment that has keras and h5py")
def test_keras_and_we_give_the_same_probabilities():
    script = Path(__file__).parents[2] / "bench" / "speed" / "keras_rival" / "parity.py"
    command = [sys.executable, script, "--venv", KERAS_VENV, "--width", "8"]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("| weights.h5 |") == done.stdout.count("| model.h5 |") == 4
