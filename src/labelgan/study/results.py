"""Puts the jobs' results together: scores.csv, study.json, verdict.json."""

from __future__ import annotations

import csv
import io
import shlex
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from labelgan.config.study import StudyConfig
from labelgan.core.files import write_json_atomic, write_text_atomic
from labelgan.core.provenance import provenance
from labelgan.data.pseudonyms import keyfile
from labelgan.scoring.scores_csv import COLUMNS
from labelgan.study.arms import ARMS
from labelgan.study.cohort import KnownCohort, facts_of
from labelgan.study.engine.ledger import Job, Ledger
from labelgan.study.jobs import AUDIT_FOLDER
from labelgan.study.plan import Plan

STUDY, SCORES, VERDICT, REPORT, CONFIG = "study.json", "scores.csv", "verdict.json", "report.html", "config.toml"
COMPLETE, INCOMPLETE = "complete", "incomplete"


def scores_csv(plan: Plan, ledger: Ledger) -> str:
    """Gives scores.csv: a row for every fold, arm and case that is scored; empty where a metric is undefined."""
    text = io.StringIO()
    table = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    table.writeheader()
    for fold in plan.folds:
        for (name, arm), job in plan.scores.items():
            if name != fold.name or not ledger.is_done(job):
                continue
            for row in ledger.result(job)["rows"]:
                values = {key: "" if value is None else value for key, value in row.items()}
                table.writerow(
                    {"fold": fold.name, "n_train": len(fold.train), "repeat": fold.repeat, "arm": arm, **values}
                )
    return text.getvalue()


def study_json(
    plan: Plan,
    ledger: Ledger,
    config: StudyConfig,
    cohort: KnownCohort,
    test: KnownCohort | None,
    failed: Sequence[dict[str, Any]],
) -> dict[str, Any]:
    """Gives study.json: what was run, on whom, with what settings, at what cost, and what failed."""
    complete = all(ledger.is_done(job) for job in plan.scores.values())
    return {
        "format": 1,
        "kind": "study",
        "status": COMPLETE if complete else INCOMPLETE,
        "protocol": config.protocol,
        "data": facts_of(cohort)["name"],
        "test_data": None if test is None else facts_of(test)["name"],
        "cohorts": [facts_of(part) for part in (cohort, test) if part is not None],
        "arms": list(config.arms),
        "arm_descriptions": {arm: ARMS[arm].description for arm in config.arms},
        "reference": plan.references[0] if plan.references else None,
        "references": list(plan.references),
        "folds": [
            {
                "name": fold.name,
                "n_train": len(fold.train),
                "repeat": fold.repeat,
                "train": list(fold.train),
                "test": list(fold.test),
            }
            for fold in plan.folds
        ],
        "config": shareable(config).model_dump(mode="json"),
        "cost": _cost(plan.jobs, ledger),
        "failed": list(failed),
        "generators": _generators(plan, ledger),
        "audits": _audits(plan, ledger),
        "shares": {fold: ledger.result(job)["share"] for fold, job in plan.shares.items() if ledger.is_done(job)},
        "made_with": provenance(),
        "command": _command(),
    }


def _cost(jobs: Sequence[Job], ledger: Ledger) -> list[dict[str, Any]]:
    seconds: defaultdict[str, list[float]] = defaultdict(list)
    for job in jobs:
        if ledger.is_done(job):
            seconds[job.kind].append(float(ledger.record(job)["seconds"]))
    return [{"kind": kind, "jobs": len(times), "seconds": round(sum(times), 3)} for kind, times in seconds.items()]


def _generators(plan: Plan, ledger: Ledger) -> list[dict[str, Any]]:
    rows = []
    for fold, job in plan.generators.items():
        if ledger.is_done(job):
            rows.append({"fold": fold, "job": job.key, **ledger.result(job)})
    return rows


def _audits(plan: Plan, ledger: Ledger) -> list[dict[str, Any]]:
    rows = []
    for fold, job in plan.audits.items():
        if ledger.is_done(job):
            page = f"jobs/{job.key}/{AUDIT_FOLDER}/audit.html"
            rows.append({"fold": fold, "job": job.key, "page": page, **ledger.result(job)})
    return rows


def _command() -> str:
    program, *arguments = sys.argv
    if keyfile() is not None:
        return ""  # it holds the names of folders
    if Path(program).name not in ("labelgan", "__main__.py"):
        return ""
    return shlex.join(["labelgan", *(_by_name(argument) for argument in arguments)])


def _by_name(argument: str) -> str:
    """An argument, a path in it by its last part alone: what lies above may name people."""
    option, equals, value = argument.partition("=") if argument.startswith("-") else ("", "", argument)
    looks = value.startswith(("/", "./", "../", "~")) or ("/" in value and Path(value).exists())
    return f"{option}{equals}{Path(value).resolve().name}" if looks else argument


def shareable(config: StudyConfig) -> StudyConfig:
    """The settings with the run that generators start from by its name alone; `study.jobs.Places` tells where it is."""
    if config.start_from is None:
        return config
    return config.model_copy(update={"start_from": Path(config.start_from).name})


def write_verdict(folder: Path, seed: int, references: Sequence[str]) -> dict[str, Any]:
    """Makes verdict.json from scores.csv and gives it; see `study.verdict`. The first reference is the main one."""
    from labelgan.scoring.scores_csv import read_scores
    from labelgan.study.verdict.verdict import make_verdict

    verdict = make_verdict(read_scores(folder / SCORES), references=references, seed=seed)
    write_json_atomic(folder / VERDICT, verdict)
    return verdict


def write_if_new(path: Path, text: str) -> bool:
    """Writes a text unless the file holds it already; tells whether it did."""
    if path.is_file() and path.read_text(encoding="utf-8") == text:
        return False
    write_text_atomic(path, text)
    return True
