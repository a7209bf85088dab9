"""Tests of `sections`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.sections import write_section


def test_a_section_is_replaced_and_all_else_is_kept(tmp_path: Path) -> None:
    doc = tmp_path / "reliability.md"
    write_section(doc, "drills", "## Drills\n\n| a |\n")
    write_section(doc, "fuzz", r"## Fuzzing \1 \g<0>")
    doc.write_text(doc.read_text() + "\nBy hand.\n")
    before = doc.read_text()
    write_section(doc, "drills", "## Drills\n\nother")
    after = doc.read_text()
    assert after == before.replace("| a |", "other")
    assert after.startswith("# Reliability\n")
    assert r"## Fuzzing \1 \g<0>" in after


def test_a_document_without_a_title_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(KeyError):
        write_section(tmp_path / "other.md", "drills", "text")
