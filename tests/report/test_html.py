from __future__ import annotations

import base64
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jinja2 import UndefinedError

import labelgan.report
from labelgan.data.pictures import encode_png
from labelgan.report.html import Picture, render, write_page
from labelgan.core.rng import generator_for
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
