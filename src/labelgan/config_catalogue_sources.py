"""Which paper a setting, a model or a preset follows."""

from __future__ import annotations

import re

# What `labelgan train --model` plays; the equations are told in docs/guides/method.md.
MODEL_SOURCES: dict[str, str] = {
    "refiner": "after Shrivastava et al. 2017, in the game of Huang et al. 2024; settings of our own",
    "r3gan": "Huang et al. 2024",
    "gan": "Goodfellow et al. 2014",
    "dcgan": "Radford et al. 2016, section 4",
    "wgan": "Arjovsky et al. 2017, algorithm 1",
    "wgan-gp": "Gulrajani et al. 2017, algorithm 1",
}

NETWORK_SOURCES: dict[str, str] = {
    "li2018": "Li et al. 2018",
    "dynunet": "Isensee et al. 2021",
    "segresnet": "Myronenko 2018",
}

PRESET_SOURCES: dict[str, str] = {"uned2019": "Cabrera, Gamazo, Izaguirre 2019"}

# Settings by topic and key whose idea or default is a paper's, where the description does not name it.
SETTING_SOURCES: dict[str, str] = {
    "prepare:size": "Li et al. 2018",
    "prepare:n4": "Tustison et al. 2010",
    "train:objective.saturating": "Goodfellow et al. 2014, section 3",
    "train:objective.clip": "Arjovsky et al. 2017, algorithm 1",
    "train:objective.penalty": "Gulrajani et al. 2017, equation 3; Huang et al. 2024, equations 3 and 4",
    "train:objective.critic_steps": "Arjovsky et al. 2017, algorithm 1",
    "train:augment.policy": "Zhao et al. 2020",
    "train:train.ema_images": "Karras et al. 2018",
    "segment:augment.flip": "Li et al. 2018",
    "segment:augment.rotate": "Li et al. 2018",
    "segment:augment.shear": "Li et al. 2018",
    "segment:augment.zoom": "Li et al. 2018",
    "segment:train.members": "Li et al. 2018",
    "segment:train.epochs": "Li et al. 2018",
    "segment:train.batch_size": "Li et al. 2018",
    "segment:train.lr": "Li et al. 2018",
    "segment:train.restart_above": "Li et al. 2018",
    "segment:train.copypaste": "Zhang et al. 2021",
    "segment:network.prior": "Lin et al. 2017, section 3.3",
    "segment:predict.threshold": "Li et al. 2018",
    "segment:predict.emptied": "Li et al. 2018",
    "audit:fidelity.kernel_blocks": "Bińkowski et al. 2018",
    "audit:fidelity.kernel_block": "Bińkowski et al. 2018",
    "audit:fidelity.projections": "Rabin et al. 2011",
    "audit:fidelity.neighbours": "Kynkäänniemi et al. 2019; Naeem et al. 2020",
    "study:copypaste": "Zhang et al. 2021",
}

_NAMED = re.compile(r"[A-ZÀ-Ž][\w-]+ et al\.,? \d{4}")


def model_source(origin: str) -> str:
    """Gives the paper of a model, network or preset by which a value was set; empty where there is none."""
    kind, _, name = origin.partition(" ")
    sources = {"model": MODEL_SOURCES, "network": NETWORK_SOURCES, "preset": PRESET_SOURCES}
    return sources.get(kind, {}).get(name, "")


def source_of(topic: str, key: str, meaning: str) -> str:
    """Gives the paper that a setting is from: as its description names it, else as ``SETTING_SOURCES`` does."""
    named = _NAMED.search(meaning)
    if named:
        return named[0]
    return SETTING_SOURCES.get(f"{topic}:{key}", "")
