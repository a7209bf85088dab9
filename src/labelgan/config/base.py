"""Every setting with its default, unit and meaning: frozen models, the only place for defaults."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from labelgan.core.errors import ConfigError
from labelgan.core.files import read_text, why_unread


def plain_words(error: Mapping[str, Any]) -> str:
    """What pydantic says of an error, without what only its own users understand."""
    return str(error["msg"]).removeprefix("Value error, ")


class Config(BaseModel):
    """Base of the configuration models: immutable, and unknown keys are refused by name."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @classmethod
    def build(cls, values: dict[str, Any], subject: str | Path = "configuration") -> Self:
        """Validates plain values; raises ConfigError naming the first key at fault."""
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            first = error.errors()[0]
            # without the names that pydantic gives the members of a union, such as constrained-float
            key = ".".join(str(part) for part in first["loc"] if str(part).isidentifier() or isinstance(part, int))
            if first["type"] == "extra_forbidden":
                of_file = "; take it out, or use the version of labelgan that wrote it"
                raise ConfigError(
                    subject, f"unknown setting '{key}'{of_file if isinstance(subject, Path) else ''}"
                ) from None
            raise ConfigError(subject, f"setting '{key}': {plain_words(first)} (got {first.get('input')!r})") from None

    @classmethod
    def from_toml(cls, path: Path) -> Self:
        """Reads a TOML file; raises ConfigError naming the file."""
        try:
            values = _with_null(tomllib.loads(read_text(path)))
        except (OSError, ValueError, RecursionError) as error:
            raise ConfigError(path, f"cannot be read as TOML: {why_unread(error)}") from None
        if not values:  # it would mean nothing but defaults, which no file that was written here does
            raise ConfigError(path, "is empty: it was torn, or never written")
        return cls.build(values, path)

    def to_toml(self) -> str:
        """Renders as TOML, which has no null: None is left out where it is the default, else written as "none"."""
        return tomli_w.dumps(_without_null(self, self.model_dump(mode="json")))

    def with_settings(self, settings: list[str]) -> Self:
        """Applies ``a.b=value`` settings, values read as TOML; raises ConfigError for an unknown key, by name."""
        values = self.model_dump(mode="json")
        for setting in settings:
            key, equals, text = setting.partition("=")
            if not equals or not key.strip():
                raise ConfigError(f"--set {setting}", "expected KEY=VALUE, such as train.batch_size=8")
            *parents, last = key.strip().split(".")
            node: Any = values
            for parent in parents:
                node = node.get(parent) if isinstance(node, dict) else None
            if not isinstance(node, dict) or last not in node:
                raise ConfigError(f"--set {setting}", f"unknown setting '{key.strip()}'")
            node[last] = _toml_value(text.strip())
        return self.build(values, "--set")


def _without_null(config: Config, values: dict[str, Any]) -> dict[str, Any]:
    kept = {}
    for key, value in values.items():
        inner = getattr(config, key)
        if isinstance(inner, Config):
            kept[key] = _without_null(inner, value)
        elif value is not None:
            kept[key] = value
        elif type(config).model_fields[key].default is not None:
            kept[key] = "none"
    return kept


def _with_null(values: dict[str, Any]) -> dict[str, Any]:
    plain = {key: None if value == "none" else value for key, value in values.items()}
    return {key: _with_null(value) if isinstance(value, dict) else value for key, value in plain.items()}


def _toml_value(text: str) -> Any:
    if text in ("none", "None"):
        return None
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        return text


class CheckConfig(Config):
    """Limits of reading and checking."""

    max_voxels: int = Field(default=2**29, gt=0, description="largest volume that is read, in voxels")
    max_file_bytes: int = Field(
        default=2**32, gt=0, description="largest size that a file, gzip unfolded, may have, in bytes"
    )
    grid_tolerance_mm: float = Field(
        default=1e-2, gt=0, description="largest corner-to-corner difference of two grids, mm"
    )


Side = Annotated[int, Field(ge=8, multiple_of=8)]


class PrepareConfig(Config):
    """Settings of ``labelgan prepare``."""

    size: tuple[Side, Side] = Field(
        default=(200, 200), description="rows and columns of a store slice, pixels; divisible by 8"
    )
    spacing_mm: Annotated[float, Field(gt=0)] | Literal["auto"] | None = Field(
        default=None,
        description="in-plane resampling to this pixel size, mm; None: native grid; auto: native, or as coarse as "
        "slices of this size must be to hold every brain",
    )
    every: int = Field(default=1, ge=1, description="keep every K-th axial slice (thin slices)")
    brain_mask: Literal["auto", "li2018", "file", "deepbet"] = Field(
        default="auto",
        description="auto: scale-free; li2018: FLAIR threshold; file: the layout's brain mask; deepbet: the package",
    )
    li2018_threshold: float = Field(
        default=70.0, description="FLAIR threshold of Li et al. 2018: 70 (Utrecht, Singapore) or 30 (GE3T)"
    )
    n4: bool = Field(default=False, description="N4 bias field correction (SimpleITK) before normalisation")
    register_t1: bool = Field(
        default=False,
        description="rigid registration of the other channels to the first (SimpleITK, mutual information)",
    )
    drop_empty: bool = Field(default=True, description="leave out slices without brain")
    min_brain_fraction: float = Field(
        default=0.02, ge=0, le=1, description="a slice with less brain than this share of its pixels is empty"
    )
    max_cropped: float = Field(
        default=0.01, ge=0, le=1, description="largest share of all lesion voxels that may lie outside the slices"
    )
