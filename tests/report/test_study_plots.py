from __future__ import annotations

from itertools import chain
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from labelgan.scoring.metrics import METRICS
from labelgan.report import study_plots as plots
from labelgan.report.study_files import Comparison, StudyFiles, read_study
from labelgan.report.study_numbers import draw_means, patient_pairs
from labelgan.report.study_style import MARKS, Plot, looks
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
