from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from labelgan.config.gan import NetworkConfig
from labelgan.core.errors import ConfigError
from labelgan.core.rng import generator_for
from labelgan.data.prepare.case import from_unit
from labelgan.gan.inputs.compose import Composer, Conditions
from labelgan.gan.inputs.inputs import INPUTS, batch_latents, gather_content, make_inputs, sample_latents
from labelgan.gan.inputs.mask_channel import decode_mask
from labelgan.gan.networks.families import NETWORKS
from tiny import tiny_config, tiny_content

REFINER = tiny_config("refiner")


def compositions(*settings: str):
    return make_inputs(tiny_config("refiner", *settings), tiny_content())


def test_every_family_names_inputs_that_there_are():
    assert {family.inputs for family in NETWORKS.values()} == set(INPUTS)


@pytest.mark.parametrize("inputs", [make_inputs(tiny_config("r3gan"), None), compositions()], ids=["z", "composition"])
def test_a_samples_input_depends_on_seed_and_index_alone(inputs):
    together = inputs.samples(5, range(6))
    alone = inputs.samples(5, [4])
    assert all(torch.equal(whole[4:5], part) for whole, part in zip(together, alone, strict=True))
    other = inputs.samples(6, [4])
    assert not any(torch.equal(one, two) for one, two in zip(alone, other, strict=True))
    assert all(
        torch.equal(whole[4:5], part)
        for whole, part in zip(
            together, make_inputs(inputs_config(inputs), tiny_content()).samples(5, [4]), strict=True
        )
    )


def inputs_config(inputs):
    return REFINER if inputs.supported else tiny_config("r3gan")


@pytest.mark.parametrize("model", ["r3gan", "refiner"])
def test_a_batchs_input_depends_on_the_draws_alone(model):
    config = tiny_config(model)
    one, other = (make_inputs(config, tiny_content()).batch(generator_for(1, "x"), 4) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    assert all(len(tensor) == 4 for tensor in one)


def test_composed_slices_are_in_the_unit_range_with_a_mask_channel():
    slices_NCHW, noise_NKHW, z_NZ = compositions().batch(generator_for(0), 8)
    assert slices_NCHW.shape == (8, 3, 32, 32)
    assert slices_NCHW.abs().max() <= 1
    assert noise_NKHW.shape == (8, 2, 32, 32)
    assert z_NZ.shape == (8, 8)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_batch_has_lesions_as_often_as_the_critic_sees_real_ones(share):
    slices_NCHW = compositions(f"train.lesion_fraction={share}").batch(generator_for(0), 32)[0]
    assert decode_mask(slices_NCHW[:, -1]).flatten(1).any(dim=1).float().mean() == share


def test_finishing_changes_images_and_no_mask():
    inputs = compositions("content.style=1.0")
    slices_NCHW = inputs.samples(0, range(4))[0]
    finished = inputs.finish(0, range(4), slices_NCHW)
    assert torch.equal(finished[:, -1], slices_NCHW[:, -1])
    assert not torch.equal(finished[:, :-1], slices_NCHW[:, :-1])
    assert finished.abs().max() <= 1
    assert torch.equal(finished[2:3], inputs.finish(0, [2], slices_NCHW[2:3]))
    plain = compositions("content.style=0.0")
    assert plain.finish(0, range(4), slices_NCHW) is slices_NCHW


def test_finishing_does_not_depend_on_what_was_composed_last():
    inputs = compositions("content.style=1.0")
    slices_NCHW = inputs.samples(0, range(4))[0]
    finished = inputs.finish(0, range(4), slices_NCHW)
    for seed, first, conditions in (
        (1, 0, None),
        (0, 2, None),
        (0, 0, Conditions(load="high")),
        (0, 0, Conditions(height=0.9)),
    ):
        inputs.samples(seed, range(first, first + 4), conditions)
        assert torch.equal(inputs.finish(0, range(4), slices_NCHW), finished)
    assert torch.equal(compositions("content.style=1.0").finish(0, range(4), slices_NCHW), finished)


def test_a_sample_is_composed_once(monkeypatch):
    composed = []
    compose = Composer.compose
    monkeypatch.setattr(Composer, "compose", lambda *given: composed.append(1) or compose(*given))
    inputs = compositions("content.style=1.0")
    inputs.finish(0, range(4), inputs.samples(0, range(4))[0])
    assert len(composed) == 4


def test_a_mask_that_is_asked_for_is_in_the_input():
    mask = np.zeros((32, 32), bool)
    mask[10:16, 12:20] = True
    slices_NCHW = compositions().samples(0, range(3), Conditions(mask_HW=mask))[0]
    assert all(np.array_equal(decode_mask(channel).numpy(), mask) for channel in slices_NCHW[:, -1])


def test_z_supports_no_conditions():
    inputs = make_inputs(tiny_config("r3gan"), None)
    assert inputs.samples(0, [0], Conditions())
    with pytest.raises(ConfigError, match="refiner"):
        inputs.samples(0, [0], Conditions(load="high"))


def test_content_is_gathered_for_those_who_paint_on_it(phantom_store):
    rows = phantom_store.select()
    assert gather_content(phantom_store, rows, tiny_config("r3gan")) is None
    content = gather_content(phantom_store, rows, REFINER)
    assert content is not None
    assert len(content.patients)


def test_what_is_asked_of_a_site_has_its_brightness():
    content = tiny_content()
    images_NCHW = content.patients.images_NCHW.copy()
    images_NCHW[4:] += 1.5
    patients = replace(content.patients, images_NCHW=images_NCHW)
    sites = np.repeat(np.array([0, 1], np.int16), 4)
    inputs = make_inputs(REFINER, replace(content, patients=patients, sites=("A", "B"), site_of_N=sites))
    assert inputs.sites == ("A", "B")
    means = {}
    for site in ("A", "B"):
        conditions = Conditions(site=site, load="none")
        slices_NCHW = inputs.samples(0, range(6), conditions)[0]
        finished = from_unit(inputs.finish(0, range(6), slices_NCHW, conditions)[:, :-1])
        means[site] = finished[:, :, 12:20, 12:20].mean().item()
        # phantoms take part, and are as bright as the site's patients are
        assert finished[:, :, 12:20, 12:20].mean(dim=(1, 2, 3)).std() < 0.2
    assert means["A"] == pytest.approx(0, abs=0.2)
    assert means["B"] == pytest.approx(1.5, abs=0.2)


NORMAL = NetworkConfig(latent_dim=32)
UNIFORM = NetworkConfig(latent_dim=32, latent="uniform")


@pytest.mark.parametrize("config", [NORMAL, UNIFORM], ids=["normal", "uniform"])
def test_a_sample_does_not_depend_on_its_batch(config):
    together = sample_latents(config, 5, range(20))
    assert together.shape == (20, 32)
    assert together.dtype == torch.float32
    assert torch.equal(sample_latents(config, 5, [7])[0], together[7])
    assert torch.equal(sample_latents(config, 5, [19, 3]), together[[19, 3]])


def test_seeds_and_indices_give_different_samples():
    rows = torch.cat([sample_latents(NORMAL, seed, range(8)) for seed in range(4)])
    assert len(torch.unique(rows, dim=0)) == 32


@pytest.mark.parametrize(
    "draw", [lambda c: sample_latents(c, 0, range(400)), lambda c: batch_latents(c, generator_for(0), 400)]
)
def test_uniform_latents_fill_the_cube(draw):
    z = draw(UNIFORM)
    assert z.shape == (400, 32)
    assert -1 <= float(z.min()) < -0.99
    assert 0.99 < float(z.max()) <= 1
    assert float(z.mean()) == pytest.approx(0, abs=0.02)
    assert float(z.var()) == pytest.approx(1 / 3, rel=0.03)


def test_normal_latents_are_standard():
    z = batch_latents(NORMAL, generator_for(0), 400)
    assert float(z.mean()) == pytest.approx(0, abs=0.03)
    assert float(z.var()) == pytest.approx(1, rel=0.04)
    assert float(z.abs().max()) > 3


def test_batches_follow_their_stream():
    assert torch.equal(batch_latents(NORMAL, generator_for(1, "a"), 4), batch_latents(NORMAL, generator_for(1, "a"), 4))
    assert not torch.equal(
        batch_latents(NORMAL, generator_for(1, "a"), 4), batch_latents(NORMAL, generator_for(1, "b"), 4)
    )
