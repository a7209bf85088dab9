"""The U-Net of Li et al., NeuroImage 183 (2018) 650-665: 19 convolutions, skips by cropping, no normalisation."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Channels of the five stages at width 64.
STAGES = (64, 96, 128, 256, 512)


class Li2018(nn.Module):
    """Logits of lesion, (N, 1, H, W), from slices (N, C, H, W) of any sides of 16 pixels or more.

    Where a side does not halve evenly the skip is cropped about its centre, the odd pixel from the far end; the frame
    that is lost so is filled with zeros before the last convolution, as the authors do.
    """

    def __init__(self, channels: int, width: int = 64, norm: str | None = None) -> None:
        super().__init__()
        a, b, c, d, e = (max(1, round(width * stage / STAGES[0])) for stage in STAGES)
        self.down = nn.ModuleList(
            (
                nn.Sequential(_Convolution(channels, a, 5, norm), _Convolution(a, a, 5, norm)),
                nn.Sequential(_Convolution(a, b, 3, norm), _Convolution(b, b, 3, norm)),
                nn.Sequential(_Convolution(b, c, 3, norm), _Convolution(c, c, 3, norm)),
                nn.Sequential(_Convolution(c, d, 3, norm), _Convolution(d, d, 4, norm)),
            )
        )
        self.bottom = nn.Sequential(_Convolution(d, e, 3, norm), _Convolution(e, e, 3, norm))
        self.up = nn.ModuleList(
            nn.Sequential(_Convolution(below + skip, skip, 3, norm), _Convolution(skip, skip, 3, norm))
            for below, skip in ((e, d), (d, c), (c, b), (b, a))
        )
        self.last = nn.Conv2d(a, 1, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):  # Keras' defaults, with which the paper's networks began
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)  # pyright: ignore[reportArgumentType]

    def forward(self, images_NCHW: Tensor) -> Tensor:
        """Gives logits of the input's size."""
        skips, x = [], images_NCHW
        for stage in self.down:
            skips.append(stage(x))
            x = F.max_pool2d(skips[-1], 2)
        x = self.bottom(x)
        for stage in self.up:
            x = _doubled(x)
            x = stage(torch.cat([x, _cropped(skips.pop(), x)], dim=1))
        missing_rows, missing_columns = (images_NCHW.shape[axis] - x.shape[axis] for axis in (2, 3))
        x = F.pad(x, (*_halves(missing_columns), *_halves(missing_rows)))
        return self.last(x)


class _Convolution(nn.Module):
    """Convolution of unchanged size, normalisation where it is asked for, ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int, norm: str | None) -> None:
        super().__init__()
        # An even kernel looks one pixel further to the far end, as TensorFlow's "same" does.
        before, after = (kernel - 1) // 2, kernel // 2
        self.padding = (before, after, before, after)
        self.even = before != after
        self.convolution = nn.Conv2d(inputs, outputs, kernel, padding=0 if self.even else before)
        self.norm: nn.Module = {
            None: nn.Identity,
            "batch": lambda: nn.BatchNorm2d(outputs),
            "instance": lambda: nn.InstanceNorm2d(outputs, affine=True),
        }[norm]()

    def forward(self, x: Tensor) -> Tensor:
        if self.even:
            x = F.pad(x, self.padding)
        return F.relu(self.norm(self.convolution(x)))


def _doubled(x_NCHW: Tensor) -> Tensor:
    """Nearest up-sampling by two; as a copy, so that its gradient is a plain sum and the same every time."""
    count, channels, height, width = x_NCHW.shape
    wide = x_NCHW[:, :, :, None, :, None].expand(count, channels, height, 2, width, 2)
    return wide.reshape(count, channels, 2 * height, 2 * width)


def _halves(pixels: int) -> tuple[int, int]:
    return pixels // 2, pixels - pixels // 2


def _cropped(skip_NCHW: Tensor, like_NCHW: Tensor) -> Tensor:
    (top, _), (left, _) = (_halves(skip_NCHW.shape[axis] - like_NCHW.shape[axis]) for axis in (2, 3))
    height, width = like_NCHW.shape[2:]
    return skip_NCHW[:, :, top : top + height, left : left + width]
