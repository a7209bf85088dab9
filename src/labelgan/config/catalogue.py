"""Every setting in words: meaning, unit, default, value, where the value comes from, and the paper it follows."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from labelgan.config import gan, seg, study
from labelgan.config.audit import AuditConfig
from labelgan.config.base import CheckConfig, Config, Layer, PrepareConfig, flat, merge, plain, within
from labelgan.config.gan import AUTO_MODEL, GanConfig
from labelgan.config.seg import SegConfig
from labelgan.config.study import EngineConfig, StudyConfig
from labelgan.core.errors import ConfigError

# What `labelgan train --model` plays; the equations are told in docs/guides/method.md.
MODEL_SOURCES: dict[str, str] = {
    "refiner": "after Shrivastava et al. 2017, in the game of Huang et al. 2024; settings of our own",
    "r3gan": "Huang et al. 2024",
    "gan": "Goodfellow et al. 2014; learning rates of our own, theirs explodes on slices",
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

_NAMED = re.compile(r"[A-ZÀ-Ž][\w-]+ et al\.,? \d{4}")


def model_source(origin: str) -> str:
    """Gives the paper of a model, network or preset by which a value was set; empty where there is none."""
    kind, _, name = origin.partition(" ")
    sources = {"model": MODEL_SOURCES, "network": NETWORK_SOURCES, "preset": PRESET_SOURCES}
    return sources.get(kind, {}).get(name, "")


def source_of(info: FieldInfo) -> str:
    """Gives the paper that a setting is from: as its description names it, else as its field's ``source`` does."""
    named = _NAMED.search(info.description or "")
    return named[0] if named else _extra(info, "source")


def unit_of(info: FieldInfo) -> str:
    """Gives the unit of a setting, as its field's ``unit`` has it; empty where there is none."""
    return _extra(info, "unit")


def _extra(info: FieldInfo, name: str) -> str:
    extra = info.json_schema_extra
    return str(extra.get(name, "")) if isinstance(extra, dict) else ""


@dataclass(frozen=True)
class Topic:
    """One family of settings: its model, and the command that takes them."""

    config: type[Config]
    reached_by: str


# One place to add a family of settings.
TOPICS: dict[str, Topic] = {
    "check": Topic(CheckConfig, "fixed; in Python, labelgan.data.check.integrity.check_cohort(limits=...)"),
    "prepare": Topic(PrepareConfig, "labelgan prepare --set KEY=VALUE"),
    "train": Topic(GanConfig, "labelgan train --set KEY=VALUE"),
    "segment": Topic(SegConfig, "labelgan segment train --set KEY=VALUE"),
    "audit": Topic(AuditConfig, "labelgan audit --set KEY=VALUE"),
    "study": Topic(StudyConfig, "labelgan study --set KEY=VALUE"),
    "engine": Topic(EngineConfig, "labelgan study --engine-set KEY=VALUE"),
}

# The parts of a study that are topics of their own.
PARTS_OF_A_STUDY = {"prepare": "prepare", "generator": "train", "segmenter": "segment", "audit": "audit"}


@dataclass(frozen=True)
class Setting:
    """One setting, as `labelgan config` tells it.

    Attributes:
        topic: key of ``TOPICS``.
        key: dotted, as ``--set`` takes it.
        meaning: the description that stands beside its default.
        unit: empty where there is none.
        allowed: type, choices and limits, in words.
        default: what it is where nothing is said.
        value: what it is after model, preset, file and ``--set``.
        origin: what set the value: ``default``, ``model NAME``, ``preset NAME``, ``file NAME`` or ``--set``.
        source: the paper that the value or the idea is from; empty where none is named.
    """

    topic: str
    key: str
    meaning: str
    unit: str
    allowed: str
    default: Any
    value: Any
    origin: str
    source: str

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON, with the way to reach the setting."""
        return {**asdict(self), "reached_by": TOPICS[self.topic].reached_by}


def catalogue(
    topic: str,
    *,
    model: str | None = None,
    preset: str | None = None,
    network: str | None = None,
    file: Path | None = None,
    settings: Collection[str] = (),
) -> list[Setting]:
    """Gives every setting of a topic, in the order of its models.

    Args:
        topic: key of ``TOPICS``.
        model: a generator's, for ``train`` and ``study``; ``auto`` by default.
        preset: of the model, and of the segmenter.
        network: a segmenter's, for ``segment`` and ``study``.
        file: a ``config.toml``, such as a run's: it then says which model, preset and network these are. A value is the
            file's where neither defaults nor these give it.
        settings: ``"a.b=value"``, as ``--set`` takes them.

    Raises:
        ConfigError: a name, key or value is wrong, or the file cannot be read.
    """
    if topic not in TOPICS:
        raise ConfigError(topic, f"no settings of that name; choose from {', '.join(TOPICS)}")
    kind = TOPICS[topic].config
    stored = None if file is None else kind.from_toml(file)
    if stored is not None:
        model, preset, network = _names_in(stored, model, preset, network)
    layers = _layers(topic, model, preset, network)
    origins = {key: "default" for key, _, _ in walk(kind)}
    for origin, changes in layers:
        origins |= dict.fromkeys(flat(changes), origin)
    config = kind.build(merge(*(changes for _, changes in layers)), topic)
    if stored is not None:
        before, config = flat(config.model_dump()), stored
        origins |= {key: f"file {file}" for key, value in flat(config.model_dump()).items() if value != before[key]}
    if settings:
        config = config.with_settings(settings)
        # A key of the table may hold a whole part, and what is in it was set too.
        named = {setting.partition("=")[0].strip() for setting in settings}
        origins |= {key: "--set" for key in origins if any(within(key, name) for name in named)}
    values = flat(config.model_dump())
    return [_setting(topic, key, info, default, values[key], origins[key]) for key, info, default in walk(kind)]


def find(words: str, topics: Collection[str] | None = None, **options: Any) -> list[Setting]:
    """Gives the settings whose key is, or ends with, or holds ``words``: the first of these that finds any.

    ``words`` may begin with a topic and a colon: ``train:objective.penalty``.

    Raises:
        ConfigError: nothing fits; the message names keys that are near.
    """
    topic, colon, key = words.partition(":")
    if not colon:
        topic, key = "", words
    searched = [topic] if topic else list(topics or TOPICS)
    everything = [
        setting
        for name in searched
        for setting in catalogue(name, **options)
        if name != "study" or topic == "study" or setting.key.partition(".")[0] not in PARTS_OF_A_STUDY
    ]
    for fits in (
        lambda known: known == key,
        lambda known: known.endswith(f".{key}"),
        lambda known: key in known,
    ):
        found = [setting for setting in everything if key and fits(setting.key)]
        if found:
            return found
    known = {setting.key for setting in everything} | {setting.key.rpartition(".")[2] for setting in everything}
    near = difflib.get_close_matches(key, sorted(known), n=3)
    hint = f"did you mean {' or '.join(near)}?" if near else "`labelgan config show` lists them all"
    raise ConfigError(words, f"no such setting; {hint}")


def walk(kind: type[Config], parent: str = "") -> Iterator[tuple[str, FieldInfo, Any]]:
    """Gives dotted key, field and default of every setting that is no part of settings itself."""
    for name, info in kind.model_fields.items():
        if isinstance(info.default, Config):
            yield from walk(type(info.default), f"{parent}{name}.")
        else:
            yield f"{parent}{name}", info, plain(info.default)


def allowed_of(info: FieldInfo) -> str:
    """Puts a field's type, choices and limits into words."""
    signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<", "multiple_of": "a multiple of", "min_length": "at least"}
    limits = [
        f"{sign} {getattr(part, name):g}" + (" of them" if name == "min_length" else "")
        for part in info.metadata
        for name, sign in signs.items()
        if getattr(part, name, None) is not None
    ]
    return ", ".join([_type_words(info.annotation), *limits])


def _type_words(annotation: Any) -> str:
    origin, inner = get_origin(annotation), get_args(annotation)
    if annotation is type(None):
        return "none"
    if origin is Literal:
        return " | ".join(map(str, inner))
    if origin in (Union, UnionType):
        return " | ".join(_type_words(part) for part in inner)
    if origin is tuple:
        parts = [part for part in inner if part is not Ellipsis]
        return f"list of {_type_words(parts[0])}" if Ellipsis in inner else f"{len(parts)} × {_type_words(parts[0])}"
    if inner:  # Annotated
        return _type_words(inner[0])
    words = {int: "whole number", float: "number", bool: "true | false", str: "text"}
    return words.get(annotation, getattr(annotation, "__name__", str(annotation)))


def _setting(topic: str, key: str, info: FieldInfo, default: Any, value: Any, origin: str) -> Setting:
    source = model_source(origin) or source_of(info)
    meaning = info.description or ""
    return Setting(topic, key, meaning, unit_of(info), allowed_of(info), default, value, origin, source)


def _layers(topic: str, model: str | None, preset: str | None, network: str | None) -> list[Layer]:
    if topic == "train":
        return gan.layers(model or AUTO_MODEL, preset)
    if topic == "segment":
        return seg.layers(network or "li2018", preset)
    return study.layers(model or AUTO_MODEL, network or "li2018", preset) if topic == "study" else []


def _names_in(
    config: Config, model: str | None, preset: str | None, network: str | None
) -> tuple[str | None, str | None, str | None]:
    generator = config.generator if isinstance(config, StudyConfig) else config
    segmenter = config.segmenter if isinstance(config, StudyConfig) else config
    if isinstance(generator, GanConfig):
        model, preset = model or generator.model, preset or generator.preset
    if isinstance(segmenter, SegConfig):
        network, preset = network or segmenter.network.name, preset or segmenter.preset
    return model, preset, network


def read_kind(file: Path) -> str:
    """Tells of which topic a ``config.toml`` is, by its keys.

    Raises:
        ConfigError: it cannot be read, or is of none.
    """
    try:
        keys = set(tomllib.loads(file.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(file, f"cannot be read as TOML: {error}") from None
    fitting = [name for name, topic in TOPICS.items() if keys and keys <= set(topic.config.model_fields)]
    if not fitting:
        raise ConfigError(file, f"is a configuration of none of {', '.join(TOPICS)}; name the topic to see its faults")
    return fitting[0]
