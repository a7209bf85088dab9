"""The same machine, versions and threads give the same bytes; other threads give scores within a tolerance."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from drill_kills import differences, results_of

DRILL = pytest.mark.drill
HERE = Path(__file__).resolve().parent
SCORES_MAY_DIFFER = 0.005  # DSC of a case, one network on 1 thread against 2


def play(part: str, out: Path, *, hash_seed: int, threads: int = 1) -> Path:
    """Runs a part of drill_stages.py in a process of its own."""
    environment = dict(os.environ, PYTHONHASHSEED=str(hash_seed), OMP_NUM_THREADS=str(threads))
    environment["OMP_WAIT_POLICY"] = "PASSIVE"  # on a busy machine a thread that waits would take the others' time
    environment["PYTHONPATH"] = os.pathsep.join([str(HERE.parent), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, str(HERE / "drill_stages.py"), part, str(out), str(threads)],
        env=environment, capture_output=True, text=True, timeout=3000,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return out


@pytest.mark.parametrize("part", ["first stages", *(pytest.param(part, marks=DRILL) for part in ("stages", "study"))])
def test_two_processes_with_other_hashes_make_the_same_bytes(tmp_path: Path, told, part: str):
    """Sets and dicts of strings have another order in each process: nothing that is written may follow it."""
    one, other = (results_of(play(part, tmp_path / str(seed), hash_seed=seed)) for seed in (1, 2))
    told("same bytes", part, len(one), len(lost := differences(one, other)), "files of two processes, other hash seeds")
    assert lost == []
    assert len(one) > 40


@DRILL
def test_one_thread_against_two(tmp_path: Path, told):
    """Sums of two threads are rounded in another order, which one network's masks hardly show."""
    one, two = (
        json.loads((play("threads", tmp_path / str(n), hash_seed=0, threads=n) / "scores.json").read_text())
        for n in (1, 2)
    )
    assert (one["threads"], two["threads"]) == (1, 2)
    largest = max(abs(a - b) for a, b in zip(one["dsc"], two["dsc"], strict=True))
    note = f"largest difference of a case's DSC {largest:.2g}"
    told("threads", "one network's masks, 1 against 2", len(one["dsc"]), int(largest > SCORES_MAY_DIFFER), note)
    assert min(one["dsc"]) > 0.1  # masks that could differ
    assert largest <= SCORES_MAY_DIFFER
