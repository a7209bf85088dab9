"""The limit that every generator's images pass: the range of its training slices.

`build_networks` puts it behind the network of any family, so that the critic sees what is sampled. Shape suffixes as in
`labelgan.gan.networks.families`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from labelgan.data.prepare.case import to_unit
from labelgan.data.prepare.limits import ValueRange

NAME = "value_limit"  # of the module, and so the beginning of its tensors' names


class _Hold(torch.autograd.Function):
    """Clamps; the gradient passes, but for what would lead further out."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, low: Tensor, high: Tensor) -> Tensor:
        ctx.save_for_backward(x, low, high)
        return torch.minimum(torch.maximum(x, low), high)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        x, low, high = ctx.saved_tensors
        (gradient,) = gradients
        # descent goes against the gradient: a negative one raises x
        outward = ((x > high) & (gradient < 0)) | ((x < low) & (gradient > 0))
        return gradient.masked_fill(outward, 0.0), None, None


def hold(x: Tensor, low: Tensor | float, high: Tensor | float) -> Tensor:
    """Holds values to [low, high] without killing the gradient of those outside.

    A clamp's gradient is zero outside, so that a pixel that has left never comes back. Here it is the identity's where
    descent leads inwards, and zero where it leads further out (after the lower bound of Ballé et al. 2018,
    "Variational image compression with a scale hyperprior", in their published code).
    """
    ends = (torch.as_tensor(end, dtype=x.dtype, device=x.device) for end in (low, high))
    return _Hold.apply(x, *ends)  # pyright: ignore[reportReturnType]


class Limit(nn.Module):
    """Holds each channel of slices to a range, in [-1, 1]; a fresh one to [-1, 1].

    Attributes:
        low, high: (C,) least and largest value of every channel, the mask channel's last: part of the weights.
    """

    low: Tensor
    high: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("low", torch.full((channels,), -1.0))
        self.register_buffer("high", torch.full((channels,), 1.0))

    def forward(self, slices_NCHW: Tensor) -> Tensor:
        """Keeps the shape (N, C, H, W), and the very values that lie in the range."""
        # bf16 is too coarse near 1, where a step of the last bit is a third of a z-score
        return hold(slices_NCHW.float(), self.low[:, None, None], self.high[:, None, None])

    @torch.no_grad()
    def set(self, values: ValueRange) -> None:
        """Sets the images' range, given in z-scores."""
        self.low[:-1] = to_unit(torch.from_numpy(values.low_C))
        self.high[:-1] = to_unit(torch.from_numpy(values.high_C))


def add_limit(generator: nn.Module, channels: int) -> None:
    """Puts a limit behind a generator of slices of ``channels``, the mask's included."""
    generator.add_module(NAME, Limit(channels))
    generator.register_forward_hook(_limited)


def _limited(generator: nn.Module, inputs: tuple[Tensor, ...], slices_NCHW: Tensor) -> Tensor:
    return limit_of(generator)(slices_NCHW)


def limit_of(generator: nn.Module) -> Limit:
    """The limit behind a generator."""
    limit = generator.get_submodule(NAME)
    assert isinstance(limit, Limit)
    return limit


def has_limit(tensors: Mapping[str, Tensor]) -> bool:
    """Whether weights carry a limit; those of before there was one do not."""
    return any(name.startswith(f"{NAME}.") for name in tensors)


def with_limit_of(generator: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights with the limit that a generator has, instead of theirs if they have one."""
    own = {f"{NAME}.{name}": tensor for name, tensor in limit_of(generator).state_dict().items()}
    return {**tensors, **own}
