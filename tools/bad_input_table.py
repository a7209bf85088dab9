"""Plants every kind of bad input, runs its command, and writes the table ``bad-input`` of docs/results/reliability.md.

Run: ``python -m tools.bad_input_table``. The kinds are those of tests/faults, whose test runs the same commands; the
messages are the ones that were printed. It stops, and writes nothing, where an outcome is not the one that is promised.
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path += [place for place in (f"{ROOT}/tests", f"{ROOT}/tests/data") if place not in sys.path]

from faults.ground import Ground, Kind, Trial, broken, tried  # noqa: E402
from faults.kinds import GROUPS  # noqa: E402
from tools.sections import write_section  # noqa: E402

PAGE = ROOT / "docs" / "results" / "reliability.md"
LONGEST = 240
SOUND = " (sound: read, not refused)"
VERBS = ("check", "prepare", "train", "segment", "predict", "sample", "score", "study", "report", "export")


def row(kind: Kind, trial: Trial) -> str:
    """One line of the table: kind, command, exit code, message, exit code of `prepare`.

    Raises:
        SystemExit: the outcome is not the promised one.
    """
    if found := broken(kind, trial):
        raise SystemExit(f"{kind.name}: {'; '.join(found)}")
    told = re.sub(r"(.)\1{39,}", r"\1\1\1...", trial.outcome.told)
    told = told if len(told) <= LONGEST else f"{told[: LONGEST - 3]}..."
    if kind.severity == "warning" and told:
        told = f"warning: {told}"
    prepared = "–" if trial.prepared is None else str(trial.prepared.code)
    verb = " ".join(word for word in kind.command.split(" --")[0].split(" ") if word in VERBS)
    cells = (kind.name.removesuffix(SOUND), verb, str(trial.outcome.code), _plain(told) or "nothing to tell", prepared)
    return f"| {' | '.join(cells)} |"


def _plain(told: str) -> str:
    """The words as Markdown shows them as they are."""
    return re.sub(r"([\\`*_<>\[\]|~])", r"\\\1", told)


def table(groups: Mapping[str, Sequence[Kind]]) -> list[str]:
    """Runs all kinds, each in an empty folder, and gives the section's lines."""
    lines, count = [], 0
    with tempfile.TemporaryDirectory() as place:
        for title, kinds in groups.items():
            lines += ["", f"### {title}", "", "| what is wrong | command | exit | what is said | exit of `prepare` |"]
            lines.append("|---|---|---|---|---|")
            for kind in kinds:
                count += 1
                folder = Path(place) / f"kind-{count}"
                folder.mkdir()
                lines.append(row(kind, tried(kind, Ground(folder, Path(place)))))
    head = [
        "## Bad input",
        "",
        f"`python -m tools.bad_input_table`: {count} kinds, each planted in a folder of its own. Every one ended with "
        "the exit code that is promised and with one line, without a traceback, and left nothing behind that is not "
        "whole; `prepare` was tried on the same cohort. Exit codes: 0 done, 1 `check` found problems, 2 bad input, 3 "
        "refused.",
    ]
    return [*head, *lines]


def main() -> None:
    """Writes the section."""
    lines = table(GROUPS)
    write_section(PAGE, "bad-input", "\n".join(lines))
    print(f"{sum(len(kinds) for kinds in GROUPS.values())} kinds in {PAGE.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
