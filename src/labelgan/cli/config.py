"""The commands ``labelgan config show`` and ``labelgan config explain``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from labelgan.cli.options import Settings

if TYPE_CHECKING:
    from labelgan.config.catalogue import Setting

app = typer.Typer(help="Every setting: meaning, unit, default, value, and where it comes from.", no_args_is_help=True)

Model = Annotated[str | None, typer.Option(help="Generator whose settings are meant. (default: auto)")]
Preset = Annotated[str | None, typer.Option(help="Preset whose settings are meant.")]
Network = Annotated[str | None, typer.Option(help="Segmenter whose settings are meant. (default: li2018)")]
File = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="A config.toml, such as that of a run or study.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def show(
    topic: Annotated[
        str | None, typer.Argument(help="check, prepare, train, segment, audit, study or engine. (default: all)")
    ] = None,
    model: Model = None,
    preset: Preset = None,
    network: Network = None,
    config: File = None,
    settings: Settings = None,
    changed: Annotated[bool, typer.Option("--changed", help="Only what is not at its default.")] = False,
    as_json: AsJson = False,
) -> None:
    """List settings: value, default, and what set the value (default, model, preset, file or --set)."""
    from labelgan.config.catalogue import PARTS_OF_A_STUDY, TOPICS, catalogue, read_kind

    topics = [topic] if topic else [read_kind(config)] if config else _all_topics(settings)
    whole_study = topic == "study" or config is not None
    listed: list[Setting] = []
    for name in topics:
        fitting = {"model": model, "network": network, "preset": preset if len(topics) == 1 else _preset(name, preset)}
        listed += [
            setting
            for setting in catalogue(name, **fitting, file=config, settings=settings or [])
            if whole_study or name != "study" or setting.key.partition(".")[0] not in PARTS_OF_A_STUDY
        ]
    if changed:
        listed = [setting for setting in listed if setting.value != setting.default]
    if as_json:
        typer.echo(json.dumps([setting.to_json() for setting in listed], indent=1, ensure_ascii=False))
        return
    for name in topics:
        of_topic = [setting for setting in listed if setting.topic == name]
        if not of_topic:
            continue
        typer.echo(f"[{name}]  {TOPICS[name].reached_by}")
        for setting in of_topic:
            typer.echo(f"  {setting.key} = {_shown(setting.value)}{_unit(setting)}  ({_origin(setting)})")
            typer.echo(f"      {setting.meaning}")
        typer.echo("")


@app.command()
def explain(
    keys: Annotated[
        list[str], typer.Argument(metavar="KEY...", help="objective.penalty, its end (penalty), or train:penalty.")
    ],
    model: Model = None,
    preset: Preset = None,
    network: Network = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="A.B=V", help="Change one setting; needs TOPIC:KEY.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Explain settings: meaning, unit, what is allowed, default, value and its origin, source, how to change it."""
    from labelgan.config.catalogue import TOPICS, find

    found: list[Setting] = []
    for key in keys:
        topics = [key.partition(":")[0]] if ":" in key else _all_topics(settings)
        for_each: dict[str, Any] = {"model": model, "network": network, "settings": settings or []}
        found += find(key, topics, preset=preset, **for_each) if ":" in key else _everywhere(key, preset, for_each)
    if as_json:
        typer.echo(json.dumps([setting.to_json() for setting in found], indent=1, ensure_ascii=False))
        return
    for setting in found:
        typer.echo(f"{setting.topic}: {setting.key}")
        facts = {
            "meaning": setting.meaning,
            "unit": setting.unit or "none",
            "allowed": setting.allowed,
            "default": _shown(setting.default),
            "value": f"{_shown(setting.value)}, from {setting.origin}",
            "source": setting.source or "ours, or none named",
            "change": TOPICS[setting.topic].reached_by.replace("KEY", setting.key),
        }
        for name, words in facts.items():
            typer.echo(f"  {name:<8} {words}")
        typer.echo("")


def _all_topics(settings: list[str] | None) -> list[str]:
    from labelgan.config.catalogue import TOPICS
    from labelgan.core.errors import ConfigError

    if settings:
        raise ConfigError(f"--set {settings[0]}", f"name the topic that it belongs to: {', '.join(TOPICS)}")
    return list(TOPICS)


def _preset(topic: str, preset: str | None) -> str | None:
    """A preset where the topic knows it; where all topics are shown, one need not be known to all."""
    from labelgan.config.gan import PRESETS as OF_GENERATORS
    from labelgan.config.seg import PRESETS as OF_SEGMENTERS
    from labelgan.core.errors import ConfigError

    if preset is not None and preset not in {**OF_GENERATORS, **OF_SEGMENTERS}:
        known = ", ".join(dict.fromkeys([*OF_GENERATORS, *OF_SEGMENTERS]))
        raise ConfigError(f"--preset {preset}", f"unknown preset; one of {known}")
    return None if topic == "segment" and preset not in OF_SEGMENTERS else preset


def _everywhere(key: str, preset: str | None, options: dict[str, Any]) -> list[Setting]:
    from labelgan.config.catalogue import TOPICS, find

    fitting = None if preset is None else _preset("segment", preset)
    topics = [name for name in TOPICS if name != "segment" or fitting == preset]
    return find(key, topics, preset=preset, **options)


def _shown(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list) else str(value)


def _unit(setting: Setting) -> str:
    return f" {setting.unit}" if setting.unit and setting.value is not None else ""


def _origin(setting: Setting) -> str:
    if setting.value == setting.default:
        return setting.origin
    return f"{setting.origin}; default {_shown(setting.default)}"
