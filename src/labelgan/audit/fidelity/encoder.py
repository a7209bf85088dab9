"""A small encoder of labelled slices, taught by the training patients alone and without any annotation of ours.

It sees slices that were degraded in known ways, and learns from each to give back the clean slice in coarse pixels and
to tell how it was degraded: how much noise, blur and gain, and whether the mask is another slice's. Its features thus
hold both what is in a slice and how sound it is; a denoiser's alone would be blind to noise.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from labelgan.audit.fidelity.anchors import octave_noise
from labelgan.audit.fidelity.features import lesion_masks, unit_images
from labelgan.audit.slices import AuditSlices
from labelgan.config.audit import AuditEncoderConfig
from labelgan.core.errors import CheckpointError
from labelgan.core.progress import Report
from labelgan.core.rng import generator_for, reseed_torch
from labelgan.training.checkpoint import load_tensors, load_weights, save_tensors

BLOCK = 64  # slices are always encoded as many at once, so that a slice's features do not depend on its neighbours
COARSE = 16  # pixels of the clean slice that is to be given back
DEGRADATIONS = 4  # noise, blur, gain, another's mask
MOST_SLICES = 4_000  # that are learned from, so that memory stays bounded
WIDEST = (
    1024  # channels of a first convolution that is read: those after it, which a file may lack, are 4 times as wide
)
_NOISE, _GAIN = 0.3, 0.2  # most noise and gain, on the scale of -1 to 1
_MASK_WEIGHT = 4.0  # lesions are few pixels


class AuditEncoder(nn.Module):
    """Four strided convolutions and a linear layer: (N, C + 1, side, side) to (N, features)."""

    def __init__(self, channels: int, side: int, width: int, features: int) -> None:
        super().__init__()
        widths = [channels + 1, width, 2 * width, 4 * width, 4 * width]
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.GroupNorm(8, after), nn.SiLU()]
        self.channels, self.side = channels, side
        self.trunk = nn.Sequential(*layers, nn.Flatten())
        self.last = nn.Linear(4 * width * (side // 16) ** 2, features)

    def forward(self, slices_NCHW: Tensor) -> Tensor:
        """Encodes slices: unit images and, last, the lesion mask of 0 and 1."""
        return self.last(self.trunk(slices_NCHW))

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor], path: Path) -> AuditEncoder:
        """Builds the network that weights belong to; raises CheckpointError where they are not an audit encoder's."""
        try:
            width, channels = tensors["trunk.0.weight"].shape[:2]
            features, flat = tensors["last.weight"].shape
            if not 1 <= width <= WIDEST or min(channels, features) < 1:
                raise ValueError
            side = 16 * math.isqrt(flat // (4 * width))
            network = cls(channels - 1, side, width, features)
        except (KeyError, ValueError, ZeroDivisionError, RuntimeError):
            raise CheckpointError(path, "holds no weights of an audit's encoder") from None
        load_weights(network, tensors, path)
        return network


class LearnedEncoder:
    """Features (N, K) float32 of slices, the same whatever other slices are asked for with them."""

    def __init__(self, network: AuditEncoder, device: torch.device) -> None:
        self.network, self.device = network.to(device).eval(), device

    def __call__(self, slices: AuditSlices, /) -> np.ndarray:
        return encoded(self.network, slices, self.device, self.network.side)

    def save(self, path: Path) -> None:
        """Writes the weights as safetensors; ``encoder.path`` takes them."""
        save_tensors(path, self.network.state_dict())


class ScriptedEncoder:
    """A TorchScript module of the user's own: (N, C + 1, H, W), unit images and the mask, to (N, K)."""

    def __init__(self, path: Path, device: torch.device) -> None:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # TorchScript is on its way out, and still in use
                self.module = torch.jit.load(str(path), map_location=device).eval()
        except (RuntimeError, ValueError, OSError) as error:
            raise CheckpointError(path, f"cannot be loaded as TorchScript: {error}") from None
        self.path, self.device = path, device

    def __call__(self, slices: AuditSlices, /) -> np.ndarray:
        try:
            features = encoded(self.module, slices, self.device, None)
        except RuntimeError as error:
            raise CheckpointError(self.path, f"cannot encode slices of {slices.size}: {error}") from None
        if features.ndim != 2 or not np.isfinite(features).all():
            raise CheckpointError(self.path, f"gives {features.shape}, not finite features (N, K)")
        return features


def encoder_input(slices: AuditSlices, side: int | None) -> Tensor:
    """Unit images and the lesion mask as one tensor (N, C + 1, side, side), or on their own grid for None."""
    whole = torch.cat([unit_images(slices), lesion_masks(slices)], dim=1)
    return whole if side is None else F.adaptive_avg_pool2d(whole, side)


def encoder_inputs(slices: AuditSlices, rows: np.ndarray, side: int) -> Tensor:
    """As `encoder_input` of some rows, made block by block."""
    inputs_NCHW = torch.empty(len(rows), slices.images_NCHW.shape[1] + 1, side, side)
    for start in range(0, len(rows), BLOCK):
        inputs_NCHW[start : start + BLOCK] = encoder_input(slices.select(rows[start : start + BLOCK]), side)
    return inputs_NCHW


@torch.inference_mode()
def encoded(network: Callable[[Tensor], Tensor], slices: AuditSlices, device: torch.device, side: int | None):
    """Applies a network block by block, each filled up to `BLOCK` slices."""
    parts = []
    for block in slices.blocks(BLOCK):
        batch = encoder_input(slices.select(block), side)
        count = len(batch)
        if count < BLOCK:
            batch = torch.cat([batch, torch.zeros(BLOCK - count, *batch.shape[1:])])
        parts.append(network(batch.to(device)).float().cpu().numpy()[:count])
    return np.concatenate(parts)


def load_encoder(path: Path, channels: int, device: torch.device) -> LearnedEncoder | ScriptedEncoder:
    """Loads an encoder from TorchScript, or from the weights that an audit left behind.

    TorchScript is a program: load none that you do not trust.

    Raises:
        CheckpointError: it cannot be read, or is for other channels.
    """
    if not path.is_file():
        raise CheckpointError(path, "does not exist")
    if path.suffix != ".safetensors":
        return ScriptedEncoder(path, device)
    network = AuditEncoder.from_tensors(load_tensors(path), path)
    if network.channels != channels:
        raise CheckpointError(path, f"is an encoder of {network.channels} channels, the slices have {channels}")
    return LearnedEncoder(network, device)


def fit_encoder(
    train: AuditSlices, config: AuditEncoderConfig, seed: int, device: torch.device, report: Report | None = None
) -> LearnedEncoder:
    """Teaches an encoder on training slices.

    Args:
        train: slices of training patients alone.
        config: its size and training.
        seed: of its first weights, its batches and what degrades them.
        device: where.
        report: called after every step.
    """
    reseed_torch(seed, "audit encoder")
    channels = train.images_NCHW.shape[1]
    network = AuditEncoder(channels, config.side, config.width, config.features)
    clean = nn.Linear(config.features, (channels + 1) * COARSE**2)
    degraded = nn.Linear(config.features, DEGRADATIONS)
    heads = nn.ModuleList([network, clean, degraded]).to(device)
    optimizer = torch.optim.Adam(heads.parameters(), lr=config.lr)
    rows = np.sort(generator_for(seed, "audit encoder slices").permutation(len(train))[:MOST_SLICES])
    inputs_NCHW = encoder_inputs(train, rows, config.side)
    for step in range(config.steps):
        for group in optimizer.param_groups:
            group["lr"] = config.lr * 0.5 * (1 + math.cos(math.pi * step / config.steps))
        draw = generator_for(seed, "audit encoder", step)
        batch = inputs_NCHW[torch.from_numpy(draw.integers(len(inputs_NCHW), size=config.batch_size))]
        inputs, how_NS = degrade(batch, draw)
        features_NK = network(inputs.to(device))
        target = F.adaptive_avg_pool2d(torch.cat([batch[:, :-1], inputs[:, -1:]], dim=1), COARSE).to(device)
        error = (clean(features_NK).view_as(target) - target) ** 2
        loss = error[:, :-1].mean() + _MASK_WEIGHT * error[:, -1].mean()
        loss = loss + F.mse_loss(degraded(features_NK), how_NS.to(device))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        if report is not None:
            report(step + 1, config.steps, f"loss {loss.item():.3f}")
    return LearnedEncoder(network.requires_grad_(False), device)


def degrade(batch_NCHW: Tensor, draw: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Degrades each slice in its own way; gives the slices and (N, 4): noise, blur, gain, another's mask, from 0 to 1.

    A third of the slices each has no noise and no blur, so that clean ones are known too.
    """
    count = len(batch_NCHW)
    amount = draw.random((3, count)) * (draw.random((3, count)) > 1 / 3)
    noise, blur, gain = (torch.from_numpy(part.astype(np.float32))[:, None, None, None] for part in amount)
    images, masks = batch_NCHW[:, :-1], batch_NCHW[:, -1:]
    smooth = F.avg_pool2d(F.pad(images, (2, 2, 2, 2), mode="replicate"), 5, stride=1)
    images = torch.lerp(images, smooth, blur)
    images = images * (1 + _GAIN * gain)
    images = images + _NOISE * noise * torch.from_numpy(octave_noise(images.shape, draw))
    swapped = draw.random(count) < 0.25
    masks = torch.where(torch.from_numpy(swapped)[:, None, None, None], masks.roll(1, dims=0), masks)
    how = torch.stack([*(part.flatten() for part in (noise, blur, gain)), torch.from_numpy(swapped).float()], dim=1)
    return torch.cat([images, masks], dim=1), how
