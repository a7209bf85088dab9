"""Labelled slices out of a trained generator.

Sample i depends on (generator, seed, i) alone. z is drawn on the CPU from a stream of its own, and the network always
works on the same blocks of ``BLOCK`` neighbouring samples, because the last bits of a convolution may depend on how
many slices it is given at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch

from labelgan.config.gan import GanConfig
from labelgan.core.errors import CheckpointError, ConfigError, RefusedError
from labelgan.core.files import new_folder, read_json, require_free, sha256_file, write_text_atomic
from labelgan.core.progress import Report
from labelgan.core.provenance import provenance
from labelgan.data.export.card import CARD, cohort_card
from labelgan.data.export.write import EXPORTERS, CohortFacts, LabelledSlice, export_cohort
from labelgan.data.manifests import GeneratorManifest
from labelgan.data.prepare.case import from_unit, to_unit
from labelgan.data.prepare.limits import ValueRange
from labelgan.gan.inputs.compose import Conditions
from labelgan.gan.inputs.content import Content
from labelgan.gan.inputs.inputs import make_inputs
from labelgan.gan.inputs.mask_channel import decode_mask, encode_mask
from labelgan.gan.networks.families import family_of
from labelgan.gan.networks.limit import has_limit, limit_of, with_limit_of
from labelgan.gan.run_folder import RunFolder
from labelgan.gan.trainer import build_networks
from labelgan.training.checkpoint import load_weights
from labelgan.training.device import choose_device

BLOCK = 8
JUDGED = 64  # samples that a judge sees at a time
MOST_TRIES = 20  # samples drawn for every one that is wanted, before a judge who likes none is given up on

# Images (N, C, H, W) and masks (N, H, W) to one reason each, empty where the sample is kept.
Judge = Callable[[np.ndarray, np.ndarray], Sequence[str]]


@dataclass(frozen=True)
class Samples:
    """Slices from a generator.

    Attributes:
        images_NCHW: float32 z-scores, channels as in `Generator.channels`.
        masks_NHW: uint8, 1 where there is a lesion.
        indices: which z each came from.
        critic_scores: the critic's number for each, higher is more real, where it was asked; else nan.
    """

    images_NCHW: np.ndarray
    masks_NHW: np.ndarray
    indices: tuple[int, ...]
    critic_scores: np.ndarray


class Generator:
    """A trained generator, ready to sample.

    Example:
        >>> generator = Generator.load("run")  # doctest: +SKIP
        >>> samples = generator.sample(16, seed=1)  # doctest: +SKIP
    """

    def __init__(self, run: RunFolder, config: GanConfig, manifest: GeneratorManifest, device: torch.device) -> None:
        self.run, self.config, self.trained, self.device = run, config, manifest, device
        self.channels, self.size = manifest.channels, manifest.size
        generator, self._critic = build_networks(config, len(self.channels) + 1, self.size)
        content = None
        if family_of(config.network).inputs == "composition":
            content = Content.load(run.content, self.channels, self.size, manifest.files_sha256.get(run.content.name))
        tensors = run.load(run.generator, manifest)
        if not has_limit(tensors):  # trained before there was one: the slices that are kept tell, where there are any
            if content is not None:
                limit_of(generator).set(ValueRange.of(content.patients.images_NCHW))
            tensors = with_limit_of(generator, tensors)
        load_weights(generator, tensors, run.generator)
        self._generator = generator.to(device).eval()
        self.inputs = make_inputs(config, content)
        self._critic_loaded = False

    @classmethod
    def load(cls, path: str | Path, *, device: str = "auto", force: bool = False) -> Self:
        """Loads the generator of a run folder.

        Args:
            path: run folder.
            device: where to sample.
            force: load a collapsed generator all the same.

        Raises:
            CheckpointError: the folder holds no finished run, or is damaged.
            RefusedError: the generator has collapsed.
        """
        run = RunFolder(Path(path))
        manifest = run.read_manifest()
        if manifest.status != "complete":
            raise CheckpointError(
                path, f"its training is not complete (status: {manifest.status}); go on with train --resume"
            )
        if manifest.collapsed and not force:
            raise RefusedError(
                path,
                f"the generator has collapsed: its samples differ {manifest.diversity:.3f} times as much "
                "as real slices do; train longer or with other settings, or sample all the same with --force",
            )
        return cls(run, run.read_config(), manifest, choose_device(device))

    @torch.no_grad()
    def _block(self, seed: int, block: int, conditions: Conditions | None = None) -> torch.Tensor:
        indices = range(block * BLOCK, (block + 1) * BLOCK)
        inputs = self.inputs.samples(seed, indices, conditions)
        slices_NCHW = self._generator(*(tensor.to(self.device) for tensor in inputs)).float()
        return limit_of(self._generator)(self.inputs.finish(seed, indices, slices_NCHW, conditions))

    @torch.no_grad()
    def _judge(self, images_NCHW: torch.Tensor) -> torch.Tensor:
        if not self._critic_loaded:
            load_weights(self._critic, self.run.load(self.run.critic, self.trained), self.run.critic)
            self._critic.to(self.device).eval()
            self._critic_loaded = True
        return self._critic(images_NCHW).float()

    def iterate(
        self, count: int, seed: int = 0, *, start: int = 0, keep_best: float = 1.0, conditions: Conditions | None = None
    ) -> Iterator[Samples]:
        """Gives samples ``start`` to ``start + count - 1`` one by one, in bounded memory.

        With ``keep_best`` = 1/m, sample i is the one that the critic likes best of z number i·m to i·m + m - 1, so that
        it still depends on (generator, seed, i) alone. The 2019 report kept the best of 100.

        ``conditions`` ask for a lesion load, a height of the slice or a mask, of models that support them.

        Raises:
            ConfigError: ``keep_best`` is not in (0, 1], or the model does not support the conditions.
        """
        if not 0 < keep_best <= 1:
            raise ConfigError("--keep-best", f"{keep_best} is not a share between 0 and 1")
        tries = round(1 / keep_best)
        block_number, images_NCHW = -1, torch.empty(0)
        for sample in range(start, start + count):
            best: torch.Tensor | None = None
            best_index, best_score = -1, float("nan")
            for index in range(sample * tries, (sample + 1) * tries):
                if index // BLOCK != block_number:
                    block_number = index // BLOCK
                    images_NCHW = self._block(seed, block_number, conditions)
                candidate = images_NCHW[index % BLOCK : index % BLOCK + 1]
                score = float(self._judge(candidate)) if tries > 1 else float("nan")
                if best is None or score > best_score:
                    best, best_index, best_score = candidate, index, score
            assert best is not None
            yield Samples(
                images_NCHW=from_unit(best[:, :-1]).cpu().numpy(),
                masks_NHW=decode_mask(best[:, -1]).to(torch.uint8).cpu().numpy(),
                indices=(best_index,),
                critic_scores=np.array([best_score], np.float32),
            )

    def sample(
        self, count: int, seed: int = 0, *, start: int = 0, keep_best: float = 1.0, conditions: Conditions | None = None
    ) -> Samples:
        """Gives samples ``start`` to ``start + count - 1`` at once; see `iterate`."""
        if count < 1:
            raise ConfigError("--num", f"{count} is not a positive number")
        parts = list(self.iterate(count, seed, start=start, keep_best=keep_best, conditions=conditions))
        return Samples(
            images_NCHW=np.concatenate([part.images_NCHW for part in parts]),
            masks_NHW=np.concatenate([part.masks_NHW for part in parts]),
            indices=tuple(index for part in parts for index in part.indices),
            critic_scores=np.concatenate([part.critic_scores for part in parts]),
        )

    def critic_scores(self, images_NCHW: np.ndarray, masks_NHW: np.ndarray) -> np.ndarray:
        """Scores labelled slices, real ones too, by the critic: (N,) float32, higher is more real.

        Args:
            images_NCHW: z-scores, channels as in `channels`.
            masks_NHW: 1 where there is a lesion.
        """
        scores = np.empty(len(images_NCHW), np.float32)
        for start in range(0, len(images_NCHW), BLOCK):
            rows = slice(start, start + BLOCK)
            images = to_unit(torch.from_numpy(images_NCHW[rows]))
            lesion = torch.from_numpy(masks_NHW[rows]) == 1
            # the noise of that encoding is left out: its mean is what all slices have in common
            noise = torch.zeros(lesion.shape) if self.config.mask.encoding == "gaussian" else None
            slices = torch.cat([images, encode_mask(lesion, self.config.mask, noise)], dim=1)
            filled = torch.zeros(BLOCK, *slices.shape[1:])
            filled[: len(slices)] = slices
            scores[rows] = self._judge(filled.to(self.device)).flatten().cpu().numpy()[: len(slices)]
        return scores

    @property
    def manifest(self) -> dict[str, Any]:
        """The run's ``manifest.json``."""
        return self.trained.content

    @property
    def sites(self) -> tuple[str, ...]:
        """Sites or scanners that samples can be asked for of."""
        return self.inputs.sites

    @property
    def range(self) -> dict[str, list[float]]:
        """Channel to the least and the largest z-score that its samples may have; ±29 where no range is stored."""
        limit = limit_of(self._generator)
        low_C, high_C = (from_unit(side[:-1].cpu().numpy()) for side in (limit.low, limit.high))
        return ValueRange(low_C, high_C).to_json(self.channels)

    def scale(self, site: str | None = None) -> dict[str, dict[str, float]]:
        """Mean and sd of the brain by channel: over all training scans, or over those of a site."""
        return self.manifest.get("site_intensity", {}).get(site, self.manifest["intensity"])

    def to_intensity(self, images_CHW: np.ndarray, site: str | None = None) -> np.ndarray:
        """Brings z-scores to the mean scale of the training scans, or a site's, 0 at the least: (C, H, W) float32."""
        scale = self.scale(site)
        intensity = [scale[name] for name in self.channels]
        mean = np.array([entry["mean"] for entry in intensity], np.float32)[:, None, None]
        sd = np.array([entry["sd"] for entry in intensity], np.float32)[:, None, None]
        return np.maximum(images_CHW * sd + mean, 0.0, dtype=np.float32)


def sample_cohort(
    run: str | Path,
    out: str | Path,
    num: int,
    *,
    format: str = "wmh",
    seed: int = 0,
    keep_best: float = 1.0,
    conditions: Conditions | None = None,
    device: str = "auto",
    force: bool = False,
    judge: Judge | None = None,
    report: Report | None = None,
) -> Path:
    """Writes ``num`` labelled synthetic slices as a cohort, with a card and a manifest that tells where each came from.

    Args:
        run: run folder of a finished generator.
        out: folder of the cohort; it must not exist, or be empty. It appears whole or not at all.
        num: how many.
        format: key of ``data.export.EXPORTERS``.
        seed: of z.
        keep_best: see `Generator.iterate`.
        conditions: likewise.
        device: where to sample.
        force: sample a collapsed generator all the same.
        judge: leaves out samples; more are drawn in their place, and the manifest counts them by reason.
        report: called after every sample with (done, in all, text).

    Raises:
        ConfigError, DataError, CheckpointError, RefusedError: as their subjects tell; RefusedError too when the judge
            keeps too few.
    """
    out = Path(out)
    if format not in EXPORTERS:
        raise ConfigError(f"--format {format}", f"unknown format; one of {', '.join(EXPORTERS)}")
    if num < 1:
        raise ConfigError(f"--num {num}", "at least one sample is needed")
    require_free(out)
    generator = Generator.load(run, device=device, force=force)
    asked = conditions or Conditions()
    records: list[dict[str, Any]] = []
    dropped: Counter[str] = Counter()

    def slices() -> Iterator[LabelledSlice]:
        kept = _kept(generator, num, seed, keep_best, conditions, judge, dropped)
        for number, samples in enumerate(kept):
            identifier = f"syn{number:06d}"
            mask_HW = samples.masks_NHW[0]
            record = {"id": identifier, "seed": seed, "index": samples.indices[0], "lesion_voxels": int(mask_HW.sum())}
            if keep_best < 1:
                record["critic_score"] = float(samples.critic_scores[0])
            records.append(record)
            z_scores_CHW = samples.images_NCHW[0]
            intensities_CHW = generator.to_intensity(z_scores_CHW, asked.site)
            yield LabelledSlice(identifier, intensities_CHW, z_scores_CHW, mask_HW)
            if report is not None:
                report(number + 1, num, "")

    facts = CohortFacts(generator.channels, generator.size, generator.trained.spacing_mm)
    with new_folder(out) as temporary:
        export_cohort(
            format,
            slices(),
            temporary,
            facts,
            manifest=lambda: {
                "kind": "synthetic-slices",
                "seed": seed,
                "keep_best": keep_best,
                **({} if asked.is_empty else {"asked": asked.to_json()}),
                **({} if judge is None else {"audited": {"kept": len(records), "dropped": dict(dropped)}}),
                "intensity": generator.scale(asked.site),
                "range": generator.range,
                "samples": records,
                "generator": {
                    "sha256": sha256_file(generator.run.generator),
                    **{key: value for key, value in generator.manifest.items() if key not in ("kind", "format")},
                },
                "made_with": provenance(),
            },
        )
        write_text_atomic(temporary / CARD, cohort_card(read_json(temporary / "manifest.json")))
    return out


def _kept(
    generator: Generator,
    num: int,
    seed: int,
    keep_best: float,
    conditions: Conditions | None,
    judge: Judge | None,
    dropped: Counter[str],
) -> Iterator[Samples]:
    """Gives ``num`` samples that the judge keeps, in the order of their indices, and counts the others by reason."""
    if judge is None:
        yield from generator.iterate(num, seed, keep_best=keep_best, conditions=conditions)
        return
    kept = 0
    for start in range(0, MOST_TRIES * num, JUDGED):
        block = list(generator.iterate(JUDGED, seed, start=start, keep_best=keep_best, conditions=conditions))
        reasons = judge(
            np.concatenate([part.images_NCHW for part in block]), np.concatenate([part.masks_NHW for part in block])
        )
        for part, reason in zip(block, reasons, strict=True):
            if reason:
                dropped[reason] += 1
                continue
            yield part
            kept += 1
            if kept == num:
                return
    told = ", ".join(f"{reason}: {count}" for reason, count in dropped.most_common())
    raise RefusedError(
        generator.run.path,
        f"of {sum(dropped.values()) + kept} samples the audit keeps {kept}, {num} are wanted ({told})",
    )
