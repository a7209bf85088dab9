"""Labels: do the masks of samples fit their images, and are their lesions like real ones?

Every set is measured against the training slices. The good anchor is held-out slices; the bad one is training slices
whose masks were degraded: permuted among slices, moved by eight pixels, or dilated by three.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from labelgan.audit.gates import Better, Finding
from labelgan.audit.labels.lesions import LesionTable, components, measure_lesions
from labelgan.audit.labels.ring import ContrastFit, contrasts
from labelgan.audit.slices import AuditData, AuditSlices, Segmenter
from labelgan.config.audit import AuditConfig
from labelgan.core.rng import generator_for

MOVE_PX, GROW_PX = 8, 3
"""Rows by which degraded masks are moved, and pixels by which they are dilated."""

_SPREAD_DRAWS, _SPREAD_QUANTILE, _SPREAD_FACTOR = 200, 0.975, 1.5


def permuted(masks_NHW: np.ndarray, seed: int) -> np.ndarray:
    """Gives every slice with a lesion the mask of another one, in a seeded ring."""
    rows = np.flatnonzero((masks_NHW == 1).any((1, 2)))
    order = generator_for(seed, "labels", "dealt").permutation(rows)
    degraded = masks_NHW.copy()
    degraded[order] = masks_NHW[np.roll(order, 1)]
    return degraded


def moved(masks_NHW: np.ndarray, pixels: int = MOVE_PX) -> np.ndarray:
    """Moves masks down by some pixels; what leaves the slice is lost."""
    degraded = np.zeros_like(masks_NHW)
    degraded[:, pixels:] = masks_NHW[:, :-pixels]
    return degraded


def grown(masks_NHW: np.ndarray, pixels: int = GROW_PX) -> np.ndarray:
    """Dilates lesions by a disk of some pixels."""
    from scipy.ndimage import distance_transform_edt

    degraded = masks_NHW.copy()
    for number in np.flatnonzero((masks_NHW == 1).any((1, 2))):
        degraded[number][np.asarray(distance_transform_edt(masks_NHW[number] != 1)) <= pixels] = 1
    return degraded


@dataclass(frozen=True, eq=False)
class Labels:
    """Measurements of a set of labelled slices: contrasts (N, C), lesions, and the slices' patients."""

    ring_NC: np.ndarray
    edge_NC: np.ndarray
    lesions: LesionTable
    patients: np.ndarray

    @classmethod
    def of(cls, slices: AuditSlices, brains_NHW: np.ndarray, masks_NHW: np.ndarray | None = None) -> Labels:
        """Measures slices with their own masks, or with others."""
        masks_NHW = slices.masks_NHW if masks_NHW is None else masks_NHW
        ring_NC, edge_NC = contrasts(slices.images_NCHW, masks_NHW, brains_NHW)
        return cls(ring_NC, edge_NC, measure_lesions(masks_NHW, brains_NHW, slices.images_NCHW), slices.patients)

    def quantities(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Quantity to (its values, the slice of each), without the undefined ones."""
        table = self.lesions
        every = np.arange(len(self.patients))
        found = {
            "load": (100 * table.load, every),
            "count": (table.count.astype(float), every),
            "empty": ((table.count == 0).astype(float), every),
            "size": (np.log2(np.maximum(table.size, 1)), table.slice),
            "depth": (table.depth, table.slice),
            "ventricles": (table.ventricle_px, table.slice),
        }
        known = {name: np.isfinite(values) for name, (values, _) in found.items()}
        return {name: (values[known[name]], rows[known[name]]) for name, (values, rows) in found.items()}


@dataclass(frozen=True)
class _Quantity:
    """Title, unit, and the degraded set that is its bad anchor; "far": the farthest value there is, 0 or 1."""

    title: str
    unit: str
    degraded: str


QUANTITIES = {
    "load": _Quantity("lesion load of a slice", "% of the brain", "grown"),
    "count": _Quantity("lesions in a slice", "", "grown"),
    "empty": _Quantity("share of slices without lesion", "", "far"),
    "size": _Quantity("lesion size", "log2 pixels", "grown"),
    "depth": _Quantity("depth of a lesion in the brain, 0 edge to 1 middle", "", "moved"),
    "ventricles": _Quantity("distance of a lesion to the ventricles, where a slice shows any", "pixels", "moved"),
}


def labels(data: AuditData, config: AuditConfig) -> list[Finding]:
    """Measures masks against their images, and lesions against the training patients' lesions.

    Returns:
        ``label.agreement.ring`` and ``.edge``: 1 as training slices with their own masks, 0 as with each other's.
        ``label.ring.CHANNEL``, ``label.edge.CHANNEL``: Wasserstein-1 distance of the contrasts.
        ``label.load``, ``.count``, ``.empty``, ``.size``, ``.depth``, ``.ventricles``: Wasserstein-1 distance of the
        lesions' quantities, with the Kolmogorov-Smirnov statistic and, as ``extra["limit"]``, the distance that groups
        of training patients, as many as are held out, keep from the rest.
        Where there is a segmenter, also what `segmenter_agreement` gives.
    """
    seed = config.data.seed
    brains = _brains(data)
    train = data.train
    degradations: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "dealt": lambda masks_NHW: permuted(masks_NHW, seed),
        "moved": moved,
        "grown": grown,
    }
    sets = {name: Labels.of(getattr(data, name), brains[name]) for name in ("samples", "train", "held_out")}
    for name, degrade in degradations.items():  # one by one, to spare memory
        sets[name] = Labels.of(train, brains["train"], degrade(train.masks_NHW))
    findings = [_agreement(sets, "ring"), _agreement(sets, "edge")]
    for number, channel in enumerate(data.channels):
        for kind in ("ring", "edge"):
            values = {name: getattr(labels, f"{kind}_NC")[:, number] for name, labels in sets.items()}
            values = {name: each[np.isfinite(each)] for name, each in values.items()}
            title = f"contrast of {channel} {'against a ring' if kind == 'ring' else 'across the edge'}"
            findings.append(_distance(f"label.{kind}.{channel}", title, "z-score", values, "dealt"))
    quantities = {name: labels.quantities() for name, labels in sets.items()}
    for name, quantity in QUANTITIES.items():
        values = {which: quantities[which][name][0] for which in sets}
        values["far"] = np.array([float(values["train"].mean() < 0.5)]) if len(values["train"]) else np.zeros(0)
        limit = _patient_spread(*quantities["train"][name], train.patients, len(set(data.held_out.patients)), seed)
        extra = {"limit": limit} if limit is not None else {}
        findings.append(_distance(f"label.{name}", quantity.title, quantity.unit, values, quantity.degraded, extra))
    if data.segmenter is not None:
        findings += segmenter_agreement(data, data.segmenter, seed)
    return findings


def segmenter_agreement(
    data: AuditData, segmenter: Segmenter, seed: int = 0, threshold: float = 0.5, block: int = 64
) -> list[Finding]:
    """Compares masks with what a segmenter of real training patients finds in their images.

    Args:
        data: the three sets; the training slices are not looked at.
        segmenter: gives the lesion probability of slices.
        seed: of the dealing of masks.
        threshold: of the probability.
        block: slices at a time.

    Returns:
        ``label.segmenter.dice``, over all pixels, and ``label.segmenter.recall``, of lesions that are touched. The
        bad anchor is held-out slices with each other's masks.
    """
    found = {}
    for name, slices in (("samples", data.samples), ("held_out", data.held_out)):
        parts = [segmenter(slices.z_scores(rows)) >= threshold for rows in slices.blocks(block)]
        found[name] = np.concatenate(parts)
    masks = {"samples": data.samples.masks_NHW, "held_out": data.held_out.masks_NHW}
    found["dealt"], masks["dealt"] = found["held_out"], permuted(data.held_out.masks_NHW, seed)
    findings = []
    for name, title, measure in (
        ("dice", "Dice of mask and segmenter", _dice),
        ("recall", "share of mask's lesions that the segmenter finds", _lesion_recall),
    ):
        values = {which: measure(masks[which], found[which]) for which in found}
        note = "no lesion among the samples, in mask or image" if values["samples"] is None else ""
        if values["samples"] is not None and not values["held_out"]:  # one that has learned nothing agrees with nobody
            values["samples"], note = None, "the segmenter finds nothing in held-out patients either: it tells nothing"
        findings.append(
            Finding(
                f"label.segmenter.{name}",
                title,
                values["samples"],
                better="near",
                good=values["held_out"],
                bad=values["dealt"],
                note=note,
            )
        )
    return findings


def _dice(masks_NHW: np.ndarray, found_NHW: np.ndarray) -> float | None:
    lesion, found = masks_NHW == 1, found_NHW & (masks_NHW != 2)
    both = int(lesion.sum() + found.sum())
    return 2 * int((lesion & found).sum()) / both if both else None


def _lesion_recall(masks_NHW: np.ndarray, found_NHW: np.ndarray) -> float | None:
    touched = total = 0
    for mask, found in zip(masks_NHW, found_NHW, strict=True):
        parts, count = components(mask == 1)
        total += count
        touched += len(np.setdiff1d(parts[found], 0))
    return touched / total if total else None


def _brains(data: AuditData) -> dict[str, np.ndarray]:
    """Brains of the three sets found in one way: slice by slice in all of them where those of the samples were."""
    sets = {"samples": data.samples, "train": data.train, "held_out": data.held_out}
    lone = not (data.samples.patients != "").any()
    return {name: slices.lone_brains_NHW if lone else slices.brains_NHW for name, slices in sets.items()}


def _agreement(sets: Mapping[str, Labels], kind: str) -> Finding:
    values = {name: getattr(labels, f"{kind}_NC") for name, labels in sets.items()}
    name = f"label.agreement.{kind}"
    title = f"mask fits image, by the contrast {'against a ring' if kind == 'ring' else 'across the edge'}"
    fit = ContrastFit.of(values["train"], values["dealt"])
    if fit is None:
        return Finding(name, title, None, better="higher", note="training lesions do not stand out from what is around")
    agreement = {which: _mean(fit.agreement(contrasts_NC)) for which, contrasts_NC in values.items()}
    degraded = {which: agreement[which] for which in ("dealt", "moved", "grown")}
    known = [value for value in degraded.values() if value is not None]
    return Finding(
        name,
        title,
        agreement["samples"],
        better="higher",
        good=agreement["held_out"],
        bad=max(known) if known else None,
        note="" if agreement["samples"] is not None else "no lesion among the samples",
        extra={"spoilt": degraded, "weights": fit.weights_C},
    )


def _mean(values: np.ndarray) -> float | None:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else None


def _distance(
    name: str,
    title: str,
    unit: str,
    values: Mapping[str, np.ndarray],
    bad: str,
    extra: Mapping[str, Any] | None = None,
    better: Better = "lower",
) -> Finding:
    """Wasserstein-1 distance of the samples' values to the training slices', between its anchors."""
    from scipy.stats import ks_2samp, wasserstein_distance

    train = values["train"]

    def distance(which: str) -> float | None:
        return float(wasserstein_distance(values[which], train)) if len(values[which]) and len(train) else None

    found = distance("samples")
    more: dict[str, Any] = dict(extra or {})
    more["mean"] = {which: _mean(values[which]) for which in ("samples", "train", "held_out")}
    if found is not None:
        more["ks"] = float(np.asarray(ks_2samp(values["samples"], train))[0])
    return Finding(
        name,
        title,
        found,
        unit,
        better,
        good=distance("held_out"),
        bad=distance(bad),
        note="" if found is not None else "no lesion on one side",
        extra=more,
    )


def _patient_spread(
    values: np.ndarray, rows: np.ndarray, patients: np.ndarray, held_out: int, seed: int
) -> float | None:
    """Largest distance of groups of training patients from the rest; None with fewer than four patients.

    The 97.5 % quantile over random groups, as large as the held-out one but at most half of all, half as much again.
    """
    from scipy.stats import wasserstein_distance

    names, number = np.unique(patients, return_inverse=True)
    if len(names) < 4:
        return None
    owner = number[rows]
    size = max(1, min(held_out, len(names) // 2))
    generator = generator_for(seed, "labels", "spread")
    distances = []
    for _ in range(_SPREAD_DRAWS):
        group = np.isin(owner, generator.permutation(len(names))[:size])
        if group.any() and not group.all():
            distances.append(wasserstein_distance(values[group], values[~group]))
    return float(_SPREAD_FACTOR * np.quantile(distances, _SPREAD_QUANTILE)) if distances else None
