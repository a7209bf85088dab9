from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib.axes
import numpy as np
import pytest
from PIL import Image

from labelgan.gan.recorder import COLUMNS
from labelgan.report.plots import COLOURS, LABELS, training_curves

COMPLETE = [
    {"step": 10 * i, "critic_loss": 1 / i, "generator_loss": -i, "diversity": i / 9, "lesion_rate": 0.5}
    for i in range(1, 9)
]


def metrics(folder: Path, rows: Sequence[Mapping[str, object]]) -> Path:
    """A metrics.csv as a run leaves it, with gaps where a row has no figure."""
    lines = [",".join(COLUMNS), *(",".join(str(row.get(name, "")) for name in COLUMNS) for row in rows)]
    path = folder / "metrics.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def pixels_of(png: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(png)) as picture:
        assert picture.format == "PNG"
        assert not set(picture.info) - {"dpi"}  # nothing of this machine or the time
        return np.asarray(picture.convert("RGB"))


def shown(png: bytes) -> set[str]:
    """The curves whose colour is in the picture."""
    pixels = pixels_of(png).astype(int) @ (65536, 256, 1)
    return {name for name, colour in COLOURS.items() if int(colour[1:], 16) in pixels}


def test_every_curve_is_drawn_in_its_colour_and_named(tmp_path):
    png = training_curves(metrics(tmp_path, COMPLETE))
    assert shown(png) == set(COLOURS) == set(LABELS)
    height, width, _ = pixels_of(png).shape
    assert (height, width) == (336, 960)
    assert training_curves(metrics(tmp_path, COMPLETE)) == png


@pytest.fixture
def drawn(monkeypatch) -> dict[str, tuple[list, list]]:
    """What reaches the axes: label to steps and values."""
    lines: dict[str, tuple[list, list]] = {}
    plain = matplotlib.axes.Axes.plot

    def plot(self, *points, label, **style):
        if points:
            lines[label] = (list(points[0]), list(points[1]))
        return plain(self, *points, label=label, **style)

    monkeypatch.setattr(matplotlib.axes.Axes, "plot", plot)
    return lines


def test_gaps_are_left_out_not_taken_for_zero(tmp_path, drawn):
    """Diversity is watched more rarely than losses are logged."""
    rows = [dict(row) for row in COMPLETE]
    for number, row in enumerate(rows):
        if number % 4:
            del row["diversity"], row["lesion_rate"]
    del rows[2]["critic_loss"]
    training_curves(metrics(tmp_path, rows))
    assert drawn[LABELS["diversity"]] == ([10, 50], [1 / 9, 5 / 9])
    assert drawn[LABELS["critic_loss"]][0] == [10, 20, 40, 50, 60, 70, 80]
    assert drawn[LABELS["generator_loss"]] == ([10 * i for i in range(1, 9)], [-i for i in range(1, 9)])


@pytest.mark.parametrize("left_out", [("diversity", "lesion_rate"), ("critic_loss",), tuple(COLOURS)])
def test_a_run_that_was_stopped_early_lacks_curves(tmp_path, left_out):
    rows = [{name: value for name, value in row.items() if name not in left_out} for row in COMPLETE[:1]]
    assert shown(training_curves(metrics(tmp_path, rows))) == set(COLOURS) - set(left_out)
    assert shown(training_curves(metrics(tmp_path, []))) == set()


def test_figures_that_are_not_finite_break_nothing(tmp_path):
    rows = [row | {"critic_loss": value} for row, value in zip(COMPLETE, ("nan", "inf", "-inf", 1, 2), strict=False)]
    assert shown(training_curves(metrics(tmp_path, rows))) == set(COLOURS)
