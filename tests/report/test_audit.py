from __future__ import annotations

import json

import numpy as np
import pytest

from labelgan.core.errors import DataError
from labelgan.data.pictures import save_png
from labelgan.report.audit import row_of, shown, write_audit_page
from pages import elements, references, text_of

HOSTILE = "<img src=x onerror=y>&\"'"


def finding(name: str, value: float | None, **more) -> dict:
    anchors = {"good": more.pop("good", None), "bad": more.pop("bad", None)}
    base = {"name": name, "title": name, "value": value, "unit": "", "better": "lower", "standing": None, "note": ""}
    return {**base, "anchors": anchors, "extra": {}, **more}


def audit(text: str = "plain") -> dict:
    pair = {"sample": text, "train": text, "patient": text, "closeness": 0.5, "space": "whole", "flip": True}
    copies = {"closest": [pair], "patients": [{"words": f"patient {text}: 3 samples closer"}]}
    sizes = {"slices": 5, "patients": 2, "cases": 2}
    return {
        "kind": "audit",
        "passed": False,
        "samples": {"name": text, "slices": 4, "synthetic": True},
        "train": sizes,
        "held_out": sizes,
        "channels": ["FLAIR", text],
        "size": [32, 40],
        "gates": [
            {"name": "copies", "passed": False, "reason": text, "checks": []},
            {"name": "load", "passed": None, "reason": text, "checks": []},
        ],
        "findings": [
            finding("image.swd", 0.25, good=0.1, bad=0.6, standing=0.7, title=text, note=text),
            finding("label.load", None, unit="%"),
            finding("copies.share", 0.01, extra=copies),
        ],
        "notes": [text],
        "made_with": {text: text},
    }


def written(folder, told: dict) -> str:
    (folder / "audit.json").write_text(json.dumps(told))
    for name in ("samples", "train", "closest_01"):
        save_png(folder / "pictures" / f"{name}.png", np.zeros((4, 4), np.uint8))
    return write_audit_page(folder).read_text(encoding="utf-8")


def test_a_page_shows_the_audit(tmp_path):
    page = written(tmp_path, audit("as given"))
    text = text_of(page)
    for words in (
        "Audit of as given",
        "Failed: copies",
        "not judged",
        "0.25",
        "0.6",
        "3 samples closer",
        "not proof",
        "turned left to right: 0.5 of",
    ):
        assert words in text
    assert "left: 70.0%" in page
    assert [tag for tag, _ in elements(page)].count("img") == 3
    assert all(reference.startswith("data:image/png;base64,") for reference in references(page))


def test_without_copies_it_says_that_there_are_none(tmp_path):
    told = audit()
    assert "None: no sample" not in text_of(written(tmp_path, told))
    told["findings"][-1]["extra"] = {"closest": [], "patients": []}
    told["held_out"] = {**told["held_out"], "patients": 1}
    text = text_of(written(tmp_path, told))
    assert "None: no sample is closer to a training slice than a held-out patient would be." in text
    assert "5 held-out slices of 1 patient;" in text


def test_a_passed_audit_says_so(tmp_path):
    told = {**audit(), "passed": True, "gates": [{"name": "load", "passed": None, "reason": "", "checks": []}]}
    assert "No gate failed; not judged: load." in text_of(written(tmp_path, told))
    told["gates"][0]["passed"] = True
    assert "Every gate passed." in text_of(written(tmp_path, told))


def test_hostile_names_stay_text(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    plain, hostile = written(tmp_path / "a", audit()), written(tmp_path / "b", audit(HOSTILE))
    assert [tag for tag, _ in elements(hostile)] == [tag for tag, _ in elements(plain)]
    assert references(hostile) == references(plain)
    assert HOSTILE in text_of(hostile)


def test_rows_are_held_on_the_bar():
    places = [row_of(finding("a", 1.0, standing=standing)).place for standing in (-3.0, 0.25, 1.5, None)]
    assert places == [0.0, 25.0, 100.0, None]
    row = row_of(finding("a", 2.0, unit="mm"))
    assert (row.value, row.unit, row.good, row.mark) == ("2", "mm", "–", "↓")
    assert shown(None) == "–"
    assert shown(0.12345) == "0.123"
    assert shown(-1.8e-18) == "0"


def test_a_folder_without_audit_is_told(tmp_path):
    with pytest.raises(DataError, match=r"audit\.json"):
        write_audit_page(tmp_path)
    (tmp_path / "audit.json").write_text("[]")
    with pytest.raises(DataError, match="is not an audit's"):
        write_audit_page(tmp_path)
