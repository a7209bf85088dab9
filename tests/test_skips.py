from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import real_data
from real_data import COHORTS, real_cohort
from skips import skip_lines

TESTS = """
import pytest

@pytest.mark.parametrize("number", range(3))
def test_without_a_cohort(number):
    pytest.skip("no cohort")

@pytest.mark.skipif(True, reason="no GPU")
def test_on_a_gpu():
    pass

def test_that_runs():
    pass
"""


def test_skips_are_counted_by_reason_the_most_frequent_first():
    reasons = ["b", "Skipped: a", *["Skipped: c"] * 10, "Skipped: a"]
    reports = [SimpleNamespace(longrepr=("file.py", number, reason)) for number, reason in enumerate(reasons)]
    assert skip_lines(reports) == ["10  c", " 2  a", " 1  b"]
    assert skip_lines([]) == []


@pytest.mark.parametrize("workers", [[], ["-n", "1"]], ids=["alone", "worker"])
def test_pytest_says_how_many_were_skipped_and_why_before_its_closing_line(tmp_path, workers):
    (tmp_path / "test_some.py").write_text(TESTS)
    (tmp_path / "pytest.ini").write_text(f"[pytest]\npythonpath = {Path(__file__).parent}\n")
    command = [sys.executable, "-m", "pytest", "-p", "skips", "-p", "no:cacheprovider", *workers, "test_some.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    *before, last = filter(None, done.stdout.splitlines())
    assert "1 passed, 4 skipped in" in last
    assert before[-3].strip("= ") == "4 skipped, by reason"
    assert before[-2:] == ["3  no cohort", "1  no GPU"]


@pytest.mark.parametrize("name", COHORTS)
def test_a_cohort_that_is_not_there_says_where_it_comes_from_and_how_to_lay_it(tmp_path, monkeypatch, name):
    monkeypatch.setattr(real_data, "BESIDE", tmp_path)
    with pytest.raises(pytest.skip.Exception) as caught:
        real_cohort(name)
    said = str(caught.value)
    assert f"../shared/data/{name}" in said
    assert "https://" in said
    assert ".nii.gz" in said
    assert "\n" not in said
    (tmp_path / "data" / name).mkdir(parents=True)
    assert real_cohort(name) == tmp_path / "data" / name
