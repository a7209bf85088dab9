"""The package's verbs, as the command line has them: check, phantom, prepare, train, sample, score.

Those of segmenters, audits, studies and exports are in the modules beside this one.

Example:
    From a folder of annotated scans to labelled synthetic slices:

    >>> import labelgan
    >>> labelgan.prepare("scans", "store", size=(64, 64), spacing_mm="auto")  # doctest: +SKIP
    >>> labelgan.train("store", "run", steps=2000, preset="laptop")  # doctest: +SKIP
    >>> labelgan.sample("run", "synthetic", num=100, format="wmh", seed=1)  # doctest: +SKIP
    >>> labelgan.check("synthetic").ok  # doctest: +SKIP
    True
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labelgan.config.base import PrepareConfig, Settings
from labelgan.core.errors import ConfigError, DataError, LabelganError, LeakError
from labelgan.core.files import require_free
from labelgan.core.progress import Report

if TYPE_CHECKING:
    from labelgan.config.gan import GanConfig
    from labelgan.data.check.problems import CheckReport
    from labelgan.data.export.mix import Exported
    from labelgan.data.store import SliceStore
    from labelgan.gan.train import TrainingResult
    from labelgan.report.overlays import Overlay
    from labelgan.scoring.report import ScoreReport


PHANTOM_GENERATOR = "phantom"


def check(data: str | Path, *, layout: str | None = None, report: Report | None = None) -> CheckReport:
    """Detects a cohort's layout, reads every file once and lists every problem; see `data.integrity.check_cohort`."""
    from labelgan.data.check.integrity import check_cohort

    progress = None if report is None else lambda done, total: report(done, total, "")
    return check_cohort(Path(data), layout=layout, progress=progress)


def phantom(
    out: str | Path,
    patients: int,
    seed: int = 0,
    *,
    shape: tuple[int, int, int] | None = None,
    force: bool = False,
    report: Report | None = None,
) -> list[str]:
    """Writes a labelled phantom cohort and gives its ids; see `data.phantom.write_phantom_cohort`."""
    from labelgan.data.phantom.cohort import write_phantom_cohort

    done: list[str] = []

    def progress(identifier: str) -> None:
        done.append(identifier)
        if report is not None:
            report(len(done), patients, identifier)

    return write_phantom_cohort(Path(out), patients, seed, shape=shape, force=force, progress=progress)


def prepare(
    data: str | Path,
    out: str | Path,
    *,
    config: PrepareConfig | None = None,
    exclude: Collection[str] = (),
    force: bool = False,
    report: Report | None = None,
    warn: Callable[[str], None] | None = None,
    **settings: Any,
) -> SliceStore:
    """Makes a cohort's slice store; see `data.prepare.prepare_store`. ``settings`` are fields of `PrepareConfig`."""
    from labelgan.data.prepare.cohort import prepare_store

    if config is None:
        config = PrepareConfig.build(settings)
    elif settings:
        raise ConfigError(", ".join(settings), "is given beside a whole config; give one or the other")
    return prepare_store(Path(data), Path(out), config, exclude=exclude, force=force, progress=report, warn=warn)


def phantom_generator() -> Path:
    """The run folder of the small generator that comes with the package, trained on phantoms alone."""
    return Path(__file__).parents[1] / "assets" / "phantom64"


def training_config(
    *,
    model: str | None = None,
    preset: str | None = None,
    settings: Settings = (),
    resume_from: Path | None = None,
    start_from: Path | None = None,
) -> GanConfig:
    """Puts a run's settings together: from the run that goes on, or the one it starts from, or the named model.

    Raises:
        ConfigError: a name is unknown, a setting is not read by the game, networks or inputs that were chosen, or a
            model is named beside a run whose networks are already settled.
    """
    from labelgan.config.gan import GanConfig

    parent = resume_from or start_from
    if parent is None:
        return _applied(_of_model(model or "auto", preset), settings)
    config = GanConfig.from_toml(parent / "config.toml")
    if model is not None and model != config.model:
        raise ConfigError(f"--model {model}", f"{parent} is a run of {config.model}")
    if preset is not None and preset != config.preset:
        raise ConfigError(f"--preset {preset}", f"{parent} was made with preset {config.preset or 'none'}")
    # Where the parent was trained says nothing about where its child will be.
    here = {} if resume_from else {"train.device": "auto", "train.devices": 1, "train.threads": 0}
    return _applied(config.replace(here), settings)


def _of_model(model: str, preset: str | None) -> GanConfig:
    """A named model's settings, or those of a game of OBJECTIVES that no model names."""
    from labelgan.config.gan import AUTO_MODEL, MODELS, GanConfig

    if model not in ("auto", *MODELS):
        from labelgan.gan.objectives import OBJECTIVES

        if model in OBJECTIVES:
            named = {"model": model, "objective.name": model, **OBJECTIVES[model].defaults}
            return GanConfig.for_model("r3gan", preset, named)
    return GanConfig.for_model(AUTO_MODEL if model == "auto" else model, preset)


def _applied(config: GanConfig, settings: Settings) -> GanConfig:
    """Applies settings; raises ConfigError for one that the game, networks or inputs do not read."""
    changed = config.with_settings(settings)
    if settings:
        from labelgan.config.choices import require_read
        from labelgan.gan.choices import choices

        require_read(changed, settings, choices(changed), config)
    return changed


def train(
    store_or_data: str | Path,
    out: str | Path,
    *,
    model: str | None = None,
    preset: str | None = None,
    steps: int | None = None,
    seed: int | None = None,
    device: str | None = None,
    devices: int | None = None,
    threads: int | None = None,
    settings: Settings = (),
    exclude: Collection[str] = (),
    resume: bool = False,
    start_from: str | Path | None = None,
    track: str | None = None,
    report: Report | None = None,
    prepare_report: Report | None = None,
    warn: Callable[[str], None] | None = None,
) -> TrainingResult:
    """Trains a generator; see `gan.train.train_generator`.

    Args:
        store_or_data: a slice store, or a cohort, which is prepared into ``out/store`` with the defaults, at a pixel
            size at which slices hold every brain.
        out: run folder.
        model: key of ``config_gan.MODELS``, or ``auto``, which is the default.
        preset: key of ``config_gan.PRESETS``.
        steps: generator steps.
        seed: of every random stream.
        device: auto, cpu, cuda, cuda:1, mps.
        devices: GPUs, or processes of the CPU, that share every batch.
        threads: of the CPU.
        settings: ``["a.b=value"]``, as ``--set`` takes them, or ``{"a.b": value}``; the named ones above come after.
        exclude: case or patient ids that the generator must never see.
        resume: go on from the last checkpoint of ``out``, if there is one, with its settings and exclusions.
        start_from: run folder to fine-tune, or ``"phantom"`` for the generator that comes with the package.
        track: ``"mlflow"`` to tell an MLflow server settings and figures too (extra: mlflow).
        report: called after every step.
        prepare_report: called after every case that is prepared.
        warn: called with a line where a patient is left out whom ``exclude`` names by one session alone, two
            patients' scans look like one scan, or ``start_from`` has seen a patient who is excluded.
    """
    from labelgan.gan.run_folder import RunFolder
    from labelgan.gan.tracking import require_tracker
    from labelgan.gan.train import train_generator

    require_tracker(track)
    out = Path(out)
    parent = phantom_generator() if start_from == PHANTOM_GENERATOR else Path(start_from) if start_from else None
    if parent is not None and not (parent / "config.toml").is_file():
        raise DataError(parent, "is not a run folder: it has no config.toml")
    named = {"steps": steps, "seed": seed, "device": device, "devices": devices, "threads": threads}
    going_on = out if resume and (out / "config.toml").is_file() else None
    config = training_config(model=model, preset=preset, settings=settings, resume_from=going_on, start_from=parent)
    config = config.replace({f"train.{key}": value for key, value in named.items() if value is not None})
    if resume and not exclude and (out / "manifest.json").is_file():
        exclude = RunFolder(out).read_manifest().excluded
    store = _open_store(Path(store_or_data), out, resume, prepare_report)
    if warn is not None:
        for line in _guard_notes(store, exclude, parent):
            warn(line)
    return train_generator(
        store, out, config, exclude=exclude, resume=resume, start_from=parent, tracker=track, report=report
    )


def _guard_notes(store: SliceStore, exclude: Collection[str], parent: Path | None) -> list[str]:
    """Lines about patients who look alike or are left out whole, and about excluded ones whom a parent has seen."""
    from labelgan.data.check.leaks import require_no_leak
    from labelgan.data.check.seen import SeenCases
    from labelgan.gan.run_folder import RunFolder

    lines = store.guard_notes(exclude)
    if parent is None:
        return lines
    own = RunFolder(parent).read_manifest().seen
    seen = SeenCases((), (*own.own, *own.inherited))
    try:
        require_no_leak(parent, seen, store.known(store.hold_out(exclude)), store.known(store.cases))
    except LeakError as error:
        lines.append(f"{error}; its weights are begun with, so that the new generator has seen that patient too")
    return lines


def _open_store(source: Path, out: Path, resume: bool, report: Report | None) -> SliceStore:
    from labelgan.data.store import SliceStore

    if not source.is_dir():
        raise DataError(source, "there is no such folder; name a cohort, or the store that `labelgan prepare` made")
    if (source / "images.npy").is_file():
        return SliceStore.open(source)
    if resume and (out / "store" / "images.npy").is_file():
        return SliceStore.open(out / "store")
    if not resume:
        require_free(out, "go on with --resume, or name another folder")
    return prepare(source, out / "store", report=report, spacing_mm="auto")


def sample(
    run: str | Path,
    out: str | Path,
    num: int,
    *,
    format: str = "wmh",
    seed: int = 0,
    keep_best: float = 1.0,
    load: str | None = None,
    height: float | None = None,
    site: str | None = None,
    device: str = "auto",
    force: bool = False,
    audited: str | Path | None = None,
    report: Report | None = None,
) -> Path:
    """Writes labelled synthetic slices as a cohort that `check` accepts; see `gan.sample.sample_cohort`.

    Args:
        run: run folder of a finished generator, or ``"phantom"``.
        out: new folder of the cohort.
        num: how many slices.
        format: key of ``data.export.EXPORTERS``.
        seed: of z.
        keep_best: of every 1/fraction slices, keep the one that the critic likes best.
        load: lesion load to ask for: none, low, medium or high; of models that can be asked.
        height: of the slices in the brain, 0 (lowest) to 1; likewise.
        site: or scanner of the training patients, such as a folder of the WMH layout: its patients' anatomies and
            lesions, its brightness; likewise.
        device: where to sample.
        force: sample a collapsed generator all the same.
        audited: slice store with the generator's training patients: copies of them, masks that do not fit and other
            offending slices are left out, and counted in the manifest; see `study.judge.sample_judge`.
        report: called after every sample.
    """
    from labelgan.gan.inputs.compose import Conditions
    from labelgan.gan.sample import sample_cohort

    if run == PHANTOM_GENERATOR:
        run = phantom_generator()
    judge = None
    if audited is not None:
        from labelgan.study.jobs import sample_judge

        judge = sample_judge(run, audited)
    return sample_cohort(
        run, out, num, format=format, seed=seed, keep_best=keep_best, conditions=Conditions(load, height, site=site),
        device=device, force=force, judge=judge, report=report,
    )  # fmt: skip


def score(
    reference: str | Path,
    prediction: str | Path,
    *,
    resample: bool = False,
    layout: str | None = None,
    report: Report | None = None,
) -> ScoreReport:
    """Scores predicted masks as the WMH Segmentation Challenge does; see `scoring.score_paths`."""
    from labelgan.scoring.files import score_paths

    return score_paths(Path(reference), Path(prediction), resample=resample, layout=layout, progress=report)


def overlays(
    reference: str | Path,
    prediction: str | Path,
    out: str | Path,
    *,
    layout: str | None = None,
    report: Report | None = None,
) -> tuple[list[Overlay], list[tuple[str, LabelganError]]]:
    """Draws hits, misses and false alarms of every predicted case; see `report.overlays.write_overlays`."""
    from labelgan.report.overlays import write_overlays

    return write_overlays(Path(reference), Path(prediction), Path(out), layout=layout, progress=report)


def export(
    sources: str | Path | Sequence[str | Path],
    out: str | Path,
    *,
    format: str = "nnunet",
    folds: int | None = None,
    channels: Sequence[str] = (),
    exclude: Sequence[str] = (),
    drop_other: bool = False,
    seed: int = 0,
    report: Report | None = None,
) -> Exported:
    """Writes a real cohort, a synthetic one, or several mixed, for other tools; see `data.export_mix.export_sources`.

    Args:
        sources: folder of a cohort, or several.
        out: new folder.
        format: key of ``data.export.FORMATS``.
        folds: how many, for formats that keep folds; by default as the generators' held-out patients have it, or 5.
        channels: which, in order; by default all.
        exclude: ids of cases or patients to leave out.
        drop_other: make other pathology (2) background.
        seed: of the draw of folds.
        report: called as (cases done, cases, case id).
    """
    from labelgan.data.export.mix import export_sources

    roots = [sources] if isinstance(sources, str | Path) else sources
    return export_sources(
        [Path(root) for root in roots],
        Path(out),
        format,
        channels=channels,
        exclude=exclude,
        folds=folds,
        seed=seed,
        drop_other=drop_other,
        progress=report,
    )
