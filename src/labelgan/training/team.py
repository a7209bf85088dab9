"""One training on several devices: a process for each, and every batch shared evenly among them.

All processes draw what one process would draw for the whole batch, and each computes its own part. Gradients are
averaged once before an optimizer steps, not by hooks while they arise: a gradient penalty goes backward twice. Sums
that run over the batch (soft Dice, batch normalisation) run over all parts, differentiably. So weights, optimizer state
and averages stay the same everywhere, and what comes out is what one process with the whole batch would give, but for
rounding. Where the processes come from is the matter of `labelgan.training.launch`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Self, TypeVar

import numpy as np
import torch
from torch import Tensor

Rows = TypeVar("Rows", np.ndarray, Tensor)


class Team:
    """The processes of one training. This class is a team of one: it computes whole batches and exchanges nothing.

    Attributes:
        device: that this process computes on.
        rank: number of this process; the first, 0, writes what is written.
        size: how many processes there are.
    """

    def __init__(self, device: torch.device, rank: int = 0, size: int = 1) -> None:
        self.device, self.rank, self.size = device, rank, size

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self  # the averaged copy of a network is in the same team

    @property
    def is_first(self) -> bool:
        """Whether this process is the one that writes."""
        return self.rank == 0

    def whole(self, count: int) -> int:
        """Size of the whole batch of which this process has ``count`` slices."""
        return count * self.size

    def part(self, rows: Rows) -> Rows:
        """This process's contiguous share of the rows of a whole batch."""
        if self.size == 1:
            return rows
        count = len(rows) // self.size
        return rows[self.rank * count : (self.rank + 1) * count]

    def sum(self, values: Tensor) -> Tensor:
        """Sum of the processes' values, the same in all of them; as often differentiable as a sum is.

        The gradient that reaches ``values`` is that of all processes' losses together, so that `mean_gradients` makes
        of it the gradient of their mean.
        """
        return values

    def mean(self, values: Tensor) -> Tensor:
        """Mean of the processes' values, without a gradient."""
        return values

    def mean_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Replaces gradients by their mean over the processes."""

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in any process: the same answer in all of them."""
        return flag

    def barrier(self) -> None:
        """Waits until all processes have come here."""


ALONE = Team(torch.device("cpu"))


class _Sum(torch.autograd.Function):
    """All-reduce whose backward is an all-reduce again."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return _reduced(values)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return _Sum.apply(gradient)  # pyright: ignore[reportReturnType]


def _reduced(values: Tensor) -> Tensor:
    # Not Fabric's own, which puts a barrier before every call.
    total = values.detach().clone(memory_format=torch.contiguous_format)
    torch.distributed.all_reduce(total)
    return total


class JointTeam(Team):
    """A team of several processes: all of torch's process group."""

    def sum(self, values: Tensor) -> Tensor:
        return _Sum.apply(values)  # pyright: ignore[reportReturnType]

    def mean(self, values: Tensor) -> Tensor:
        return _reduced(values) / self.size

    def mean_gradients(self, parameters: Iterable[Tensor]) -> None:
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        mean = self.mean(torch.cat([gradient.reshape(-1) for gradient in gradients]))
        for gradient, values in zip(gradients, mean.split([gradient.numel() for gradient in gradients]), strict=True):
            gradient.copy_(values.view_as(gradient))

    def any(self, flag: bool) -> bool:
        return bool(_reduced(torch.tensor(float(flag), device=self.device)) > 0)

    def barrier(self) -> None:
        self.any(False)
