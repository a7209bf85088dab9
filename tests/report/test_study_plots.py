from __future__ import annotations

import base64
from itertools import chain, pairwise
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from labelgan.core.errors import DataError
from labelgan.report import study_plots as plots
from labelgan.report import study_plots as style
from labelgan.report.study_files import Comparison, StudyFiles, read_study
from labelgan.report.study_plots import (
    GENERATOR_CURVES,
    MARKS,
    MEMBER_CURVES,
    NAMED,
    Plot,
    looks,
    read_curves,
    training_plot,
)
from labelgan.report.study_tables import draw_means, patient_pairs
from labelgan.scoring.metrics import METRICS
from studies import ARMS, write_study


@pytest.fixture(scope="module")
def crossed(tmp_path_factory) -> StudyFiles:
    return read_study(write_study(tmp_path_factory.mktemp("crossed"), undefined=0.1))


@pytest.fixture(scope="module")
def curve(tmp_path_factory) -> StudyFiles:
    patients = [f"L{i:02d}" for i in range(16)]
    return read_study(write_study(tmp_path_factory.mktemp("curve"), patients=patients, numbers=(3, 5, 8), repeats=2))


@pytest.fixture
def drawn(monkeypatch) -> list[Figure]:
    """The figures before they are written."""
    figures: list[Figure] = []
    write = plots.as_plot

    def keep(figure: Figure, title: str, alt: str) -> Plot:
        figures.append(figure)
        return write(figure, title, alt)

    monkeypatch.setattr(plots, "as_plot", keep)
    return figures


def against(files: StudyFiles, reference: str) -> list[Comparison]:
    assert files.verdict is not None
    return [entry for entry in files.verdict.comparisons if entry.reference == reference]


def test_a_forest_has_a_panel_a_metric_and_a_row_an_arm(crossed, drawn):
    comparisons = against(crossed, "classical")
    plot = plots.forest(comparisons, "classical", None)
    (figure,) = drawn
    assert len(figure.axes) == len(METRICS)
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == [arm for arm in ARMS if arm != "classical"]
    for axes, (name, metric) in zip(figure.axes, METRICS.items(), strict=True):
        assert metric.title in axes.get_title()
        assert (axes.get_xlim()[0] > axes.get_xlim()[1]) == (metric.better == "lower")  # right is better
        marks = {
            (round(float(line.get_xdata()[0]), 9), line.get_marker())  # pyright: ignore[reportArgumentType, reportIndexIssue]
            for line in axes.lines
            if line.get_marker() not in ("None", None)
        }
        wanted = [entry for entry in comparisons if entry.metric == name]
        assert marks == {(round(entry.difference or 0.0, 9), MARKS[entry.verdict][1]) for entry in wanted}
    assert "right of zero is better" in plot.title
    for entry in comparisons:
        assert f"{entry.arm} {METRICS[entry.metric].title}" in plot.alt


def test_what_could_not_be_compared_says_so(drawn):
    entry = Comparison.model_validate(
        {"arm": "a", "reference": "b", "metric": "dsc", "difference": None, "interval": None, "n": 0}
        | {"verdict": "no evidence"}
    )
    plot = plots.forest([entry], "b", 5)
    assert [text.get_text() for text in drawn[0].axes[0].texts] == ["undefined"]
    assert "b, 5 training patients" in plot.title
    assert "a DSC – (no evidence)" in plot.alt


def test_a_learning_curve_shows_means_and_every_draw(curve, drawn):
    plot = plots.learning_curves(curve.rows, ARMS)
    (figure,) = drawn
    style = looks(ARMS)
    for axes, name in zip(figure.axes, METRICS, strict=False):
        lines = {line.get_color(): line for line in axes.lines if line.get_linestyle() != "None"}
        points = {line.get_color(): line for line in axes.lines if line.get_linestyle() == "None"}
        for arm in ARMS:
            means = draw_means(curve.rows, arm, name)
            line, draws = lines[style[arm].colour], points[style[arm].colour]
            assert list(np.asarray(line.get_xdata())) == [3, 5, 8]
            assert np.asarray(line.get_ydata()) == pytest.approx([np.mean(values) for values in means.values()])
            assert sorted(np.asarray(draws.get_ydata())) == pytest.approx(sorted(chain(*means.values())))
            assert np.asarray(draws.get_xdata()) == pytest.approx([3, 3, 5, 5, 8, 8], rel=0.05)
    legend = figure.axes[len(METRICS)].get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == list(ARMS)
    assert all(f"{arm} 0." in plot.alt for arm in ARMS)


def test_paired_lines_count_and_join_patients(crossed, drawn):
    others = [arm for arm in ARMS if arm != "classical"]
    metric = METRICS["hd95_mm"]
    plot = plots.paired_lines(crossed.rows, "classical", others, metric)
    (figure,) = drawn
    for axes, arm in zip(figure.axes, others, strict=False):
        pairs = patient_pairs(crossed.rows, "classical", arm, "hd95_mm")
        ends = [tuple(np.asarray(line.get_ydata(), float)) for line in axes.lines]
        assert ends == [(pair.reference, pair.arm) for pair in pairs]
        better = sum(pair.arm < pair.reference for pair in pairs)
        assert axes.get_title() == f"{better} better, {len(pairs) - better} worse"
        assert f"{arm}: {better} better" in plot.alt
        for line, pair in zip(axes.lines, pairs, strict=True):
            assert (line.get_linestyle(), line.get_marker()) == (
                ("-", "^") if pair.arm < pair.reference else ("--", "v")
            )


def test_twenty_arms_fit(tmp_path: Path, drawn):
    arms = ["real", "classical", *(f"variant-{i}" for i in range(18))]
    files = read_study(write_study(tmp_path, arms=arms, patients=["A", "B", "C"]))
    plots.forest(against(files, "classical"), "classical", None)
    plots.paired_lines(files.rows, "classical", arms[2:], METRICS["dsc"])
    forest, paired = drawn
    assert len(forest.axes[0].get_yticklabels()) == 19
    assert sum(bool(axes.lines) for axes in paired.axes) == 18


def test_many_patients_are_drawn_as_pixels(tmp_path: Path, monkeypatch):
    files = read_study(write_study(tmp_path, arms=("real", "classical")))
    fine = plots.paired_lines(files.rows, "real", ["classical"], METRICS["dsc"])
    monkeypatch.setattr(plots, "DENSE", 5)
    dense = plots.paired_lines(files.rows, "real", ["classical"], METRICS["dsc"])
    assert (b"<image" in fine.png, b"<image" in dense.png) == (False, True)


def luminance(colour: str) -> float:
    """WCAG 2's relative luminance."""
    parts = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    return float(np.dot(parts, (0.2126, 0.7152, 0.0722)))


def test_arms_differ_in_more_than_colour():
    arms = [f"arm {i}" for i in range(60)]
    found = list(style.looks(arms).values())
    assert len({(look.colour, look.marker, look.line) for look in found}) == 60
    assert len({(look.marker, look.line) for look in found[:55]}) == 55  # without colour too
    assert all(a.marker != b.marker and a.line != b.line for a, b in pairwise(found))


def test_verdicts_are_told_apart_without_colour():
    assert len({(marker, filled) for _, marker, filled in style.MARKS.values()}) == 3
    # on white, at least the 3 : 1 that WCAG asks of graphics
    assert all(1.05 / (luminance(colour) + 0.05) > 3 for colour, _, _ in style.MARKS.values())


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("plain", "plain"),
        ("_hidden", " _hidden"),
        ("two\nlines\x00", "two?lines?"),
        ("x" * 31, "x" * 29 + "…"),
        ("", ""),
    ],
)
def test_labels_can_be_drawn(name, shown):
    assert style.label(name) == shown


@pytest.mark.parametrize("text", ["$\\frac{", "a$b$c", "漢字", "</svg><script>alert(1)</script>", "&amp;"])
def test_any_text_is_drawn_as_it_is(text):
    """No mathematics, no warning for a glyph the font lacks, and the same bytes every time."""

    def draw() -> style.Plot:
        with style.drawing():
            figure = style.new_figure(1)
            axes = figure.subplots()
            axes.plot([0, 1], label=style.label(text))
            axes.set_title(style.label(text))
            axes.legend()
            return style.as_plot(figure, "title", "alt")

    plot = draw()
    kind, _, content = plot.uri.partition(",")
    assert kind == "data:image/svg+xml;base64"
    root = ElementTree.fromstring(base64.b64decode(content))
    tags = {element.tag.rpartition("}")[2] for element in root.iter()}
    assert "path" in tags
    assert not tags & {"script", "image", "foreignObject", "a"}
    assert b"date" not in plot.png
    assert draw() == plot


def test_drawing_leaves_no_settings_behind():
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    with style.drawing():
        assert mpl.rcParams["text.parse_math"] is False
    assert dict(mpl.rcParams) == before


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
