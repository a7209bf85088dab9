"""What drills share: where their counts are written down."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from labelgan.data.store import SliceStore
from tiny import tiny_study_config

Told = Callable[..., None]


@pytest.fixture
def told(request: pytest.FixtureRequest) -> Told:
    """Writes down what a drill came to, for tools/drill_table.py; nothing outside ``make drill``."""
    out = os.environ.get("LABELGAN_DRILLS")

    def tell(drill: str, what: str, count: int, losses: int, note: str = "") -> None:
        if out:
            line = {"drill": drill, "what": what, "count": count, "losses": losses, "note": note}
            with Path(out).open("a", encoding="utf-8") as stream:
                stream.write(json.dumps({**line, "test": request.node.nodeid}) + "\n")

    return tell


@pytest.fixture
def drill_places(phantom_cohort: Path, phantom_store: SliceStore, tiny_run: Path, tmp_path: Path) -> dict[str, str]:
    """What the commands of `drill_commands` read."""
    settings = tmp_path / "study.toml"
    settings.write_text(tiny_study_config('arms=["classical"]', "folds=2").to_toml())
    found = {"cohort": phantom_cohort, "store": phantom_store.path, "run": tiny_run, "data": phantom_cohort}
    return {name: str(path) for name, path in {**found, "settings": settings}.items()}
