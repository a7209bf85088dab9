"""The commands under ``labelgan segment``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from labelgan.cli.options import Device, Exclude, Pseudonymise, Settings, ids, networks, say, segmenter_presets
from labelgan.core.errors import EXIT_DONE, EXIT_USAGE

app = typer.Typer(no_args_is_help=True, help="Train a segmenter, and find lesions with it.")


@app.command()
def train(
    store: Annotated[Path, typer.Argument(help="Slice store.")],
    out: Annotated[Path, typer.Option(help="Segmenter folder.")],
    ensemble: Annotated[
        int | None, typer.Option(min=1, help="How many networks are trained and averaged. (default: 3)")
    ] = None,
    synthetic: Annotated[Path | None, typer.Option(help="Synthetic cohort to mix into the training.")] = None,
    exclude: Exclude = "",
    network: Annotated[
        str | None, typer.Option(help="li2018, dynunet or segresnet. (default: li2018)", autocompletion=networks)
    ] = None,
    preset: Annotated[
        str | None, typer.Option(help="laptop (small networks, minutes on one core).", autocompletion=segmenter_presets)
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Optimiser steps of each network. (default: 50 epochs)")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of every random stream. (default: 0)")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:1, mps. (default: auto)")] = None,
    devices: Annotated[
        int | None, typer.Option(min=1, help="GPUs, or processes of the CPU, that share every batch. (default: 1)")
    ] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads.")] = None,
    fit_threshold: Annotated[
        bool, typer.Option("--fit-threshold", help="Choose the threshold on the training patients.")
    ] = False,
    settings: Settings = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint in OUT.")] = False,
) -> None:
    """Train an ensemble; excluded patients, and synthetic data made from them, are kept out. Exit code 3 on a leak."""
    from labelgan.api import segment as api_segment
    from labelgan.core.progress import Progress

    with Progress("read", "slice") as read_progress, Progress("segment", "step") as progress:
        try:
            result = api_segment.segment_train(
                store,
                out,
                network=network,
                preset=preset,
                ensemble=ensemble,
                steps=steps,
                seed=seed,
                device=device,
                devices=devices,
                threads=threads,
                fit_threshold=fit_threshold,
                synthetic=synthetic,
                exclude=ids(exclude),
                settings=settings or (),
                resume=resume,
                report=progress,
                read_report=read_progress,
                warn=lambda line: say(f"warning: {line}"),
            )
        except KeyboardInterrupt:
            if (out / "members").is_dir():
                again = f" --synthetic {synthetic}" if synthetic else ""
                say(
                    "interrupted; the state is saved. "
                    f"Go on with: labelgan segment train {store} --out {out}{again} --resume"
                )
            raise
    losses = ", ".join(f"{loss:.3f}" for loss in result.losses)
    typer.echo(f"{result.members} networks of {result.steps} steps in {out}; last losses {losses}")
    if result.stuck:
        which = ", ".join(str(number + 1) for number in result.stuck)
        say(f"warning: of {result.members} networks these have learnt nothing: {which}")


@app.command()
def predict(
    segmenter: Annotated[Path, typer.Argument(metavar="SEG", help="Segmenter folder.")],
    source: Annotated[
        Path, typer.Argument(metavar="INPUT", help="A cohort, one case, or the challenge's /input with orig and pre.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for CASE/result.nii.gz.")],
    device: Device = "auto",
    challenge: Annotated[
        bool, typer.Option("--challenge", help="INPUT is one case; write OUT/result.nii.gz, as the challenge wants it.")
    ] = False,
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="Write probability.nii.gz beside each mask.")
    ] = False,
    settings: Settings = None,
    pseudonymise: Pseudonymise = None,
) -> None:
    """Write lesion masks on the scans' own grids. Exit code 2 when a case fails; the others are finished."""
    from labelgan.api import segment as api_segment
    from labelgan.core.progress import Progress
    from labelgan.data.pseudonyms import masked_error, using

    with using(pseudonymise), Progress("predict", "case") as progress:
        report = api_segment.segment_predict(
            segmenter,
            source,
            out,
            device=device,
            challenge=challenge,
            probabilities=probabilities,
            settings=settings or (),
            report=progress,
        )
        failures = [(case, masked_error(error)) for case, error in report.failures]
    typer.echo(f"{len(report.written)} masks in {out}")
    if report.trained_on:
        say(f"warning: {len(report.trained_on)} cases were trained on: {', '.join(report.trained_on)}")
    for case, error in failures:
        say(f"error: {error}" if error.subject == case else f"error: {error} (case {case})")
    raise typer.Exit(EXIT_USAGE if report.failures else EXIT_DONE)


@app.command("import-li")
def import_li(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Keras .h5 weights, one file a network.")],
    out: Annotated[Path, typer.Option(help="Segmenter folder.")],
    brain_mask: Annotated[
        str, typer.Option(help="How brains are found: li2018 as published, auto for scans of any intensity scale.")
    ] = "li2018",
    brain_threshold: Annotated[
        float | None, typer.Option(help="FLAIR threshold of the li2018 mask: 70, or 30 for GE3T. (default: 70)")
    ] = None,
) -> None:
    """Turn the published weights of Li et al. 2018 into a segmenter, as many networks as files."""
    from labelgan.api import segment as api_segment

    result = api_segment.segment_import_li(files, out, brain_mask=brain_mask, brain_threshold=brain_threshold)
    networks = "1 network" if result.members == 1 else f"{result.members} networks"
    typer.echo(f"{networks} of {result.parameters:,} values, for {' and '.join(result.channels)}, in {out}")
    say("note: the published weights have seen the challenge's 60 public scans; scores on those say nothing of others")
