"""A league's learning curves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from bench.league.curves import curve_lines, curves, draw_curves

BOTH = "classical+copypaste+synthetic: r3gan"


def verdict(*scores: tuple[str, int, float | None]) -> dict[str, Any]:
    rows = [
        {"arm": arm, "n_train": size, "metric": metric, "mean": mean}
        for arm, size, mean in scores
        for metric in ("dsc", "lesion_recall", "lesion_f1")
    ]
    return {"summary": rows}


PLAYED = verdict(("classical", 10, 0.5), (BOTH, 10, 0.75), ("classical", 5, 0.25), (BOTH, 5, 0.5), ("real", 5, 0.125))


def test_points_rise_and_arms_of_one_size_or_of_other_rows_are_left_out() -> None:
    found = curves(PLAYED, ["r3gan"])
    assert found["dsc"] == {"classical": [(5, 0.25), (10, 0.5)], BOTH: [(5, 0.5), (10, 0.75)]}
    assert curves(PLAYED, ["wgan"])["dsc"].keys() == {"classical"}
    undefined = curves(verdict(("classical", 5, None), ("classical", 10, 0.5)), [])
    assert undefined == {"dsc": {}, "lesion_f1": {}}


def test_higher_scores_are_drawn_higher(tmp_path: Path) -> None:
    lines = curve_lines("toy", PLAYED, ["r3gan"], tmp_path / "docs" / "results" / "league.md")
    file = tmp_path / "docs" / "images" / "league" / "toy-curves.png"
    assert f"../images/league/{file.name}" in "".join(lines)
    pixels = np.asarray(Image.open(file).convert("RGB")).astype(int)
    left = pixels[:, : pixels.shape[1] // 2]
    blue = np.argwhere(np.abs(left - (0x00, 0x72, 0xB2)).sum(-1) < 10)
    black = np.argwhere((left.sum(-1) < 10) & (np.abs(np.arange(left.shape[1]) - left.shape[1] * 0.6) < 20))
    assert len(blue)
    assert len(black)
    assert np.median(blue[:, 0]) < np.median(black[:, 0])


def test_one_size_draws_nothing(tmp_path: Path) -> None:
    assert draw_curves(verdict(("classical", 5, 0.5), (BOTH, 5, 0.5)), ["r3gan"]) is None
    assert curve_lines("toy", verdict(("classical", 5, 0.5)), ["r3gan"], tmp_path / "a" / "b" / "league.md") == []
    assert not any(tmp_path.iterdir())
