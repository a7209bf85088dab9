from __future__ import annotations

import os
from pathlib import Path

import pytest

from faults.cohorts import UNREADABLE
from faults.ground import PREPARE, Ground, Trial, broken, run, tried
from faults.kinds import GROUPS, KINDS


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where sound things are made as they are needed."""
    return tmp_path_factory.mktemp("made")


@pytest.mark.parametrize("name", KINDS)
def test_each_kind_is_told_in_one_line_and_leaves_nothing(name: str, made: Path, tmp_path: Path) -> None:
    assert broken(KINDS[name], tried(KINDS[name], Ground(tmp_path, made))) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_the_right_to_read_it(made: Path, tmp_path: Path) -> None:
    assert broken(UNREADABLE, tried(UNREADABLE, Ground(tmp_path, made))) == []


def test_there_are_enough_kinds_and_no_two_of_a_name() -> None:
    kinds = [kind for group in GROUPS.values() for kind in group]
    assert len(KINDS) == len(kinds)
    assert sum(bool(kind.says) for kind in kinds) >= 100


def test_a_broken_promise_is_noticed(made: Path, tmp_path: Path) -> None:
    """The table's own test can fail: a sound cohort is not what any kind of bad input promises."""
    ground = Ground(tmp_path, made)
    ground.take("heads", "cohort")
    sound = run(tmp_path, "check cohort --json")
    assert (sound.code, sound.problems) == (0, [])
    written = run(tmp_path, PREPARE)
    assert written.code == 0
    assert "store/manifest.json" in written.left
    found = broken(KINDS["zero bytes"], Trial(sound, written))
    assert [words.split(" ")[0] for words in found] == [
        "exit",
        "said",
        "problems",
        "told",
        "prepare:",
        "prepare:",
        "prepare:",
    ]
