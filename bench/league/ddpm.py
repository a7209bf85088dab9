"""The peer from outside: a denoising diffusion model on the same channels, of MONAI's network and schedulers.

It sees the slices that `labelgan train` would see: image channels in [-1, 1], then the mask as a signed distance, half
of a batch with a lesion. Ho et al., NeurIPS 2020; velocity target of Salimans and Ho, ICLR 2022; cosine schedule of
Nichol and Dhariwal, ICML 2021; sampled along the implicit path of Song et al., ICLR 2021 (DDIM, η = 0).

Run: python -m bench.league.ddpm STORE --out RUN [--exclude ID,...] [--seconds 180] [--samples 600]
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from bench.league.clock import Clock
from labelgan.config.base import Config
from labelgan.config.gan import GanConfig
from labelgan.core.files import sha256_file, write_text_atomic
from labelgan.core.progress import Progress
from labelgan.core.provenance import provenance
from labelgan.core.rng import generator_for, make_deterministic, reseed_torch
from labelgan.data.export.write import CohortFacts, LabelledSlice, export_cohort
from labelgan.data.prepare.case import from_unit
from labelgan.data.prepare.limits import ValueRange
from labelgan.data.store import SliceStore
from labelgan.gan.inputs.batches import BatchSource, training_rows
from labelgan.gan.inputs.mask_channel import decode_mask
from labelgan.gan.networks.families import parameter_count
from labelgan.gan.run_folder import RunFolder, describe_training
from labelgan.training.checkpoint import load_tensors, load_weights, save_tensors
from labelgan.training.device import choose_device

Report = Callable[[int, int, str], None]


class DdpmConfig(Config):
    """Network, noise and training of the diffusion model."""

    channels: tuple[int, ...] = Field(default=(16, 32, 64, 64), description="of each level, finest first")
    attention: tuple[bool, ...] = Field(default=(False, False, False, True), description="levels with self-attention")
    blocks: int = Field(default=1, ge=1, description="residual blocks a level")
    head: int = Field(default=32, ge=1, description="channels of an attention head")
    groups: int = Field(default=8, ge=1, description="of group normalisation")
    noise_steps: int = Field(default=1000, ge=1, description="of the forward process")
    sampling_steps: int = Field(default=50, ge=1, description="of DDIM; they divide noise_steps")
    lr: float = Field(default=1e-3, gt=0, description="of Adam, after the warm-up")
    warmup: int = Field(default=20, ge=0, description="steps over which the rate rises from 0")
    batch_size: int = Field(default=16, ge=1, description="slices a step; as many are sampled at once")
    ema_images: float = Field(default=5000.0, gt=0, description="half-life of the averaged network, in images")
    flip: float = Field(default=0.5, ge=0, le=1, description="chance of a left-right flip of image and mask")
    seed: int = Field(default=0, ge=0, description="of every random stream")


def build_network(config: DdpmConfig, channels: int) -> nn.Module:
    """MONAI's U-Net of diffusion models, that maps (N, C, H, W) and noise levels (N,) to a velocity (N, C, H, W)."""
    from monai.networks.nets.diffusion_model_unet import DiffusionModelUNet

    reseed_torch(config.seed, "ddpm", "weights")
    return DiffusionModelUNet(
        spatial_dims=2,
        in_channels=channels,
        out_channels=channels,
        channels=config.channels,
        attention_levels=config.attention,
        num_res_blocks=config.blocks,
        num_head_channels=config.head,
        norm_num_groups=config.groups,
    )


@dataclass(frozen=True)
class Trained:
    """What a training came to: steps made, and seconds by its clock."""

    steps: int
    seconds: float


def train_ddpm(
    store: SliceStore,
    out: Path,
    config: DdpmConfig,
    *,
    seconds: float,
    exclude: Collection[str] = (),
    device: str = "auto",
    report: Report | None = None,
) -> Trained:
    """Trains until the time is over, one step at the least, and leaves a run folder with a generator's manifest.

    Args:
        store: prepared slices.
        out: run folder.
        config: every setting.
        seconds: by `bench.league.clock.Clock`, once MONAI is loaded.
        exclude: case or patient ids that the model must never see.
        device: where to train.
        report: called after every step with (steps done, steps expected, figures as text).
    """
    from monai.networks.schedulers.ddpm import DDPMScheduler

    where = choose_device(device)
    make_deterministic()
    channels = len(store.channels) + 1
    network, averaged = (build_network(config, channels).to(where) for _ in range(2))
    clock = Clock(where)
    drawn = GanConfig().with_settings([f"train.batch_size={config.batch_size}", f"train.seed={config.seed}"])
    rows = training_rows(store, drawn, exclude)
    source = BatchSource(store, rows, drawn, where)
    optimizer = torch.optim.Adam(network.parameters(), lr=config.lr)
    noising = DDPMScheduler(config.noise_steps, schedule="cosine", prediction_type="v_prediction")
    step = 0
    while step == 0 or clock.seconds() * (step + 1) / step < seconds:
        images_NCHW = source.batch(step, 0)[0]
        rng = generator_for(config.seed, "ddpm", "step", step)
        turned = torch.from_numpy(rng.random(len(images_NCHW)) < config.flip).to(where)
        images_NCHW = torch.where(turned[:, None, None, None], images_NCHW.flip(-1), images_NCHW)
        noise_NCHW = _normal(rng, images_NCHW.shape).to(where)
        level_N = torch.from_numpy(rng.integers(config.noise_steps, size=len(images_NCHW))).to(where)
        found = network(noising.add_noise(images_NCHW, noise_NCHW, level_N), level_N)
        loss = F.mse_loss(found, noising.get_velocity(images_NCHW, noise_NCHW, level_N))
        for group in optimizer.param_groups:
            group["lr"] = config.lr * min(1.0, (step + 1) / (config.warmup + 1))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        _average(averaged, network, step, config)
        step += 1
        if report is not None:
            report(step, max(step, int(step * seconds / max(clock.seconds(), 1e-9))), f"loss {loss.item():.4f}")
    spent = clock.seconds()
    run = RunFolder(out)
    out.mkdir(parents=True, exist_ok=True)
    write_text_atomic(run.config, config.to_toml())
    save_tensors(run.generator, averaged.state_dict())
    cases = Counter(store.case_of(row).id for row in rows)
    parameters = {"generator": parameter_count(network), "critic": 0}
    facts = {"model": "ddpm", "parameters": parameters, "steps": step, "device": where.type}
    facts["files_sha256"] = run.hashes()
    facts["range"] = ValueRange.of(store.images, rows).to_json(store.channels)
    run.write_manifest("complete", **describe_training(store, cases, exclude), **facts)
    return Trained(step, spent)


@torch.no_grad()
def _average(averaged: nn.Module, network: nn.Module, step: int, config: DdpmConfig) -> None:
    """Moves the averaged copy by the half-life of `gan.trainer`, shorter at first."""
    half_life = min(config.ema_images, 0.05 * (step + 1) * config.batch_size)
    weight = 1 - 0.5 ** (config.batch_size / half_life)
    for average, current in zip(averaged.parameters(), network.parameters(), strict=True):
        average.lerp_(current, weight)


def _normal(rng: np.random.Generator, shape: Collection[int]) -> Tensor:
    return torch.from_numpy(rng.standard_normal(tuple(shape), np.float32))


@torch.no_grad()
def denoise(network: nn.Module, noise_NCHW: Tensor, config: DdpmConfig) -> Tensor:
    """Follows the implicit path from noise to slices in [-1, 1], both (N, C, H, W)."""
    from monai.networks.schedulers.ddim import DDIMScheduler

    stride = config.noise_steps // config.sampling_steps
    # From the noisiest level, which holds no trace of a slice; MONAI's default would begin a stride below it.
    path = DDIMScheduler(config.noise_steps, schedule="cosine", prediction_type="v_prediction", steps_offset=stride - 1)
    path.set_timesteps(config.sampling_steps, device=noise_NCHW.device)
    images_NCHW = noise_NCHW
    for level in path.timesteps:
        velocity = network(images_NCHW, level.expand(len(images_NCHW)))
        images_NCHW, _ = path.step(velocity, int(level), images_NCHW)
    return images_NCHW.clamp(-1, 1)


def sample_ddpm(
    run: Path, out: Path, num: int, *, seed: int = 0, device: str = "auto", report: Report | None = None
) -> Path:
    """Writes a labelled synthetic cohort (npz); its manifest tells what the model has seen, as `labelgan sample` does.

    Args:
        run: folder that `train_ddpm` left.
        out: new folder of the cohort.
        num: how many slices.
        seed: of the noise; sample i's depends on (seed, i) alone.
        device: where to sample.
        report: called after every slice with (done, in all, text).
    """
    folder, where = RunFolder(run), choose_device(device)
    manifest, config = folder.read_manifest(), DdpmConfig.from_toml(folder.config)
    channels, size = manifest.channels, manifest.size
    network = build_network(config, len(channels) + 1)
    load_weights(network, load_tensors(folder.generator), folder.generator)
    network.to(where).eval()
    scale = {part: np.array([getattr(manifest.intensity[name], part) for name in channels]) for part in ("mean", "sd")}
    ranges = manifest.content.get("range", {})
    ends = np.array([ranges.get(name, (-np.inf, np.inf)) for name in channels], np.float32)[:, :, None, None]
    records: list[dict[str, Any]] = []

    def slices() -> Iterator[LabelledSlice]:
        for start in range(0, num, config.batch_size):
            numbers = range(start, min(num, start + config.batch_size))
            shape = (len(channels) + 1, *size)
            noise_NCHW = torch.stack([_normal(generator_for(seed, "noise", number), shape) for number in numbers])
            images_NCHW = denoise(network, noise_NCHW.to(where), config).cpu()
            for number, image_CHW in zip(numbers, images_NCHW, strict=True):
                mask_HW = decode_mask(image_CHW[-1:])[0].numpy().astype(np.uint8)
                z_scores_CHW = from_unit(image_CHW[:-1]).numpy().clip(ends[:, 0], ends[:, 1])
                intensity_CHW = z_scores_CHW * scale["sd"][:, None, None] + scale["mean"][:, None, None]
                name = f"syn{number:06d}"
                records.append({"id": name, "seed": seed, "index": number, "lesion_voxels": int(mask_HW.sum())})
                yield LabelledSlice(name, np.maximum(intensity_CHW, 0).astype(np.float32), z_scores_CHW, mask_HW)
                if report is not None:
                    report(number + 1, num, "")

    def told() -> dict[str, Any]:
        generator = {key: value for key, value in manifest.content.items() if key not in ("kind", "format")}
        return {
            "kind": "synthetic-slices",
            "seed": seed,
            "intensity": manifest.content["intensity"],
            "samples": records,
            "generator": {"sha256": sha256_file(folder.generator), **generator},
            "made_with": provenance(),
        }

    first, second, third = manifest.spacing_mm
    export_cohort("npz", slices(), out, CohortFacts(channels, size, (first, second, third)), told)
    return out


def main() -> None:
    """Trains by the clock, then samples into RUN/cohort."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--exclude", default="", help="ids of cases or patients, with commas")
    parser.add_argument("--seconds", type=float, default=180.0)
    parser.add_argument("--samples", type=int, default=600)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of DdpmConfig")
    given = parser.parse_args()
    config, store = DdpmConfig().with_settings(given.set), SliceStore.open(given.store)
    exclude = [name for name in given.exclude.split(",") if name]
    with Progress("train", "step") as progress:
        trained = train_ddpm(
            store, given.out, config, seconds=given.seconds, exclude=exclude, device=given.device, report=progress
        )
    clock = Clock(choose_device(given.device))
    with Progress("sample", "slice") as progress:
        sample_ddpm(given.out, given.out / "cohort", given.samples, device=given.device, report=progress)
    print(f"{trained.steps} steps in {trained.seconds:.0f} s; {given.samples} samples in {clock.seconds():.0f} s")


if __name__ == "__main__":
    main()
