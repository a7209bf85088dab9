"""Shared by the command modules: options of one name and meaning, ids, words on stderr."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal, get_args

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
Load = Literal["none", "low", "medium", "high"]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")]


Spacing = Annotated[
    str | None,
    typer.Option(
        metavar="MM",
        help="Resample in the plane to this pixel size, mm; auto: as coarse as slices must be to hold every brain. "
        "(default: as stored)",
    ),
]

# What a shell completes: the entries of each registry, read when it is asked for.


def models(incomplete: str = "") -> list[str]:
    """Names the generators that ``--model`` takes."""
    from labelgan.config.gan import MODELS

    return _beginning(incomplete, ["auto", *MODELS])


def presets(incomplete: str = "") -> list[str]:
    """Names the presets of generators."""
    from labelgan.config.gan import PRESETS

    return _beginning(incomplete, PRESETS)


def brain_masks(incomplete: str = "") -> list[str]:
    """Names the brain masks that ``prepare`` makes."""
    from labelgan.config.base import PrepareConfig

    return _beginning(incomplete, get_args(PrepareConfig.model_fields["brain_mask"].annotation))


def networks(incomplete: str = "") -> list[str]:
    """Names the segmenters."""
    from labelgan.config.seg import RECIPES

    return _beginning(incomplete, RECIPES)


def segmenter_presets(incomplete: str = "") -> list[str]:
    """Names the presets of segmenters."""
    from labelgan.config.seg import PRESETS

    return _beginning(incomplete, PRESETS)


def sample_formats(incomplete: str = "") -> list[str]:
    """Names the formats that samples are written in."""
    from labelgan.data.export.write import EXPORTERS

    return _beginning(incomplete, EXPORTERS)


def export_formats(incomplete: str = "") -> list[str]:
    """Names the formats that cohorts are exported to."""
    from labelgan.data.export.write import FORMATS

    return _beginning(incomplete, FORMATS)


def engines(incomplete: str = "") -> list[str]:
    """Names the engines of a study."""
    from labelgan.study.engine.engines import ENGINES

    return _beginning(incomplete, ENGINES)


def _beginning(incomplete: str, names: Iterable[str]) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]


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
