from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch

from labelgan.training.checkpoint import load_tensors
from labelgan.data.store import SliceStore
from labelgan.training.team import ALONE, Team
from labelgan.training.launch import gathered
from toy_team import GAMES, SEGMENTERS, Values, everything

Found = dict[str, Values]
CPU = torch.device("cpu")
TOLERANCE = 1e-4  # of a tensor's largest value
ROUNDING = 2e-6  # Adam magnifies the rounding of a gradient that is nearly 0; weights go 250 times as far here


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
        assert float((found - expected).abs().max()) <= TOLERANCE * scale + ROUNDING, name
    if what in (*GAMES, *SEGMENTERS):
        assert len(one[what]) > 10


def test_all_processes_come_to_the_same_bits(two, folder):
    first, second = (load_tensors(folder / f"2-{rank}.safetensors") for rank in (0, 1))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
