"""A whole study: scan the cohorts, plan, run what is not done, write the results."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from labelgan.config.base import PrepareConfig
from labelgan.config.study import EngineConfig, StudyConfig
from labelgan.core.errors import ConfigError, DataError
from labelgan.core.files import lock_folder, read_json, require_free, sha256_file, write_json_atomic
from labelgan.core.progress import Report
from labelgan.data.curation import BESIDE_SAMPLES, read_curation
from labelgan.data.prepare.crop import require_lesions_inside
from labelgan.data.pseudonyms import keyfile, using
from labelgan.study.arms import ARMS
from labelgan.study.cohort import KnownCohort, cropped_lesions, know_cohort, require_one_patient_a_scan
from labelgan.study.engine.base import Engine
from labelgan.study.engine.engines import make_engine
from labelgan.study.engine.ledger import Ledger
from labelgan.study.engine.scheduler import Event, Failure, RunSummary, run_jobs
from labelgan.study.jobs import plan_more
from labelgan.study.places import PLACES, Places, StudySources
from labelgan.study.plan import ExternalSamples, Plan, plan_study
from labelgan.study.results import (
    CONFIG,
    REPORT,
    SCORES,
    STUDY,
    VERDICT,
    scores_csv,
    shareable,
    study_json,
    write_if_new,
    write_verdict,
)


@dataclass(frozen=True)
class StudyResult:
    """Result of a study: its folder, what was run, what failed, and the verdict (empty where nothing is scored)."""

    folder: Path
    plan: Plan
    run: RunSummary
    verdict: dict[str, Any] = field(default_factory=dict)

    @property
    def failures(self) -> Sequence[Failure]:
        """Jobs that failed; what waits for them was not run."""
        return self.run.failed


def scan_cohorts(
    sources: StudySources,
    out: Path,
    report: Report | None = None,
    prepare: PrepareConfig | None = None,
    warn: Callable[[str], None] | None = None,
) -> tuple[KnownCohort, KnownCohort | None]:
    """Reads what a study must know of its cohorts; ``warn`` is called for patients whose scans are alike.

    Raises:
        DataError: a cohort cannot be used, or the slices that are planned leave out more than ``prepare.max_cropped``
            of its lesion voxels.
        LeakError: a scan stands under two patients, or in both cohorts.
    """
    cohort = know_cohort(sources.data, out / "cohort.json", report, prepare)
    test = None if sources.test is None else know_cohort(sources.test, out / "test-cohort.json", report, prepare)
    if test is not None:
        require_one_patient_a_scan(cohort, test)
    for part in (cohort, test):
        if part is not None and prepare is not None:
            require_lesions_inside(*cropped_lesions(part, prepare), prepare.max_cropped, part.root)
        if part is not None and warn is not None:
            for warning in part.warnings:
                warn(warning)
    return cohort, test


def make_plan(
    config: StudyConfig, sources: StudySources, cohort: KnownCohort, test: KnownCohort | None, gpus: int = 0
) -> Plan:
    """Plans a study; see `study.plan.plan_study`.

    Raises:
        ConfigError, DataError: a setting or folder cannot be used.
    """
    external = None
    if sources.synthetic is not None:
        if not any(ARMS[arm].synthetic for arm in config.arms if arm in ARMS):
            raise ConfigError(f"--synthetic {sources.synthetic}", "no arm of the study uses synthetic slices")
        external = ExternalSamples(sources.synthetic.resolve().name, _hash_of_folder(sources.synthetic))
    start = None
    if sources.start_from is not None and sources.synthetic is None:
        weights = sources.start_from / "generator.safetensors"
        if not weights.is_file():
            raise DataError(sources.start_from, "is not the folder of a finished run: it has no generator.safetensors")
        start = sha256_file(weights)
    plan = plan_study(config, cohort, test, start_from=start, external=external, gpus=gpus)
    return plan_more(plan, config)


def run_study(
    config: StudyConfig,
    sources: StudySources,
    out: Path,
    *,
    engine: str | Callable[[Ledger], Engine] = "local",
    engine_config: EngineConfig | None = None,
    device: str = "auto",
    scan_report: Report | None = None,
    report: Report | None = None,
    tell: Callable[[Event], None] | None = None,
    warn: Callable[[str], None] | None = None,
) -> StudyResult:
    """Runs a study, or what is left of it, and writes study.json, scores.csv, verdict.json and report.html.

    Nothing that is finished is done again: jobs are found by the hash of their settings, inputs and files.

    Args:
        config: every setting.
        sources: the folders.
        out: the study's folder; new, or of a study that goes on.
        engine: key of ``study.engines.ENGINES``, or a function that makes one.
        engine_config: its settings.
        device: where jobs compute.
        scan_report: called for every case whose files are new or have changed.
        report: called after every job with (done, in all, label).
        tell: called with every event.
        warn: called with a line about the cohorts.

    Raises:
        ConfigError, DataError: a setting or the data cannot be used.
        LeakError: one scan stands under two patients, or on both sides.
        KeyboardInterrupt: interrupted; everything finished stays done.
    """
    require_study_folder(out)
    _require_same_names(out)
    with lock_folder(out):
        cohort, test = scan_cohorts(sources, out, scan_report, config.prepare, warn)
        plan = make_plan(config, sources, cohort, test, gpus=gpus_of_a_job(device))
        Places(**vars(sources), device=device, pseudonymise=keyfile()).write(out)
        write_if_new(out / CONFIG, shareable(config).to_toml())
        ledger = Ledger(out)
        made = make_engine(engine, ledger, engine_config) if isinstance(engine, str) else engine(ledger)
        with made as running:
            summary = run_jobs(plan.jobs, ledger, running, report=report, tell=tell)
        verdict = conclude(out, plan, ledger, config, cohort, test, summary.failed)
        return StudyResult(out, plan, summary, verdict)


def conclude(
    out: Path,
    plan: Plan,
    ledger: Ledger,
    config: StudyConfig,
    cohort: KnownCohort,
    test: KnownCohort | None,
    failed: Sequence[Failure],
) -> dict[str, Any]:
    """Writes scores, verdict, study.json and the page from the jobs that are done; gives the verdict.

    The verdict and the page are left as they are where the scores and all else that they show have not changed.
    """
    scores = scores_csv(plan, ledger)
    facts = study_json(plan, ledger, config, cohort, test, [failure.record() for failure in failed])
    before, verdict = _read_if_whole(out / STUDY), _read_if_whole(out / VERDICT)
    if not facts["command"]:
        facts["command"] = before.get("command", "")
    same = {key: value for key, value in facts.items() if key not in ("made_with", "command")}
    made = bool(verdict) and (out / REPORT).is_file() and (out / SCORES).is_file()
    if made and (out / SCORES).read_bytes() == scores.encode() and {key: before.get(key) for key in same} == same:
        return verdict
    # The page is made last. While it is missing, what lies beside it is not taken for what the scores came to.
    (out / REPORT).unlink(missing_ok=True)
    write_if_new(out / SCORES, scores)
    verdict = (
        write_verdict(out, config.seed, plan.references) if scores.count("\n") > 1 else {}
    )  # else nothing but the header
    write_json_atomic(out / STUDY, facts)
    if verdict:
        write_report(out, plan, ledger, cohort, test)
    return verdict


def _read_if_whole(path: Path) -> dict[str, Any]:
    """Reads a file of an earlier run that can be made again; nothing where it is missing or torn."""
    try:
        content = read_json(path)
    except DataError:
        return {}
    return content if isinstance(content, dict) else {}


def write_report(
    out: Path, plan: Plan | None = None, ledger: Ledger | None = None, cohort: KnownCohort | None = None,
    test: KnownCohort | None = None,
) -> Path:  # fmt: skip
    """Writes report.html of a study's folder; with plan and ledger the pictures of its jobs too."""
    from labelgan.report.study import write_study_report
    from labelgan.study.pictures import study_pictures

    pictures = None
    if plan is not None and ledger is not None and cohort is not None:
        pictures = study_pictures(plan, ledger, cohort, test)
    return write_study_report(out, pictures=pictures)


def rebuild_report(out: Path) -> Path:
    """Builds the page of a study's folder again, with the pictures where the data still lies where it was.

    Raises:
        DataError: the folder holds no study.
    """
    if not (out / STUDY).is_file():
        raise DataError(out, "holds no study: it has no study.json; name a folder that `labelgan study --out` made")
    try:
        config = StudyConfig.from_toml(out / CONFIG)
        content = read_json(out / PLACES)
        given = {key: Path(content[key]) for key in ("test", "start_from", "synthetic") if content.get(key)}
        sources = StudySources(Path(content["data"]), **given)
        with using(content.get("pseudonymise")):
            cohort, test = scan_cohorts(sources, out)
            plan = make_plan(config, sources, cohort, test)
            return write_report(out, plan, Ledger(out), cohort, test)
    except (ConfigError, DataError, KeyError):
        return write_report(out)


def require_study_folder(out: Path) -> None:
    """Raises DataError where a folder is full and holds neither a study nor the scan of a dry run."""
    if not (out / CONFIG).is_file():
        scanned = [name + ending for name in ("cohort", "test-cohort") for ending in (".json", "-fingerprints.npz")]
        require_free(out, "it holds no study, so name another folder", ["jobs", PLACES, *scanned])


def _require_same_names(out: Path) -> None:
    """A study goes on under the names that it began with: real ones would stand beside pseudonyms."""
    if not (out / PLACES).is_file() or not (out / CONFIG).is_file():
        return
    before, now = read_json(out / PLACES).get("pseudonymise"), keyfile()
    if before != (None if now is None else str(now)):
        how = "without --pseudonymise" if before is None else f"with --pseudonymise {before}"
        raise ConfigError(out, f"was begun {how}; go on in the same way")


def gpus_of_a_job(device: str) -> int:
    """GPUs that a job asks for which computes on ``device``."""
    if device == "cpu":
        return 0
    import torch

    return int(torch.cuda.is_available())


def _hash_of_folder(folder: Path) -> str:
    """Of every file's path and content, and of what was rejected: what is in a cohort that somebody else made."""
    if not folder.is_dir():
        raise DataError(folder, "there is no such folder")
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and path.name != ".lock" and name not in BESIDE_SAMPLES:
            digest.update(f"{name}\0{sha256_file(path)}\n".encode())
    if (rejected := read_curation(folder).digest()) is not None:
        digest.update(f"rejected\0{rejected}\n".encode())
    return digest.hexdigest()
