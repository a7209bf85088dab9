"""Augments real and synthetic slices alike before the critic sees them (Zhao et al. 2020, DiffAugment).

Geometry moves every channel together, so that image and mask stay in place; intensity never touches the
mask channel, which is the last one. Parameters are drawn first, then applied: the drawing needs a generator,
the applying is differentiable and deterministic. Shape suffixes as in `labelgan.gan.networks.families`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from labelgan.config.gan import AugmentConfig
from labelgan.training.team import ALONE, Team


def _column(values: np.ndarray, like: Tensor) -> Tensor:
    return torch.from_numpy(values).to(like.device)[:, None, None, None]


def _flip(images_NCHW: Tensor, rng: np.random.Generator, config: AugmentConfig, team: Team = ALONE) -> Tensor:
    flipped = _column(team.part(rng.random(team.whole(len(images_NCHW))) < 0.5), images_NCHW)
    return torch.where(flipped, images_NCHW.flip(3), images_NCHW)


def _translate(images_NCHW: Tensor, rng: np.random.Generator, config: AugmentConfig, team: Team = ALONE) -> Tensor:
    count, _, height, width = images_NCHW.shape
    reach_y, reach_x = (round(config.translate * side) for side in (height, width))
    shift_y = torch.from_numpy(team.part(rng.integers(-reach_y, reach_y + 1, team.whole(count))))
    shift_x = torch.from_numpy(team.part(rng.integers(-reach_x, reach_x + 1, team.whole(count))))
    # Whole pixels, the edge repeated: nothing is interpolated.
    rows = (torch.arange(height) + shift_y[:, None]).clamp(0, height - 1).to(images_NCHW.device)
    columns = (torch.arange(width) + shift_x[:, None]).clamp(0, width - 1).to(images_NCHW.device)
    batch = torch.arange(count, device=images_NCHW.device)[:, None, None]
    return images_NCHW.permute(0, 2, 3, 1)[batch, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def _cutout(images_NCHW: Tensor, rng: np.random.Generator, config: AugmentConfig, team: Team = ALONE) -> Tensor:
    height, width = images_NCHW.shape[2:]
    half_y, half_x = config.cutout * height / 2, config.cutout * width / 2
    whole = team.whole(len(images_NCHW))
    centre_y = _column(team.part(rng.uniform(0, height, whole).astype(np.float32)), images_NCHW)
    centre_x = _column(team.part(rng.uniform(0, width, whole).astype(np.float32)), images_NCHW)
    rows = torch.arange(height, device=images_NCHW.device)[None, None, :, None] + 0.5
    columns = torch.arange(width, device=images_NCHW.device)[None, None, None, :] + 0.5
    inside = ((rows - centre_y).abs() < half_y) & ((columns - centre_x).abs() < half_x)
    return images_NCHW.masked_fill(inside, 0.0)


def _intensity(images_NCHW: Tensor, rng: np.random.Generator, config: AugmentConfig, team: Team = ALONE) -> Tensor:
    shape = (team.whole(len(images_NCHW)), images_NCHW.shape[1] - 1, 1, 1)
    gains = rng.uniform(1 - config.contrast, 1 + config.contrast, shape).astype(np.float32)
    shifts = rng.uniform(-config.brightness, config.brightness, shape).astype(np.float32)
    gain, shift = torch.from_numpy(team.part(gains)), torch.from_numpy(team.part(shifts))
    images, mask = images_NCHW[:, :-1], images_NCHW[:, -1:]
    centre = images.mean(dim=(2, 3), keepdim=True)
    changed = (images - centre) * gain.to(images.device) + centre + shift.to(images.device)
    return torch.cat([changed, mask], dim=1)


@dataclass(frozen=True)
class Augmentation:
    """One policy entry: whether it moves pixels (all channels) or changes values (never the mask), and what it does.

    ``apply(images_NCHW, rng, config, team)`` draws for the whole batch and changes this process's part of it, as the
    ``settings``, fields of `AugmentConfig`, say.
    """

    apply: Callable[..., Tensor]
    geometric: bool
    settings: Collection[str] = ()


AUGMENTATIONS: dict[str, Augmentation] = {
    "flip": Augmentation(_flip, geometric=True),
    "translate": Augmentation(_translate, geometric=True, settings=("translate",)),
    "cutout": Augmentation(_cutout, geometric=True, settings=("cutout",)),
    "intensity": Augmentation(_intensity, geometric=False, settings=("brightness", "contrast")),
}


def augment(images_NCHW: Tensor, rng: np.random.Generator, config: AugmentConfig, team: Team = ALONE) -> Tensor:
    """Applies the configured policy with parameters drawn from ``rng``; the last channel is the mask.

    They are drawn for the whole batch, of which ``images_NCHW`` is this process's part.
    """
    for name in config.policy:
        images_NCHW = AUGMENTATIONS[name].apply(images_NCHW, rng, config, team)
    return images_NCHW
