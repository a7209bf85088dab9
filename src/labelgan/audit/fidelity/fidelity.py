"""Fidelity: how far samples are from training slices, each distance between its two anchors.

All three sets that are measured against the training slices have the same number of slices, since most distances
depend on it: the samples, held-out slices (the good anchor) and the same held-out slices degraded (the bad one).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from labelgan.audit.fidelity.anchors import blurred, noisy, repeated
from labelgan.audit.fidelity.distances import (
    kernel_distance,
    kth_neighbour,
    manifold_overlap,
    mean_power,
    spectral_distance,
    wasserstein_1,
    wasserstein_spread,
)
from labelgan.audit.fidelity.features import Standardised, coarse_images, coarse_masks, lesion_masks, unit_images
from labelgan.audit.fidelity.pyramid import pyramid_patches, sliced_wasserstein, standardise_patches
from labelgan.audit.gates import Better, Finding
from labelgan.audit.slices import AuditData, AuditSlices
from labelgan.config.audit import AuditConfig
from labelgan.core.rng import generator_for

FEWEST = 10
"""Slices below which no distance is told."""

DEGRADATIONS = ("noisy", "blurred", "repeated")
"""Degradations of held-out slices for the bad anchor."""

TELLING = 1.5
"""The bad anchor is the mildest degradation this factor worse than the good anchor; the worst, where none is."""


@dataclass(frozen=True, eq=False)
class ComparedSets:
    """Sets that are measured against `train`: samples and held-out slices, of equal number, and the latter degraded."""

    train: AuditSlices
    samples: AuditSlices
    held_out: AuditSlices
    config: AuditConfig

    @classmethod
    def of(cls, data: AuditData, config: AuditConfig, lesion_only: bool = False) -> ComparedSets:
        """Cuts samples and held-out slices down to one number by seeded draws."""
        most, seed = config.fidelity.max_compared, config.data.seed
        sets = {"samples": data.samples, "held-out": data.held_out, "train": data.train}
        rows = {
            name: np.flatnonzero(part.lesions_NHW.any(axis=(1, 2))) if lesion_only else np.arange(len(part))
            for name, part in sets.items()
        }
        count = min(len(rows["samples"]), len(rows["held-out"]), most)
        limits = {"samples": count, "held-out": count, "train": most if lesion_only else len(data.train)}
        cut = {name: _cut(part, rows[name], limits[name], seed, name) for name, part in sets.items()}
        return cls(cut["train"], cut["samples"], cut["held-out"], config)

    def compared(self) -> Iterator[tuple[str, AuditSlices]]:
        """Gives the sets by name, samples first; degraded ones are made as they are asked for, to spare memory."""
        settings, seed = self.config.fidelity, self.config.data.seed
        yield "samples", self.samples
        yield "held_out", self.held_out
        yield "noisy", noisy(self.held_out, settings, seed)
        yield "blurred", blurred(self.held_out, settings)
        yield "repeated", repeated(self.held_out, seed)

    @property
    def enough(self) -> bool:
        """Whether there is anything to measure."""
        return min(len(self.samples), len(self.held_out), len(self.train)) >= FEWEST


def _cut(slices: AuditSlices, rows: np.ndarray, most: int, seed: int, name: str) -> AuditSlices:
    if len(rows) > most:
        rows = np.sort(generator_for(seed, "compared", name).permutation(rows)[:most])
    return slices if len(rows) == len(slices) else slices.select(rows)


@dataclass(frozen=True)
class Figure:
    """A distance's name, title and direction."""

    name: str
    title: str
    better: Better
    unit: str = ""

    def finding(
        self, space: str, words: str, values: dict[str, float] | None, note: str = "", **extra: object
    ) -> Finding:
        """Puts the figure of every compared set, by name, between its anchors; None where there was too little."""
        name, title = f"{space}.{self.name}", f"{self.title} of {words}"
        if values is None:
            return Finding(name, title, None, self.unit, self.better, note=f"fewer than {FEWEST} slices on a side")
        return Finding(
            name,
            title,
            values["samples"],
            self.unit,
            self.better,
            good=values["held_out"],
            bad=self._bad(values),
            note=note,
            extra={**{name: values[name] for name in DEGRADATIONS}, **extra},
        )

    def _bad(self, values: dict[str, float]) -> float:
        degraded, good = [values[name] for name in DEGRADATIONS], values["held_out"]
        if self.better == "lower":
            telling = [value for value in degraded if value >= good + (TELLING - 1) * abs(good)]
            return min(telling, default=max(degraded))
        telling = [value for value in degraded if value <= good / TELLING]
        return max(telling, default=min(degraded))


SWD = Figure("swd", "sliced Wasserstein distance", "lower")
SPECTRUM = Figure("spectrum", "difference in power over all frequencies", "lower", "dB")
W1 = Figure("w1", "Wasserstein-1 distance", "lower")
KID = Figure("kid", "kernel distance (KID)", "lower")
MANIFOLDS = (
    Figure("precision", "precision", "higher"),
    Figure("recall", "recall", "higher"),
    Figure("density", "density", "higher"),
    Figure("coverage", "coverage", "higher"),
)


def fidelity(data: AuditData, config: AuditConfig) -> list[Finding]:
    """Distances of images, of masks (of slices with a lesion) and, in the encoder's features, of both together.

    Returns:
        The difference of the images' power spectra; for images and masks the sliced Wasserstein distance on Laplacian
        pyramids; for all three Wasserstein-1, kernel distance, precision, recall, density and coverage.
    """
    side = config.fidelity.raw_side
    images, masks, pairs = "images", "masks that are not empty", "images with masks, by the encoder"
    everything = ComparedSets.of(data, config)
    found = [_spectra("image", images, everything), _pyramids("image", images, everything)]
    found += _distances("image", images, everything, lambda part: coarse_images(part, side))
    if data.encoder is not None:
        found += _distances("pair", pairs, everything, data.encoder, data.features("train"))
    del everything
    lesions = ComparedSets.of(data, config, lesion_only=True)
    found.append(_pyramids("mask", masks, lesions))
    return found + _distances("mask", masks, lesions, lambda part: coarse_masks(part, side))


def _spectra(space: str, words: str, sets: ComparedSets) -> Finding:
    if not sets.enough:
        return SPECTRUM.finding(space, words, None)
    reference = mean_power(sets.train)
    values = {name: spectral_distance(mean_power(part), reference) for name, part in sets.compared()}
    return SPECTRUM.finding(space, words, values, slices=len(sets.samples))


def _pyramids(space: str, words: str, sets: ComparedSets) -> Finding:
    if not sets.enough:
        return SWD.finding(space, words, None)
    settings, seed = sets.config.fidelity, sets.config.data.seed
    channels = unit_images if space == "image" else lesion_masks

    def patches(part: AuditSlices, *names: str) -> list[np.ndarray]:
        part = part.subset(settings.max_pyramids, seed, "pyramids", *names)
        return pyramid_patches(
            channels(part), patches=settings.patches, patch=settings.patch, coarsest=settings.coarsest, seed=seed
        )

    count = sets.train.images_NCHW.shape[1] if space == "image" else 1
    reference = patches(sets.train, "train")
    levels = {
        name: [
            sliced_wasserstein(
                standardise_patches(found, real, count),
                standardise_patches(real, real, count),
                projections=settings.projections,
                seed=seed,
            )
            for found, real in zip(patches(part), reference, strict=True)
        ]
        for name, part in sets.compared()
    }
    values = {name: float(np.mean(values)) for name, values in levels.items()}
    return SWD.finding(space, words, values, levels_from_fine_to_coarse=levels, slices=len(sets.samples))


def _distances(
    space: str,
    words: str,
    sets: ComparedSets,
    encode: Callable[[AuditSlices], np.ndarray],
    train_NK: np.ndarray | None = None,
) -> list[Finding]:
    if not sets.enough:
        return [figure.finding(space, words, None) for figure in (W1, KID, *MANIFOLDS)]
    settings, seed = sets.config.fidelity, sets.config.data.seed
    train_NK = encode(sets.train) if train_NK is None else train_NK
    scale = Standardised(train_NK, each=space == "pair")
    real_NK = scale(train_NK)
    neighbours = min(settings.neighbours, len(sets.samples) - 1)
    radius_N = kth_neighbour(real_NK, neighbours)
    w1, w1_sd, kid, kid_sd = {}, {}, {}, {}
    overlaps: dict[str, dict[str, float]] = {figure.name: {} for figure in MANIFOLDS}
    for name, part in sets.compared():
        features_NK = scale(encode(part))
        moved = min(len(features_NK), len(real_NK), settings.max_points)
        moved_NK, few_NK = (_drawn(points_NK, moved, seed) for points_NK in (features_NK, real_NK))
        w1[name], w1_sd[name] = wasserstein_1(moved_NK, few_NK), wasserstein_spread(moved_NK, few_NK)
        kernel = kernel_distance(
            features_NK, real_NK, blocks=settings.kernel_blocks, block=settings.kernel_block, seed=seed
        )
        kid[name], kid_sd[name] = kernel.mean, kernel.sd
        overlap = manifold_overlap(features_NK, real_NK, neighbours, radius_N)
        for figure in MANIFOLDS:
            overlaps[figure.name][name] = getattr(overlap, figure.name)
    slices = len(sets.samples)
    moved = min(slices, len(real_NK), settings.max_points)
    exact = f"exact for {moved} slices and as many of {len(real_NK)} training slices"
    if w1_sd["samples"] is not None:
        exact += f"; standard deviation over quarters of them {w1_sd['samples']:.2g}"
    spread = f"mean of {settings.kernel_blocks} seeded blocks, whose standard deviation is {kid_sd['samples']:.2g}"
    return [
        W1.finding(space, words, w1, exact, sd=w1_sd, slices=moved, training_slices=moved),
        KID.finding(space, words, kid, spread, sd=kid_sd, slices=slices, training_slices=len(real_NK)),
        *(figure.finding(space, words, overlaps[figure.name], slices=slices) for figure in MANIFOLDS),
    ]


def _drawn(points_NK: np.ndarray, most: int, seed: int) -> np.ndarray:
    if len(points_NK) <= most:
        return points_NK
    return points_NK[np.sort(generator_for(seed, "transported", len(points_NK)).permutation(len(points_NK))[:most])]
