"""The page as people use it: in headless Chromium, by keys and by mouse."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from browser import Browser, browser, needs_chromium
from labelgan.data.curation import BLIND_TESTS, CURATION
from labelgan.studio.live import LiveRun
from labelgan.studio.session import Session
from labelgan.studio.sources import Keys, find_sources

pytestmark = [pytest.mark.slow, needs_chromium]

WEBGL = ("--use-angle=swiftshader", "--enable-unsafe-swiftshader")
HOSTILE = "<img src=x onerror=document.title='broken'>"
READY = "document.getElementById('status').textContent.includes('slices')"


@pytest.fixture
def session(phantom_cohort, phantom_store, tiny_run, tiny_study, samples, tmp_path) -> Session:
    """As elsewhere, with a study, and a patient whose folder has a name that wants to be markup."""
    scans = tmp_path / HOSTILE
    shutil.copytree(phantom_cohort, scans)
    site = next(path for path in sorted(scans.iterdir()) if path.is_dir())
    next(site.iterdir()).rename(site / HOSTILE)
    made = Session([scans, phantom_store.path, tiny_run, samples])
    (study, *_), _ = find_sources([tiny_study.folder], Keys())
    made.index.sources[study.key] = study
    made.fill()
    return made


@pytest.fixture
def page(visitor, tmp_path_factory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("profile"), *WEBGL) as opened:
        opened.visit(f"http://127.0.0.1:{visitor.port}/?token={visitor.token}", 1280, 720)
        opened.wait_for(READY, 60)
        opened.wait_for("document.querySelectorAll('.tile').length > 30", 60)
        yield opened
        # software WebGL tells how slow it is; nothing else may be said, and nothing asked of anybody else
        assert [line for line in opened.told if "GL Driver Message" not in line] == []
        home = f"http://127.0.0.1:{visitor.port}/"
        assert [url for url in opened.requested if not url.startswith((home, "data:image/", "blob:"))] == []
        assert opened.evaluate("document.title") == "LabelGAN studio"


def click(page: Browser, text: str, inside: str = "body") -> None:
    page.evaluate(f"""[...document.querySelectorAll({json.dumps(inside + " button")})]
        .find((button) => button.textContent.startsWith({json.dumps(text)})).click()""")


def choose(page: Browser, name: str, value: str) -> None:
    page.evaluate(f"document.querySelector('input[name={name}][value={value}]').click()")


def shown(page: Browser, selector: str, count: int) -> None:
    images = f"[...document.querySelectorAll({json.dumps(selector)})]"
    page.wait_for(f"{images}.length === {count} && {images}.every((image) => image.complete && image.naturalWidth)", 60)


def test_the_token_leaves_the_address_and_slices_are_there(page):
    assert page.evaluate("[location.search, location.hash, document.cookie]") == ["", "#gallery", ""]
    shown(page, ".inspector .shots img", 2)
    assert page.evaluate("document.documentElement.scrollWidth <= 1280 && document.body.scrollHeight <= 720")


def test_hostile_names_are_shown_as_text(page):
    names = page.evaluate("[...document.querySelectorAll('.tile .name')].map((node) => node.textContent)")
    assert any(HOSTILE in name for name in names)
    assert HOSTILE in page.evaluate("document.getElementById('filters').textContent")
    assert page.evaluate("document.querySelectorAll('[onerror]').length") == 0


def test_samples_are_judged_by_keys(page, samples):
    choose(page, "origin", "synthetic")
    page.wait_for("document.querySelectorAll('.tile').length === 6")
    page.wait_for("document.querySelector('.inspector .judge') !== null")
    page.press("a")
    page.wait_for("document.querySelectorAll('.mark.accept').length === 1")
    page.wait_for("document.querySelector('.tile[aria-selected=true]').dataset.at === '1'")
    page.press("r")
    page.wait_for("document.querySelectorAll('.mark.reject').length === 1")
    page.wait_for("document.querySelector('.tile[aria-selected=true]').dataset.at === '2'")
    written = json.loads((samples / CURATION).read_text())["samples"]
    assert {name: entry["decision"] for name, entry in written.items()} == {
        "syn000000": "accept",
        "syn000001": "reject",
    }
    page.press("ArrowLeft")
    page.press("u")
    page.wait_for("document.querySelectorAll('.mark.reject').length === 0")
    assert list(json.loads((samples / CURATION).read_text())["samples"]) == ["syn000000"]
    choose(page, "decision", "accept")
    page.wait_for("document.querySelectorAll('.tile').length === 1")


def test_the_nearest_training_slice_stands_beside_a_synthetic_one(page):
    choose(page, "origin", "synthetic")
    page.wait_for("document.querySelectorAll('.tile').length === 6")
    page.wait_for("document.querySelector('.inspector').textContent.includes('likeness')", 60)
    assert "Nearest training slice" in page.evaluate("document.querySelector('.inspector').textContent")
    shown(page, ".inspector img", 4)


def test_filters_narrow_what_is_shown(page):
    before = page.evaluate("document.querySelector('.total').textContent")
    choose(page, "lesion", "with")
    page.wait_for(f"document.querySelector('.total').textContent !== {json.dumps(before)}")
    assert "no lesion" not in page.evaluate("document.getElementById('grid').textContent")
    click(page, "Clear filters")
    page.wait_for(f"document.querySelector('.total').textContent === {json.dumps(before)}")


def test_large_view_help_and_theme_open_by_keys_and_close_by_escape(page):
    page.wait_for("document.querySelector('.inspector img') !== null")
    page.press(" ")
    page.wait_for("document.getElementById('large').open")
    shown(page, "#large img", 2)
    page.press("Escape")
    page.wait_for("!document.getElementById('large').open")
    page.press("?")
    page.wait_for("document.getElementById('help').open")
    page.press("Escape")
    page.wait_for("!document.getElementById('help').open")
    colour = "getComputedStyle(document.body).backgroundColor"
    before = page.evaluate(colour)
    page.press("t")
    assert page.evaluate(colour) != before


def test_text_can_be_read_in_both_themes(page):
    contrast = """(() => {
        const parts = (text) => text.match(/[\\d.]+/g).slice(0, 3).map(Number);
        const linear = (v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
        const light = (rgb) => rgb.map((v) => linear(v / 255))
            .reduce((sum, v, at) => sum + v * [0.2126, 0.7152, 0.0722][at], 0);
        const solid = (node) => {
            for (; node; node = node.parentElement) {
                const colour = getComputedStyle(node).backgroundColor;
                if (!/, 0\\)$|transparent/.test(colour)) return parts(colour);
            }
            return [255, 255, 255];
        };
        const bad = [];
        for (const node of document.querySelectorAll('button, span, dt, dd, p, h2, h3, legend')) {
            if (!node.offsetParent || !node.textContent.trim() || node.disabled || node.closest('figure')) continue;
            const [a, b] = [light(parts(getComputedStyle(node).color)), light(solid(node))];
            const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
            if (ratio < 4.5) bad.push(`${node.textContent.slice(0, 30)} ${ratio.toFixed(2)}`);
        }
        return bad;
    })()"""
    choose(page, "origin", "synthetic")
    page.wait_for("document.querySelector('.inspector .judge') !== null")
    for theme in ("dark", "light"):
        page.evaluate(f"document.documentElement.dataset.theme = '{theme}'")
        assert page.evaluate(contrast) == []


def test_sliders_make_new_samples(page):
    page.press("3")
    shown(page, ".trio img", 3)
    assert page.evaluate("document.querySelector('.drawing')") is None
    assert "a mask you draw" not in page.evaluate("document.getElementById('view-live').textContent")
    before = page.evaluate("document.querySelector('.trio img').src")
    page.press("ArrowRight")
    page.wait_for(f"document.querySelector('.trio img').src !== {json.dumps(before)}")
    page.wait_for("document.querySelector('.live [role=status]').textContent.startsWith('seed 0, sample 1')")
    shown(page, ".strip img", 8)


class MaskPainter:
    """A family that has a control and makes images for masks: the image is the mask itself."""

    channels = ("T1", "FLAIR")
    size = (32, 32)
    controls = ({"name": "truncation", "label": "Truncation", "low": 0, "high": 1, "step": 0.1, "default": 1},)

    def __init__(self) -> None:
        self.masks: list[np.ndarray] = []
        self.settings: list[dict[str, float]] = []

    def sample(self, count, seed=0, *, start=0, **settings) -> Any:
        self.settings.append(settings)
        masks = np.zeros((count, *self.size), np.uint8)
        masks[:, 4:8, 4:8] = 1
        return SimpleNamespace(images_NCHW=np.repeat(masks[:, None], 2, 1).astype(np.float32), masks_NHW=masks)

    def from_mask(self, masks_NHW, seed=0) -> Any:
        self.masks.append(masks_NHW[0])
        return SimpleNamespace(images_NCHW=np.repeat(masks_NHW[:, None], 2, 1).astype(np.float32), masks_NHW=masks_NHW)


def test_masks_are_drawn_and_moved_where_a_family_takes_them(session, page):
    painter = MaskPainter()
    run = next(s for s in session.index.sources.values() if s.kind == "run")
    session._live[run.key] = LiveRun(painter)
    page.press("3")
    shown(page, ".trio img", 3)
    page.evaluate("document.querySelector('input[aria-label=\"Truncation, number\"]').value = 0.5")
    page.evaluate(
        "document.querySelector('input[aria-label=\"Truncation, number\"]').dispatchEvent(new Event('change'))"
    )
    page.wait_for("document.querySelector('input[aria-label=Truncation]').value === '0.5'")
    click(page, "a mask you draw")
    page.wait_for("document.querySelector('.drawing canvas') !== null")
    box = "document.querySelector('.drawing canvas').getBoundingClientRect()"
    left, top, width = page.evaluate(f"(({{left, top, width}}) => [left, top, width])({box})")

    def at(column: float, row: float) -> tuple[float, float]:
        return left + width * column / 32, top + width * row / 32

    def drag(start: tuple[float, float], end: tuple[float, float]) -> None:
        asked = len(painter.masks)
        page.mouse("mousePressed", *at(*start))
        for step in range(1, 5):
            page.mouse("mouseMoved", *at(*(a + (b - a) * step / 4 for a, b in zip(start, end, strict=True))))
        page.mouse("mouseReleased", *at(*end))
        page.wait_for("document.querySelector('.live [role=status]').textContent.startsWith('lesion')")
        for _ in range(200):
            if len(painter.masks) > asked:
                return
            page.evaluate("new Promise((done) => setTimeout(done, 50))")
        raise AssertionError("no image was asked for")

    for _ in range(200):  # the mask of the sample is taken over
        if painter.masks:
            break
        page.evaluate("new Promise((done) => setTimeout(done, 50))")
    taken = np.zeros((32, 32), np.uint8)
    taken[4:8, 4:8] = 1
    np.testing.assert_array_equal(painter.masks[-1], taken)
    drag((20, 20), (28, 20))
    drawn = painter.masks[-1]
    assert drawn[20, 20:28].all()
    np.testing.assert_array_equal(drawn[:16, :16], taken[:16, :16])
    click(page, "Move", ".live")
    drag((6, 6), (12, 6))
    np.testing.assert_array_equal(painter.masks[-1][:12], np.roll(taken, 6, 1)[:12])
    np.testing.assert_array_equal(painter.masks[-1][16:], drawn[16:])
    click(page, "Clear", ".live")
    page.wait_for("document.querySelector('.live [role=status]').textContent === 'no lesion'")
    assert {"truncation": 0.5} in painter.settings


def test_a_blinded_test_ends_with_its_interval(page, samples):
    page.press("4")
    page.wait_for("document.querySelector('.blind .primary') !== null")
    page.evaluate("document.querySelector('.blind input[type=number]').value = 6")
    click(page, "Begin", ".blind")
    for trial in range(6):
        page.wait_for(f"document.querySelector('.trial .soft')?.textContent === 'slice {trial + 1} of 6'")
        shown(page, ".trial img", 2)
        page.press("r" if trial % 2 else "s")
    page.wait_for("document.querySelector('.big') !== null")
    (saved,) = json.loads((samples / BLIND_TESTS).read_text())["tests"]
    text = page.evaluate("document.querySelector('.card').textContent")
    assert f"right: {saved['right']} of 6" in text
    assert "95 % interval" in text
    assert page.evaluate("document.querySelectorAll('.answered figure[data-right=true]').length") == saved["right"]


def test_volumes_open_with_their_masks(page):
    page.press("2")
    page.wait_for("document.querySelector('.volume .wait')?.hidden && !document.querySelector('.readout').hidden", 90)
    assert "mask" in page.evaluate("document.querySelector('.readout').textContent")
    before = page.evaluate("document.querySelector('.readout').textContent")
    page.press("ArrowRight")
    page.wait_for(f"document.querySelector('.readout').textContent !== {json.dumps(before)}")
    page.press("m")
    assert page.evaluate("document.querySelector('.volume input[type=range]').value") == "0"


def test_reports_are_shown_in_a_sealed_frame(page):
    page.press("5")
    page.wait_for("document.querySelector('iframe') !== null")
    assert page.evaluate("document.querySelector('iframe').getAttribute('sandbox')") == ""
    page.wait_for("document.querySelector('.reports .list button[aria-current=true]') !== null")
    assert any("/api/reports/" in url for url in page.requested)
