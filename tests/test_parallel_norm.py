from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from labelgan.training.team import ALONE, Team
from labelgan.parallel_norm import JointBatchNorm2d, join_norms
from toy_team import random


class Mirrored(Team):
    """Two processes whose slices are the same: a sum over both is twice one's own. test_parallel.py has real ones."""

    def __init__(self) -> None:
        super().__init__(torch.device("cpu"), 0, 2)

    def sum(self, values: Tensor) -> Tensor:
        return 2 * values


def norm_of(**settings) -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(3, **settings)
    if norm.affine:
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
    return norm


@pytest.mark.parametrize("settings", [{}, {"momentum": None}, {"affine": False}, {"track_running_stats": False}])
def test_it_normalises_as_torchs_own_does_with_the_whole_batch(settings):
    torch.manual_seed(0)
    plain = norm_of(**settings)
    joint = JointBatchNorm2d(norm_of(**settings), Mirrored())
    joint.load_state_dict(plain.state_dict())
    for step in range(3):
        half = random(2, 3, 4, 5, name=f"half {step}")
        whole = torch.cat([half, half])
        torch.testing.assert_close(joint(half), plain(whole)[:2], rtol=1e-5, atol=1e-6)
    assert joint.state_dict().keys() == plain.state_dict().keys()
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(joint.state_dict()[name], value, rtol=1e-5, atol=1e-6)
    plain.eval()
    joint.eval()
    half = random(2, 3, 4, 5, name="later")
    torch.testing.assert_close(joint(half), plain(half), rtol=1e-5, atol=1e-6)


def test_it_goes_backward_twice_as_torchs_own():
    curvatures, plain = [], norm_of()
    for norm in (plain, JointBatchNorm2d(plain, ALONE)):
        x = random(4, 3, 4, 5, name="x").requires_grad_(True)
        (gradient,) = torch.autograd.grad(norm(x).pow(3).sum(), x, create_graph=True)
        (curvature,) = torch.autograd.grad(gradient.square().sum(), x)
        curvatures.append(curvature)
    assert float(curvatures[0].abs().max()) > 1
    torch.testing.assert_close(curvatures[1], curvatures[0], rtol=1e-3, atol=1e-3)


def test_every_batch_norm_of_a_network_is_joined_and_nothing_else():
    inner = nn.Sequential(nn.BatchNorm2d(3), nn.InstanceNorm2d(3))
    network = nn.Sequential(nn.Conv2d(1, 3, 1), inner)
    before = dict(network.named_parameters())
    assert join_norms(network, ALONE) is network
    assert type(inner[0]) is nn.BatchNorm2d
    joined = join_norms(network, Mirrored())
    assert [type(module).__name__ for module in joined.modules()] == [
        *("Sequential", "Conv2d", "Sequential", "JointBatchNorm2d", "InstanceNorm2d")
    ]
    after = dict(joined.named_parameters())
    assert before.keys() == after.keys()
    assert all(before[name] is after[name] for name in before)


def test_half_precision_keeps_its_type_and_full_statistics():
    joint = JointBatchNorm2d(nn.BatchNorm2d(3), ALONE)
    x = 1000 + random(4, 3, 8, 8, name="far")
    found = joint(x.bfloat16())
    assert found.dtype == torch.bfloat16
    assert joint.running_mean is not None
    torch.testing.assert_close(joint.running_mean, 0.1 * x.bfloat16().float().mean(dim=(0, 2, 3)), rtol=1e-5, atol=1e-3)
