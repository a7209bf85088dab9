"""The league's document."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bench.league import report as league_report
from bench.league.__main__ import league_config, parse
from bench.league.plan import ROWS, LeagueConfig, Row
from bench.league.report import difference, generators, league_page, multiplier, number, own_command, table
from bench.league.results import FIGURES

CONFIG = LeagueConfig(rows=("r3gan", "ddpm"), sizes=(2,), curve=(4,), draws=1, seconds=5)
ARMS = ("classical", "classical+synthetic: r3gan")


def scored(arm: str, mean: float, size: int = 2) -> list[dict[str, Any]]:
    names = ("dsc", "lesion_recall", "lesion_f1")
    return [{"n_train": size, "arm": arm, "metric": name, "mean": mean, "sd": 0.1} for name in names]


def compared(**changes: Any) -> dict[str, Any]:
    row = {"n_train": 2, "arm": ARMS[1], "reference": ARMS[0], "metric": "dsc", "difference": 0.125}
    return {**row, "interval": [-0.25, 0.5], "verdict": "no evidence", **changes}


def generator(row: str, **changes: Any) -> dict[str, Any]:
    entry = {"row": row, "n_train": 2, "draws": 1, "parameters": {"generator": 1234, "critic": 5}, "device": "cpu"}
    entry |= {"steps": 10.0, "train_seconds": 5.0, "sample_seconds": 1.0, "with_lesion": 0.5, "collapsed": 0}
    figures = {name: {"value": 0.25, "held_out": 0.75, "undefined": 0} for name in FIGURES}
    return {**entry, "figures": figures, "cohort": None, **changes}


def league(**changes: Any) -> dict[str, Any]:
    worth = {"n_train": 2, "arm": ARMS[1], "reference": ARMS[0], "multiplier": 1.5, "interval": [None, 2.0], "note": ""}
    verdict = {
        "summary": [*scored("classical", 0.5), *scored(ARMS[1], 0.625), *scored("classical", 0.75, 4)],
        "comparisons": [compared(), compared(metric="lesion_f1", verdict="helps")],
        "multipliers": [worth],
    }
    verdict |= {"headline": "No evidence that synthetic slices help or harm."}
    result = {"cohort": "lgg", "phantom": False, "patients": {"development": 4, "test": 5}, "verdict": verdict}
    result |= {"config": CONFIG.model_dump(mode="json"), "generators": [generator("r3gan"), generator("ddpm")]}
    result |= {"cost": [{"kind": "score", "jobs": 3, "seconds": 1.0}], "failed": []}
    return {**result, "made_with": {"labelgan": "1", "git": "abc", "torch": "2"}, **changes}


def page(folder: Path, result: dict[str, Any], notes: str | None = None) -> str:
    doc = folder / "docs" / "results" / "league.md"
    doc.parent.mkdir(parents=True, exist_ok=True)
    if notes is not None:
        doc.with_name("league-notes.md").write_text(notes)
    return league_page([(folder / "toy", result)], doc, doc.with_name("league-notes.md"))


@pytest.mark.parametrize(
    ("value", "digits", "signed", "shown"),
    [(None, 3, False, "–"), (0.5, 3, True, "+0.500"), (-0.25, 2, True, "−0.25"), (1234567.0, 0, False, "1,234,567")],
)
def test_numbers(value, digits, signed, shown):
    assert number(value, digits, signed) == shown


def test_the_headline_stands_over_the_tables(tmp_path):
    text = page(tmp_path, league())
    assert "### Downstream\n\n**No evidence that synthetic slices help or harm.**\n" in text


def test_a_difference_is_shown_with_interval_and_verdict():
    assert difference(compared()) == "+0.125 (−0.250 to +0.500)"
    assert difference(compared(verdict="harms")) == "+0.125 (−0.250 to +0.500) **harms**"
    assert difference(compared(difference=None, interval=None)) == "– (– to –)"
    assert difference(None) == "–"


def test_a_multiplier_says_what_lies_beyond_the_curve():
    row = {"multiplier": 1.5, "interval": [None, 2.0], "note": ""}
    assert multiplier(row) == "1.50 (below the curve to 2.0)"
    assert multiplier({**row, "interval": [1.0, None]}) == "1.50 (1.0 to beyond it)"
    assert multiplier({**row, "multiplier": None, "note": "more than 40 patients"}) == "more than 40 patients"
    assert multiplier(None) == "–"


def test_a_table_has_as_many_cells_in_every_line():
    lines = table(["a", "b"], [["x", "1"], ["y", "2"]])
    assert lines == ["| a | b |", "| --- | ---: |", "| x | 1 |", "| y | 2 |", ""]
    assert table(["a"], []) == []


def test_the_page_has_every_arm_the_anchors_and_the_notes(tmp_path):
    text = page(tmp_path, league(), notes="## What did not work\n\nMuch.\n")
    assert "| classical+synthetic: r3gan | 2 | 0.625 ± 0.100 | 0.625 ± 0.100 | 0.625 ± 0.100 | 1.50 " in text
    assert "| classical | 4 | 0.750 ± 0.100 |" in text
    assert "| classical+synthetic: r3gan − classical | 2 | +0.125 (−0.250 to +0.500) | – | +0.125 " in text
    assert text.endswith("## What did not work\n\nMuch.\n")
    assert str(tmp_path) not in text


def test_the_page_of_a_league_without_scores_says_so(tmp_path):
    empty = generator("r3gan", parameters=None, device=None, steps=None, draws=0)
    text = page(tmp_path, league(verdict=None, generators=[empty]))
    assert "*Nothing is scored yet.*" in text


def test_before_any_league_there_is_the_document_with_its_notes(tmp_path):
    notes = tmp_path / "notes.md"
    notes.write_text("## What did not work\n")
    text = league_page([], tmp_path / "league.md", notes)
    assert "*No league has been played yet.*" in text
    assert text.endswith("\n## What did not work\n")


def test_unseen_slices_stand_below_the_samples_of_their_size():
    lines = generators([generator("r3gan"), generator("ddpm")])
    (anchor,) = (line for line in lines if "unseen" in line)
    assert anchor.startswith("| *unseen real slices* | 2 | 0.750 |")
    assert lines.index(anchor) > max(place for place, line in enumerate(lines) if line.startswith("| ddpm"))


def test_the_command_that_is_shown_gives_the_same_settings():
    settings = ["prepare.spacing_mm=4.0", "segmenter.predict.emptied=0", "segmenter.train.steps=20"]
    config = CONFIG.with_settings(settings)
    command = own_command("toy", league(config=config.model_dump(mode="json")))
    assert league_config(parse(shlex.split(command)[3:])) == config


@pytest.fixture
def samples(tmp_path):
    """A league's folder with twelve samples of one row, of which the first is bright everywhere."""
    root = tmp_path / "toy" / "jobs" / "sample-0" / "cohort"
    for part in ("images", "masks"):
        (root / part).mkdir(parents=True)
    for index in range(12):
        images = np.full((8, 8, 2), 9.0 if index == 0 else 0.0, np.float32)
        images[0, 0] = -9.0
        np.savez(root / "images" / f"syn{index:06d}.npz", pixels=images)
        np.savez(root / "masks" / f"syn{index:06d}.npz", pixels=np.zeros((8, 8), np.uint8))
    return {"folder": "jobs/sample-0/cohort", "copies": []}


def picture_of(folder: Path) -> np.ndarray:
    (path,) = (folder / "docs" / "images" / "league").iterdir()
    assert path.name == "toy-r3gan.png"
    return np.asarray(Image.open(path))


def test_samples_that_count_as_copies_are_not_pictured(tmp_path, samples):
    text = page(tmp_path, league(generators=[generator("r3gan", cohort=samples)]))
    assert "**r3gan, 2 patients, first draw**" in text
    first = picture_of(tmp_path)
    text = page(tmp_path, league(generators=[generator("r3gan", cohort={**samples, "copies": ["syn000000"]})]))
    assert "**r3gan, 2 patients, first draw, 1 that count as copies left out**" in text
    assert picture_of(tmp_path).shape == first.shape
    assert not np.array_equal(picture_of(tmp_path), first)
    every = [f"syn{index:06d}" for index in range(12)]
    text = page(tmp_path, league(generators=[generator("r3gan", cohort={**samples, "copies": every})]))
    assert "not pictured, because all its samples count as copies" in text


def test_real_anatomy_is_pictured_of_phantoms_alone(tmp_path, samples, monkeypatch):
    monkeypatch.setitem(league_report.ROWS, "r3gan", Row("r3gan", "", real_anatomy=True))
    result = league(generators=[generator("r3gan", cohort=samples)])
    assert "not pictured, because its samples hold parts of real slices" in page(tmp_path, result)
    assert not (tmp_path / "docs" / "images").exists()
    page(tmp_path, {**result, "phantom": True})
    assert picture_of(tmp_path).size
    assert ROWS["r3gan"].real_anatomy
