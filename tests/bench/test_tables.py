from __future__ import annotations

import re
from pathlib import Path

import pytest

import bench.league

BENCH = Path(next(iter(bench.league.__path__))).parent
TABLES = sorted(
    path.relative_to(BENCH).as_posix() for path in BENCH.rglob("*.py") if re.search(r"\|-+:?\|", path.read_text())
)


@pytest.mark.parametrize("script", TABLES)
def test_a_script_that_makes_a_table_says_at_which_revision(script):
    assert re.search(r"measured_at\(\)|made_with|provenance\(\)", (BENCH / script).read_text())
