from __future__ import annotations

import contextlib

import pytest
import torch

from labelgan.core.errors import ConfigError
from labelgan.training.device import autocast, channels_last, choose_device


def test_devices():
    assert choose_device("cpu").type == "cpu"
    assert choose_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    for name in ("abacus", "cuda:99"):
        with pytest.raises(ConfigError, match=f"--device {name}: there is no such device"):
            choose_device(name)


def test_mixed_precision_is_for_gpus_that_are_not_told_otherwise():
    for precision in ("auto", "fp32", "bf16"):
        assert isinstance(autocast(torch.device("cpu"), precision), contextlib.nullcontext)
    assert isinstance(autocast(torch.device("cuda"), "fp32"), contextlib.nullcontext)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_mixed_precision_on_a_gpu():
    a = torch.ones(8, 8, device="cuda")
    with autocast(torch.device("cuda"), "auto"):
        assert (a @ a).dtype == torch.bfloat16


def test_convolutions_keep_their_values_in_the_other_layout():
    layer = torch.nn.Conv2d(3, 4, 3)
    values = layer.weight.detach().clone()
    assert channels_last(layer) is layer
    assert layer.weight.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(layer.weight, values)
    assert layer(torch.ones(2, 3, 8, 8)).is_contiguous(memory_format=torch.channels_last)
