from __future__ import annotations

from pathlib import Path

import pytest
from matplotlib.axes import Axes

from labelgan.core.errors import DataError
from labelgan.report.study_curves import GENERATOR_CURVES, MEMBER_CURVES, NAMED, read_curves, training_plot


def member(folder: Path, text: str) -> Path:
    path = folder / "metrics.csv"
    path.write_text("step,start,seconds,loss\n" + text)
    return path


def test_gaps_half_rows_and_infinities_are_left_out(tmp_path):
    path = member(tmp_path, "10,0,1,0.9\n20,0,2,\n30,0,3,nan\n40,0,4,inf\n50,0,5,0.5\n60,0\n7")
    assert read_curves(path, ("loss",)) == {"loss": [(10.0, 0.9), (50.0, 0.5)]}


@pytest.mark.parametrize("text", ["", "10,0,1,nan\n"])
def test_a_file_without_curves_is_named(tmp_path, text):
    path = member(tmp_path, text)
    with pytest.raises(DataError, match=r"metrics\.csv: has no values of loss"):
        read_curves(path, ("loss",))
    with pytest.raises(DataError, match=r"metrics\.csv: has no values of critic_loss, generator_loss"):
        read_curves(path, tuple(GENERATOR_CURVES))


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(DataError, match="cannot be read as training curves"):
        read_curves(tmp_path / "nowhere.csv", ("loss",))
    (tmp_path / "bytes.csv").write_bytes(b"step,loss\n\xff\xfe")
    with pytest.raises(DataError, match="cannot be read as training curves"):
        read_curves(tmp_path / "bytes.csv", ("loss",))


@pytest.fixture
def styles(monkeypatch) -> list[tuple[str, object]]:
    """Colour and line of every curve that reaches the axes."""
    found: list[tuple[str, object]] = []
    plain = Axes.plot

    def plot(self, *points, **style):
        found.append((style["color"], style["linestyle"]))
        return plain(self, *points, **style)

    monkeypatch.setattr(Axes, "plot", plot)
    return found


@pytest.mark.parametrize("count", [1, NAMED, NAMED + 1])
def test_a_few_runs_have_names_and_many_are_drawn_alike(styles, count):
    runs = [(f"run {i}", {"loss": [(1.0, 0.9), (2.0, 0.1 * i)]}) for i in range(count)]
    plot = training_plot(runs, MEMBER_CURVES, "members")
    assert len(styles) == count
    assert len(set(styles)) == (count if count <= NAMED else 1)
    assert ("all drawn alike" in plot.title) == (count > NAMED)
    assert f"{count} members: loss (soft Dice) ends between 0 and {0.1 * (count - 1):.3g}." in plot.alt


def test_a_curve_that_no_run_has_takes_no_room(styles):
    run = {name: [] for name in GENERATOR_CURVES} | {"critic_loss": [(1.0, 0.5)], "diversity": [(1.0, 0.8)]}
    plot = training_plot([("$a_", run), ("_b", run | {"diversity": []})], GENERATOR_CURVES, "generators")
    assert len(styles) == 3
    assert "generator's loss" not in plot.alt
    assert "diversity of samples / of real slices ends between 0.8 and 0.8" in plot.alt
