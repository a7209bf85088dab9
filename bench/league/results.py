"""What a league's jobs came to, as plain JSON: scores judged as a study's are, and the figures of every generator."""

from __future__ import annotations

import io
from collections.abc import Sequence
from statistics import fmean
from typing import Any

from bench.league.plan import REFERENCES, ROWS, LeagueConfig, LeaguePlan, split_patients
from labelgan.core.files import read_json
from labelgan.core.provenance import provenance
from labelgan.data.manifests import PHANTOM, CohortManifest, read_manifest
from labelgan.study.arms import references_of
from labelgan.study.cohort import KnownCohort
from labelgan.study.engine.ledger import Job, Ledger
from labelgan.study.jobs import AUDIT_FOLDER, COHORT
from labelgan.study.verdict.verdict import make_verdict

METRICS = ("dsc", "lesion_recall", "lesion_f1")

# Findings of audit.json that the table shows.
FIGURES = (
    "label.agreement.ring",
    "label.agreement.edge",
    "pair.kid",
    "pair.coverage",
    "copies.share",
    "copies.authenticity",
    "diversity.spread",
)


def league_results(
    cohort: KnownCohort, config: LeagueConfig, plan: LeaguePlan, ledger: Ledger, failed: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    """Gives league.json: settings, whom it was played with, verdict, generators, cost, and what failed."""
    development, test = split_patients(cohort.patients)
    return {
        "format": 1,
        "kind": "league",
        "cohort": cohort.root.resolve().name,
        "phantom": read_manifest(cohort.root, CohortManifest).kind == PHANTOM,
        "patients": {"development": len(development), "test": len(test)},
        "config": config.model_dump(mode="json"),
        "verdict": judge(plan, ledger),
        "generators": generators(config, plan, ledger),
        "cost": cost(plan, ledger),
        "failed": list(failed),
        "made_with": provenance(),
    }


def judge(plan: LeaguePlan, ledger: Ledger) -> dict[str, Any] | None:
    """The verdict of `labelgan.study` on the scores that there are; None where there are none."""
    import pandas

    rows = [
        {"fold": fold.name, "n_train": len(fold.train), "repeat": fold.repeat, "arm": arm, **row}
        for fold in plan.folds
        for (name, arm), job in plan.scores.items()
        if name == fold.name and ledger.is_done(job)
        for row in ledger.result(job)["rows"]
    ]
    if not rows:
        return None
    frame = pandas.DataFrame(rows)
    # By way of text, as a study's scores.csv: undefined values become empty.
    text = frame.to_csv(index=False)
    frame = pandas.read_csv(io.StringIO(text), dtype=str, keep_default_na=False)
    # The strongest reference is the headline's; it corrects over every row of the league.
    verdict = make_verdict(frame, references=references_of(REFERENCES))
    kept = ("headline", "reference", "references", "summary", "comparisons", "multipliers", "policy")
    return {key: verdict[key] for key in kept}


def generators(config: LeagueConfig, plan: LeaguePlan, ledger: Ledger) -> list[dict[str, Any]]:
    """One entry for every row and number of training patients: means over the draws that are done."""
    found = []
    for size in config.sizes:
        folds = [fold.name for fold in plan.folds if len(fold.train) == size]
        for row in config.rows:
            trained = _results(plan.training, folds, row, ledger)
            sampled = _results(plan.samples, folds, row, ledger)
            audits = [
                read_json(ledger.folder(plan.audits[fold, row]) / AUDIT_FOLDER / "audit.json")
                for fold in folds
                if ledger.is_done(plan.audits[fold, row])
            ]
            entry = {
                "row": row,
                "n_train": size,
                "draws": len(trained),
                "about": ROWS[row].about,
                "parameters": trained[0]["parameters"] if trained else None,
                "device": trained[0]["device"] if trained else None,
                "steps": _mean([result["steps"] for result in trained]),
                "train_seconds": _mean([result["seconds"] for result in trained]),
                "sample_seconds": _mean([result["seconds"] for result in sampled]),
                "with_lesion": _mean([result["with_lesion"] for result in sampled]),
                "collapsed": sum(result["collapsed"] for result in trained),
                "figures": {name: _figure(name, audits) for name in FIGURES},
                "cohort": _picture_source(plan, ledger, folds[0], row),
            }
            found.append(entry)
    return found


def _results(jobs: dict[tuple[str, str], Job], folds: Sequence[str], row: str, ledger: Ledger) -> list[dict[str, Any]]:
    return [ledger.result(jobs[fold, row]) for fold in folds if ledger.is_done(jobs[fold, row])]


def _figure(name: str, audits: Sequence[dict[str, Any]]) -> dict[str, float | None]:
    """Mean over draws of the samples' figure and of the held-out slices', undefined ones left out and counted."""
    findings = [next(item for item in audit["findings"] if item["name"] == name) for audit in audits]
    values = [item["value"] for item in findings if item["value"] is not None]
    held_out = [item["anchors"]["good"] for item in findings if item["anchors"]["good"] is not None]
    return {"value": _mean(values), "held_out": _mean(held_out), "undefined": len(findings) - len(values)}


def _picture_source(plan: LeaguePlan, ledger: Ledger, fold: str, row: str) -> dict[str, Any] | None:
    """Where the first draw's samples lie inside the league, and which of them its audit calls copies."""
    samples, audit = plan.samples[fold, row], plan.audits[fold, row]
    if not (ledger.is_done(samples) and ledger.is_done(audit)):
        return None
    findings = read_json(ledger.folder(audit) / AUDIT_FOLDER / "audit.json")["findings"]
    copies = next(item for item in findings if item["name"] == "copies.share")["extra"]["copies"]
    return {"folder": f"jobs/{samples.key}/{COHORT}", "copies": copies}


def cost(plan: LeaguePlan, ledger: Ledger) -> list[dict[str, Any]]:
    """Jobs of each kind and their seconds by the wall."""
    seconds: dict[str, list[float]] = {}
    for job in plan.jobs.values():
        if ledger.is_done(job):
            seconds.setdefault(job.kind, []).append(float(ledger.record(job)["seconds"]))
    return [{"kind": kind, "jobs": len(times), "seconds": round(sum(times), 1)} for kind, times in seconds.items()]


def _mean(values: Sequence[float]) -> float | None:
    return fmean(values) if values else None
