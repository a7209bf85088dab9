"""Training curves of many runs on one axis: what stands out is a run that went astray."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from pathlib import Path

from labelgan.core.errors import DataError
from labelgan.report.study_style import GREY, Plot, as_plot, drawing, label, looks, new_figure

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
