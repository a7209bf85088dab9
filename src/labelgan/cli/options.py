"""Shared by the command modules: options of one name and meaning, ids, words on stderr."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from labelgan.core.errors import ConfigError

Exclude = Annotated[str, typer.Option(help="Case or patient ids to hold out, separated by commas.")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="A.B=V", help="Change one setting; may be repeated.")
]
Pseudonymise = Annotated[
    Path | None,
    typer.Option(
        metavar="KEYFILE", help="Read cases under pseudonyms (HMAC-SHA256 with this file's bytes), the same everywhere."
    ),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")]


Spacing = Annotated[
    str | None,
    typer.Option(
        metavar="MM",
        help="Resample in the plane to this pixel size, mm; auto: as coarse as slices must be to hold every brain. "
        "(default: as stored)",
    ),
]


def say(text: str) -> None:
    """Prints a line on stderr."""
    typer.echo(text, err=True)


def ids(text: str) -> list[str]:
    """Splits ids at commas."""
    return [part.strip() for part in text.split(",") if part.strip()]


def pixel_size(text: str | None) -> float | str | None:
    """Reads a pixel size in mm, or ``auto``."""
    if text is None or text == "auto":
        return text
    try:
        return float(text)
    except ValueError:
        raise ConfigError(f"--spacing {text}", "expected a pixel size in mm, such as 1.5, or auto") from None


def slice_size(text: str) -> tuple[int, int]:
    """Reads ROWS or ROWSxCOLUMNS."""
    rows, _, columns = text.lower().partition("x")
    try:
        return int(rows), int(columns or rows)
    except ValueError:
        raise ConfigError(f"--size {text}", "expected ROWS or ROWSxCOLUMNS, such as 200 or 192x160") from None
