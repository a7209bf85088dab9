"""``manifest.json`` of every folder that a stage leaves behind, as models; read by `read_manifest`, and nowhere else.

Stages write plain JSON and read it back here, maybe after somebody else had it in hand: sizes are bounded, numbers
finite, names fit for files, and who was trained on stands there with hashes, since the guards against leaks compare
these. Keys that a model does not know are left alone; `Kept.content` has them.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    StringConstraints,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    field_validator,
)

from labelgan.config.base import plain_words
from labelgan.core.errors import CheckpointError, DataError, LabelganError
from labelgan.core.files import SAFE_ID_WORDS, bids_label, is_safe_id, read_json, write_json_atomic
from labelgan.core.provenance import provenance
from labelgan.data.check.seen import (
    NamedCase,
    SeenCase,
    SeenCases,
    require_sealed_cohort,
    require_sealed_model,
    sealed_model,
)
from labelgan.data.geometry import SliceGeometry

MANIFEST = "manifest.json"

# kinds of cohorts
SYNTHETIC_SLICES = "synthetic-slices"  # of `labelgan sample`
MIXED_COHORT, REAL_COHORT = "mixed-cohort", "real-cohort"  # of `labelgan export`
PHANTOM = "phantom"

STORE_FORMAT = "labelgan-store"

Item = TypeVar("Item")
Read = TypeVar("Read", bound="Manifest")


def _or_none(value: Any, validate: ValidatorFunctionWrapHandler) -> Any:
    try:
        return validate(value)
    except ValidationError:
        return None


# JSON has lists alone.
Row = Annotated[tuple[Item, ...], Field(strict=False)]
# None too where another program may have written something else under the name.
Maybe = Annotated[Item | None, WrapValidator(_or_none)]

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,64}$")]  # becomes part of a file's name
Channels = Annotated[tuple[Name, ...], Field(strict=False, min_length=1, max_length=4)]
Side = Annotated[int, Field(ge=8, le=4096)]
Size = Annotated[tuple[Side, Side], Field(strict=False)]  # rows and columns
Length = Annotated[float, Field(gt=0, lt=1e3, allow_inf_nan=False)]
Spacing = Annotated[tuple[Length, Length, Length], Field(strict=False)]  # mm: slice, row, column


def _in_order(ends: tuple[float, float]) -> tuple[float, float]:
    if ends[0] > ends[1]:
        raise ValueError("the largest value lies below the least")
    return ends


Finite = Annotated[float, Field(allow_inf_nan=False)]
Ends = Annotated[tuple[Finite, Finite], Field(strict=False), AfterValidator(_in_order)]


class Entry(BaseModel):
    """A part of a manifest; keys that it does not know are left alone."""

    model_config = ConfigDict(frozen=True, strict=True)


class Manifest(BaseModel):
    """A manifest, and what is said of one that cannot be used."""

    model_config = ConfigDict(frozen=True, strict=True)

    optional: ClassVar[bool] = False  # whether a folder may have none, or one of another program
    fault: ClassVar[type[LabelganError]] = DataError
    advice: ClassVar[str] = "copy the folder again"

    @classmethod
    def recognise(cls, content: Any, path: Path) -> None:
        """Raises `fault` where the JSON is not of this kind, or of a format that this version does not read."""

    def keep(self, content: dict[str, Any], path: Path) -> None:
        """Takes the JSON that was read; a model that is read whole needs it no more. Raises `fault` as `recognise`."""


def read_manifest(folder: Path, model: type[Read]) -> Read:
    """Reads a folder's manifest.

    Args:
        folder: the folder.
        model: what its manifest must be.

    Raises:
        LabelganError: of the model's kind: the file is absent, too large or no JSON, or of another kind or format; or
            a key, which the message names, holds what makes no sense.
    """
    path = folder / MANIFEST
    try:
        content = manifest_content(folder) if model.optional else read_json(path)
    except DataError as error:
        raise model.fault(path, error.reason) from None
    model.recognise(content, path)
    try:
        manifest = model.model_validate(content)
    except ValidationError as error:
        raise model.fault(path, f"is damaged: {_first_fault(error)}; {model.advice}") from None
    manifest.keep(content, path)
    return manifest


def manifest_content(folder: Path) -> dict[str, Any]:
    """The JSON of any folder's manifest, unjudged; empty where there is none, or another program's that is no object.

    Raises:
        DataError: it cannot be read. It may be that of synthetic slices, torn, which must not pass for scans.
    """
    path = folder / MANIFEST
    content = read_json(path) if path.is_file() else {}
    return content if isinstance(content, dict) else {}


_LISTS = ("training_cases", "inherited_cases", "held_out_cases")


def _first_fault(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    keys = [str(part) for part in first["loc"]]
    words = re.sub(r" or instance of \w+", "", plain_words(first))
    words = words.replace("a valid tuple", "a list").replace("a valid dictionary", "an object")
    said = f"{'.'.join(keys)}: {words}" if keys else words
    if hidden := [number for number, key in enumerate(keys, start=1) if key in _LISTS]:
        return f"its {'.'.join(keys[: hidden[0]])} are not cases with hashes, so no leak could be found ({said})"
    return said


class Intensity(BaseModel):
    """Mean and standard deviation inside the brain of one volume, or averaged over several.

    An intensity is z-score × sd + mean.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    mean: float = Field(allow_inf_nan=False, gt=-1e30, lt=1e30)
    sd: float = Field(allow_inf_nan=False, gt=0, lt=1e30)


class Kept(Manifest):
    """A manifest that is copied into others, with what this version does not know."""

    _content: dict[str, Any] = PrivateAttr(default_factory=dict)

    @property
    def content(self) -> dict[str, Any]:
        """The JSON as it was read."""
        return self._content

    def keep(self, content: dict[str, Any], path: Path) -> None:
        self._content = content


# Folders of trained models


class ModelManifest(Kept):
    """Base of the manifests of generators and segmenters.

    Attributes:
        status: training, complete or failed.
        channels: names, in order.
        size: rows and columns of a slice.
        training_cases: whose slices were seen.
        inherited_cases: what the model that it began with had seen.
        held_out_cases: what it was kept from.
    """

    fault = CheckpointError
    kind_name: ClassVar[str]
    folder_name: ClassVar[str]
    maker: ClassVar[str]  # the command
    version: ClassVar[int] = 1

    status: str
    channels: Channels
    size: Size
    training_cases: Row[NamedCase]
    inherited_cases: Row[NamedCase] = ()
    held_out_cases: Row[NamedCase] = ()

    def keep(self, content: dict[str, Any], path: Path) -> None:
        require_sealed_model(content, path, self.fault)
        super().keep(content, path)

    @classmethod
    def recognise(cls, content: Any, path: Path) -> None:
        if not isinstance(content, dict) or content.get("kind") != cls.kind_name:
            raise cls.fault(
                path, f"is not the manifest of a {cls.kind_name}: name a folder that `labelgan {cls.maker}` made"
            )
        if content.get("format") != cls.version:
            raise cls.fault(
                path, f"has format {content.get('format')!r}; this version reads {cls.version}; train again"
            )


class GeneratorManifest(ModelManifest):
    """Manifest of a run folder.

    Attributes:
        spacing_mm: distance of slices, height and width of a pixel, mm.
        intensity: by channel, over all training cases.
        site_intensity: likewise by site.
        excluded: ids, as they were named for exclusion.
        files_sha256: by name of file; empty in manifests of before there were hashes in them.
        collapsed: whether its samples are one image over and over.
        diversity, lesion_rate, steps: of a finished run.
    """

    kind_name = "generator"
    folder_name = "run"
    maker = "train"

    spacing_mm: Spacing
    intensity: dict[str, Intensity]
    site_intensity: dict[str, dict[str, Intensity]] = {}
    excluded: Row[str] = ()
    files_sha256: dict[str, str] = {}
    collapsed: bool = False
    diversity: float = 0.0
    lesion_rate: float = 0.0
    steps: int | None = None

    @property
    def seen(self) -> SeenCases:
        """All cases that the generator has seen."""
        return SeenCases(self.training_cases, self.inherited_cases)

    @field_validator("intensity", "site_intensity")
    @classmethod
    def _has_the_channels(cls, value: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        channels = set(info.data.get("channels", ()))
        for scales in value.values() if info.field_name == "site_intensity" else (value,):
            if channels and set(scales) != channels:
                raise ValueError(f"must have the channels {', '.join(sorted(channels))} and no other")
        return value


class Member(Entry):
    """A trained member of an ensemble: hashes of its weights, and of those of an earlier step."""

    sha256: str | None = None
    early_sha256: str | None = None


class SyntheticPart(Entry):
    """The synthetic cohort of a segmenter: what its generator has seen."""

    training_cases: Row[SeenCase] = ()
    inherited_cases: Row[SeenCase] = ()


class SegmenterManifest(ModelManifest):
    """Manifest of a segmenter folder.

    Attributes:
        excluded: ids, as they were named for exclusion.
        members: in order; empty before the training has ended.
        synthetic: the synthetic cohort that was mixed in.
    """

    kind_name = "segmenter"
    folder_name = "segmenter"
    maker = "segment train"

    excluded: Row[str]
    members: Row[Member] = ()
    synthetic: SyntheticPart | None = None


@dataclass(frozen=True)
class TrainedFolder:
    """Paths that every folder of a trained model has, and its manifest."""

    path: Path

    model: ClassVar[type[ModelManifest]]

    @property
    def config(self) -> Path:
        """Every setting, TOML."""
        return self.path / "config.toml"

    @property
    def manifest(self) -> Path:
        """Gives the parts that say what was trained on what, as JSON."""
        return self.path / MANIFEST

    def write_manifest(self, status: str, **facts: Any) -> dict[str, Any]:
        """Writes the manifest, and gives what it holds; ``status`` is training, complete or failed."""
        head = {"format": self.model.version, "kind": self.model.kind_name, "status": status}
        manifest = sealed_model({**head, **facts, "made_with": provenance()})
        write_json_atomic(self.manifest, manifest)
        return manifest


def read_trained(folder: Path, model: type[Read]) -> Read:
    """Reads the manifest of a trained model; raises CheckpointError where there is no such folder, or it is damaged."""
    if issubclass(model, ModelManifest) and not folder.is_dir():
        raise CheckpointError(
            folder, f"there is no such {model.folder_name} folder; `labelgan {model.maker} --out` makes one"
        )
    return read_manifest(folder, model)


# Cases of slice stores; the manifest that lists them is in `data.store`


class StoredCase(BaseModel):
    """One case of a store; its slices are the rows ``first`` to ``first + count - 1``.

    ``pixel_mm`` is the size of a store pixel along rows and columns, ``slice_mm`` the distance between neighbouring
    slices of the native grid, ``hashes`` the hash of each channel's voxels as they were read, ``mask_hash`` the mask's
    where it has lesion enough to be known by. ``brain_voxels`` and ``lesion_voxels`` count native voxels,
    ``..._cropped`` those outside the slices; 0 in stores of earlier versions.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")
    patient: str
    site: str | None = None
    session: str | None = None
    split: str | None = None
    labelled: bool
    first: int = Field(ge=0)
    count: int = Field(ge=1)
    pixel_mm: tuple[float, float]
    slice_mm: float
    brain_voxels: int = Field(default=0, ge=0)
    brain_voxels_cropped: int = Field(default=0, ge=0)
    lesion_voxels: int = Field(default=0, ge=0)
    lesion_voxels_cropped: int = Field(default=0, ge=0)
    hashes: dict[str, str]
    mask_hash: str | None = None
    intensity: dict[str, Intensity]
    geometry: SliceGeometry


# Cohorts


def _named(value: Any) -> Any:
    return value if isinstance(value, dict) else None


def _tells_cases(value: Any) -> Any:
    return value if isinstance(value, list) else None


class MadeBy(Entry):
    """The generator of synthetic slices; ``training_cases`` is None where it does not tell whom it has seen."""

    sha256: Maybe[str] = None
    training_cases: Annotated[Row[SeenCase] | None, BeforeValidator(_tells_cases)] = None
    inherited_cases: Row[SeenCase] | None = None


class Sample(Entry):
    """A synthetic slice: its case, and the hash of its files (`data.curation.sample_hash`), where that is told."""

    id: str
    sha256: str | None = None


class ExportedCase(Entry):
    """Facts of a case whose layout has no room for them, as an export keeps them."""

    id: Maybe[str] = None
    patient: Maybe[str] = None
    synthetic: Maybe[bool] = None

    @field_validator("patient")
    @classmethod
    def _is_safe(cls, value: str | None) -> str | None:
        if value is not None and not is_safe_id(value):
            raise ValueError(f"unsafe patient {value[:70]!r}: {SAFE_ID_WORDS}")
        return value


def _entries(value: Any) -> list[Any]:
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


class CohortManifest(Kept):
    """Manifest of a cohort; empty where there is none.

    Another program's may have the same name: what it says is no fault, and counts only where it can be what it looks
    like. But whom a generator has seen, and to which patient a case belongs, is never guessed.

    Attributes:
        kind: one of the kinds above, or whatever another program wrote.
        channels: names, in order.
        spacing_mm: distance of slices, height and width of a pixel, mm.
        intensity: by channel, of a synthetic cohort.
        range: least and largest z-score by channel, likewise.
        generator: which made a synthetic cohort.
        samples: its slices; None where they are not listed.
        cases: who is who, in an export.
    """

    optional = True
    advice = "mend it, or make the cohort again"

    kind: Maybe[str] = None
    channels: Maybe[Row[str]] = None
    spacing_mm: Maybe[Spacing] = None
    intensity: Maybe[dict[str, Maybe[Intensity]]] = None
    range: Maybe[dict[str, Maybe[Ends]]] = None
    generator: Annotated[MadeBy | None, BeforeValidator(_named)] = None
    samples: Maybe[Row[Sample]] = None
    cases: Annotated[Row[ExportedCase], BeforeValidator(_entries)] = ()

    def keep(self, content: dict[str, Any], path: Path) -> None:
        require_sealed_cohort(content, path, self.fault)
        super().keep(content, path)

    @cached_property
    def sample_hashes(self) -> dict[str, str | None]:
        """Id of a sample, as it may stand in a name of BIDS, to the hash of its files where that is listed."""
        return {bids_label(sample.id): sample.sha256 for sample in self.samples or ()}

    @property
    def seen(self) -> SeenCases | None:
        """The cases that a synthetic cohort's generator has seen, or None where that is not told."""
        if self.generator is None or self.generator.training_cases is None:
            return None
        return SeenCases(self.generator.training_cases, self.generator.inherited_cases or ())

    def scale_of(self, channel: str) -> Intensity | None:
        """Mean and sd of a channel of synthetic slices, where they are told."""
        return (self.intensity or {}).get(channel)

    def range_of(self, channel: str) -> tuple[float, float]:
        """Least and largest z-score of a channel of synthetic slices; without bounds where they are not told."""
        return (self.range or {}).get(channel) or (-math.inf, math.inf)

    @property
    def is_synthetic(self) -> bool:
        """Whether ``labelgan sample`` wrote the cohort."""
        return self.kind == SYNTHETIC_SLICES

    @property
    def holds_both(self) -> bool:
        """Whether scans and synthetic slices lie together in the cohort, as an export for other tools."""
        return self.kind == MIXED_COHORT


NO_MANIFEST = CohortManifest()
