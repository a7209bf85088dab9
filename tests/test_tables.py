from __future__ import annotations

from pathlib import Path

import pytest

from labelgan.data.case import Case, Cohort, ImageRef
from labelgan.data.problems import CaseFacts, CheckReport, Problem
from labelgan.tables import print_check

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
