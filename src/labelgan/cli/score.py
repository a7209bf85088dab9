"""The command `score`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from labelgan.cli.options import Pseudonymise, say
from labelgan.core.errors import EXIT_DONE, EXIT_USAGE


def score(
    reference: Annotated[Path, typer.Argument(help="Reference mask, or a cohort, or a folder of masks.")],
    prediction: Annotated[
        Path, typer.Argument(help="Predicted mask, or a folder of CASE/result.nii.gz or CASE.nii.gz.")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
    csv: Annotated[
        Path | None, typer.Option("--csv", metavar="FILE", dir_okay=False, help="Write a line per case.")
    ] = None,
    resample: Annotated[
        bool, typer.Option("--resample", help="Bring predictions on another grid to the reference's, nearest voxel.")
    ] = False,
    layout: Annotated[str | None, typer.Option(help="Read the reference as this layout instead of looking.")] = None,
    overlays: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Draw hits, misses and false alarms of every case, worst first."),
    ] = None,
    pseudonymise: Pseudonymise = None,
) -> None:
    """Score predicted masks by the five metrics of the WMH challenge. Exit code 2 when a case cannot be scored."""
    from labelgan import api
    from labelgan.core.files import write_text_atomic
    from labelgan.core.progress import Progress
    from labelgan.data.pseudonyms import masked, using

    with using(pseudonymise):
        with Progress("score", "case") as progress:
            report = api.score(reference, prediction, resample=resample, layout=layout, report=progress)
        if csv is not None:
            write_text_atomic(csv, report.to_csv())
        if overlays is not None:
            with Progress("draw", "case") as progress:
                pictures, undrawn = api.overlays(reference, prediction, overlays, layout=layout, report=progress)
            say(f"{len(pictures)} pictures in {overlays}, the worst first")
            for case, error in undrawn:
                say(masked(f"warning: no picture of case {case}: {error}"))
        if as_json:
            typer.echo(json.dumps(report.to_json(), indent=1, allow_nan=False))
        elif report.rows:
            from labelgan.cli.tables import print_scores

            print_scores(report)
        for note in report.notes:
            say(f"warning: {masked(note)}")
        if report.missing:
            say(f"warning: {len(report.missing)} cases have no prediction: {', '.join(report.missing)}")
        if report.extra:
            say(f"warning: {len(report.extra)} files belong to no case: {masked(', '.join(map(str, report.extra)))}")
        for case, error in report.failures:
            say(masked(f"error: {error} (case {case})"))
    raise typer.Exit(EXIT_USAGE if report.failures else EXIT_DONE)
