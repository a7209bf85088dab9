"""The command ``labelgan audit``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from labelgan.cli.options import Device, Exclude, Settings, ids, say
from labelgan.core.errors import EXIT_DONE, EXIT_REFUSED


def audit(
    samples: Annotated[Path, typer.Argument(help="Labelled cohort, synthetic or any other.")],
    train: Annotated[Path, typer.Option(help="Slice store of the generator's training patients.")],
    out: Annotated[Path, typer.Option(help="Folder for audit.json and audit.html.")],
    held_out: Annotated[
        Path | None, typer.Option("--held-out", help="Slice store of patients that the generator has not seen.")
    ] = None,
    exclude: Exclude = "",
    segmenter: Annotated[
        Path | None, typer.Option(help="Segmenter of real training patients: do the masks agree with it?")
    ] = None,
    generator: Annotated[
        Path | None, typer.Option(help="Run folder of the samples' generator: does its critic tell who was trained on?")
    ] = None,
    settings: Settings = None,
    device: Device = "auto",
) -> None:
    """Can samples be trusted, and shared? Fidelity, diversity, labels, copies. Exit code 3 when a gate fails.

    Without --held-out, the patients that --exclude names are held out of the training store.
    """
    from labelgan.api import audit as api_audit
    from labelgan.cli.tables import print_audit
    from labelgan.core.progress import Progress

    with Progress("read", "case") as read_progress, Progress("audit", "part") as progress:
        report = api_audit.audit(
            samples,
            train,
            out,
            held_out=held_out,
            exclude=ids(exclude),
            segmenter=segmenter,
            generator=generator,
            settings=settings or [],
            device=device,
            report=progress,
            read_report=read_progress,
        )
    print_audit(report)
    for note in report.notes:
        say(f"note: {note}")
    for gate in report.gates:
        if gate.passed is None:
            say(f"warning: gate {gate.name} was not judged: {gate.reason}")
    for gate in report.failed_gates:
        say(f"error: gate {gate.name}: {gate.reason}")
    typer.echo(f"{'passed' if report.passed else 'failed'}; see {out / 'audit.html'}")
    raise typer.Exit(EXIT_DONE if report.passed else EXIT_REFUSED)
