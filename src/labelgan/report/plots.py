"""Plots for the pages, as PNG bytes."""

from __future__ import annotations

import csv
import io
from pathlib import Path

# Okabe and Ito's palette: told apart by colour-blind readers.
COLOURS = {"critic_loss": "#0072B2", "generator_loss": "#E69F00", "diversity": "#009E73", "lesion_rate": "#CC79A7"}
LABELS = {
    "critic_loss": "critic's loss",
    "generator_loss": "generator's loss",
    "diversity": "diversity of samples / of real slices",
    "lesion_rate": "samples with a lesion",
}


def training_curves(metrics: Path) -> bytes:
    """Draws losses and the diversity watch of a run's ``metrics.csv``; gives PNG bytes."""
    from matplotlib.figure import Figure

    with metrics.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    figure = Figure(figsize=(8, 2.8), layout="constrained")
    for axes, names in zip(
        figure.subplots(1, 2), (("critic_loss", "generator_loss"), ("diversity", "lesion_rate")), strict=True
    ):
        for name in names:
            points = [(int(row["step"]), float(row[name])) for row in rows if row[name]]
            marker = "o" if len(points) < 20 else None
            if points:  # a short run has no diversity yet
                axes.plot(*zip(*points, strict=True), label=LABELS[name], color=COLOURS[name], marker=marker)
        axes.set_xlabel("step")
        if axes.lines:
            axes.legend(frameon=False)
        axes.spines[["top", "right"]].set_visible(False)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=120, metadata={"Software": None})
    return stream.getvalue()
