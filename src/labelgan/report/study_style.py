"""How a study's plots look: colours, markers and lines of arms, marks of verdicts, figures as SVG."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from labelgan.report.html import Picture
from labelgan.report.study_files import HARMS, HELPS, NO_EVIDENCE

if TYPE_CHECKING:
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
    """How one arm is drawn; the three together are one arm's only."""

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
