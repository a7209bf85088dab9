from __future__ import annotations

import numpy as np
import pytest
import torch

from labelgan.audit.fidelity.encoder import (
    DEGRADATIONS,
    AuditEncoder,
    LearnedEncoder,
    ScriptedEncoder,
    degrade,
    encoder_input,
    fit_encoder,
    load_encoder,
)
from labelgan.audit.slices import AuditSlices
from labelgan.config.audit import AuditEncoderConfig
from labelgan.core.errors import CheckpointError
from labelgan.core.rng import generator_for
from labelgan.training.checkpoint import save_tensors

SMALL = AuditEncoderConfig(side=32, width=8, features=12, steps=40, batch_size=16)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def slices(phantom_store) -> AuditSlices:
    return AuditSlices.from_store(phantom_store)


@pytest.fixture(scope="module")
def encoder(slices) -> LearnedEncoder:
    return fit_encoder(slices, SMALL, 0, CPU)


def test_it_learns(slices):
    losses = []
    fit_encoder(slices, SMALL, 0, CPU, lambda done, steps, note: losses.append(float(note.split()[-1])))
    assert len(losses) == SMALL.steps
    assert np.mean(losses[-5:]) < 0.7 * np.mean(losses[:5])


def test_the_same_seed_gives_the_same_features(slices, encoder):
    short = SMALL.model_copy(update={"steps": 3})
    first, again, other = (fit_encoder(slices, short, seed, CPU)(slices) for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert first.shape == (len(slices), 12)
    assert first.dtype == np.float32


def test_a_slice_has_its_features_whatever_stands_beside_it(slices, encoder):
    whole = encoder(slices)
    rows = [5, 0, 11]
    # a product of other shape may sum in another order
    np.testing.assert_allclose(encoder(slices.select(rows)), whole[rows], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(encoder(slices.select([11])), whole[[11]], rtol=1e-4, atol=1e-5)


def test_weights_come_back(slices, encoder, tmp_path):
    encoder.save(tmp_path / "encoder.safetensors")
    again = load_encoder(tmp_path / "encoder.safetensors", 2, CPU)
    assert np.array_equal(again(slices), encoder(slices))
    with pytest.raises(CheckpointError, match=r"is an encoder of 2 channels, the slices have 1"):
        load_encoder(tmp_path / "encoder.safetensors", 1, CPU)


def test_what_is_no_encoder_is_refused(tmp_path):
    save_tensors(tmp_path / "other.safetensors", {"x": torch.zeros(2)})
    (tmp_path / "broken.pt").write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match="holds no weights of an audit's encoder"):
        load_encoder(tmp_path / "other.safetensors", 2, CPU)
    for shape in ((100_000, 3), (0, 3), (8, 0)):  # nothing of that size is set aside
        trunk, last = torch.zeros(*shape, 1, 1), torch.zeros(1, 4 * 100_000 if shape[0] > 8 else 32)
        save_tensors(tmp_path / "wide.safetensors", {"trunk.0.weight": trunk, "last.weight": last})
        with pytest.raises(CheckpointError, match="holds no weights of an audit's encoder"):
            load_encoder(tmp_path / "wide.safetensors", 2, CPU)
    with pytest.raises(CheckpointError, match="cannot be loaded as TorchScript"):
        load_encoder(tmp_path / "broken.pt", 2, CPU)
    with pytest.raises(CheckpointError, match="does not exist"):
        load_encoder(tmp_path / "absent.pt", 2, CPU)


class Means(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean(dim=(2, 3))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_an_encoder_of_the_user(slices, tmp_path):
    torch.jit.script(Means()).save(str(tmp_path / "mine.pt"))
    mine = load_encoder(tmp_path / "mine.pt", 2, CPU)
    assert isinstance(mine, ScriptedEncoder)
    np.testing.assert_allclose(mine(slices), encoder_input(slices, None).mean(dim=(2, 3)).numpy(), rtol=1e-4, atol=1e-6)
    torch.jit.script(torch.nn.Linear(3, 3)).save(str(tmp_path / "wrong.pt"))
    with pytest.raises(CheckpointError, match="cannot encode slices"):
        load_encoder(tmp_path / "wrong.pt", 2, CPU)(slices)


def test_the_network_fits_any_side():
    for side in (16, 64):
        assert AuditEncoder(2, side, 8, 5)(torch.zeros(2, 3, side, side)).shape == (2, 5)


def test_degradation_is_labelled_exactly(slices):
    batch = encoder_input(slices, 32).repeat(8, 1, 1, 1)
    inputs, how = degrade(batch, generator_for(0, "spoil"))
    assert how.shape == (len(batch), DEGRADATIONS)
    clean = (how[:, :3] == 0).all(dim=1)
    assert clean.any()
    torch.testing.assert_close(inputs[clean][:, :-1], batch[clean][:, :-1])
    swapped = how[:, 3] == 1
    assert torch.equal(inputs[~swapped][:, -1], batch[~swapped][:, -1])
    assert torch.equal(inputs[swapped][:, -1], batch.roll(1, dims=0)[swapped][:, -1])
    assert 0 < how[:, 0].mean() < 1
