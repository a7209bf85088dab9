"""Tests of `bad_input_table`."""

from __future__ import annotations

from pathlib import Path

import pytest

from faults.ground import CHECK, Kind, Outcome, Trial
from faults.kinds import GROUPS, KINDS
from tools import bad_input_table
from tools.bad_input_table import row, table

KIND = Kind("a | b", lambda _: None, "score a b --json", 2, "unreadable")


def outcome(line: str, code: int = 2) -> Outcome:
    return Outcome(code, [f"error: {line}"], [], f"error: {line}\n", [])


def test_a_row_tells_the_line_as_it_was_said() -> None:
    told = row(KIND, Trial(outcome("a: `x` | <b>: unreadable " + "y" * 300)))
    assert told == "| a | b | score | 2 | a: \\`x\\` \\| \\<b\\>: unreadable yyy... | – |"


def test_a_broken_promise_stops_the_table() -> None:
    for trial in (Trial(outcome("a: unreadable", 1)), Trial(outcome("a: fine")), Trial(Outcome(2, [], [], "", []))):
        with pytest.raises(SystemExit, match=r"^a \| b: "):
            row(KIND, trial)


def test_the_table_is_made_by_running_the_kinds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "mask with label 3"
    warned = "empty mask"
    lines = table({"Some": [KINDS[name], KINDS[warned]]})
    (found,) = [line for line in lines if line.startswith(f"| {name} ")]
    assert "| check | 1 | Site/12/wmh.nii.gz: mask: values 0, 1, 2, 3: expected 0, 1, 2; store 0" in found
    assert found.endswith("| 2 |")
    assert any(line.startswith(f"| {warned} | check | 0 | warning: Site/12/wmh.nii.gz: ") for line in lines)
    assert "2 kinds" in lines[2]
    monkeypatch.setattr(bad_input_table, "PAGE", tmp_path / "reliability.md")
    monkeypatch.setattr(bad_input_table, "ROOT", tmp_path)
    monkeypatch.setattr(bad_input_table, "GROUPS", {"Some": [KINDS[name]]})
    bad_input_table.main()
    page = (tmp_path / "reliability.md").read_text()
    assert "<!-- bad-input: begin -->\n## Bad input\n" in page
    assert name in page


def test_every_kind_has_a_verb() -> None:
    for kinds in GROUPS.values():
        for kind in kinds:
            assert any(word in bad_input_table.VERBS for word in kind.command.split(" ")), kind.command
    assert CHECK.split(" ")[0] in bad_input_table.VERBS
