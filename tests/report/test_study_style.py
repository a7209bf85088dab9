from __future__ import annotations

import base64
from itertools import pairwise
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from labelgan.report import study_style as style


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
