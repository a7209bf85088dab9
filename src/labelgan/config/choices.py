"""Settings that only some choices read: one that is given where it is not read is refused by name."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from labelgan.config.base import Config, Settings, flat, within
from labelgan.core.errors import ConfigError


@dataclass(frozen=True)
class Choice:
    """A choice, and which settings are read where it is made.

    Attributes:
        made: the choice, such as ``network.family=r3gan``.
        part: dotted key of the settings that some choices read and others do not, such as ``network``.
        reads: keys of those that this choice reads; that of a whole part stands for everything in it.
        reason: in words, where the choice alone does not say it.
    """

    made: str
    part: str
    reads: Collection[str]
    reason: str = "does not read it"

    def under(self, part: str) -> Choice:
        """Gives the same choice in a configuration that holds this one as ``part``."""
        reads = [f"{part}.{key}" for key in self.reads]
        return Choice(f"{part}.{self.made}", f"{part}.{self.part}", reads, self.reason)

    def refuses(self, key: str) -> bool:
        """Tells whether a setting is of this part and is not read."""
        return within(key, self.part) and not any(within(key, read) for read in self.reads)

    def applicable(self, keys: Iterable[str]) -> str:
        """Puts into words what is read of this part, of all ``keys``; empty where nothing is."""
        read = [key for key in keys if within(key, self.part) and not self.refuses(key)]
        return f"; what applies: {', '.join(read)}" if read else ""


def require_read(config: Config, settings: Settings, choices: Iterable[Choice], *before: Config) -> None:
    """Refuses settings that the choices made do not read.

    Only what the user gives is judged: a file that spells out every setting is none. A value that is the default, or
    that was there before, is let through, so that the command that began a run of an older version goes on with it.

    Args:
        config: with the settings applied.
        settings: as the user gave them, see `Config.with_settings`.
        choices: made in ``config``.
        before: what the settings change, and what a run or study that goes on has already.

    Raises:
        ConfigError: names the first setting that is not read, the choice, and what it does read.
    """
    values = flat(config.model_dump())
    known = [flat(kept.model_dump()) for kept in (type(config)(), *before)]
    made = list(choices)
    for subject, named in _named(settings):
        for key in (key for key in values if within(key, named) and all(values[key] != kept[key] for kept in known)):
            for choice in made:
                if choice.refuses(key):
                    raise ConfigError(
                        subject, f"{key} does not apply: {choice.made} {choice.reason}{choice.applicable(values)}"
                    )


def _named(settings: Settings) -> Iterator[tuple[str, str]]:
    """What to call each setting, and its dotted key."""
    if isinstance(settings, Mapping):
        yield from (("settings", key) for key in _leaves(settings))
    else:
        for setting in settings:
            yield f"--set {setting}", setting.partition("=")[0].strip()


def _leaves(values: Mapping[str, Any]) -> Iterator[str]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from (f"{key}.{inner}" for inner in _leaves(value))
        else:
            yield key
