from __future__ import annotations

import math
from pathlib import Path

import pytest

from labelgan.audit.gates import Check, Finding, Gate
from labelgan.audit.run import AuditReport
from labelgan.cli.tables import print_audit, print_check, print_plan
from labelgan.data.case import Case, Cohort
from labelgan.data.check.problems import CaseFacts, CheckReport, Problem
from labelgan.data.volume import ImageRef
from labelgan.study.cost.estimate import Estimate, KindCost
from labelgan.study.folds import Fold
from labelgan.study.plan import Plan

ROOT = Path("/cohort")


@pytest.fixture(autouse=True)
def wide(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")


def report(*problems: Problem, grids: int = 1) -> CheckReport:
    cases = tuple(
        Case(
            id=f"c{i}",
            patient=f"p{i // 2}",
            images={"FLAIR": ImageRef(ROOT / f"c{i}.nii")},
            mask=ImageRef(ROOT / "m.nii") if i else None,
            site="Alpha" if i < 2 else "Beta",
        )
        for i in range(6)
    )
    facts = tuple(CaseFacts((10 + i % grids, 20, 30), (1.0, 1.0, 3.0 + 1 / 3)) for i in range(6))
    return CheckReport(Cohort(ROOT, "wmh", cases, ("FLAIR", "[bold]T1")), problems, facts)


def test_what_was_understood_is_told(capsys):
    print_check(report())
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        "layout wmh: 6 cases of 3 patients, 5 annotated; channels FLAIR, [bold]T1",
        "sites: Alpha (2), Beta (4)",
        "grids: 10×20×30 at 1×1×3.33 mm (6)",
        "no problems",
    ]


def test_many_grids_are_cut_short(capsys):
    print_check(report(grids=6))
    assert capsys.readouterr().out.splitlines()[2].endswith("and 2 more")


def test_every_problem_is_a_row_and_no_name_is_taken_for_markup(capsys):
    print_check(
        report(
            Problem("c1", ROOT / "x" / "[red]c1.nii", "is cut short"),
            Problem(None, None, "no case has a [/]mask", severity="warning"),
        )
    )
    shown = capsys.readouterr().out
    assert "2 problems" in shown
    assert "no problems" not in shown
    rows = {
        tuple(cell.strip() for cell in line.strip("│").split("│"))
        for line in shown.splitlines()
        if line.startswith("│")
    }
    assert ("error", "c1", "x/[red]c1.nii", "is cut short") in rows
    assert ("warning", "-", "-", "no case has a [/]mask") in rows


# What a study will do


def planned(**changes) -> tuple[Plan, Estimate]:
    folds = (Fold("fold-00", 0, ("a", "b"), ("c",)), Fold("fold-01", 0, ("a", "b", "c"), ("d",)))
    kinds = (
        KindCost("prepare", 1, 1, 0.0, 0.0, "voxel", 0.0, ""),
        KindCost("train generator", 5, 2, 5400.0, 3e9, "step", 0.25, "2 finished jobs"),
        KindCost("score", 8, 0, math.nan, 0.0, "voxel", math.nan, "unknown"),
    )
    values = {"kinds": kinds, "workers": 2, "threads": 1, "wall_s": 6000.0, "core_hours": 1.5, "gpu_hours": 0.0}
    return Plan(folds, ("real", "[bold]classical")), Estimate(**(values | changes))


def test_a_plan_is_a_table_and_one_line(capsys):
    print_plan(*planned(notes=("score could not be timed: [no]",), passing_bytes=2.5e6))
    shown = capsys.readouterr().out
    lines = shown.splitlines()
    assert lines[0] == ("2 folds, each trained on 2 to 3 and tested on 1 patients; arms real, [bold]classical")
    rows = [[cell.strip() for cell in line.strip("│").split("│")] for line in lines if line.startswith("│")]
    assert rows == [
        ["prepare", "1", "1", "-", "-", "-", "-"],
        ["train generator", "5", "2", "1 h 30 min", "250 ms a step", "3 GB", "2 finished jobs"],
        ["score", "8", "-", "?", "-", "-", "unknown"],
    ]
    assert lines[-3:] == [
        "1.5 core-hours; 3 GB of disk, and up to 2.5 MB of checkpoints meanwhile",
        "score could not be timed: [no]",
        "14 jobs, 3 done; more than 1 h 40 min, as nothing is known of score on 2 workers",
    ]


def test_gpu_hours_are_told_beside_those_of_cores(capsys):
    print_plan(*planned(gpu_hours=12.25, core_hours=0.5))
    assert "0.5 core-hours and 12.2 GPU-hours; 3 GB of disk" in capsys.readouterr().out


@pytest.mark.parametrize(("seconds", "said"), [(2, "2 s"), (0.0345, "34.5 ms"), (2.5e-6, "2.5 µs"), (3e-8, "30 ns")])
def test_a_rate_is_a_short_number(seconds, said, capsys):
    kind = KindCost("sample", 3, 0, 60.0, 0.0, "slice", seconds, "probe")
    print_plan(*planned(kinds=(kind,)))
    assert f"{said} a slice" in capsys.readouterr().out


def test_figures_and_gates_are_printed(capsys):
    findings = [Finding("a", "a [distance]", 0.12345, good=0.1, bad=2.0), Finding("b", "b", None, better="near")]
    gates = [
        Gate("first", (Check("share", 0.5, 0.1),)),
        Gate("second", (Check("share", 0.0, 0.1),)),
        Gate("third", (Check("share", None, 0.1),)),
    ]
    print_audit(AuditReport(findings, gates, {}))
    shown = capsys.readouterr().out
    for words in ("a [distance] ↓", "0.123", "b ≈", "FAILED", "passed", "not judged", "share 0.5 (at most 0.1)"):
        assert words in shown
