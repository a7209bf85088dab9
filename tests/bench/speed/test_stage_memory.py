"""Tests of `stage_memory`: the kernel's count of one process, and commands that fail."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.speed.stage_memory import peak_bytes, stages


def test_the_peak_is_that_of_the_process_itself(tmp_path: Path) -> None:
    log = tmp_path / "log"
    held = bytes(100 * 2**20)  # this process holds more than the one that is asked about
    idle = peak_bytes(["-c", "pass"], (0,), log)
    filled = peak_bytes(["-c", "block = b'x' * (100 * 2**20); del block"], (0,), log)
    assert idle < 60 * 2**20 < len(held)
    assert filled - idle == pytest.approx(100 * 2**20, rel=0.05)
    again = peak_bytes(["-c", "pass"], (0,), log)  # the largest of all children would be the second one's
    assert again == pytest.approx(idle, rel=0.1)


def test_a_command_that_fails_is_told_with_its_last_lines(tmp_path: Path) -> None:
    assert peak_bytes(["-c", "raise SystemExit(3)"], (0, 3), tmp_path / "log") > 0
    with pytest.raises(SystemExit, match=r"(?s)so it is.*exit code 4"):
        peak_bytes(["-c", "print('so it is'); raise SystemExit(4)"], (0, 3), tmp_path / "log")


def test_every_stage_reads_what_an_earlier_one_left(tmp_path: Path) -> None:
    made: set[str] = set()
    for stage in stages(Path("scans"), tmp_path, "one"):
        read = {word for word in stage.arguments if word.startswith(str(tmp_path))}
        made |= {max(read - made, default="")}
        assert read <= made
