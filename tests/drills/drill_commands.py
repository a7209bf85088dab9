"""The commands that drills break off, made tiny, and what they print."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tiny import SEG_SETTINGS, SETTINGS

SAVING = ["train.checkpoint_every=1", "train.log_every=1"]


def options(settings: list[str]) -> list[str]:
    """Settings as the command line takes them."""
    return [part for setting in settings for part in ("--set", setting)]


@dataclass(frozen=True)
class Command:
    """A command line from the folders of `conftest.drill_places` and ``out``; ``goes_on``: in a folder begun with."""

    arguments: Callable[[dict[str, str]], list[str]]
    goes_on: bool = False


COMMANDS = {
    "prepare": Command(lambda at: ["prepare", at["cohort"], at["out"], "--size", "32", "--spacing", "6"]),
    "train": Command(
        lambda at: [
            *("train", at["store"], "--out", at["out"], "--model", "r3gan", "--resume"),
            *options([*SETTINGS, *SAVING, "train.collapse_ratio=0"]),
        ],
        goes_on=True,
    ),
    "segment train": Command(
        lambda at: [
            *("segment", "train", at["store"], "--out", at["out"], "--resume", "--fit-threshold"),
            *options([*SEG_SETTINGS, *SAVING]),
        ],
        goes_on=True,
    ),
    "sample": Command(lambda at: ["sample", at["run"], "--out", at["out"], "--num", "12", "--format", "npz"]),
    "study": Command(
        lambda at: [
            *("study", at["data"], "--out", at["out"], "--config", at["settings"]),
            *("--workers", "1", "--device", "cpu"),
        ],
        goes_on=True,
    ),
}


def complaint(log: Path) -> str:
    """The last line that was printed; there must be no traceback above it."""
    text = log.read_text(errors="replace")
    assert "Traceback" not in text, text
    return text.strip().splitlines()[-1]
