from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from labelgan.data.store import SliceStore
from labelgan.training.checkpoint import load_tensors
from labelgan.training.launch import gathered
from labelgan.training.team import ALONE, JointBatchNorm2d, Team, join_norms
from toy_team import GAMES, SEGMENTERS, Values, everything, random

Found = dict[str, Values]
CPU = torch.device("cpu")
TOLERANCE = 1e-4  # of a tensor's largest value
ROUNDING = 1e-5  # Adam magnifies the rounding of a gradient that is nearly 0; weights go 60 times as far here
FEW = 3e-3  # the share of a tensor's weights whose gradient may be rounding alone: Adam then takes them either way


# A team of one


def test_alone_everything_is_whole_and_nothing_is_changed():
    rows, weight = torch.arange(6.0), torch.ones(2, requires_grad=True)
    weight.square().sum().backward()
    ALONE.mean_gradients([weight])
    ALONE.barrier()
    assert ALONE.part(rows) is rows
    assert ALONE.sum(rows) is rows
    assert ALONE.mean(rows) is rows
    assert ALONE.whole(6) == 6
    assert (ALONE.any(True), ALONE.any(False), ALONE.is_first) == (True, False, True)
    assert weight.grad is not None
    assert weight.grad.tolist() == [2.0, 2.0]


@pytest.mark.parametrize("rows", [np.arange(12).reshape(6, 2), torch.arange(12).reshape(6, 2)])
def test_parts_follow_each_other_and_make_up_the_whole(rows):
    teams = [Team(CPU, rank, 3) for rank in range(3)]
    parts = [team.part(rows) for team in teams]
    assert [len(part) for part in parts] == [2, 2, 2]
    assert np.array_equal(np.concatenate([np.asarray(part) for part in parts]), np.asarray(rows))
    assert teams[1].whole(len(parts[1])) == len(rows)
    assert [team.is_first for team in teams] == [True, False, False]


def test_a_copied_network_is_in_the_same_team():
    assert copy.deepcopy({"team": ALONE})["team"] is ALONE


# Two processes do what one does with the whole batch


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("team")


@pytest.fixture(scope="module")
def one(phantom_store: SliceStore, folder: Path) -> Found:
    return everything(Team(CPU), phantom_store.path, folder)


@pytest.fixture(scope="module")
def two(phantom_store: SliceStore, folder: Path) -> Found:
    with gathered(2, "cpu", 4, everything, phantom_store.path, folder) as team:
        assert (team.rank, team.size, team.device) == (0, 2, CPU)
        return everything(team, phantom_store.path, folder)


@pytest.mark.parametrize("what", ["exchange", "losses", *GAMES, *SEGMENTERS])
def test_two_processes_are_as_one(one, two, what):
    assert one[what].keys() == two[what].keys()
    for name, value in one[what].items():
        if "batch norm" in what and name.endswith(("convolution.bias", "norm.running_mean")):
            continue  # the norm takes such a bias away again: its gradient is rounding alone, which Adam magnifies
        found, expected = two[what][name].double(), value.double()
        scale = float(expected.abs().max())
        apart = (found - expected).abs() > TOLERANCE * scale + ROUNDING
        assert int(apart.sum()) <= FEW * apart.numel(), name  # none at all of fewer than 334
    if what in (*GAMES, *SEGMENTERS):
        assert len(one[what]) > 10


def test_all_processes_come_to_the_same_bits(two, folder):
    first, second = (load_tensors(folder / f"2-{rank}.safetensors") for rank in (0, 1))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


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
