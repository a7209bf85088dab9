"""``kill -9`` at moments drawn over the time that a command takes when it is left in peace."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import signal
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from drill_children import Child, begin, nothing

from labelgan.core.errors import LabelganError
from labelgan.core.rng import generator_for
from labelgan.training.checkpoint import checkpoint_folders, load_latest

LONGEST_S = 240.0  # for one command of a drill, on a busy machine
BEFORE, DURING, AFTER = "before the first save", "in the midst of a save", "between saves"

DONE_JOBS = "jobs/*/done.json"

_HALF = re.compile(r"^\..+\.(tmp|partial|building|replaced)$")
_NOT_COMPARED = {".lock", "log.txt", "job.json", "report.html", "audit.html", "places.json"}
_TIMES = {"made_with", "seconds", "images_per_second", "stamp"}  # stamp: size and time of a scan, in a cache


def results_of(folder: Path) -> dict[str, Any]:
    """Everything that a command has left, by path: bytes, or tables and JSON without times and versions.

    Locks, logs, TensorBoard's files and pages, which tell times, are left out. What was left half-written is not.
    """
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if not path.is_file() or path.name in _NOT_COMPARED or "tensorboard" in name.parts or ".job" in name.parts:
            continue
        found[name.as_posix()] = _content(path)
    return found


def _content(path: Path) -> Any:
    if path.name == "metrics.csv":
        with path.open(newline="", encoding="utf-8") as stream:
            return [{key: value for key, value in row.items() if key not in _TIMES} for row in csv.DictReader(stream)]
    if path.suffix == ".json":
        return _without_times(json.loads(path.read_bytes()))
    return path.read_bytes()


def _without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_times(part) for key, part in value.items() if key not in _TIMES}
    return [_without_times(part) for part in value] if isinstance(value, list) else value


def differences(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """Names of what is missing, too much, or other than it should be."""
    missing = object()
    return sorted(
        name for name in found.keys() | wanted.keys() if found.get(name, missing) != wanted.get(name, missing)
    )


def halves(folder: Path) -> set[tuple[str, int]]:
    """Files and folders that somebody was in the midst of writing, beside ``folder`` or in it: name and inode."""
    places = [*folder.parent.glob(f".{folder.name}.*"), *folder.rglob(".*")]
    return {(path.name, path.lstat().st_ino) for path in places if _HALF.match(path.name)}


def phase(folder: Path, before: set[tuple[str, int]], saved: str) -> str:
    """Says where in its work a killed command was; ``saved`` is a pattern of what it saves."""
    if halves(folder) - before:
        return DURING
    return AFTER if any(folder.glob(saved)) else BEFORE


def checkpoints_hold(folder: Path) -> str | None:
    """A line where the newest checkpoint is not whole: nothing but whole folders may bear a checkpoint's name."""
    for root in folder.rglob("checkpoints"):
        try:
            latest = load_latest(root)
        except LabelganError as error:
            return str(error)
        folders = checkpoint_folders(root)
        if folders and (latest is None or latest.folder != folders[-1]):
            return f"{folders[-1]} is not whole"
    return None


@dataclass
class Tally:
    """What came of a drill: kills by phase, undisturbed ends, and a line for every loss."""

    kills: Counter[str] = field(default_factory=Counter)
    runs: int = 0
    losses: list[str] = field(default_factory=list)

    @property
    def count(self) -> int:
        """Kills that met a command at work."""
        return sum(self.kills.values())

    def told(self) -> str:
        """The phases in words."""
        parts = [f"{self.kills[name]} {name}" for name in (BEFORE, DURING, AFTER) if self.kills[name]]
        return f"{', '.join(parts)}; {self.runs} runs"


def ended(child: Child, log: Path) -> int:
    """Waits for a process and gives its exit code."""
    child.join(LONGEST_S)
    if child.exitcode is None:
        child.kill()
        raise AssertionError(f"hung; it had printed: {log.read_text()[-2000:]}")
    return child.exitcode


def kill_again_and_again(
    start: Callable[[Path, Path], Child],
    work: Path,
    *,
    kills: int,
    seed: int,
    saved: str,
    look: Callable[[Path], str | None] = lambda folder: None,
) -> Tally:
    """Kills a command and goes on with it, until it was met ``kills`` times; compares what each run came to.

    Args:
        start: begins the command, or goes on with it, in a folder, and has it print to a log.
        work: empty folder.
        kills: how many; a process that had ended before its moment came does not count.
        seed: of the moments.
        saved: pattern of what the command saves, inside its folder.
        look: called after each kill; a line where something trusted is broken.
    """
    log = work / "log.txt"
    assert ended(begin(nothing, log=log), log) == 0
    began = time.monotonic()
    assert ended(start(work / "peace", log), log) == 0, log.read_text()
    lasts_s = time.monotonic() - began
    wanted, tally, draw = results_of(work / "peace"), Tally(), generator_for(seed, "kills")
    while tally.count < kills:
        folder, code = work / f"run-{tally.runs}", -signal.SIGKILL
        while tally.count < kills and code == -signal.SIGKILL:
            before = halves(folder)
            child = start(folder, log)
            child.join(float(draw.uniform(0, lasts_s)))
            if child.exitcode is None and child.pid is not None:
                os.kill(child.pid, signal.SIGKILL)
            code = ended(child, log)
            if code != -signal.SIGKILL:
                break
            tally.kills[phase(folder, before, saved)] += 1
            if (broken := look(folder)) is not None:
                tally.losses.append(broken)
        if code == -signal.SIGKILL:
            code = ended(start(folder, log), log)
        tally.runs += 1
        if code != 0:
            tally.losses.append(f"{folder.name}: exit code {code}: {_last_line(log)}")
        tally.losses += [f"{folder.name}: {name}" for name in differences(results_of(folder), wanted)]
    return tally


def _last_line(log: Path) -> str:
    lines = io.StringIO(log.read_text(errors="replace")).readlines()
    return lines[-1].strip() if lines else ""
