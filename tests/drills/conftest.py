"""What drills share: where their counts are written down."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

Told = Callable[..., None]


@pytest.fixture
def told(request: pytest.FixtureRequest) -> Told:
    """Writes down what a drill came to, for bench/drill_table.py; nothing outside ``make drill``."""
    out = os.environ.get("LABELGAN_DRILLS")

    def tell(drill: str, what: str, count: int, losses: int, note: str = "") -> None:
        if out:
            line = {"drill": drill, "what": what, "count": count, "losses": losses, "note": note}
            with Path(out).open("a", encoding="utf-8") as stream:
                stream.write(json.dumps({**line, "test": request.node.nodeid}) + "\n")

    return tell
