"""The command ``labelgan export``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from labelgan.cli.options import Exclude, Pseudonymise, export_formats, ids, say


def export(
    sources: Annotated[list[Path], typer.Argument(help="Cohorts, real and synthetic, in any layout.")],
    out: Annotated[Path, typer.Option(help="New folder.")],
    format: Annotated[
        str, typer.Option(help="wmh, bids, nnunet, monai, png, npz or dicom.", autocompletion=export_formats)
    ] = "nnunet",
    folds: Annotated[
        int | None, typer.Option(min=2, help="Folds of nnunet and monai. (default: as the generators held out, or 5)")
    ] = None,
    channels: Annotated[str, typer.Option(help="Which, in order, separated by commas. (default: all)")] = "",
    exclude: Exclude = "",
    drop_other: Annotated[
        bool, typer.Option("--drop-other", help="Write other pathology (2) as background instead of keeping it.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the draw of folds.")] = 0,
    pseudonymise: Pseudonymise = None,
) -> None:
    """Write a real cohort, a synthetic one, or both mixed, for other tools. Exit code 3 where that would leak."""
    from labelgan.api import base as api_export
    from labelgan.core.progress import Progress
    from labelgan.data.pseudonyms import using

    with using(pseudonymise), Progress("export", "case") as progress:
        done = api_export.export(
            sources, out, format=format, folds=folds, channels=ids(channels), exclude=ids(exclude),
            drop_other=drop_other, seed=seed, report=progress,
        )  # fmt: skip
    typer.echo(f"{done.real} real and {done.synthetic} synthetic cases in {out}")
    if done.folds:
        parts = ", ".join(f"{len(fold.train)}+{len(fold.validation)}" for fold in done.folds)
        typer.echo(f"{len(done.folds)} folds, cases to train on + validate on: {parts}")
    if done.never_validated:
        say(
            f"warning: {len(done.never_validated)} patients are in no validation fold, because every generator has "
            f"seen them: {', '.join(done.never_validated)}"
        )
