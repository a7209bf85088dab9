"""Where bad input is planted, and what a command line made of it: its exit code, its one line, what it left behind."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from faults.sound import make

CASE = Path("cohort/Site/12")
FLAIR, T1, MASK = CASE / "pre/FLAIR.nii.gz", CASE / "pre/T1.nii.gz", CASE / "wmh.nii.gz"
CHECK = "check cohort --json"
FACES = "may show a face"  # a warning about sound scans too, which says nothing of the file that is spoilt
PREPARE = "prepare cohort store --size 16"


@dataclass(frozen=True)
class Ground:
    """An empty folder for one kind of bad input, and the sound things that may be taken into it.

    Attributes:
        root: the folder; commands run in it, so that messages name paths inside it.
        made: where `sound.make` keeps them; nothing in it may be changed.
    """

    root: Path
    made: Path

    def take(self, name: str, to: str | None = None) -> Path:
        """Copies one of the sound things in."""
        return Path(shutil.copytree(make(self.made, name), self.root / (to or name), symlinks=True))

    def edit_json(self, path: str, change: Callable[[Any], object]) -> None:
        """Changes a JSON file as a person with an editor would."""
        content = json.loads((self.root / path).read_text())
        change(content)
        (self.root / path).write_text(json.dumps(content))


@dataclass(frozen=True)
class Kind:
    """One kind of bad input.

    Attributes:
        name: what is wrong, in words.
        plant: makes it in the ground.
        command: the command line, run in the ground's root.
        code: the exit code that it must end with.
        says: regular expression for the one line, or the problem that `check` tells; empty where nothing is wrong.
            Without ``error: ``.
        severity: of the problem that `check` tells.
        prepare: exit code of `prepare` on the same cohort, where the command is `check`.
        leaves: files that the command may leave behind all the same, with the folders that they lie in.
    """

    name: str
    plant: Callable[[Ground], object]
    command: str
    code: int
    says: str
    severity: str = "error"
    prepare: int | None = None
    leaves: tuple[str, ...] = ()

    @property
    def is_check(self) -> bool:
        """True where the outcome is told as a problem in JSON."""
        return self.command.startswith("check ") and self.command.endswith("--json")


@dataclass(frozen=True)
class Outcome:
    """What came of a command line.

    Attributes:
        code: its exit code.
        errors: the lines on stderr that begin with ``error: ``.
        problems: severity and one line of every problem that `check --json` told.
        printed: everything that was printed.
        left: files that are new, gone or changed, by their path in the root.
    """

    code: int
    errors: list[str]
    problems: list[tuple[str, str]]
    printed: str
    left: list[str]

    @property
    def told(self) -> str:
        """The problem that `check` told first, or else the one line without its ``error: ``."""
        return self.problems[0][1] if self.problems else "".join(self.errors[:1]).removeprefix("error: ")


@dataclass(frozen=True)
class Trial:
    """What came of a kind's command, and of `prepare` after it where the kind names its exit code."""

    outcome: Outcome
    prepared: Outcome | None = None


def tried(kind: Kind, ground: Ground) -> Trial:
    """Plants a kind and runs its commands."""
    kind.plant(ground)
    outcome = run(ground.root, kind.command)
    return Trial(outcome, None if kind.prepare is None else run(ground.root, PREPARE))


def broken(kind: Kind, trial: Trial) -> list[str]:
    """Every promise that was not kept: the exit code, one line and which, no traceback, nothing left behind."""
    found = _broken(trial.outcome, kind.code, keeps=kind.code == 0 and not kind.is_check, leaves=kind.leaves)
    outcome = trial.outcome
    if kind.is_check:
        expected = [kind.severity] if kind.says else []
        if [severity for severity, _ in outcome.problems] != expected:
            found.append(f"problems {outcome.problems}, expected {expected}")
    if not re.search(kind.says, outcome.told):
        found.append(f"told {outcome.told!r}, expected {kind.says!r}")
    if trial.prepared is not None and kind.prepare is not None:
        found += [f"prepare: {words}" for words in _broken(trial.prepared, kind.prepare, keeps=kind.prepare == 0)]
    return found


def _broken(outcome: Outcome, code: int, keeps: bool, leaves: tuple[str, ...] = ()) -> list[str]:
    """The promises that hold for every command line; ``keeps``: it was to leave its result behind."""
    found = [] if outcome.code == code else [f"exit code {outcome.code}, expected {code}: {outcome.printed}"]
    found += [f"printed {word!r}" for word in ("Traceback", "fault of labelgan") if word in outcome.printed]
    told = outcome.problems if code == 1 else outcome.errors
    if code and not told:
        found.append("said nothing")
    if len(outcome.errors) > 1 or not all(re.match(r"error: [^:]+: .+", line) for line in outcome.errors):
        found.append(f"said {outcome.errors}")
    strangers = [name for name in outcome.left if not any(f"{file}/".startswith(f"{name}/") for file in leaves)]
    if strangers and not keeps:
        found.append(f"left behind {strangers}")
    return found


def run(root: Path, command: str) -> Outcome:
    """Runs a command line of labelgan in this process, inside ``root``."""
    from labelgan.cli.app import run_command

    before, out, err = _contents(root), io.StringIO(), io.StringIO()
    with _inside(root), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run_command(command.split(" "))
    after = _contents(root)
    left = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    errors = [line for line in err.getvalue().splitlines() if line.startswith("error: ")]
    problems: list[tuple[str, str]] = []
    if command.endswith("--json") and out.getvalue().startswith("{"):
        for told in json.loads(out.getvalue()).get("problems", []):
            if FACES not in told["reason"]:
                problems.append((told["severity"], f"{told['file']}: {told['reason']}"))
    return Outcome(code, errors, problems, out.getvalue() + err.getvalue(), left)


def _contents(root: Path) -> dict[str, str]:
    found = {}
    for folder, folders, files in os.walk(root):
        for name in [*folders, *files]:
            path = Path(folder) / name
            told = str(os.readlink(path)) if path.is_symlink() else "folder"
            if path.is_file() and not path.is_symlink() and os.access(path, os.R_OK, effective_ids=True):
                told = hashlib.sha256(path.read_bytes()).hexdigest()
            found[path.relative_to(root).as_posix()] = told
    return found


@contextlib.contextmanager
def _inside(root: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(root)
    try:
        yield
    finally:
        os.chdir(before)
