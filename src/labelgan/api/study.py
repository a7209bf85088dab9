"""The study's verbs: settings, plan, run, page. `labelgan.api.base` has the others."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labelgan.core.errors import ConfigError, DataError
from labelgan.core.progress import Report

if TYPE_CHECKING:
    from labelgan.config.base import Settings
    from labelgan.config.study import StudyConfig
    from labelgan.study.cost.estimate import Estimate
    from labelgan.study.plan import Plan
    from labelgan.study.run import StudyResult, StudySources


def study_config(
    *,
    model: str | None = None,
    network: str | None = None,
    preset: str | None = None,
    start_from: str | Path | None = None,
    settings: Settings = (),
    named_settings: Mapping[str, Any] | None = None,
    config: str | Path | None = None,
    resume_from: str | Path | None = None,
) -> StudyConfig:
    """Puts a study's settings together.

    Args:
        model: key of ``config_gan.MODELS``, or ``auto``, which is the default.
        network: key of ``seg.networks.SEGMENTERS``; li2018 by default.
        preset: one for generator, segmenter and slices, such as ``laptop``.
        start_from: run folder that generators are tuned from, or ``"phantom"``; their settings are then its.
        settings: ``["a.b=value"]``, as ``--set`` takes them, or ``{"a.b": value}``; they come last.
        named_settings: values by dotted key that come before ``settings``, such as those of options.
        config: TOML file with every setting, instead of the names above.
        resume_from: folder of a study; where it holds one and nothing is named, that study's settings hold.

    Raises:
        ConfigError, DataError: a name, setting or file cannot be used, or a setting is not read by what was chosen.
    """
    from labelgan import api
    from labelgan.config.study import StudyConfig

    named = {"--model": model, "--network": network, "--preset": preset, "--start-from": start_from}
    own = named_settings or {}
    given = [name for name, value in named.items() if value is not None]
    before = None if resume_from is None else Path(resume_from) / "config.toml"
    if config is None and not given and before is not None and before.is_file():
        config = before
    if config is not None:
        if given:
            raise ConfigError(given[0], f"is settled by {config}; change single settings with --set")
        return _applied(
            _with_recorded_parent(StudyConfig.from_toml(Path(config)), Path(config).parent).replace(own), settings
        )
    parent = None
    if start_from is not None:
        parent = _parent(start_from)
    # A parent's networks are settled, and with them its preset.
    generator = api.training_config(model=model, preset=None if parent else preset, start_from=parent)
    made = StudyConfig.for_names(generator, network or "li2018", preset)
    start = {} if start_from is None else {"start_from": str(start_from)}
    known = [StudyConfig.from_toml(before)] if settings and before is not None and before.is_file() else []
    return _applied(made.replace({**start, **own}), settings, *known)


def _applied(config: StudyConfig, settings: Settings, *before: StudyConfig) -> StudyConfig:
    """Applies settings; raises ConfigError for one that the study or a part of it does not read.

    What a study of ``before`` has already is let through.
    """
    changed = config.with_settings(settings)
    if settings:
        from labelgan.config.choices import require_read
        from labelgan.gan import choices as gan
        from labelgan.seg import networks as seg
        from labelgan.study.plan import SETTLED

        parts = [choice.under("generator") for choice in gan.choices(changed.generator)]
        parts += [choice.under("segmenter") for choice in seg.choices(changed.segmenter, synthetic=True)]
        require_read(changed, settings, [*SETTLED, *parts], config, *before)
    return changed


def _with_recorded_parent(config: StudyConfig, study: Path) -> StudyConfig:
    """A study's settings, with the run that its generators start from where the study's places.json says it lies."""
    from labelgan.core.files import read_json
    from labelgan.study.places import PLACES

    if config.start_from is None or not (study / PLACES).is_file():
        return config
    place = read_json(study / PLACES).get("start_from")
    same = place is not None and Path(place).name == config.start_from
    return config.model_copy(update={"start_from": place}) if same else config


def _parent(start_from: str | Path) -> Path:
    from labelgan import api

    parent = api.phantom_generator() if str(start_from) == api.PHANTOM_GENERATOR else Path(start_from)
    if not (parent / "config.toml").is_file():
        raise DataError(parent, "is not a run folder: it has no config.toml")
    return parent


def study_sources(
    data: str | Path,
    *,
    test: str | Path | None = None,
    synthetic: str | Path | None = None,
    start_from: str | None = None,
) -> StudySources:
    """Names the folders that a study reads; see `study.run.StudySources`."""
    from labelgan.study.run import StudySources

    return StudySources(
        Path(data),
        test=None if test is None else Path(test),
        start_from=None if start_from is None else _parent(start_from),
        synthetic=None if synthetic is None else Path(synthetic),
    )


def study_plan(
    config: StudyConfig,
    sources: StudySources,
    out: str | Path,
    *,
    workers: int | None = None,
    device: str = "auto",
    report: Report | None = None,
    tell: Callable[[str], None] | None = None,
) -> tuple[Plan, Estimate]:
    """Plans a study and estimates what it costs, without running anything; see `study.cost`."""
    from labelgan.study.cost.estimate import estimate_plan
    from labelgan.study.engine.ledger import Ledger
    from labelgan.study.run import gpus_of_a_job, make_plan, scan_cohorts

    out = Path(out)
    cohort, test = scan_cohorts(sources, out, report, config.prepare, tell)
    plan = make_plan(config, sources, cohort, test, gpus=gpus_of_a_job(device))
    ledger = Ledger(out)
    return plan, estimate_plan(plan, ledger, config, cohort, test, workers=workers, device=device, tell=tell)


def study(
    data: str | Path,
    out: str | Path,
    *,
    test: str | Path | None = None,
    synthetic: str | Path | None = None,
    reference: str | None = None,
    config: StudyConfig | None = None,
    engine: str = "local",
    workers: int | None = None,
    device: str = "auto",
    report: Report | None = None,
    **named: Any,
) -> StudyResult:
    """Runs a study of a cohort, or what is left of it: ``labelgan study``.

    Args:
        data: folder of annotated scans.
        out: the study's folder.
        test: another cohort to test on.
        synthetic: labelled cohort to use instead of training generators.
        reference: arm that those with synthetic slices are compared with; None: as ``config`` has it, which by
            default is the strongest arm without them (`study.arms.STRENGTH`).
        config: every setting; or ``named``.
        engine: key of ``study.engines.ENGINES``.
        workers: jobs at a time.
        device: where jobs compute.
        report: called after every job.
        named: arguments of `study_config`.

    Example:
        >>> import labelgan
        >>> result = labelgan.run_study("scans", "study", preset="laptop", settings=["folds=5"])  # doctest: +SKIP
        >>> result.verdict["headline"]  # doctest: +SKIP
    """
    from labelgan.config.study import EngineConfig
    from labelgan.study.run import run_study

    if config is not None and named:
        raise ConfigError(next(iter(named)), "is given beside a whole config; give one or the other")
    config = config or study_config(**named)
    if reference is not None:
        config = config.model_copy(update={"reference": reference})
    sources = study_sources(data, test=test, synthetic=synthetic, start_from=config.start_from)
    return run_study(
        config,
        sources,
        Path(out),
        engine=engine,
        engine_config=EngineConfig.of(workers),
        device=device,
        report=report,
        warn=lambda line: warnings.warn(line, stacklevel=2),
    )


def build_report(folder: str | Path) -> Path:
    """Builds report.html of a study's folder again, and gives its path."""
    from labelgan.study.run import rebuild_report

    return rebuild_report(Path(folder))


def verdict(folder: str | Path) -> dict[str, Any]:
    """Reads the verdict of a study's folder."""
    from labelgan.core.files import read_json

    return read_json(Path(folder) / "verdict.json")
