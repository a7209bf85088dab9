"""Samples of every model stay in the range of the training slices, whatever weights and restyling do."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from labelgan.config.gan import MODELS
from labelgan.core.files import read_json
from labelgan.data.layouts.detect import read_cohort
from labelgan.data.prepare.case import to_unit
from labelgan.data.prepare.limits import ValueRange
from labelgan.data.synthetic_slices import read_labelled_slices
from labelgan.gan.inputs.batches import training_rows
from labelgan.gan.inputs.compose import Conditions
from labelgan.gan.inputs.inputs import make_inputs
from labelgan.gan.networks.limit import limit_of
from labelgan.gan.sample import Generator, sample_cohort
from labelgan.gan.train import train_generator
from labelgan.gan.trainer import Trainer
from labelgan.training.checkpoint import Checkpoint, load_tensors, save_tensors
from tiny import tell_hashes, tiny_config

ROUNDING = 1e-4


@pytest.fixture(scope="module")
def runs(phantom_store, tmp_path_factory) -> dict[str, Path]:
    """A finished run of every model, of one step."""
    root = tmp_path_factory.mktemp("runs")
    settings = ("train.steps=1", "train.collapse_ratio=0", "content.style=2")
    return {model: train_generator(phantom_store, root / model, tiny_config(model, *settings)).run for model in MODELS}


def changed(run: Path, folder: Path, change) -> Path:
    """A copy of a run with other weights."""
    shutil.copytree(run, folder)
    weights = load_tensors(folder / "generator.safetensors")
    save_tensors(folder / "generator.safetensors", change(weights))
    tell_hashes(folder)
    return folder


def exaggerated(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    draw = torch.Generator().manual_seed(0)
    return {
        name: tensor if name.startswith("value_limit.") or not tensor.is_floating_point()
        else 30 * tensor + 0.3 * torch.randn(tensor.shape, generator=draw).abs()
        for name, tensor in weights.items()
    }  # fmt: skip


def unlimited(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """As a run's weights were before there was a limit."""
    return {name: tensor for name, tensor in weights.items() if not name.startswith("value_limit.")}


def training_range(store) -> ValueRange:
    return ValueRange.of(store.images, training_rows(store, tiny_config()))


def share_outside(images_NCHW: np.ndarray, values: ValueRange) -> float:
    low, high = values.low_C[:, None, None] - ROUNDING, values.high_C[:, None, None] + ROUNDING
    return float(((images_NCHW < low) | (images_NCHW > high)).mean())


@pytest.mark.parametrize("model", MODELS)
def test_samples_stay_in_the_range_of_the_training_slices(runs, phantom_store, tmp_path, model):
    values = training_range(phantom_store)
    loud = changed(runs[model], tmp_path / "loud", exaggerated)
    for run in (runs[model], loud):
        generator = Generator.load(run)
        assert share_outside(generator.sample(16, seed=1).images_NCHW, values) == 0
        told = generator.range
        np.testing.assert_allclose(
            [told[name] for name in generator.channels], np.stack([values.low_C, values.high_C]).T, atol=ROUNDING
        )
    without = Generator.load(changed(loud, tmp_path / "old", lambda w: with_no_bounds(w)))
    assert share_outside(without.sample(16, seed=1).images_NCHW, values) > 0.01, "it is the limit that holds them"


def with_no_bounds(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    ends = {"value_limit.low": -torch.ones(3), "value_limit.high": torch.ones(3)}
    return {**weights, **ends}


def test_samples_of_a_site_stay_in_it_too(runs, phantom_store, tmp_path):
    loud = Generator.load(changed(runs["refiner"], tmp_path / "loud", exaggerated))
    samples = loud.sample(8, seed=2, conditions=Conditions(site="Beta"))
    assert share_outside(samples.images_NCHW, training_range(phantom_store)) == 0


@pytest.mark.parametrize("format", ["png", "npz", "wmh"])
def test_exports_come_back_in_the_range(runs, phantom_store, tmp_path, format):
    """Eight bits are too coarse for a z-score of 8: the manifest's range bounds what is read."""
    loud = changed(runs["refiner"], tmp_path / "loud", exaggerated)
    out = sample_cohort(loud, tmp_path / "out", 4, format=format)
    cohort = read_cohort(out)
    assert set(read_json(out / "manifest.json")["range"]) == {"FLAIR", "T1"}
    read = np.concatenate(
        [part.slices.images_NCHW for part in read_labelled_slices(cohort, cohort.cases, phantom_store)]
    )
    assert share_outside(read, training_range(phantom_store)) == 0


def test_a_refiner_of_before_takes_the_range_of_the_slices_that_it_keeps(runs, phantom_store, tmp_path):
    old = Generator.load(changed(runs["refiner"], tmp_path / "old", unlimited))
    values = training_range(phantom_store)
    for channel, name in enumerate(old.channels):
        assert old.range[name] == pytest.approx([values.low_C[channel], values.high_C[channel]], rel=0.15)
    assert (
        share_outside(
            old.sample(8).images_NCHW,
            ValueRange(*(np.array(side) for side in zip(*(old.range[n] for n in old.channels), strict=True))),
        )
        == 0
    )


def test_another_generator_of_before_samples_as_before(tiny_run, tmp_path):
    old = Generator.load(changed(tiny_run, tmp_path / "old", unlimited))
    new = Generator.load(tiny_run)
    before, after = (generator.sample(8, seed=1).images_NCHW for generator in (old, new))
    ends = np.array([new.range[name] for name in new.channels], np.float32)[:, :, None, None]
    np.testing.assert_allclose(after, before.clip(ends[:, 0], ends[:, 1]), atol=ROUNDING)
    inside = (before > ends[:, 0]) & (before < ends[:, 1])
    assert np.array_equal(after[inside], before[inside])
    assert old.range["T1"][1] > 25


def test_a_checkpoint_of_before_goes_on_within_the_range(phantom_store):
    config = tiny_config("r3gan")
    one, other = (Trainer(config, 3, (32, 32), make_inputs(config, None), torch.device("cpu")) for _ in range(2))
    parts = {name: unlimited(tensors) for name, tensors in one.parts().items()}
    values = training_range(phantom_store)
    other.hold_to(values)
    other.restore(Checkpoint(Path("checkpoint"), 0, parts, {}))
    for module in (other.generator, other.averaged):
        np.testing.assert_allclose(limit_of(module).high[:-1].numpy(), to_unit(values.high_C))


def test_a_fine_tuned_generator_is_held_to_its_own_slices(phantom_store, tiny_run, tmp_path):
    kept = phantom_store.cases[0].id
    out = [case.id for case in phantom_store.cases[1:]]
    config = tiny_config("r3gan", "train.steps=1")
    run = train_generator(phantom_store, tmp_path / "run", config, exclude=out, start_from=tiny_run).run
    own = ValueRange.of(phantom_store.images, training_rows(phantom_store, config, out))
    assert training_rows(phantom_store, config, out).tolist() == phantom_store.select(exclude=out).tolist(), kept
    found = load_tensors(run / "generator.safetensors")
    np.testing.assert_allclose(found["value_limit.low"][:-1].numpy(), to_unit(own.low_C))
    assert not np.allclose(own.low_C, training_range(phantom_store).low_C)
