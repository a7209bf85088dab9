"""Diversity: whether samples differ among themselves as much as real slices do."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch

from labelgan.audit.fidelity.anchors import octave_noise
from labelgan.audit.fidelity.distances import mean_spread, nearest_other
from labelgan.audit.fidelity.features import coarse_images, unit_images
from labelgan.audit.fidelity.pyramid import blocks_of, ms_ssim
from labelgan.audit.gates import Finding
from labelgan.audit.slices import AuditData, AuditSlices
from labelgan.config.audit import AuditConfig
from labelgan.core.rng import generator_for

UNIT_SPAN = 2.0  # of images on the scale of -1 to 1
SAME_SLICE = 0.5
"""A sample repeats another one when it is nearer to it than this share of ..."""
NEAR_PERCENTILE = 1.0
"""... the distance that this percentile of training slices have to the nearest slice of another patient."""


def diversity(data: AuditData, config: AuditConfig) -> list[Finding]:
    """Spread, repeated slices, MS-SSIM of random pairs, and overlap of random pairs of masks.

    Real pairs are of different patients. The bad anchor is what one slice over and over would give.
    """
    return [_spread(data, config), _repeats(data, config), _similarity(data, config), _overlap(data, config)]


def _spread(data: AuditData, config: AuditConfig) -> Finding:
    title = "spread of samples over that of training slices, in coarse pixels"
    sets = {"samples": data.samples, "held_out": data.held_out, "train": data.train}
    if min(map(len, sets.values())) < 2:
        return Finding("diversity.spread", title, None, better="near", note="fewer than two slices on a side")
    spread = {name: mean_spread(coarse_images(part, config.fidelity.raw_side)) for name, part in sets.items()}
    if spread["train"] == 0:
        return Finding("diversity.spread", title, None, better="near", note="all training slices are equal")
    values = {name: value / spread["train"] for name, value in spread.items()}
    return Finding(
        "diversity.spread", title, values["samples"], better="near", good=values["held_out"], bad=0.0, extra=spread
    )


def _repeats(data: AuditData, config: AuditConfig) -> Finding:
    """Share of samples with a twin. The limit is fitted on training patients alone; all sets have one size."""
    name, title = "diversity.repeats", "samples that are another sample over again"
    seed, side = config.data.seed, config.fidelity.raw_side
    count = min(len(data.samples), len(data.train))
    train = data.train.subset(count, seed, "repeats", "train")
    if count < 2 or len(set(train.patients)) < 2:
        return Finding(name, title, None, better="lower", note="needs training slices of two patients")
    near = nearest_other(coarse_images(train, side), train.patients)
    limit = SAME_SLICE * float(np.percentile(near, NEAR_PERCENTILE))

    def share(part: AuditSlices) -> float:
        part = part.subset(count, seed, "repeats", "others")
        return float((nearest_other(coarse_images(part, side), _groups(part)) < limit).mean())

    good = share(data.held_out) if len(set(data.held_out.patients)) > 1 else None
    extra = {"limit": limit, "slices": count}
    return Finding(name, title, share(data.samples), better="lower", good=good, bad=1.0, extra=extra)


def _similarity(data: AuditData, config: AuditConfig) -> Finding:
    """MS-SSIM of pairs. Repeated: of slices with themselves, a little noise apart."""
    name, title = "diversity.ms_ssim", "MS-SSIM of two samples"
    values: dict[str, float | None] = {}
    for key, part in {"samples": data.samples, "held_out": data.held_out}.items():
        pairs = random_pairs(_groups(part), config.fidelity.pairs, config.data.seed, key)
        values[key] = None if pairs is None else _mean_ms_ssim(part, part, pairs)
    rows = generator_for(config.data.seed, "repeated").integers(len(data.held_out), size=min(64, len(data.held_out)))
    once = data.held_out.select(rows)
    noise = octave_noise(once.images_NCHW.shape, generator_for(config.data.seed, "repeated", "noise"))
    again = dataclasses.replace(once, images_NCHW=once.z_scores() + np.float32(0.1 * config.fidelity.noise) * noise)
    bad = _mean_ms_ssim(once, again, np.stack([np.arange(len(once))] * 2))
    note = "" if values["samples"] is not None else "fewer than two samples"
    return Finding(name, title, values["samples"], better="near", good=values["held_out"], bad=bad, note=note)


def _overlap(data: AuditData, config: AuditConfig) -> Finding:
    name, title = "diversity.mask_overlap", "Dice of two samples' masks that are not empty"
    values: dict[str, float | None] = {}
    for key, part in {"samples": data.samples, "held_out": data.held_out}.items():
        rows = np.flatnonzero(part.lesions_NHW.any(axis=(1, 2)))
        pairs = random_pairs(_groups(part)[rows], config.fidelity.pairs, config.data.seed, key, "masks")
        if pairs is None:
            values[key] = None
            continue
        lesion = part.lesions_NHW[rows]
        dice = [2 * (lesion[a] & lesion[b]).sum() / (lesion[a].sum() + lesion[b].sum()) for a, b in pairs.T]
        values[key] = float(np.mean(dice))
    note = "" if values["samples"] is not None else "fewer than two samples with a lesion"
    return Finding(name, title, values["samples"], better="near", good=values["held_out"], bad=1.0, note=note)


def _groups(slices: AuditSlices) -> np.ndarray:
    """Patients, or where they are unknown each slice by itself."""
    return np.where(slices.patients == "", slices.names, slices.patients)


def random_pairs(groups_N: np.ndarray, most: int, seed: int, *names: str) -> np.ndarray | None:
    """Rows (2, P) of pairs from different groups, at most ``most``; None where there is no such pair."""
    if len(groups_N) < 2:
        return None
    drawn = generator_for(seed, "pairs", *names).integers(len(groups_N), size=(2, 8 * most))
    drawn = drawn[:, groups_N[drawn[0]] != groups_N[drawn[1]]][:, :most]
    return drawn if drawn.shape[1] else None


def _mean_ms_ssim(first: AuditSlices, second: AuditSlices, pairs: np.ndarray) -> float:
    parts = [
        ms_ssim(unit_images(first.select(pairs[0, rows])), unit_images(second.select(pairs[1, rows])), UNIT_SPAN)
        for rows in blocks_of(pairs.shape[1])
    ]
    return float(torch.cat(parts).double().mean())
