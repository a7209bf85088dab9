"""Cases that a network has seen, as manifests list them, and the seal that ties the lists to the rest of a manifest.

The seal is a hash without a key. It finds a list or a hash that somebody changed, an entry that is gone, files of
another model. Who computes it anew, as this code does, is not stopped by it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator

from labelgan.core.errors import LabelganError
from labelgan.data.check.fingerprint import from_text

SEAL = "guard"
SEAL_VERSION = 1
_LISTS = ("training_cases", "inherited_cases", "held_out_cases")
# What a seal covers: whom a model has seen and was kept from, and the hashes of its files and of what went into it.
_MODEL = (*_LISTS, "excluded", "files_sha256", "members", "synthetic", "started_from")
_COHORT = ("kind", "channels", "size", "spacing_mm", "intensity", "range", "samples", "generator")


def _no_null(value: Any) -> Any:
    return "" if value is None else value


class SeenCase(BaseModel):
    """A case by what it is known by, and by its names, empty where they are not told.

    Attributes:
        hashes: channel to hash of its voxels.
        mask_hash: of its mask's voxels; None where it has too little lesion to be known by it, or none.
        fingerprints: channel to what may travel of its prints, as text; see `check.fingerprint`.
    """

    model_config = ConfigDict(frozen=True, strict=True)

    hashes: dict[str, str]
    mask_hash: str | None = None
    fingerprints: dict[str, str] = {}
    id: Annotated[str, BeforeValidator(_no_null)] = ""
    patient: Annotated[str, BeforeValidator(_no_null)] = ""

    @field_validator("fingerprints")
    @classmethod
    def _are_fingerprints(cls, value: dict[str, str]) -> dict[str, str]:
        for text in value.values():
            from_text(text)
        return value

    @property
    def prints(self) -> dict[str, np.ndarray]:
        """Channel to prints."""
        return {channel: from_text(text) for channel, text in self.fingerprints.items()}


class NamedCase(SeenCase):
    """A case of the store that a network was trained on; ``slices`` counts those of its slices that were seen."""

    id: str = Field("", validate_default=True, min_length=1)
    patient: str = Field("", validate_default=True, min_length=1)
    slices: int = 0


@dataclass(frozen=True)
class SeenCases:
    """The cases that a generator has seen: its own, and those of the one that it was tuned from."""

    own: tuple[SeenCase, ...]
    inherited: tuple[SeenCase, ...] = ()


def sealed_model(content: Mapping[str, Any]) -> dict[str, Any]:
    """Gives the manifest of a trained model with its seal."""
    return {**content, SEAL: {"version": SEAL_VERSION, "sha256": _digest(content, _MODEL)}}


def sealed_cohort(content: Mapping[str, Any]) -> dict[str, Any]:
    """Gives the manifest of a synthetic cohort with its seal."""
    return {**content, SEAL: {"version": SEAL_VERSION, "sha256": _digest(content, _COHORT)}}


def require_sealed_model(content: Mapping[str, Any], path: Path, fault: type[LabelganError]) -> None:
    """Raises ``fault`` where a model's manifest does not fit its seal, or has none and is of a version that seals.

    Manifests of before there were seals pass: their cases have no fingerprints, not even empty ones.
    """
    lists = [value for key in _LISTS if isinstance(value := content.get(key), list)]
    entries = [entry for value in lists for entry in value if isinstance(entry, dict)]
    _require(content, _MODEL, path, fault, expected=any("fingerprints" in entry for entry in entries))


def require_sealed_cohort(content: Mapping[str, Any], path: Path, fault: type[LabelganError]) -> None:
    """The same of a synthetic cohort's manifest, and of what it tells of its generator."""
    generator, samples = content.get("generator"), content.get("samples")
    sealed = isinstance(generator, dict) and SEAL in generator
    entries = samples if isinstance(samples, list) else []
    hashed = any(isinstance(entry, dict) and "sha256" in entry for entry in entries)
    _require(content, _COHORT, path, fault, expected=sealed or hashed)
    if isinstance(generator, dict):
        require_sealed_model(generator, path, fault)
        files = generator.get("files_sha256")
        told = files.get("generator.safetensors") if isinstance(files, dict) else None
        if sealed and told is not None and told != generator.get("sha256"):
            raise fault(path, "names two hashes of its generator's weights: parts of two manifests were put together")


def _require(
    content: Mapping[str, Any], keys: tuple[str, ...], path: Path, fault: type[LabelganError], *, expected: bool
) -> None:
    seal = content.get(SEAL)
    if seal is None:
        if expected:
            raise fault(path, f"has lost its seal ('{SEAL}'): who was trained on cannot be relied on; copy it again")
        return
    if not isinstance(seal, dict) or seal.get("version") != SEAL_VERSION:
        raise fault(path, f"is sealed ('{SEAL}') in a way that this version of labelgan does not know; use a later one")
    if seal.get("sha256") != _digest(content, keys):
        raise fault(
            path,
            "was changed after it was written: what it says of cases, files or samples does not fit its seal "
            f"('{SEAL}'), so no leak could be found; copy it again",
        )


def _digest(content: Mapping[str, Any], keys: tuple[str, ...]) -> str:
    """SHA-256 of some keys, those that are missing included, as JSON in one form."""
    values = {key: content.get(key) for key in keys}
    return hashlib.sha256(json.dumps(values, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
