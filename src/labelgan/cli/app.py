"""The command line: parse, call one function, print. Heavy imports stay inside the commands."""

from __future__ import annotations

import json
import sys
import traceback
from pathlib import Path
from typing import Annotated, Any

import typer

from labelgan.cli import audit as cli_audit
from labelgan.cli import config as cli_config
from labelgan.cli import export as cli_export
from labelgan.cli import score as cli_score
from labelgan.cli import segment as cli_segment
from labelgan.cli import studio as cli_studio
from labelgan.cli import study as cli_study
from labelgan.cli.errors import error_line
from labelgan.cli.options import (
    Device,
    Exclude,
    Load,
    Pseudonymise,
    Settings,
    Spacing,
    brain_masks,
    ids,
    models,
    pixel_size,
    presets,
    sample_formats,
    say,
    slice_size,
)
from labelgan.core.errors import EXIT_DONE, EXIT_INTERRUPTED, EXIT_PROBLEMS
from labelgan.core.output import accept_any_encoding
from labelgan.core.version import __version__

app = typer.Typer(
    name="labelgan",
    help="From a few annotated scans to labelled synthetic images, and an honest verdict on whether they help.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.add_typer(cli_segment.app, name="segment")
app.add_typer(cli_config.app, name="config")
app.command("audit")(cli_audit.audit)
app.command("study")(cli_study.study)
app.command("report")(cli_study.report)
app.command("export")(cli_export.export)
app.command("studio")(cli_studio.studio)

Data = Annotated[Path, typer.Argument(help="Folder of annotated scans, in any layout that `check` knows.")]
Seed = Annotated[int, typer.Option(min=0, help="Seed of every random stream.")]


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"labelgan {__version__}")
        raise typer.Exit


@app.callback()
def root(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Options before the command."""


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for every stage's result.")] = Path("demo"),
    from_scratch: Annotated[
        bool, typer.Option("--from-scratch", help="Train from nothing, not from the shipped generator.")
    ] = False,
    steps: Annotated[int, typer.Option(min=1, help="Training steps.")] = 300,
) -> None:
    """Phantom cohort to synthetic cohort, end to end, in a few minutes and without a network."""
    from labelgan.cli.demo import run_demo

    result = run_demo(out, from_scratch=from_scratch, steps=steps, say=say)
    typer.echo(result)


@app.command()
def doctor() -> None:
    """Tell what this machine has: Python, torch, device, cores, memory, disk, optional extras."""
    from labelgan.cli.doctor import examine

    for name, value in examine().items():
        typer.echo(f"{name:<12} {value}")


@app.command()
def check(
    data: Data,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
    layout: Annotated[str | None, typer.Option(help="Read as this layout instead of looking.")] = None,
    pseudonymise: Pseudonymise = None,
) -> None:
    """Detect the layout, say what was understood, list every problem. Exit code 1 when there are errors."""
    from labelgan import api
    from labelgan.core.progress import Progress
    from labelgan.data.pseudonyms import using

    with using(pseudonymise):
        with Progress("check", "case") as progress:
            report = api.check(data, layout=layout, report=progress)
        if as_json:
            typer.echo(json.dumps(report.to_json(), indent=1))
        else:
            from labelgan.cli.tables import print_check

            print_check(report)
    raise typer.Exit(EXIT_DONE if report.ok else EXIT_PROBLEMS)


@app.command()
def phantom(
    out: Annotated[Path, typer.Argument(help="New folder of the cohort.")],
    patients: Annotated[int, typer.Option(min=1, help="How many.")] = 6,
    seed: Seed = 0,
    force: Annotated[bool, typer.Option("--force", help="Replace what is in OUT.")] = False,
) -> None:
    """Write a labelled phantom cohort in the WMH challenge's layout: several scanners, known truth."""
    from labelgan import api
    from labelgan.core.progress import Progress

    with Progress("phantom", "patient") as progress:
        ids = api.phantom(out, patients, seed, force=force, report=progress)
    typer.echo(f"{len(ids)} phantom patients in {out}")


@app.command()
def prepare(
    data: Data,
    out: Annotated[Path, typer.Argument(help="New folder of the slice store.")],
    size: Annotated[
        str | None, typer.Option(help="Slice size in pixels, ROWS or ROWSxCOLUMNS, divisible by 8. (default: 200)")
    ] = None,
    spacing: Spacing = None,
    every: Annotated[int | None, typer.Option(help="Keep every K-th slice. (default: 1)")] = None,
    brain_mask: Annotated[
        str | None,
        typer.Option(help="auto, li2018, file or deepbet. (default: auto)", autocompletion=brain_masks),
    ] = None,
    n4: Annotated[bool, typer.Option("--n4", help="N4 bias field correction.")] = False,
    register_t1: Annotated[bool, typer.Option("--register-t1", help="Rigid registration of T1 to FLAIR.")] = False,
    exclude: Exclude = "",
    settings: Settings = None,
    force: Annotated[bool, typer.Option("--force", help="Replace OUT where it is a store.")] = False,
    pseudonymise: Pseudonymise = None,
) -> None:
    """Brain mask, intensity normalisation, crop or pad, axial slices: a memory-mapped slice store."""
    from labelgan import api
    from labelgan.config.base import PrepareConfig
    from labelgan.core.progress import Progress
    from labelgan.data.pseudonyms import using

    named: dict[str, Any] = {"spacing_mm": pixel_size(spacing), "every": every, "brain_mask": brain_mask}
    named |= {"size": None if size is None else slice_size(size), "n4": n4 or None, "register_t1": register_t1 or None}
    config = PrepareConfig.build({key: value for key, value in named.items() if value is not None}, "prepare")
    config = config.with_settings(settings or [])
    with using(pseudonymise), Progress("prepare", "case") as progress:
        warnings: list[str] = []
        store = api.prepare(
            data, out, config=config, exclude=ids(exclude), force=force, report=progress, warn=warnings.append
        )
    lesions = int((store.index["lesion_voxels"] > 0).sum())
    typer.echo(
        f"{len(store)} slices of {store.size[0]}×{store.size[1]} ({', '.join(store.channels)}) "
        f"from {len(store.cases)} cases, {lesions} with a lesion, in {out}"
    )
    for warning in warnings:
        say(f"warning: {warning}")


@app.command()
def train(
    store_or_data: Annotated[Path, typer.Argument(help="Slice store, or a cohort, which is prepared first.")],
    out: Annotated[Path, typer.Option(help="Run folder.")],
    model: Annotated[
        str | None,
        typer.Option(help="auto, refiner, r3gan, gan, dcgan, wgan or wgan-gp. (default: auto)", autocompletion=models),
    ] = None,
    preset: Annotated[
        str | None, typer.Option(help="laptop (small networks), uned2019 (wgan-gp only).", autocompletion=presets)
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Generator steps. (default: refiner 1000, else 5000)")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of every random stream. (default: 0)")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:1, mps. (default: auto)")] = None,
    devices: Annotated[
        int | None, typer.Option(min=1, help="GPUs, or processes of the CPU, that share every batch. (default: 1)")
    ] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads.")] = None,
    exclude: Exclude = "",
    settings: Settings = None,
    start_from: Annotated[
        str | None, typer.Option(help="Run folder to fine-tune, or 'phantom' for the shipped generator.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint in OUT.")] = False,
    track: Annotated[
        str | None, typer.Option(help="mlflow: tell an MLflow server settings and figures, no pictures.")
    ] = None,
    pseudonymise: Pseudonymise = None,
) -> None:
    """Train a generator of slices and masks together."""
    from labelgan import api
    from labelgan.core.progress import Progress
    from labelgan.data.pseudonyms import using

    with (
        using(pseudonymise),
        Progress("prepare", "case") as prepare_progress,
        Progress("train", "step") as progress,
    ):
        try:
            result = api.train(
                store_or_data,
                out,
                model=model,
                preset=preset,
                steps=steps,
                seed=seed,
                device=device,
                devices=devices,
                threads=threads,
                settings=settings or (),
                exclude=ids(exclude),
                resume=resume,
                start_from=start_from,
                track=track,
                report=progress,
                prepare_report=prepare_progress,
                warn=lambda line: say(f"warning: {line}"),
            )
        except KeyboardInterrupt:
            if (out / "checkpoints").is_dir():
                say(f"interrupted; the state is saved. Go on with: labelgan train {store_or_data} --out {out} --resume")
            raise
    typer.echo(
        f"{result.steps} steps in {out}: diversity {result.diversity:.2f} of real slices', "
        f"{result.lesion_rate:.0%} of samples have a lesion"
    )
    if result.collapsed:
        say("warning: the generator has collapsed: its samples hardly differ; `sample` will refuse it")


@app.command()
def sample(
    run: Annotated[Path, typer.Argument(help="Run folder of a finished generator, or 'phantom' for the shipped one.")],
    out: Annotated[Path, typer.Option(help="New folder of the cohort.")],
    num: Annotated[int, typer.Option(min=1, help="How many slices.")] = 100,
    format: Annotated[
        str, typer.Option(help="wmh, bids, nnunet, monai, png or npz.", autocompletion=sample_formats)
    ] = "wmh",
    seed: Seed = 0,
    keep_best: Annotated[
        float, typer.Option(help="Of every 1/FRACTION slices, keep the one the critic likes best.")
    ] = 1.0,
    load: Annotated[Load | None, typer.Option(help="Lesion load to ask for (refiner).")] = None,
    height: Annotated[
        float | None, typer.Option("--z", help="Height of the slices in the brain, 0 to 1 (refiner).")
    ] = None,
    site: Annotated[
        str | None, typer.Option(help="Site or scanner that the slices are to look like they come from (refiner).")
    ] = None,
    device: Device = "auto",
    force: Annotated[bool, typer.Option("--force", help="Sample a collapsed generator all the same.")] = False,
    audited: Annotated[
        Path | None,
        typer.Option(
            metavar="STORE",
            help="Leave out copies of the training patients in this store, masks that do not fit, empty images.",
        ),
    ] = None,
) -> None:
    """Write labelled synthetic slices as a cohort that `check` accepts."""
    from labelgan import api
    from labelgan.core.progress import Progress

    source = str(run) if str(run) == api.PHANTOM_GENERATOR and not run.exists() else run
    with Progress("sample", "slice") as progress:
        api.sample(
            source, out, num, format=format, seed=seed, keep_best=keep_best, load=load, height=height, site=site,
            device=device, force=force, audited=audited, report=progress,
        )  # fmt: skip
    from labelgan.core.files import read_json

    typer.echo(f"{num} synthetic slices in {out}")
    manifest = read_json(out / "manifest.json")
    if manifest["generator"].get("content"):
        say("they show parts of training patients: share them only as you may share their scans (see card.md)")
    if audited is not None:
        dropped = manifest["audited"]["dropped"]
        told = ", ".join(f"{reason}: {count}" for reason, count in dropped.items())
        say(f"left out: {told or 'none'}")


app.command("score")(cli_score.score)


def main() -> None:
    """Runs a command and leaves with its exit code; errors are one line on stderr."""
    sys.exit(run_command(sys.argv[1:]))


def run_command(arguments: list[str]) -> int:
    """Runs a command line and gives its exit code."""
    accept_any_encoding()
    try:
        return app(arguments, prog_name="labelgan", standalone_mode=False) or EXIT_DONE
    except (KeyboardInterrupt, typer.Abort):
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()
        return EXIT_DONE
    except Exception as error:
        if "--debug" in arguments:
            traceback.print_exc()
        line, code = error_line(error)
        if line:
            say(f"error: {line}")
        return code


if __name__ == "__main__":
    main()
