"""A study's plots: differences with intervals, learning curves, patients one by one."""

from __future__ import annotations

import csv
import io
import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labelgan.core.errors import DataError
from labelgan.report.html import Picture
from labelgan.report.study_files import HARMS, HELPS, NO_EVIDENCE, Comparison, Row
from labelgan.report.study_tables import SHAPES, draw_means, heading, mean, number, patient_pairs, tally
from labelgan.scoring.metrics import METRICS, Metric

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's palette without its yellow, which is too pale for a line on white.
PALETTE = ("#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*", "p")
LINES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))
GREY = "#767676"

# Verdict: colour, marker, filled. Up, down and a hollow circle are told apart without colour.
MARKS = {HELPS: ("#0072B2", "^", True), HARMS: ("#D55E00", "v", True), NO_EVIDENCE: ("#444444", "o", False)}

WIDTH_INCHES = 9.6
LONGEST_LABEL = 30
_SETTINGS: dict[Any, Any] = {
    "text.parse_math": False,  # a dollar in a name is a dollar
    "svg.hashsalt": "labelgan",  # same study, same bytes
    "svg.fonttype": "path",
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.unicode_minus": True,
}


@dataclass(frozen=True)
class Look:
    """Colour, line and marker of one arm; the three together are one arm's only."""

    colour: str
    marker: str
    line: Any


def looks(arms: Sequence[str]) -> dict[str, Look]:
    """Gives every arm its colour, marker and line, by its place; 385 arms differ, neighbours in all three."""
    return {
        arm: Look(PALETTE[i % len(PALETTE)], MARKERS[i % len(MARKERS)], LINES[i % len(LINES)])
        for i, arm in enumerate(arms)
    }


def label(name: str) -> str:
    """A name as a plot can bear it: one line, not too long, and not hidden by a leading underscore."""
    plain = "".join(letter if letter.isprintable() else "?" for letter in name)
    short = plain if len(plain) <= LONGEST_LABEL else plain[: LONGEST_LABEL - 1] + "…"
    return " " + short if short.startswith("_") else short


@contextmanager
def drawing() -> Iterator[None]:
    """The settings under which figures are made and written."""
    import matplotlib as mpl

    with mpl.rc_context(_SETTINGS), warnings.catch_warnings():
        # Names in scripts that the font lacks come out as boxes; the tables have them in full.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


def new_figure(height_inches: float, width_inches: float = WIDTH_INCHES) -> Figure:
    """An empty figure; use it inside `drawing`."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width_inches, height_inches), layout="constrained")


@dataclass(frozen=True)
class Plot(Picture):
    """A figure as SVG, sealed in a data URI: nothing in it can run or load."""

    @property
    def uri(self) -> str:
        """The figure as a data URI."""
        return super().uri.replace("image/png", "image/svg+xml", 1)


def as_plot(figure: Figure, title: str, alt: str) -> Plot:
    """Writes a figure as SVG, without date or maker; the same figure gives the same bytes."""
    stream = io.BytesIO()
    figure.savefig(stream, format="svg", dpi=150, metadata={"Date": None, "Creator": None})
    return Plot(stream.getvalue(), title, alt)


DENSE = 300  # lines; more are drawn as pixels, so that the page stays small
COLUMNS = 4


def forest(comparisons: Sequence[Comparison], reference: str, n_train: int | None) -> Plot:
    """Draws every arm's difference to a reference arm with its interval, a panel a metric; right is always better.

    Args:
        comparisons: of one reference and one number of training patients; at least one.
        reference: the arm that zero stands for.
        n_train: training patients, for the text; None where there is one number only.
    """
    arms = list(dict.fromkeys(entry.arm for entry in comparisons))
    with drawing():
        figure = new_figure(1.25 + 0.3 * len(arms))
        panels = figure.subplots(1, len(METRICS), sharey=True)
        for axes, (name, metric) in zip(panels, METRICS.items(), strict=True):
            _forest_panel(axes, [entry for entry in comparisons if entry.metric == name], arms, metric)
        panels[0].set_yticks(range(len(arms)), [label(arm) for arm in arms])
        panels[0].set_ylim(len(arms) - 0.5, -0.5)
        handles = [_mark(verdict) for verdict in SHAPES]
        figure.legend(handles, list(SHAPES), loc="outside lower center", ncols=3, frameon=False)
        among = "" if n_train is None else f", {n_train} training patients"
        told = "; ".join(
            f"{entry.arm} {METRICS[entry.metric].title} {number(entry.difference, METRICS[entry.metric], signed=True)} "
            f"({entry.verdict})"
            for entry in comparisons
        )
        return as_plot(
            figure,
            f"Difference to {reference}{among}: mean over patients with its 95 % interval; right of zero is better.",
            f"Forest plot of differences to {reference}{among}. {_tallied(comparisons)} {told}.",
        )


def _forest_panel(axes: Axes, comparisons: Sequence[Comparison], arms: Sequence[str], metric: Metric) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.axvline(0, color=GREY, linewidth=0.8)
    for row in range(len(arms)):
        axes.axhline(row, color="#eeeeee", linewidth=0.6, zorder=0)
    for entry in comparisons:
        row = arms.index(entry.arm)
        if entry.difference is None:
            axes.annotate("undefined", (0.5, row), xycoords=("axes fraction", "data"), ha="center", va="center")
            continue
        colour, marker, filled = MARKS[entry.verdict]
        if entry.interval is not None:
            axes.plot(entry.interval, (row, row), color=colour, linewidth=1.6, solid_capstyle="butt")
        face = colour if filled else "white"
        axes.plot(entry.difference, row, marker, color=colour, markerfacecolor=face, markersize=7)
    axes.set_title(f"{metric.title}, {metric.unit}" if metric.unit else metric.title, fontsize=9)
    axes.set_xlabel("better →", fontsize=8)
    axes.margins(x=0.12)
    axes.xaxis.set_major_locator(MaxNLocator(3, symmetric=False))
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", labelsize=8)
    axes.spines["left"].set_visible(False)
    if metric.better == "lower":
        axes.invert_xaxis()


def _mark(verdict: str) -> Any:
    from matplotlib.lines import Line2D

    colour, marker, filled = MARKS[verdict]
    face = colour if filled else "white"
    return Line2D([], [], color=colour, marker=marker, markerfacecolor=face, markersize=7, linewidth=1.6)


def _tallied(comparisons: Sequence[Comparison]) -> str:
    return "Of the comparisons " + ", ".join(f"{count} say {verdict}" for verdict, count in tally(comparisons)) + "."


def learning_curves(rows: Sequence[Row], arms: Sequence[str]) -> Plot:
    """Draws mean score against the number of training patients, a line an arm, a small mark a draw.

    Args:
        rows: scores.csv; at least one.
        arms: in the order of the study, which gives each its colour, marker and line.
    """
    from matplotlib.lines import Line2D
    from matplotlib.ticker import NullLocator

    numbers = sorted({row.n_train for row in rows})
    style = looks(arms)
    told = []
    with drawing():
        figure = new_figure(max(7.2, 3.2 + 0.2 * len(arms)))
        panels = figure.subplots(math.ceil((len(METRICS) + 1) / 2), 2).ravel()
        for axes, (name, metric) in zip(panels, METRICS.items(), strict=False):
            for place, arm in enumerate(arms):
                found = draw_means(rows, arm, name)
                if not found:
                    continue
                look = style[arm]
                means = [mean(values) for values in found.values()]
                axes.plot([*found], means, color=look.colour, linestyle=look.line, marker=look.marker, markersize=6)
                # side by side, so that draws of several arms do not hide each other
                aside = 1 + 0.012 * (place - (len(arms) - 1) / 2)
                points = [(n * aside, value) for n, values in found.items() for value in values]
                axes.plot(*zip(*points, strict=True), look.marker, color=look.colour, markersize=2.5, alpha=0.6)
                if name == "dsc":
                    steps = ", ".join(f"{number(m, metric)} at {n}" for n, m in zip(found, means, strict=True))
                    told.append(f"{arm} {steps}")
            axes.set_title(heading(metric), fontsize=9)
            axes.set_xscale("log")
            axes.xaxis.set_minor_locator(NullLocator())
            axes.set_xticks(numbers, [str(n) for n in numbers])
            axes.set_xlabel("training patients", fontsize=8)
            axes.grid(axis="y", color="#eeeeee")
        for axes in panels[len(METRICS) :]:
            axes.axis("off")
        handles = [
            Line2D([], [], color=look.colour, linestyle=look.line, marker=look.marker, markersize=6)
            for look in style.values()
        ]
        panels[len(METRICS)].legend(
            handles,
            [label(arm) for arm in arms],
            loc="center",
            frameon=False,
            handlelength=4,
            ncols=1 + len(arms) // 13,
        )
        return as_plot(
            figure,
            "Mean score by number of training patients. Large marks and lines are means over draws, small marks are "
            "the draws, each a mean over its test patients.",
            f"Learning curves. Mean DSC: {'; '.join(told)}.",
        )


def paired_lines(rows: Sequence[Row], reference: str, arms: Sequence[str], metric: Metric) -> Plot:
    """Draws a line a patient from the reference arm's score to each other arm's, a panel an arm.

    Args:
        rows: scores.csv.
        reference: the arm on the left of every panel.
        arms: the others; at least one.
        metric: which score.
    """
    height_of, columns = 2.5, min(COLUMNS, len(arms))
    lines = math.ceil(len(arms) / columns)
    told = []
    with drawing():
        width = max(0.26 * WIDTH_INCHES * columns, 0.36 * WIDTH_INCHES)
        figure = new_figure(height_of * lines + 0.4, width_inches=width)
        panels = figure.subplots(lines, columns, sharey=True, squeeze=False).ravel()
        for axes, arm in zip(panels, arms, strict=False):
            pairs = patient_pairs(rows, reference, arm, metric.name)
            counts = dict.fromkeys((HELPS, HARMS, NO_EVIDENCE), 0)
            for pair in pairs:
                up = pair.arm - pair.reference if metric.better == "higher" else pair.reference - pair.arm
                change = HELPS if up > 0 else HARMS if up < 0 else NO_EVIDENCE
                counts[change] += 1
                colour, marker, filled = MARKS[change]
                axes.plot(
                    (0, 1),
                    (pair.reference, pair.arm),
                    color=colour,
                    linestyle="--" if change == HARMS else "-",
                    linewidth=1,
                    marker=marker,
                    markersize=4,
                    markerfacecolor=colour if filled else "white",
                    rasterized=len(pairs) > DENSE,
                )
            names = [label(name).replace("+", "+\n") for name in (reference, arm)]
            axes.set_xticks((0, 1), names, fontsize=8 if max(map(len, names)) < 24 else 6)
            axes.set_xlim(-0.25, 1.25)
            outcome = f"{counts[HELPS]} better, {counts[HARMS]} worse"
            if counts[NO_EVIDENCE]:
                outcome += f", {counts[NO_EVIDENCE]} same"
            axes.set_title(outcome, fontsize=8)
            told.append(f"{arm}: {outcome}")
        for axes in panels[len(arms) :]:
            axes.axis("off")
        for axes in panels[::columns]:
            axes.set_ylabel(heading(metric))
        return as_plot(
            figure,
            f"{heading(metric)}: every line is a patient, from {reference} to the other arm. Solid with ▲ is better, "
            "dashed with ▼ is worse.",
            f"{metric.title} of every patient, {reference} against each other arm. {'; '.join(told)}.",
        )


# Columns of metrics.csv that are shown, and how they are called; a panel each.
GENERATOR_CURVES = {
    "critic_loss": "critic's loss",
    "generator_loss": "generator's loss",
    "diversity": "diversity of samples / of real slices",
    "lesion_rate": "samples with a lesion",
}
MEMBER_CURVES = {"loss": "loss (soft Dice)"}
NAMED = 12  # more runs than this are drawn alike

Points = list[tuple[float, float]]


def read_curves(path: Path, columns: Sequence[str]) -> dict[str, Points]:
    """Reads steps and values of a ``metrics.csv``; gaps, half rows and what is not finite are left out.

    Raises:
        DataError: the file cannot be read, or has none of the columns.
    """
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            rows = list(csv.DictReader(stream))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(path, f"cannot be read as training curves: {error}") from None
    curves = {name: _points(rows, name) for name in columns}
    if not any(curves.values()):
        raise DataError(path, f"has no values of {', '.join(columns)}")
    return curves


def _points(rows: Sequence[dict[str, str]], name: str) -> Points:
    points = []
    for row in rows:
        try:
            point = (float(row["step"]), float(row[name]))
        except (KeyError, TypeError, ValueError):
            continue
        if all(map(math.isfinite, point)):
            points.append(point)
    return points


def training_plot(runs: Sequence[tuple[str, dict[str, Points]]], columns: dict[str, str], what: str) -> Plot:
    """Draws runs over each other, a panel a column.

    Args:
        runs: label and curves of each run, as `read_curves` gives them; at least one.
        columns: which curves, with their titles.
        what: what the runs trained, for the text: ``generators``.
    """
    shown = {name: title for name, title in columns.items() if any(curves[name] for _, curves in runs)}
    named = len(runs) <= NAMED
    style = looks([str(place) for place in range(len(runs))])
    wide = 2 if len(shown) > 1 else 1
    lines = math.ceil(len(shown) / wide)
    with drawing():
        figure = new_figure(2.3 * lines + (0.25 * math.ceil(len(runs) / 4) if named else 0))
        panels = figure.subplots(lines, wide, squeeze=False).ravel()
        told = []
        for axes, (name, title) in zip(panels, shown.items(), strict=False):
            ends = []
            for place, (_, curves) in enumerate(runs):
                if not curves[name]:
                    continue
                ends.append(curves[name][-1][1])
                look = style[str(place)]
                axes.plot(
                    *zip(*curves[name], strict=True),
                    color=look.colour if named else GREY,
                    linestyle=look.line if named else "-",
                    marker="." if len(curves[name]) < 8 else None,
                    linewidth=1.1 if named else 0.6,
                    alpha=1.0 if named else 0.5,
                    rasterized=len(runs) > 50,
                )
            axes.set_title(title, fontsize=9)
            axes.set_xlabel("step", fontsize=8)
            told.append(f"{title} ends between {min(ends):.3g} and {max(ends):.3g}")
        for axes in panels[len(shown) :]:
            axes.axis("off")
        if named:
            from matplotlib.lines import Line2D

            handles = [Line2D([], [], color=look.colour, linestyle=look.line) for look in style.values()]
            names = [label(name) for name, _ in runs]
            figure.legend(
                handles, names, loc="outside lower center", ncols=4, frameon=False, fontsize=8, handlelength=3
            )
        return as_plot(
            figure,
            f"Training of the {what}: {len(runs)} runs" + ("." if named else ", all drawn alike."),
            f"Training curves of {len(runs)} {what}: {'; '.join(told)}.",
        )
