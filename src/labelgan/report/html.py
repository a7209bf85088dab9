"""HTML pages: one offline file each, every value escaped."""

from __future__ import annotations

import base64
import csv
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labelgan.core.files import write_text_atomic


@dataclass(frozen=True)
class Picture:
    """A PNG to embed; ``alt`` says in words what it shows."""

    png: bytes
    title: str
    alt: str

    @property
    def uri(self) -> str:
        """The picture as a data URI."""
        return "data:image/png;base64," + base64.b64encode(self.png).decode("ascii")


def render(template: str, values: dict[str, Any]) -> str:
    """Fills a template of ``report/templates``; everything is escaped, and an unknown name is an error."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("labelgan.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(values)


def write_page(path: Path, template: str, **values: Any) -> None:
    """Renders a template to a file, atomically."""
    write_text_atomic(path, render(template, values))


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
