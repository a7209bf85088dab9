"""Batch normalisation over the joint batch of a team; torch's own for several processes works on GPUs alone."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from labelgan.training.team import Team


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
