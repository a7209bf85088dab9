from __future__ import annotations

from pathlib import Path

import pytest

from tools.oldest import PART, floors

ROOT = Path(__file__).parents[2]


def test_floors_are_read_and_a_dependency_without_one_is_told():
    given = 'dependencies = ["numpy>=1.26", "torch>=2.10,<3", "POT[gpu]>=0.9.5"]'
    assert floors(f"[project]\n{given}\n") == {"numpy": "1.26", "torch": "2.10", "POT": "0.9.5"}
    with pytest.raises(ValueError, match=r"rich<15: one >= is wanted"):
        floors('[project]\ndependencies = ["rich<15"]\n')


def test_every_dependency_has_a_floor_and_every_test_of_the_part_is_there():
    assert len(floors((ROOT / "pyproject.toml").read_text(encoding="utf-8"))) > 15
    assert [path for path in PART if not (ROOT / path).is_file()] == []
