"""What a league's jobs came to."""

from __future__ import annotations

from pathlib import Path

from bench.league.plan import LeagueConfig, LeaguePlan, arm_of, plan_league, split_patients
from bench.league.results import FIGURES, league_results
from labelgan.core.files import write_json_atomic
from labelgan.scoring.metrics import METRICS
from labelgan.study.engine.ledger import Job, Ledger
from study_cohorts import cohort_of, patients

COHORT = cohort_of(patients(16))
CONFIG = LeagueConfig(rows=("gan",), sizes=(2,), curve=(4,), draws=2, samples=4)
DSC = {"classical": 0.5, arm_of("classical+synthetic", "gan"): 0.75}


def finish(ledger: Ledger, job: Job, result: dict[str, object]) -> Path:
    folder = ledger.prepare(job)
    folder.write_done(1.5, result, {"labelgan": "1"})
    return folder.path


def rows(dsc: float) -> list[dict[str, object]]:
    found: list[dict[str, object]] = []
    for number, patient in enumerate(split_patients(COHORT.patients)[1]):
        value = dsc + 0.01 * number
        scores = {"dsc": value, "hd95_mm": None, "avd_percent": 1.0, "lesion_recall": value, "lesion_f1": value}
        voxels = {"lesion_voxels": 5, "predicted_voxels": 5}
        found.append({"case": f"{patient}-0", "patient": patient, "site": "", **scores, **voxels})
    return found


def play(root: Path) -> tuple[LeaguePlan, Ledger]:
    """A league that is half over: both draws of two arms are scored, and one generator is audited."""
    plan, ledger = plan_league(CONFIG, COHORT), Ledger(root)
    for (fold, arm), job in plan.scores.items():
        if arm in DSC:
            finish(ledger, job, {"rows": rows(DSC[arm] + (0.1 if fold.startswith("n004") else 0))})
    key = ("n002-draw0", "gan")
    trained = {"steps": 7, "seconds": 5.0, "collapsed": True, "parameters": {"generator": 3}, "device": "cpu"}
    finish(ledger, plan.training[key], trained)
    finish(ledger, plan.samples[key], {"samples": 4, "with_lesion": 0.25, "seconds": 2.0})
    findings = [
        {"name": name, "value": 0.5, "anchors": {"good": 0.25}, "extra": {"copies": ["syn000001"]}} for name in FIGURES
    ]
    findings[0]["value"] = None
    write_json_atomic(finish(ledger, plan.audits[key], {}) / "audit" / "audit.json", {"findings": findings})
    return plan, ledger


def test_a_league_that_is_half_over(tmp_path):
    plan, ledger = play(tmp_path)
    result = league_results(COHORT, CONFIG, plan, ledger, [])
    assert result["patients"] == {"development": 8, "test": 8}
    (entry,) = result["generators"]
    assert (entry["draws"], entry["steps"], entry["collapsed"], entry["with_lesion"]) == (1, 7, 1, 0.25)
    assert entry["figures"][FIGURES[0]] == {"value": None, "held_out": 0.25, "undefined": 1}
    assert entry["figures"][FIGURES[2]]["value"] == 0.5
    assert entry["cohort"] == {
        "folder": f"jobs/{plan.samples['n002-draw0', 'gan'].key}/cohort",
        "copies": ["syn000001"],
    }
    assert {row["kind"]: (row["jobs"], row["seconds"]) for row in result["cost"]}["score"] == (6, 9.0)


def test_scores_are_judged_against_both_sizes_of_the_reference(tmp_path):
    plan, ledger = play(tmp_path)
    verdict = league_results(COHORT, CONFIG, plan, ledger, [])["verdict"]
    arm = arm_of("classical+synthetic", "gan")
    (row,) = (row for row in verdict["comparisons"] if row["arm"] == arm and row["metric"] == "dsc")
    assert (row["reference"], row["n_train"], row["difference"], row["verdict"]) == ("classical", 2, 0.25, "helps")
    (worth,) = (row for row in verdict["multipliers"] if row["arm"] == arm)
    assert worth["multiplier"] is None  # 0.75 lies above the whole curve, 0.5 to 0.6
    assert "beyond the curve" in worth["note"]


def test_the_headline_corrects_over_every_row(tmp_path):
    plan, ledger = play(tmp_path)
    verdict = league_results(COHORT, CONFIG, plan, ledger, [])["verdict"]
    assert (verdict["reference"], verdict["references"]) == ("classical", ["classical"])  # nothing else is scored yet
    asked = {(row["arm"], row["metric"]) for row in verdict["comparisons"] if row["primary"]}
    assert asked == {(arm_of("classical+synthetic", "gan"), metric) for metric in METRICS}
    assert "5 comparisons with classical" in verdict["headline"]


def test_nothing_done_is_no_fault(tmp_path):
    plan = plan_league(CONFIG, COHORT)
    result = league_results(COHORT, CONFIG, plan, Ledger(tmp_path), [])
    assert result["verdict"] is None
    assert result["generators"][0]["steps"] is None
