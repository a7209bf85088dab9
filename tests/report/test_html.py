from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace

import matplotlib.axes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jinja2 import UndefinedError
from PIL import Image

import labelgan.report
from labelgan.core.rng import generator_for
from labelgan.data.pictures import encode_png
from labelgan.gan.recorder import COLUMNS
from labelgan.report.html import COLOURS, LABELS, Picture, render, training_curves, write_page
from pages import elements, references, text_of

HOSTILE = "<script src='http://evil.example/x.js'>alert(1)</script>\"'&<img src=x onerror=y>"
PNG = encode_png(generator_for(0, "picture").integers(0, 255, (5, 6), dtype="uint8"))
TEMPLATES = Path(labelgan.report.__path__[0]) / "templates"


def values(text: str = "plain") -> dict:
    """What the demo's page shows, all of it one text."""
    picture = Picture(PNG, text, text)
    return {
        "title": text,
        "total": text,
        "stages": [SimpleNamespace(command=text, outcome=text, seconds=1.25)],
        "synthetic": picture,
        "source": picture,
        "training": text,
        "curves": picture,
        "found": {"verdict": text, "audit": text},
        "made_with": {text: text},
    }


def test_a_picture_is_a_data_uri():
    kind, _, content = Picture(PNG, "", "").uri.partition(",")
    assert kind == "data:image/png;base64"
    assert base64.b64decode(content, validate=True) == PNG


def test_a_page_shows_what_it_is_given():
    page = render("demo.html.j2", values("as given"))
    assert [tag for tag, _ in elements(page)].count("img") == 3
    assert {shown["alt"] for tag, shown in elements(page) if tag == "img"} == {"as given"}
    cells = [cell for cell in text_of(page).splitlines() if cell.strip()]
    assert cells.count("as given") >= 6
    assert "1.2" in text_of(page)


def test_hostile_names_stay_text():
    """File names and provenance come from elsewhere: no element, attribute or reference grows out of them."""
    plain, hostile = render("demo.html.j2", values()), render("demo.html.j2", values(HOSTILE))
    assert [tag for tag, _ in elements(hostile)] == [tag for tag, _ in elements(plain)]
    assert [set(shown) for _, shown in elements(hostile)] == [set(shown) for _, shown in elements(plain)]
    assert references(hostile) == references(plain)
    assert HOSTILE in text_of(hostile)
    assert {shown["alt"] for tag, shown in elements(hostile) if tag == "img"} == {HOSTILE}


@settings(max_examples=50, deadline=None)
@given(st.text(st.characters(exclude_characters="\r\0", exclude_categories=["Cs"]), min_size=1))
def test_any_text_comes_out_as_it_went_in(text: str):
    page = render("demo.html.j2", values(text))
    assert {shown["alt"] for tag, shown in elements(page) if tag == "img"} == {text}
    assert text in text_of(page)


def test_a_page_loads_nothing_from_elsewhere():
    page = render("demo.html.j2", values())
    own_pages = {"study/report.html", "audit/audit.html"}  # links beside the page, which a reader may follow
    loaded = [reference for reference in references(page) if reference not in own_pages]
    assert all(reference.startswith("data:image/png;base64,") for reference in loaded)
    assert len(loaded) == 3
    assert "script" not in {tag for tag, _ in elements(page)}


@pytest.mark.parametrize("path", sorted(TEMPLATES.iterdir()), ids=lambda path: path.name)
def test_no_template_holds_a_reference_of_its_own_or_trusts_a_value(path):
    source = path.read_text(encoding="utf-8")
    for forbidden in ("http:", "https:", "//", "@import", "url(", "|safe", "| safe", "autoescape", "<script", "<link"):
        assert forbidden not in source


@pytest.mark.parametrize("left_out", sorted(values()))
def test_a_value_that_is_missing_is_an_error(left_out):
    given = values()
    del given[left_out]
    with pytest.raises(UndefinedError, match=left_out):
        render("demo.html.j2", given)


def test_a_page_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "deep" / "page.html"
    write_page(path, "demo.html.j2", **values("été"))
    assert path.read_text(encoding="utf-8") == render("demo.html.j2", values("été"))
    with pytest.raises(UndefinedError):
        write_page(path, "demo.html.j2", title="x")
    assert path.read_text(encoding="utf-8") == render("demo.html.j2", values("été"))
    assert [child.name for child in path.parent.iterdir()] == ["page.html"]


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
