"""Every setting with its default, unit and meaning: frozen models, the only place for defaults."""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Self, Union, get_args, get_origin

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo

from labelgan.core.errors import ConfigError
from labelgan.core.files import read_text, why_unread

Settings = Collection[str] | Mapping[str, Any]  # text as ``--set`` takes it, or values by dotted key
Layer = tuple[str, Mapping[str, Any]]  # what sets values, and those, nested by part


def plain_words(error: Mapping[str, Any]) -> str:
    """Rewords a pydantic error without what only pydantic's own users understand."""
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
            values = _with_null(cls, tomllib.loads(read_text(path)))
        except (OSError, ValueError, RecursionError) as error:
            raise ConfigError(path, f"cannot be read as TOML: {why_unread(error)}") from None
        if not values:  # it would mean nothing but defaults, which no file that was written here does
            raise ConfigError(path, "is empty: it was torn, or never written")
        return cls.build(values, path)

    def to_toml(self) -> str:
        """Renders as TOML, which has no null: None is left out where it is the default, else written as "none"."""
        return tomli_w.dumps(_without_null(self, self.model_dump(mode="json")))

    def with_settings(self, settings: Settings) -> Self:
        """Applies settings: text as ``--set`` takes it, or typed values by dotted key as `replace` takes them.

        Text is ``a.b=value``, the value read as TOML; one that is to be text, such as a path, needs no quotes whatever
        it looks like. ``none`` stands for None where that is allowed.

        Raises:
            ConfigError: a key is unknown, or a value is not allowed; it is named.
        """
        if isinstance(settings, Mapping):
            return self.replace(settings)
        changes = []
        for setting in settings:
            key, equals, text = (part.strip() for part in setting.partition("="))
            if not equals or not key:
                raise ConfigError(f"--set {setting}", "expected KEY=VALUE, such as train.batch_size=8")
            changes.append((f"--set {setting}", key, _parsed(text, _field(type(self), key))))
        return self._changed(changes, "--set")

    def replace(self, changes: Mapping[str, Any]) -> Self:
        """Gives the settings with others in their place, by dotted key: ``replace({"train.steps": 5})``.

        Values keep their types: text stays text whatever it looks like, and a path becomes text.

        Raises:
            ConfigError: a key is unknown, or a value is not allowed; it is named.
        """
        named = [(key, key, str(value) if isinstance(value, Path) else value) for key, value in changes.items()]
        return self._changed(named, "settings")

    def _changed(self, changes: Iterable[tuple[str, str, Any]], subject: str) -> Self:
        values = self.model_dump()
        for named, key, value in changes:
            *parents, last = key.split(".")
            node: Any = values
            for parent in parents:
                node = node.get(parent) if isinstance(node, dict) else None
            if not isinstance(node, dict) or last not in node:
                raise ConfigError(named, f"unknown setting '{key}'")
            node[last] = value
        return self.build(values, subject)


def merge(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Puts nested values over one another, the later ones on top; a part that a layer leaves out stays as it was."""
    merged: dict[str, Any] = {}
    for layer in layers:
        for key, value in layer.items():
            merged[key] = merge(merged.get(key, {}), value) if isinstance(value, Mapping) else value
    return merged


def flat(values: Mapping[str, Any], parent: str = "") -> dict[str, Any]:
    """Gives nested values by dotted key; tuples become lists."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= flat(value, f"{parent}{key}.") if isinstance(value, Mapping) else {f"{parent}{key}": plain(value)}
    return found


def within(key: str, part: str) -> bool:
    """Tells whether a dotted key is a part's own or of something in it."""
    return key == part or key.startswith(f"{part}.")


def plain(value: Any) -> Any:
    """Gives a value with lists for tuples, at any depth."""
    return [plain(part) for part in value] if isinstance(value, tuple | list) else value


def _field(kind: type[Config], key: str) -> FieldInfo | None:
    """The field that a dotted key names, None where there is none."""
    first, _, rest = key.partition(".")
    field = kind.model_fields.get(first)
    if field is None or not rest:
        return field
    return _field(type(field.default), rest) if isinstance(field.default, Config) else None


def _alternatives(field: FieldInfo) -> tuple[Any, ...]:
    return get_args(field.annotation) if get_origin(field.annotation) in (Union, UnionType) else (field.annotation,)


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


def _with_null(kind: type[Config], values: dict[str, Any]) -> dict[str, Any]:
    """Reads "none" as None, but where it is text: None is the default of those, and "none" a name like any other."""
    read = {}
    for key, value in values.items():
        field = kind.model_fields.get(key)
        if field is not None and isinstance(field.default, Config) and isinstance(value, dict):
            read[key] = _with_null(type(field.default), value)
        elif value == "none" and field is not None and str not in _alternatives(field):
            read[key] = None
        else:
            read[key] = value
    return read


def _parsed(text: str, field: FieldInfo | None) -> Any:
    if text in ("none", "None"):
        return None
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        return text
    only_text = field is not None and set(_alternatives(field)) <= {str, type(None)}
    return text if only_text and not isinstance(value, str) else value


class CheckConfig(Config):
    """Limits of reading and checking."""

    max_voxels: int = Field(
        default=2**29, gt=0, description="largest volume that is read, in voxels", json_schema_extra={"unit": "voxels"}
    )
    max_file_bytes: int = Field(
        default=2**32,
        gt=0,
        description="largest size that a file, gzip unfolded, may have, in bytes",
        json_schema_extra={"unit": "bytes"},
    )
    grid_tolerance_mm: float = Field(
        default=1e-2,
        gt=0,
        description="largest corner-to-corner difference of two grids, mm",
        json_schema_extra={"unit": "mm"},
    )


Side = Annotated[int, Field(ge=8, multiple_of=8)]


class PrepareConfig(Config):
    """Settings of ``labelgan prepare``."""

    size: tuple[Side, Side] = Field(
        default=(200, 200),
        description="rows and columns of a store slice, pixels; divisible by 8",
        json_schema_extra={"unit": "pixels", "source": "Li et al. 2018"},
    )
    spacing_mm: Annotated[float, Field(gt=0)] | Literal["auto"] | None = Field(
        default=None,
        description="in-plane resampling to this pixel size, mm; None: native grid; auto: native, or as coarse as "
        "slices of this size must be to hold every brain",
        json_schema_extra={"unit": "mm"},
    )
    every: int = Field(default=1, ge=1, description="keep every K-th axial slice (thin slices)")
    brain_mask: Literal["auto", "li2018", "file", "deepbet"] = Field(
        default="auto",
        description="auto: scale-free; li2018: FLAIR threshold; file: the layout's brain mask; deepbet: the package",
    )
    li2018_threshold: float = Field(
        default=70.0, description="FLAIR threshold of Li et al. 2018: 70 (Utrecht, Singapore) or 30 (GE3T)"
    )
    n4: bool = Field(
        default=False,
        description="N4 bias field correction (SimpleITK) before normalisation",
        json_schema_extra={"source": "Tustison et al. 2010"},
    )
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
    fingerprints: bool = Field(
        default=True,
        description="compare scans of different patients by fingerprint, which finds one in another form, too; false "
        "where two people are taken for one: by voxels and masks alone",
    )
