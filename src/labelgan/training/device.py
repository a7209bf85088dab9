"""Device of tensors, and the precision that they are computed with."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, TypeVar

from labelgan.core.errors import ConfigError

if TYPE_CHECKING:
    import torch

    Network = TypeVar("Network", bound=torch.nn.Module)


def choose_device(name: str) -> torch.device:
    """Resolves ``auto`` to a GPU where there is one; raises ConfigError for a device that is not there."""
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, ValueError):
        raise ConfigError(f"--device {name}", "there is no such device on this machine") from None
    return device


def channels_last(network: Network) -> Network:
    """Lays a network's convolution weights out with the channels last, and so what they give: faster, on CPUs too.

    Checkpoints do not know of it: what is saved is laid out as ever.
    """
    import torch

    return network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]


def autocast(device: torch.device, precision: str) -> contextlib.AbstractContextManager[object]:
    """Context of mixed precision: bfloat16 on a GPU for ``auto`` and ``bf16``, nothing elsewhere or for ``fp32``."""
    import torch

    if device.type == "cuda" and precision in ("auto", "bf16"):
        return torch.autocast("cuda", torch.bfloat16)
    return contextlib.nullcontext()
