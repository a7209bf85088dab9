"""Copies of patients and membership inference as figures of an audit."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from labelgan.audit.copies.copies import CERTAIN, PRIVACY_NOTE, Comparable, CopyAudit, audit_copies
from labelgan.audit.copies.membership import MembershipAttack, attack
from labelgan.audit.copies.nearest import find_nearest
from labelgan.audit.gates import Finding
from labelgan.audit.slices import AuditData, AuditSlices
from labelgan.config.audit import AuditConfig
from labelgan.core.rng import generator_for

PAIRS = 10
"""Closest pairs that are named and shown."""


def privacy(data: AuditData, config: AuditConfig) -> list[Finding]:
    """Looks for copies of training slices, and for what the samples tell of who was trained on.

    Returns:
        ``copies.share``, with the closest pairs and the patients concerned in its extra; ``copies.certain``,
        ``copies.patients``, ``copies.authenticity`` and ``membership.nearest_sample``, and ``membership.critic`` where
        there is a critic. The good anchors are those of held-out slices, on which the limits were set.
    """
    sets = {name: comparable(data, name) for name in ("samples", "train", "held_out")}
    found = audit_copies(sets["samples"], sets["train"], sets["held_out"], pairs=PAIRS)
    return [*_copies(found, data), _membership(sets, config), *_critic_attack(data, config)]


def comparable(data: AuditData, name: str) -> Comparable:
    """One set's slices as copies are looked for among them, with the encoder's features where there is one."""
    slices: AuditSlices = getattr(data, name)
    patients = None if name == "samples" else slices.patients
    if data.encoder is None:
        return Comparable.of(slices.images_NCHW, patients)
    turned = None if name == "train" else _turned(data, slices)
    return Comparable.of(slices.images_NCHW, patients, data.features(name), turned)


def _turned(data: AuditData, slices: AuditSlices) -> np.ndarray:
    """Features of slices turned left to right, block by block."""
    assert data.encoder is not None
    parts = []
    for rows in slices.blocks(256):
        part = slices.select(rows)
        images, masks = (np.ascontiguousarray(values[..., ::-1]) for values in (part.images_NCHW, part.masks_NHW))
        parts.append(data.encoder(dataclasses.replace(part, images_NCHW=images, masks_NHW=masks)))
    return np.concatenate(parts)


def _copies(found: CopyAudit, data: AuditData) -> list[Finding]:
    extra: dict[str, Any] = {
        "limits": {space: dataclasses.asdict(limit) for space, limit in found.limits.items()},
        "patients": [{**dataclasses.asdict(entry), "words": str(entry)} for entry in found.patients],
        "closest": [
            {
                **dataclasses.asdict(pair),
                "sample": str(data.samples.names[pair.sample]),
                "sample_row": pair.sample,
                "train": str(data.train.names[pair.train]),
                "train_row": pair.train,
            }
            for pair in found.pairs
        ],
        "copies": data.samples.names[found.copies].tolist(),
        "patients_of_held_out_flagged": found.held_out_patient_share,
    }
    shared = (
        " Held-out slices that are all but training slices were found: the two sets may share a patient."
        if found.shared_patients
        else ""
    )
    basis = f" The limits rest on {len(data.held_out)} slices of held-out patients ({found.held_out_patients})"
    if raised := [space for space, limit in found.limits.items() if limit.limit <= limit.floor]:
        basis += f", those of {' and '.join(raised)} on the training patients' distances from each other"
    if not any(limit.floor for limit in found.limits.values()):
        basis += ", and no floor holds them up: there is one training patient alone"
    basis += "."
    held_certain = float((found.held_out_closeness < CERTAIN).mean())
    return [
        Finding(
            "copies.share",
            "samples that count as copies of a training slice",
            found.share,
            good=found.held_out_share,
            bad=1.0,
            note=PRIVACY_NOTE + basis + shared,
            extra=extra,
        ),
        Finding(
            "copies.certain",
            "samples that are all but a training slice",
            found.certain_share,
            good=held_certain,
            bad=1.0,
        ),
        Finding(
            "copies.patients",
            "share of training patients of whom there are copies",
            len(found.patients) / len(set(data.train.patients)),
            bad=1.0,
        ),
        Finding(
            "copies.authenticity",
            "samples no nearer to a training slice than another patient is (authenticity)",
            found.authenticity,
            better="higher",
            good=found.held_out_authenticity,
            bad=0.0,
            note="" if found.authenticity is not None else "needs training slices of two patients",
        ),
    ]


def _membership(sets: dict[str, Comparable], config: AuditConfig) -> Finding:
    """The nearest-sample attack: a real slice is guessed to be a training slice where a sample is near."""
    seed, most = config.data.seed, config.privacy.attacked
    scores, patients = {}, {}
    for name in ("train", "held_out"):
        rows = _drawn(len(sets[name]), most, seed, name)
        part = sets[name].select(rows)
        found = find_nearest(part.patterns_NCHW, sets["samples"].patterns_NCHW, whole_only=True)
        scores[name] = -found.distance
        patients[name] = part.patients
    result = attack(scores["train"], patients["train"], scores["held_out"], patients["held_out"], seed=seed)
    return _attack_finding("membership.nearest_sample", "AUC of membership inference by the nearest sample", result)


def _critic_attack(data: AuditData, config: AuditConfig) -> list[Finding]:
    """The attack of one who has the critic too: a slice that it likes is guessed to be a training slice."""
    if data.critic is None:
        return []
    seed, most = config.data.seed, config.privacy.attacked
    scores, patients = {}, {}
    for name in ("train", "held_out"):
        part: AuditSlices = getattr(data, name)
        part = part.select(_drawn(len(part), most, seed, name))
        scores[name] = data.critic(part.z_scores(), part.masks_NHW)
        patients[name] = part.patients
    result = attack(scores["train"], patients["train"], scores["held_out"], patients["held_out"], seed=seed)
    return [_attack_finding("membership.critic", "AUC of membership inference by the critic's score", result)]


def _drawn(count: int, most: int, seed: int, name: str) -> np.ndarray:
    return np.sort(generator_for(seed, "attacked", name).permutation(count)[:most])


def _attack_finding(name: str, title: str, found: MembershipAttack) -> Finding:
    note = f"95 % interval {found.low:.2f} to {found.high:.2f} over patients; 0.5 is guessing"
    if np.isfinite(found.control_high):
        note += f"; training patients among themselves: {found.control_low:.2f} to {found.control_high:.2f}"
    extra = {**dataclasses.asdict(found), "succeeds": found.succeeds}
    return Finding(name, title, found.auc, better="lower", good=0.5, bad=1.0, note=note, extra=extra)
