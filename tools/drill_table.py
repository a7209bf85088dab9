"""Runs every fault drill and writes what came of each into docs/results/reliability.md: ``make drill``.

``--lines FILE`` takes counts that drills have written down before, under ``LABELGAN_DRILLS=FILE pytest -m drill``,
instead of running them again.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from labelgan.core.provenance import provenance
from tools.sections import write_section

ROOT = Path(__file__).resolve().parents[1]
DOCUMENT = ROOT / "docs" / "results" / "reliability.md"

# Drills that stood before the others, in the tests of what they are about: Ctrl-C and SIGTERM.
INTERRUPTS = (
    "tests/core/test_interrupts.py",
    "tests/gan/test_train.py::test_ctrl_c_saves_and_says_how_to_go_on",
    "tests/gan/test_train.py::test_an_interrupted_run_goes_on_to_the_same_bytes",
    "tests/gan/test_train.py::test_two_processes_are_interrupted_as_one_and_come_to_the_same",
    "tests/seg/test_train.py::test_an_interrupted_training_goes_on_to_the_same_bytes",
    "tests/cli/test_segment.py::test_an_interrupted_training_says_how_to_go_on_and_does",
    "tests/study/engine/test_local.py::test_a_study_that_is_stopped_leaves_nothing_running_and_is_resumed",
    "tests/study/engine/test_worker.py::test_told_to_stop_a_training_saves_its_state_and_goes_on_later",
)
NAMES = {
    "kill -9": "`kill -9` at a random moment, then resumed",
    "full disk": "full disk, then room again",
    "read-only folder": "read-only disk",
    "worker": "a study's worker comes to harm",
    "power cut": "power cut: bytes synced, then named, then the name synced",
    "torn": "torn files, as a power cut leaves them",
    "two processes": "two processes in one folder",
    "clock": "the clock jumps",
    "interrupt": "Ctrl-C and SIGTERM",
}
COMPARED = ("same bytes", "threads")

DRILLS = """## Fault drills

Each fault is made for real, on tiny phantom cohorts; `make drill` runs them all and writes this section. A loss is
anything finished that is gone, half-written or other than without the fault, and any run that could not go on.
"""

DETERMINISM = """## Determinism

With the same machine, versions and number of threads, every command gives the same bytes: stores, weights, samples,
masks, scores and verdicts. Times, versions, logs and TensorBoard's files are left out of the comparison.

With another number of threads, another processor or other versions, sums are rounded in another order. One network's
masks hardly show it: promised is that no DSC of a case differs by more than 0.005 between one thread and two
(`tests/drills/test_determinism.py`). A training carries the difference on and on, so that another number of threads is
another draw, as another seed is: its scores may differ as much as those of two seeds, and only the means of several
may be compared. Samples of one generator are drawn on the CPU in blocks of eight, whatever the batch.
"""


def run_drills(lines: Path) -> dict[str, bool]:
    """Runs all drills, which write their counts into a file; gives whether each test passed."""
    report = lines.with_suffix(".xml")
    call = [sys.executable, "-m", "pytest", "-q", "-m", "drill or not drill", f"--junitxml={report}"]
    subprocess.run(
        [*call, "tests/drills", "tests/fuzz", "tests/privacy", *INTERRUPTS],
        cwd=ROOT,
        env=dict(os.environ, LABELGAN_DRILLS=str(lines)),
        check=False,
    )
    return read_outcomes(report)


def read_outcomes(report: Path) -> dict[str, bool]:
    """Whether each test that was run has passed, from a report of pytest's ``--junitxml``."""
    outcomes = {}
    for case in ElementTree.parse(report).iter("testcase"):
        if case.find("skipped") is None:
            name = f"{case.get('classname')}::{case.get('name')}"
            outcomes[name] = case.find("failure") is None and case.find("error") is None
    return outcomes


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The counts, the last of each drill and subject."""
    entries = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return list({(entry["drill"], entry["what"]): entry for entry in entries}.values())


def interrupts(outcomes: dict[str, bool]) -> list[dict[str, Any]]:
    """A line for the drills that write no counts."""
    files = {test.split("::")[0].removesuffix(".py").replace("/", ".") for test in INTERRUPTS}
    passed = [good for name, good in outcomes.items() if name.split("::")[0] in files]
    note = "state saved, the command to go on with is told, exit code 130, same bytes after it"
    line = {"drill": "interrupt", "what": "train, segment train, study", "note": note}
    return [{**line, "count": len(passed), "losses": passed.count(False)}] if passed else []


def drills_section(lines: Sequence[dict[str, Any]], failed: Sequence[str]) -> str:
    """The table of drills, and above it what each kind came to."""
    rows = [line for line in lines if line["drill"] in NAMES]
    kinds = [kind for kind in NAMES if any(line["drill"] == kind for line in rows)]
    text = [DRILLS, "| drill | times | losses |", "|---|---:|---:|"]
    for kind in kinds:
        mine = [line for line in rows if line["drill"] == kind]
        text.append(f"| {NAMES[kind]} | {_total(mine, 'count')} | {_total(mine, 'losses')} |")
    text += ["", "| drill | of | times | losses | |", "|---|---|---:|---:|---|"]
    text += [_row(line) for kind in kinds for line in rows if line["drill"] == kind]
    text += ["", f"Drills that failed: {', '.join(failed) if failed else 'none'}."]
    return "\n".join([*text, "", _made_with()])


def determinism_section(lines: Sequence[dict[str, Any]]) -> str:
    """What is the same, and what is not, with the measured differences."""
    text = [DETERMINISM, "| compared | of | files or cases | differ | |", "|---|---|---:|---:|---|"]
    text += [_row(line) for line in lines if line["drill"] in COMPARED]
    return "\n".join([*text, "", _made_with()])


def _row(line: dict[str, Any]) -> str:
    return f"| {line['drill']} | {line['what']} | {line['count']} | {line['losses']} | {line['note']} |"


def _total(lines: Sequence[dict[str, Any]], key: str) -> int:
    return sum(int(line[key]) for line in lines)


def _made_with() -> str:
    facts = provenance()
    told = ", ".join(f"{name} {facts[name]}" for name in ("labelgan", "python", "torch", "numpy", "machine"))
    return f"Made with {told}."


def main() -> int:
    """Runs the drills unless their counts are given, writes both sections; 1 where a drill failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=Path, help="counts that drills wrote before")
    parser.add_argument("--outcomes", type=Path, help="with --lines: pytest's --junitxml of the tests of Ctrl-C")
    parser.add_argument("--doc", type=Path, default=DOCUMENT, help="document to write the sections into")
    given = parser.parse_args()
    outcomes = read_outcomes(given.outcomes) if given.outcomes else {}
    with tempfile.TemporaryDirectory() as folder:
        lines = given.lines or Path(folder) / "drills.jsonl"
        if given.lines is None:
            outcomes = run_drills(lines)
        found = read_lines(lines) + interrupts(outcomes)
    failed = [name for name, good in outcomes.items() if not good]
    failed += [f"{line['drill']}, {line['what']}" for line in found if line["losses"]]
    write_section(given.doc, "drills", drills_section(found, failed))
    write_section(given.doc, "determinism", determinism_section(found))
    return int(bool(failed) or any(line["losses"] for line in found))


if __name__ == "__main__":
    sys.exit(main())
