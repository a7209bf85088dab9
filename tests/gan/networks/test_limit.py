"""The limit behind every family: values stay in the range, and the gradient leads back into it."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from labelgan.config.gan import MODELS, GanConfig
from labelgan.data.prepare.limits import ValueRange
from labelgan.gan.inputs.inputs import make_inputs
from labelgan.gan.networks.families import NETWORKS, family_of
from labelgan.gan.networks.limit import Limit, hold, limit_of
from labelgan.gan.trainer import build_networks
from tiny import SIZE, tiny_config, tiny_content

RANGE = ValueRange(np.array([-2.0, -1.0], np.float32), np.array([5.0, 8.0], np.float32))
HEAVY = {"uned2019"}  # fifty million weights
CONFIGS: dict[str, GanConfig] = {
    **{model: tiny_config(model) for model in MODELS},
    **{family: tiny_config("wgan-gp", f"network.family={family}") for family in ("dcgan-nonorm", "uned2019")},
}


NAMES = [pytest.param(name, marks=pytest.mark.slow) if name in HEAVY else name for name in CONFIGS]


def test_every_family_is_tested():
    assert {config.network.family for config in CONFIGS.values()} == set(NETWORKS)


def generator_and_inputs(name: str) -> tuple[torch.nn.Module, tuple[torch.Tensor, ...]]:
    config = CONFIGS[name]
    generator, _ = build_networks(config, 3, SIZE)
    limit_of(generator).set(RANGE)
    content = tiny_content() if family_of(config.network).inputs == "composition" else None
    return generator.eval(), make_inputs(config, content).samples(0, range(4))


def z_scores(slices_NCHW: torch.Tensor) -> np.ndarray:
    return 4 * np.arctanh(slices_NCHW[:, :-1].detach().double().numpy())


@pytest.mark.parametrize("name", NAMES)
def test_exaggerated_weights_cannot_leave_the_range(name):
    generator, inputs = generator_and_inputs(name)
    with torch.no_grad():
        for parameter in generator.parameters():
            parameter.copy_(30 * parameter + 0.3 * torch.randn_like(parameter))
        slices_NCHW = generator(*inputs)
    found = z_scores(slices_NCHW)
    for channel in range(2):
        low, high = RANGE.low_C[channel], RANGE.high_C[channel]
        assert found[:, channel].min() == pytest.approx(low, abs=1e-4)
        assert found[:, channel].max() == pytest.approx(high, abs=1e-4)
    assert float(slices_NCHW[:, -1].abs().max()) <= 1


@pytest.mark.parametrize("name", NAMES)
def test_a_gradient_reaches_the_weights_from_outside_where_it_leads_inwards(name):
    generator, inputs = generator_and_inputs(name)
    far = np.array([12.0, 12.0], np.float32)
    limit_of(generator).set(ValueRange(far, far + 1))  # no value of a fresh generator is as high
    parameters = [p for p in generator.parameters() if p.requires_grad]

    def size_of_gradient(sign: float) -> float:
        images_NCHW = generator(*inputs)[:, :-1]
        assert np.ptp(images_NCHW.detach().numpy()) == 0, "every pixel lies outside, at its limit"
        found = torch.autograd.grad(sign * images_NCHW.sum(), parameters, allow_unused=True)
        return sum(float(gradient.abs().sum()) for gradient in found if gradient is not None)

    assert size_of_gradient(-1.0) > 0, "descent raises the images, into the range"
    assert size_of_gradient(1.0) == 0, "descent would lower them further"


def test_closed_form_of_values_and_gradients():
    x = torch.tensor([-2.0, -0.5, 0.0, 0.5, 2.0], requires_grad=True)
    held = hold(x, -1.0, 1.0)
    assert held.tolist() == [-1.0, -0.5, 0.0, 0.5, 1.0]
    for slope, expected in ((1.0, [0.0, 1.0, 1.0, 1.0, 1.0]), (-1.0, [-1.0, -1.0, -1.0, -1.0, 0.0])):
        (gradient,) = torch.autograd.grad(held, x, torch.full((5,), slope), retain_graph=True)
        assert gradient.tolist() == expected


def test_descent_comes_back_where_a_clamp_would_stay():
    for held, moves in ((hold, True), (torch.clamp, False)):
        x = torch.tensor([3.0], requires_grad=True)
        for _ in range(50):
            (gradient,) = torch.autograd.grad((held(x, -1.0, 1.0) ** 2).sum(), x)
            x = (x - 0.1 * gradient).detach().requires_grad_(True)
        assert (abs(x.item()) < 0.1) is moves


def test_a_fresh_limit_changes_no_bit_of_what_a_tanh_gives():
    limit = Limit(3)
    slices_NCHW = (3 * torch.randn(2, 3, 8, 8)).tanh()
    assert torch.equal(limit(slices_NCHW), slices_NCHW)


def test_values_in_the_range_keep_every_bit():
    limit = Limit(3)
    limit.set(RANGE)
    z_NCHW = torch.rand(2, 3, 8, 8) * 2 - 1
    slices_NCHW = (z_NCHW / 4).tanh()
    assert torch.equal(limit(slices_NCHW), slices_NCHW)


def test_not_a_number_stays_one_so_that_training_stops_at_it():
    slices_NCHW = torch.full((1, 3, 2, 2), float("nan"))
    assert bool(Limit(3)(slices_NCHW).isnan().all())


def test_half_precision_is_held_in_single():
    limit = Limit(3)
    limit.set(RANGE)
    held = limit(torch.ones(1, 3, 2, 2, dtype=torch.bfloat16))
    assert held.dtype == torch.float32
    np.testing.assert_allclose(z_scores(held)[0, :, 0, 0], RANGE.high_C, rtol=1e-5)


def test_a_copy_has_a_limit_of_its_own():
    generator, _ = generator_and_inputs("r3gan")
    other = copy.deepcopy(generator)
    limit_of(other).set(ValueRange(RANGE.low_C, RANGE.high_C + 1))
    assert torch.allclose(limit_of(generator).high[:-1].atanh() * 4, torch.from_numpy(RANGE.high_C))
    assert {name for name in generator.state_dict() if "limit" in name} == {"value_limit.low", "value_limit.high"}
