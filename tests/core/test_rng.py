from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from labelgan.core.rng import generator_for, make_deterministic, reseed_torch

names = st.lists(st.one_of(st.text(st.characters(exclude_characters="\x1f"), max_size=5), st.integers()), max_size=4)


@given(seed=st.integers(0, 2**40), path=names)
def test_a_stream_is_its_seed_and_names(seed, path):
    assert np.array_equal(generator_for(seed, *path).random(3), generator_for(seed, *path).random(3))


@given(seed=st.integers(0, 2**40), one=names, other=names)
def test_other_names_are_another_stream(seed, one, other):
    same = [str(name) for name in one] == [str(name) for name in other]
    equal = np.array_equal(generator_for(seed, *one).random(3), generator_for(seed, *other).random(3))
    assert equal == same


def test_names_do_not_run_into_each_other():
    firsts = {
        float(generator_for(*arguments).random())
        for arguments in [(0, "ab"), (0, "a", "b"), (0, "a", "", "b"), (1, "ab")]
    }
    assert len(firsts) == 4


def test_streams_are_the_same_in_every_process():
    """Python's own hash is salted; a stream must not hang on it. The figure is a promise to stored samples."""
    program = "from labelgan.core.rng import generator_for; print(generator_for(3, 'z', 5).integers(2**62))"
    shown = {
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    }
    assert shown == {f"{generator_for(3, 'z', 5).integers(2**62)}\n"}


def test_torch_is_reseeded_by_name():
    def draw(*arguments) -> torch.Tensor:
        reseed_torch(*arguments)
        return torch.rand(4)

    assert torch.equal(draw(0, "step", 3), draw(0, "step", 3))
    assert not torch.equal(draw(0, "step", 3), draw(0, "step", 4))
    assert not torch.equal(draw(0, "step", 3), draw(1, "step", 3))


@pytest.fixture
def settings_of_torch():
    before = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark
    yield
    torch.use_deterministic_algorithms(before[0], warn_only=True)
    torch.backends.cudnn.benchmark = before[1]


@pytest.mark.usefixtures("settings_of_torch")
def test_determinism_is_switched_on_and_off():
    make_deterministic(True)
    assert torch.are_deterministic_algorithms_enabled()
    assert torch.is_deterministic_algorithms_warn_only_enabled()
    assert not torch.backends.cudnn.benchmark
    make_deterministic(False)
    assert not torch.are_deterministic_algorithms_enabled()
