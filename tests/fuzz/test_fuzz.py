"""Tests of `fuzz`, and a short run of it."""

from __future__ import annotations

import json
import mmap
import time
from pathlib import Path

import pytest

from labelgan.core.errors import DataError
from tests.fuzz import fuzz
from tests.fuzz.fuzz import FORMATS, attend, examine, examined, results, section
from tests.fuzz.fuzz_readers import Target


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the sound files: the formats have no file in common, and two of them the same models."""
    return tmp_path_factory.mktemp("sound")


@pytest.mark.parametrize("form", FORMATS)
def test_no_spoilt_file_does_more_than_be_read_or_refused(form: str, folder: Path) -> None:
    entries = [entry for entry in examined(form, folder, 0, range(75)) if "outcome" in entry]
    assert len(entries) == 75
    assert [entry for entry in entries if entry["outcome"] not in ("accepted", "refused")] == []
    assert sum(entry["outcome"] == "refused" for entry in entries) > 20


def target(folder: Path, read) -> Target:
    return Target(folder / "file", b"sound", read)


def refuse(reason: str):
    def read() -> None:
        raise DataError("file", reason)

    return read


def crash() -> None:
    raise KeyError("cases")


def spin() -> None:
    try:
        while True:
            pass
    except Exception:
        time.sleep(10)


def starve() -> None:
    raise MemoryError


def gobble() -> None:
    # Pages of its own: malloc could hand out memory that an earlier test has left resident.
    with mmap.mmap(-1, 40 * 2**20) as pages:
        for start in range(0, len(pages), mmap.PAGESIZE):
            pages[start] = 1


@pytest.mark.parametrize(
    ("read", "outcome", "said"),
    [
        (lambda: None, "accepted", ""),
        (refuse("is damaged"), "refused", "file: is damaged"),
        (crash, "crash", "KeyError: 'cases'"),
        (starve, "memory", ""),
        (spin, "hang", ""),
    ],
)
def test_each_fault_of_a_reader_has_its_name(tmp_path: Path, read, outcome: str, said: str) -> None:
    entry = examine(target(tmp_path, read), b"spoilt", seconds=0.2)
    assert (entry["outcome"], entry["said"]) == (outcome, said)
    assert (tmp_path / "file").read_bytes() == b"sound"


def test_memory_is_measured_and_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = examine(target(tmp_path, gobble), b"")
    assert entry["grown"] > 30 * 2**20
    assert entry["outcome"] == "accepted"
    monkeypatch.setattr(fuzz, "MEMORY_BYTES", 2**20)
    assert examine(target(tmp_path, gobble), b"")["outcome"] == "memory"


def test_words_without_end_are_no_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzz, "LONGEST_LINE", 10)
    assert examine(target(tmp_path, refuse("is damaged")), b"")["outcome"] == "long"


def worker(*lines: str, end: str) -> list[str]:
    """A shell that says lines; it starts at once even where the machine is busy."""
    return ["sh", "-c", "\n".join([*(f"echo '{line}'" for line in lines), end])]


def test_a_worker_that_dies_or_falls_silent_is_no_success(tmp_path: Path) -> None:
    log = tmp_path / "log"
    begun = [json.dumps({"format": "json", "number": number}) for number in range(3)]
    ended = json.dumps({"format": "json", "number": 0, "outcome": "refused"})
    attend(worker(begun[0], ended, begun[1], end="kill -9 $$"), log)
    attend(worker(begun[2], end="exec sleep 60"), log, silent_seconds=3.0)
    outcomes = [entry["outcome"] for entry in results(log).values()]
    assert outcomes == ["refused", "died", "hang"]


def test_what_failed_and_was_read_again_is_told_with_both(tmp_path: Path) -> None:
    log = tmp_path / "log"
    lines = [
        {"format": "json", "number": 0},
        {"format": "json", "number": 0, "file": "a.json", "outcome": "crash", "said": "KeyError: 'a'"},
        {"format": "json", "number": 0},
        {"format": "json", "number": 0, "file": "a.json", "outcome": "refused", "said": "a.json: is damaged"},
        {"format": "json", "number": 1},
        {"format": "json", "number": 1, "file": "b.json", "outcome": "accepted", "said": ""},
    ]
    log.write_text("\n".join(json.dumps(line) for line in lines))
    first, second = results(log).values()
    assert (first["outcome"], first["before"]) == ("refused", "crash. KeyError: 'a'")
    assert "before" not in second
    text = section([first, second], 0)
    assert "| json | 2 | 1 | 1 | 0 |" in text
    assert "1 of them failed when they were read first" in text
    assert "- json 0, a.json: crash. KeyError: 'a'" in text


def test_only_what_is_left_is_examined_and_what_failed_when_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[int]] = []

    def pretend(command: list[str], log: Path) -> None:
        form, numbers = command[4], json.loads(Path(command[7]).read_text())
        asked.append([*numbers])
        with log.open("a") as stream:
            for number in numbers[:2]:  # then the worker dies
                outcome = "crash" if (form, number, len(asked)) == ("toml", 1, 5) else "accepted"
                entry = {"format": form, "number": number}
                told = {**entry, "file": "f", "outcome": outcome, "said": ""}
                stream.write(f"{json.dumps(entry)}\n{json.dumps(told)}\n")

    monkeypatch.setattr(fuzz, "attend", pretend)
    assert len(fuzz.fuzz(tmp_path, 12, 0)) == 12
    assert asked == [[0, 1, 2], [2]] * 4
    assert len(fuzz.fuzz(tmp_path, 12, 0)) == 12
    assert len(asked) == 8
    assert sum("before" in entry for entry in fuzz.fuzz(tmp_path, 12, 0, again=True)) == 1
    assert asked[8:] == [[1]]


def test_the_section_counts_and_names_what_failed() -> None:
    entries = [
        {"format": "json", "number": 0, "outcome": "accepted", "seconds": 0.5, "grown": 3_000_000},
        {"format": "json", "number": 1, "outcome": "refused", "seconds": 1.0, "grown": 0},
        {"format": "toml", "number": 2, "outcome": "crash", "said": "KeyError: 'a'", "seconds": 0.0, "grown": 0},
        {"format": "nifti", "number": 3, "outcome": "died"},
    ]
    text = section(entries, 0)
    assert "| json | 2 | 1 | 1 | 0 | 1.00 | 3 |" in text
    assert "| toml | 1 | 0 | 0 | 1 | 0.00 | 0 |" in text
    assert "- toml 2: crash. KeyError: 'a'" in text
    assert "- nifti 3: died. " in text
    assert "--files 4" in text


@pytest.mark.drill
def test_four_thousand_more_files_are_read_or_refused(tmp_path: Path) -> None:
    entries = fuzz.fuzz(tmp_path, 4000, seed=1)
    assert len(entries) == 4000 // len(FORMATS) * len(FORMATS)
    assert [entry for entry in entries if entry["outcome"] not in ("accepted", "refused")] == []
