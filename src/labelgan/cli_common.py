"""What the command modules share: options of one name and meaning, ids, words on stderr."""

from __future__ import annotations

from typing import Annotated

import typer

Exclude = Annotated[str, typer.Option(help="Case or patient ids to hold out, separated by commas.")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="A.B=V", help="Change one setting; may be repeated.")
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")]


def say(text: str) -> None:
    """Prints a line on stderr."""
    typer.echo(text, err=True)


def ids(text: str) -> list[str]:
    """Splits ids at commas."""
    return [part.strip() for part in text.split(",") if part.strip()]
