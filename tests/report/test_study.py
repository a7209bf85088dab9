from __future__ import annotations

import base64
import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from browser import browser, needs_chromium
from labelgan.core.errors import DataError
from labelgan.core.rng import generator_for
from labelgan.data.pictures import encode_png
from labelgan.report.overlays import draw_overlay
from labelgan.report.study import StudyPicture, StudyPictures, write_study_report
from labelgan.report.study_plots import Plot
from labelgan.scoring.scores_csv import read_scores
from labelgan.study.verdict.verdict import make_verdict
from pages import elements, references, text_of
from studies import ARMS, change_json, write_json, write_study

HOSTILE = "<script>alert(1)</script>\"'&$\\frac{_<img src=x onerror=y>"
FAILED = {
    "job": "train-generator-0123456789abcdef",
    "label": "generator of fold-03",
    "reason": "the loss is not finite at step 212",
    "log": "jobs/train-generator-0123456789abcdef/log.txt",
}


def page_of(folder: Path, pictures: StudyPictures | None = None) -> str:
    path = write_study_report(folder, pictures=pictures)
    assert path == folder / "report.html"
    return path.read_text(encoding="utf-8")


def words_of(page: str) -> str:
    """The text in one line, as it reads."""
    return re.sub(r"\s+", " ", text_of(page).replace("\n", ""))


@pytest.fixture
def undrawn(monkeypatch) -> None:
    """Pages without plots; test_study_plots.py has what is in them."""
    blank = Plot(encode_png(np.zeros((1, 1, 3), np.uint8)), "a plot", "a plot that is not drawn here")
    for name in ("forest", "paired_lines", "learning_curves", "training_plot"):
        monkeypatch.setattr(f"labelgan.report.study.{name}", lambda *_, **__: blank)


def ids(page: str) -> set[str]:
    return {shown["id"] for _, shown in elements(page) if "id" in shown}


def make_pictures(folder: Path) -> StudyPictures:
    pixels = generator_for(0, "mosaic").integers(0, 255, (60, 90, 3), dtype=np.uint8)
    image, nothing = generator_for(0, "scan").normal(size=(3, 30, 30)), np.zeros((3, 30, 30), bool)
    hits = nothing.copy()
    hits[:, 5:9, 5:9] = True
    generator, member = folder / "generator.csv", folder / "member.csv"
    generator.write_text("step,critic_loss,generator_loss,diversity,lesion_rate\n1,1,2,0.5,0.4\n2,0.9,2.1,,\n")
    member.write_text("step,start,seconds,loss\n1,0,1,0.9\n2,0,2,0.8\n")
    return StudyPictures(
        synthetic={"fold-00": StudyPicture(pixels, "samples of seed 1")},
        real={"fold-00": StudyPicture(encode_png(pixels), "training slices", "slices of training patients")},
        overlays=[StudyPicture(draw_overlay(image, hits, nothing, nothing), "P003, real: DSC 0.31")],
        generators=[("fold-00", generator), ("fold-01", folder / "missing.csv")],
        members=[("fold-00, real, member 0", member)],
    )


@pytest.fixture(scope="module")
def crossed(tmp_path_factory) -> str:
    patients = ["P" * 64, *(f"P{i:03d}" for i in range(2, 11))]  # as long as an id may be
    folder = write_study(tmp_path_factory.mktemp("crossed"), undefined=0.1, patients=patients)
    return page_of(folder, make_pictures(folder))


@pytest.fixture(scope="module")
def curve(tmp_path_factory) -> str:
    patients = [f"L{i:02d}" for i in range(14)]
    return page_of(write_study(tmp_path_factory.mktemp("curve"), patients=patients, numbers=(3, 8), repeats=2))


def test_a_cross_validation_is_told_whole(crossed):
    said = words_of(crossed)
    assert "classical+synthetic helps by DSC: +0.05 over classical (10 patients)." in said
    assert said.index("helps by DSC") < said.index("What was run")  # the verdict stands on top
    for arm in ARMS:
        assert arm in said
    assert "Cross-validation (leave one patient out)" in said
    assert "control that must not help" in said
    assert "10000 bootstrap resamples of patients, seed 0" in said
    assert "left out of means and counted beside them" in said
    assert "labelgan study ms3seg-wmh --out" in said
    assert "steps = 500" in said
    assert "No job failed." in said
    assert "fold-01: cannot be read as training curves" in said
    assert {"run", "glance", "differences", "scores", "paired", "worst", "samples", "training", "cost"} < ids(crossed)
    assert "curves" not in ids(crossed)
    # two forests, five paired plots, an overlay, two mosaics, two training plots
    assert [tag for tag, _ in elements(crossed)].count("img") == 2 + 5 + 1 + 2 + 2


def test_a_learning_curve_has_curves_and_multipliers(curve):
    said = words_of(curve)
    assert "Learning curve: 2 draws of 3, 8 training patients each." in said
    assert "Annotation multiplier" in said
    assert "×1.40" in said
    assert "cannot be read off" in said
    assert "beyond the largest number of patients" in said
    assert "curves" in ids(curve)
    assert "paired" not in ids(curve)


def test_every_link_leads_somewhere_and_every_picture_has_words(crossed, curve):
    for page in (crossed, curve):
        targets = [shown["href"][1:] for tag, shown in elements(page) if tag == "a"]
        assert len(targets) > 8
        assert set(targets) <= ids(page)
        assert all(len(shown["alt"]) > 10 for tag, shown in elements(page) if tag == "img")


def test_nothing_is_loaded_and_nothing_runs(crossed, curve):
    for page in (crossed, curve):
        kinds = {reference.partition(",")[0] for reference in references(page) if not reference.startswith("#")}
        assert kinds <= {"data:image/png;base64", "data:image/svg+xml;base64"}
        assert "script" not in {tag for tag, _ in elements(page)}
        (policy,) = [shown["content"] for tag, shown in elements(page) if shown.get("http-equiv")]
        assert policy.startswith("default-src 'none'; img-src data:;")


def test_harm_is_said_as_loudly_as_help(crossed):
    """Both have their word, their shape, a frame and heavy letters."""
    said = words_of(crossed)
    assert said.count("▲ helps") > 3
    assert said.count("▼ harms") > 3
    (style,) = re.findall(r"<style>(.*?)</style>", crossed, re.DOTALL)
    weights = re.findall(r"\.mark\.(helps|harms) \{[^}]*font-weight: (\d+)", style)
    assert dict(weights) == {"helps": "700", "harms": "700"}


@pytest.mark.usefixtures("undrawn")
def test_an_incomplete_study_says_so(tmp_path):
    folder = write_study(tmp_path, status="incomplete", verdict=False, failed=[FAILED], undefined=0.3)
    said = words_of(page_of(folder))
    assert "No verdict yet: the study is not complete." in said
    assert "This study is incomplete. 1 of its jobs failed, listed below" in said
    assert FAILED["reason"] in said
    assert FAILED["log"] in said
    assert "incomplete, 1 failed job" in said


@pytest.mark.usefixtures("undrawn")
def test_a_study_of_one_arm_or_without_scores_has_a_page(tmp_path):
    said = words_of(page_of(write_study(tmp_path / "one", arms=("classical",))))
    assert "There is no comparison" in said
    folder = write_study(tmp_path / "none", status="incomplete", verdict=False)
    header = (folder / "scores.csv").read_text().splitlines()[0]
    (folder / "scores.csv").write_text(header + "\n")
    assert "No case has a DSC yet." in words_of(page_of(folder))


def test_nothing_but_undefined_scores(tmp_path):
    page = page_of(write_study(tmp_path, arms=("real", "classical"), undefined=1.0))
    assert "– ± –" in words_of(page)
    assert "10 undefined" in words_of(page)
    assert "paired" not in ids(page)


def hostile_study(folder: Path, text: str) -> str:
    """A page in which everything that comes from elsewhere is one text."""
    arms = ("classical", f"{text}a", f"{text}b")
    write_study(folder, arms=arms, patients=[f"{text}{i}" for i in range(4)], data=text, status="incomplete")
    change_json(
        folder / "study.json",
        command=text,
        test_data=text,
        arm_descriptions=dict.fromkeys(arms, text),
        failed=[dict.fromkeys(FAILED, text)],
        cost=[{"kind": text, "jobs": 1, "seconds": 1}],
        config={text: text},
        made_with={text: text},
    )
    change_json(folder / "verdict.json", headline=text, policy=text)
    pictures = make_pictures(folder)
    pixels = pictures.real["fold-00"].image
    shown = {text: StudyPicture(pixels, text, text)}
    missing = [(text, folder / "missing.csv")]
    runs = [(text, path) for _, path in pictures.members]
    return page_of(folder, StudyPictures(shown, shown, [*shown.values()], missing, runs))


@pytest.fixture(scope="module")
def hostile(tmp_path_factory) -> str:
    return hostile_study(tmp_path_factory.mktemp("hostile"), HOSTILE)


def test_hostile_names_stay_text(hostile, tmp_path):
    plain = hostile_study(tmp_path, "plain")
    assert [tag for tag, _ in elements(hostile)] == [tag for tag, _ in elements(plain)]
    assert [set(shown) for _, shown in elements(hostile)] == [set(shown) for _, shown in elements(plain)]
    assert HOSTILE in text_of(hostile)
    for reference in references(hostile):
        if reference.startswith("data:image/svg"):
            svg = ElementTree.fromstring(base64.b64decode(reference.partition(",")[2]))
            assert not {element.tag.rpartition("}")[2] for element in svg.iter()} & {"script", "img", "foreignObject"}


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("numbers", [(), (3, 5)])
def test_the_real_verdict_is_understood(tmp_path, numbers):
    """What `labelgan.study.verdict.verdict` makes of the same scores has its place on the page."""
    folder = write_study(tmp_path, arms=ARMS[1:4], numbers=numbers, repeats=2, undefined=0.1, shares={"fold-00": 0.25})
    made = make_verdict(read_scores(folder / "scores.csv"), resamples=200)
    write_json(folder / "verdict.json", made)
    said = words_of(page_of(folder))
    for told in (made["headline"], made["policy"], *(entry["sentence"] for entry in made["comparisons"])):
        assert " ".join(told.split()) in said
    assert ("25 %" in said) == (not numbers)


def test_the_same_study_gives_the_same_page(tmp_path):
    folder = write_study(tmp_path, arms=("real", "classical"), patients=["A", "B", "C"])
    assert page_of(folder) == page_of(folder)


def test_a_picture_must_be_a_png(tmp_path):
    folder = write_study(tmp_path, arms=("classical",))
    with pytest.raises(DataError, match="the caption: is not a PNG picture"):
        write_study_report(folder, pictures=StudyPictures(overlays=[StudyPicture(b"<svg/>", "the caption")]))
    assert not (folder / "report.html").exists()


@pytest.mark.usefixtures("undrawn")
def test_a_damaged_study_leaves_the_page_before_alone(tmp_path):
    folder = write_study(tmp_path, arms=("classical",))
    before = page_of(folder)
    (folder / "verdict.json").write_text("{")
    with pytest.raises(DataError, match=r"verdict\.json"):
        write_study_report(folder)
    assert (folder / "report.html").read_text(encoding="utf-8") == before


@needs_chromium
def test_a_browser_shows_it_without_complaint(crossed, curve, hostile, tmp_path):
    """No message on the console, every picture decoded, nothing asked for elsewhere, nothing wider than the window."""
    paths = [tmp_path / f"{number}.html" for number in range(3)]
    for path, page in zip(paths, (crossed, curve, hostile), strict=True):
        path.write_text(page, encoding="utf-8")
    with browser(tmp_path / "profile") as shown:
        for path in paths:
            for width, medium in ((1280, "screen"), (800, "screen"), (718, "print")):
                shown.call("Emulation.setEmulatedMedia", media=medium)
                shown.open(path, width)
                wide, room = shown.evaluate(
                    "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
                )
                assert wide <= room, (path, width)
            broken = shown.evaluate("[...document.images].filter(i => !i.complete || !i.naturalWidth).length")
            assert broken == 0
            assert shown.evaluate("document.images.length") > 4
        assert shown.told == []
        assert all(url.startswith(("file:", "data:")) for url in shown.requested)
        assert shown.pdf(tmp_path / "page.pdf").read_bytes().startswith(b"%PDF")


@needs_chromium
def test_the_policy_stops_what_would_slip_through(tmp_path):
    """Were a name to come through unescaped, the browser would still run and load nothing."""
    folder = write_study(tmp_path, arms=("classical",))
    page = page_of(folder).replace("</body>", "<script>document.title = 'run'</script><img src='file:///x.png'></body>")
    path = tmp_path / "broken.html"
    path.write_text(page, encoding="utf-8")
    with browser(tmp_path / "profile") as shown:
        shown.open(path)
        assert shown.evaluate("document.title") == "Study of ms3seg-wmh"
        assert len(shown.told) >= 2
        assert all("Content Security Policy" in told or "csp" in told for told in shown.told)
