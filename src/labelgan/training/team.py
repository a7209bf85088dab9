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
from torch import Tensor, nn

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


class JointBatchNorm2d(nn.BatchNorm2d):
    """`torch.nn.BatchNorm2d` whose mean and variance are those of all processes' slices together.

    Differentiable twice, as gradient penalties need it. It takes over the parameters and buffers of ``norm``.
    """

    def __init__(self, norm: nn.BatchNorm2d, team: Team) -> None:
        super().__init__(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
        self.team = team
        for name, parameter in norm.named_parameters():
            setattr(self, name, parameter)
        for name, buffer in norm.named_buffers():
            setattr(self, name, buffer)
        self.train(norm.training)

    def forward(self, input: Tensor) -> Tensor:
        """Keeps the shape (N, C, H, W)."""
        if not self.training:
            return super().forward(input)
        x_NCHW = input.float()
        count = self.team.whole(x_NCHW.numel() // x_NCHW.shape[1])
        mean_1C11 = self.team.sum(x_NCHW.sum(dim=(0, 2, 3), keepdim=True)) / count
        centred_NCHW = x_NCHW - mean_1C11
        variance_1C11 = self.team.sum(centred_NCHW.square().sum(dim=(0, 2, 3), keepdim=True)) / count
        self._remember(mean_1C11.flatten(), variance_1C11.flatten() * count / (count - 1))
        y_NCHW = centred_NCHW * (variance_1C11 + self.eps).rsqrt()
        if self.affine:
            y_NCHW = y_NCHW * self.weight[:, None, None] + self.bias[:, None, None]
        return y_NCHW.to(input.dtype)

    @torch.no_grad()
    def _remember(self, mean_C: Tensor, variance_C: Tensor) -> None:
        """Moves the running statistics; ``variance_C`` is the unbiased one."""
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked += 1
        weight = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean_C, weight)
        self.running_var.lerp_(variance_C, weight)


def join_norms(network: nn.Module, team: Team) -> nn.Module:
    """Makes a network's batch normalisations those of the team; a team of one leaves them alone."""
    if team.size == 1:
        return network
    if isinstance(network, nn.BatchNorm2d):
        return JointBatchNorm2d(network, team)
    for name, child in network.named_children():
        setattr(network, name, join_norms(child, team))
    return network
