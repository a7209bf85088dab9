"""Tests of `drill_table`."""

from __future__ import annotations

import json
from pathlib import Path

from tools.drill_table import determinism_section, drills_section, interrupts, read_lines

LINES = [
    {"drill": "kill -9", "what": "train", "count": 3, "losses": 1, "note": "old"},
    {"drill": "kill -9", "what": "train", "count": 16, "losses": 0, "note": "new"},
    {"drill": "kill -9", "what": "sample", "count": 5, "losses": 0, "note": ""},
    {"drill": "threads", "what": "1 against 2", "count": 4, "losses": 0, "note": "0.01"},
]


def test_the_last_count_of_a_drill_is_told_and_kinds_are_added_up(tmp_path: Path):
    path = tmp_path / "lines.jsonl"
    path.write_text("\n".join(map(json.dumps, LINES)) + "\n")
    text = drills_section(read_lines(path), ["test_x"])
    assert "| `kill -9` at a random moment, then resumed | 21 | 0 |" in text
    assert "| kill -9 | train | 16 | 0 | new |" in text
    assert "1 against 2" not in text
    assert "Drills that failed: test_x." in text
    assert "| threads | 1 against 2 | 4 | 0 | 0.01 |" in determinism_section(read_lines(path))


def test_interrupts_are_counted_by_outcome():
    outcomes = {
        "tests.core.test_interrupts::a": True,
        "tests.core.test_interrupts::b": False,
        "tests.drills.test_kill::c": False,
    }
    (line,) = interrupts(outcomes)
    assert (line["count"], line["losses"]) == (2, 1)
    assert interrupts({}) == []
