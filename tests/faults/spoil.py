"""Ways of making bad input: each gives what plants it in a ground."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from faults.ground import Ground

Plant = Callable[[Ground], object]


def nothing(_: Ground) -> None:
    """Leaves the ground empty."""


def cohort(spoil: Callable[[Path], object]) -> Plant:
    """Spoils a sound cohort of three heads, given its folder."""

    def plant(ground: Ground) -> None:
        ground.take("heads", "cohort")
        spoil(ground.root / "cohort")

    return plant


def taken(*names: str, spoil: Plant = nothing) -> Plant:
    """Takes sound things in by their names, then spoils them."""

    def plant(ground: Ground) -> None:
        for name in names:
            ground.take(name)
        spoil(ground)

    return plant


def edited(name: str, file: str, change: Callable[[Any], object]) -> Plant:
    """Changes a JSON file of a sound thing as a person with an editor would."""
    return taken(name, spoil=lambda ground: ground.edit_json(f"{name}/{file}", change))


def set_key(key: str, value: Any) -> Callable[[Any], object]:
    """A change of one key, for `edited`."""

    def change(content: Any) -> None:
        content[key] = value

    return change


def written(name: str, file: str, content: bytes | str) -> Plant:
    """Puts other content into a file of a sound thing."""

    def spoil(ground: Ground) -> None:
        (ground.root / name / file).write_bytes(content.encode() if isinstance(content, str) else content)

    return taken(name, spoil=spoil)


def headed(name: str, file: str, line: str) -> Plant:
    """Puts a line before a text file's first."""

    def spoil(ground: Ground) -> None:
        path = ground.root / name / file
        path.write_text(line + "\n" + path.read_text())

    return taken(name, spoil=spoil)


def cut(name: str, file: str) -> Plant:
    """Takes a file's last seven bytes away."""

    def spoil(ground: Ground) -> None:
        path = ground.root / name / file
        path.write_bytes(path.read_bytes()[:-7])

    return taken(name, spoil=spoil)
