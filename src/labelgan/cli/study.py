"""The commands ``labelgan study`` and ``labelgan report``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from labelgan.cli.options import (
    Pseudonymise,
    Settings,
    Spacing,
    engines,
    ids,
    models,
    networks,
    pixel_size,
    say,
    slice_size,
)
from labelgan.core.errors import EXIT_DONE, EXIT_PROBLEMS, EXIT_REFUSED, ConfigError

if TYPE_CHECKING:
    from labelgan.study.engine.scheduler import Event
    from labelgan.study.run import StudyResult


def study(
    data: Annotated[Path, typer.Argument(help="Folder of annotated scans, in any layout that `check` knows.")],
    out: Annotated[Path, typer.Option(help="Folder of the study; name it again to go on with it.")],
    arms: Annotated[
        str | None,
        typer.Option(
            help="What to compare, separated by commas. (default: real,classical,classical+copypaste,"
            "classical+synthetic,classical+shuffled)"
        ),
    ] = None,
    reference: Annotated[
        str | None,
        typer.Option(
            metavar="ARM",
            help="What arms with synthetic slices are compared with. (default: the strongest arm without them)",
        ),
    ] = None,
    folds: Annotated[
        str | None, typer.Option(help="lopo: leave one patient out; or K groups of patients. (default: lopo)")
    ] = None,
    patients: Annotated[
        str | None, typer.Option(help="Learning curve: numbers of training patients, such as 3,5,10,20.")
    ] = None,
    repeats: Annotated[
        int | None, typer.Option(min=1, help="Draws of patients, or splits. (default: 5 with --patients, else 1)")
    ] = None,
    test: Annotated[Path | None, typer.Option(metavar="DATA2", help="Test on this cohort instead.")] = None,
    ensemble: Annotated[int | None, typer.Option(min=1, help="Networks averaged in every arm. (default: 3)")] = None,
    model: Annotated[
        str | None, typer.Option(help="Generator, as in `train --model`. (default: auto)", autocompletion=models)
    ] = None,
    start_from: Annotated[
        str | None, typer.Option(help="Tune each fold's generator from this run; phantom: the one in the package.")
    ] = None,
    synthetic: Annotated[
        Path | None, typer.Option(help="Use this labelled cohort instead of training generators.")
    ] = None,
    samples: Annotated[int | None, typer.Option(min=2, help="Synthetic slices of each fold. (default: 500)")] = None,
    share: Annotated[
        str | None, typer.Option(help="Synthetic share of a batch, or auto: chosen inside each fold. (default: 1/3)")
    ] = None,
    network: Annotated[
        str | None,
        typer.Option(help="Segmenter: li2018, dynunet, segresnet. (default: li2018)", autocompletion=networks),
    ] = None,
    preset: Annotated[
        str | None, typer.Option(help="laptop: sizes for a CPU, of generator, segmenter and slices.")
    ] = None,
    size: Annotated[str | None, typer.Option(help="Slice size in pixels, as in `prepare`. (default: 200)")] = None,
    spacing: Spacing = None,
    config: Annotated[Path | None, typer.Option(help="TOML file with every setting, such as a study's own.")] = None,
    settings: Settings = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of every random stream. (default: 0)")] = None,
    engine: Annotated[str, typer.Option(help="local, ray or slurm.", autocompletion=engines)] = "local",
    workers: Annotated[int | None, typer.Option(min=1, help="Jobs at a time. (default: cores, or GPUs)")] = None,
    engine_settings: Annotated[
        list[str] | None, typer.Option("--engine-set", metavar="A=V", help="Change one setting of the engine.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda.")] = "auto",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the jobs and an estimate; run nothing.")] = False,
    pseudonymise: Pseudonymise = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the study in OUT; it is what happens anyway.")
    ] = False,
) -> None:
    """Do synthetic slices help? Leak-proof folds, several arms, paired statistics, one page.

    Nothing finished is done again. Exit code 1 when jobs failed, 3 when one was refused for a leak.
    """
    from labelgan.api import study as api
    from labelgan.core.progress import Progress
    from labelgan.data.pseudonyms import using

    if resume and not out.is_dir():
        raise ConfigError("--resume", f"there is no study in {out}")
    named = {
        "arms": None if arms is None else ids(arms),
        "reference": reference,
        "folds": folds,
        "patients": None if patients is None else _numbers(patients),
        "repeats": repeats,
        "members": ensemble,
        "samples": samples,
        "share": share,
        "seed": seed,
        "prepare.size": None if size is None else slice_size(size),
        "prepare.spacing_mm": pixel_size(spacing),
    }
    planned = api.study_config(
        model=model,
        network=network,
        preset=preset,
        start_from=start_from,
        named_settings={key: value for key, value in named.items() if value is not None},
        settings=settings or (),
        config=config,
        resume_from=out,
    )
    sources = api.study_sources(data, test=test, synthetic=synthetic, start_from=planned.start_from)
    if dry_run:
        with using(pseudonymise), Progress("scan", "case") as progress:
            plan, estimate = api.study_plan(
                planned, sources, out, workers=workers, device=device, report=progress, tell=say
            )
        from labelgan.cli.tables import print_plan

        print_plan(plan, estimate)
        return
    from labelgan.config.study import EngineConfig
    from labelgan.study.run import run_study

    with using(pseudonymise), Progress("scan", "case") as scanning, Progress("study", "job") as progress:
        result = run_study(
            planned,
            sources,
            out,
            engine=engine,
            engine_config=EngineConfig.of(workers, engine_settings or ()),
            device=device,
            scan_report=scanning,
            report=progress,
            tell=_tell,
            warn=lambda line: say(f"warning: {line}"),
        )
    raise typer.Exit(_conclude(result))


def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a study.")],
) -> None:
    """Build a study's report.html again."""
    from labelgan.api import study as api

    typer.echo(f"report: {api.build_report(folder)}")


def _tell(event: Event) -> None:
    if event.what in ("damaged", "retried", "failed"):
        say(f"{'error' if event.what == 'failed' else 'warning'}: {event.job.label} ({event.job.kind}): {event.note}")


def _conclude(result: StudyResult) -> int:
    run = result.run
    typer.echo(
        f"{run.done} jobs done, {run.reused} done before, {len(run.failed)} failed, {len(run.blocked)} wait for those"
    )
    if result.verdict:
        typer.echo(result.verdict["headline"])
        typer.echo(f"report: {result.folder / 'report.html'}")
    if any(failure.exit_code == EXIT_REFUSED for failure in run.failed):
        return EXIT_REFUSED
    return EXIT_DONE if run.complete else EXIT_PROBLEMS


def _numbers(text: str) -> list[int]:
    try:
        return [int(part) for part in ids(text)]
    except ValueError:
        raise ConfigError(f"--patients {text}", "expected numbers separated by commas, such as 3,5,10") from None
