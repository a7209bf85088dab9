from __future__ import annotations

import base64
import functools
import io
import json
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import typer.main
from PIL import Image

from labelgan import api
from labelgan.cli import demo
from labelgan.cli.app import app
from labelgan.core.errors import DataError
from labelgan.data.store import SliceStore
from labelgan.study.engine.engines import ENGINES, InlineEngine
from pages import elements, references, text_of

PATIENTS, SAMPLES, STEPS = 4, 8, 2


@dataclass(frozen=True)
class Run:
    """A demo that has run: its folder, what it said on the way and at the end."""

    out: Path
    said: list[str]
    last: str
    from_scratch: bool

    @property
    def page(self) -> str:
        return (self.out / "report.html").read_text(encoding="utf-8")

    @property
    def commands(self) -> list[str]:
        return [line.removeprefix("$ labelgan ") for line in self.said if line.startswith("$ ")]


def embedded(uri: str) -> bytes:
    """The picture in a data URI."""
    return base64.b64decode(uri.partition(",")[2], validate=True)


@pytest.fixture(scope="module", params=[True, False], ids=["from-scratch", "fine-tuned"])
def run(request, tiny_run, tmp_path_factory) -> Run:
    """The demo on two small phantoms; the shipped generator's place is taken by a tiny one."""
    out, said = tmp_path_factory.mktemp("demo") / "new", []
    with pytest.MonkeyPatch.context() as patch:
        small = {"PATIENTS": PATIENTS, "SAMPLES": SAMPLES, "PICTURED": 3, "SIZE": 32, "SPACING_MM": 6.0}
        study = ("generator.train.steps=2", "segmenter.train.steps=4", "audited=false")
        small |= {"STUDY": study, "AUDIT": ("encoder.steps=5",)}
        for name, value in small.items():
            patch.setattr(demo, name, value)
        patch.setattr(api, "phantom", functools.partial(api.phantom, shape=(48, 48, 12)))
        patch.setattr("labelgan.api.base.phantom_generator", lambda: tiny_run)
        patch.setattr(api, "phantom_generator", lambda: tiny_run)
        patch.setitem(ENGINES, "local", lambda ledger, config: InlineEngine())
        last = demo.run_demo(out, from_scratch=request.param, steps=STEPS, say=said.append)
    return Run(out, said, last, request.param)


@pytest.mark.slow
def test_every_stage_leaves_its_folder(run):
    assert api.check(run.out / "phantom").ok
    store = SliceStore.open(run.out / "store")
    assert store.size == (32, 32)
    assert len(store.cases) == PATIENTS
    assert (run.out / "run" / "generator.safetensors").is_file()
    report = api.check(run.out / "synthetic")
    assert report.ok
    assert len(report.cohort.cases) == SAMPLES


@pytest.mark.slow
def test_the_picture_is_worth_looking_at(run):
    assert run.last.splitlines() == [
        f"picture: {run.out / 'synthetic.png'}",
        f"report:  {run.out / 'report.html'}",
    ]
    with Image.open(run.out / "synthetic.png") as picture:
        pixels = np.asarray(picture)
    assert pixels.shape[2] == 3
    assert pixels.std() > 10


@pytest.mark.slow
def test_the_page_embeds_its_pictures_and_loads_nothing(run):
    links, shown = [], []
    for uri in references(run.page):
        (shown if uri.startswith("data:") else links).append(uri)
    assert sorted(links) == ["audit/audit.html", "study/report.html"]
    assert all((run.out / link).is_file() for link in links)
    assert len(shown) == 3
    for uri in shown:
        assert uri.startswith("data:image/png;base64,")
    assert (run.out / "synthetic.png").read_bytes() == embedded(shown[0])
    sizes = [Image.open(io.BytesIO(embedded(uri))).size for uri in shown]
    assert all(width > 90 and height > 90 for width, height in sizes)
    assert all(attributes["alt"] for tag, attributes in elements(run.page) if tag == "img")
    assert not re.search(r"https?://", run.page)


@pytest.mark.slow
def test_the_page_tells_every_stage_and_where_the_generator_came_from(run):
    text = text_of(run.page)
    assert [command.split()[0] for command in run.commands] == [
        *("phantom", "check", "prepare", "train", "sample", "check", "audit", "study"),
    ]
    for command in run.commands:
        assert command in text
    assert f"{PATIENTS} phantom patients" in text
    assert f"{STEPS} steps from " in text
    assert ("random weights" in text) == run.from_scratch
    assert ("trained on other phantoms" in text) != run.from_scratch


@pytest.mark.slow
def test_the_commands_that_are_told_can_be_typed(run):
    """They parse as they stand, and ask for what the demo did."""
    group = typer.main.get_command(app)
    given = {}
    for line in run.commands:
        name, *arguments = shlex.split(line)
        command = group.commands[name]  # type: ignore[attr-defined]
        given[name] = command.make_context(name, arguments).params
    assert given["phantom"]["patients"] == PATIENTS
    assert (given["prepare"]["size"], float(given["prepare"]["spacing"])) == ("32", 6.0)
    assert given["train"]["steps"] == STEPS
    assert (given["train"]["preset"], given["train"]["start_from"]) == (
        ("laptop", None) if run.from_scratch else (None, "phantom")
    )
    assert given["sample"]["num"] == SAMPLES
    assert given["audit"]["exclude"] == given["train"]["exclude"] == "P003,P004"
    assert (given["study"]["folds"], given["study"]["ensemble"], given["study"]["size"]) == ("2", 1, "32")


@pytest.mark.slow
def test_the_page_ends_with_a_verdict(run):
    verdict = json.loads((run.out / "study" / "verdict.json").read_text())
    assert verdict["headline"] in text_of(run.page)
    audit = json.loads((run.out / "audit" / "audit.json").read_text())
    assert ("Every gate is passed" in text_of(run.page)) == audit["passed"]
    assert json.loads((run.out / "study" / "study.json").read_text())["status"] == "complete"


def test_a_folder_that_is_not_empty_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("kept")
    with pytest.raises(DataError, match="is not empty; name another folder with --out") as caught:
        demo.run_demo(tmp_path, say=lambda line: pytest.fail(f"began: {line}"))
    assert caught.value.subject == str(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_stage_that_goes_wrong_ends_the_demo(tmp_path, monkeypatch):
    """A cohort that does not pass the check is not trained on."""

    def phantom(out, patients, seed, *, report):
        (out / "Site" / "p1" / "pre").mkdir(parents=True)
        (out / "Site" / "p1" / "pre" / "FLAIR.nii.gz").write_bytes(b"")
        return ["p1"]

    monkeypatch.setattr(api, "phantom", phantom)
    said: list[str] = []
    with pytest.raises(DataError):
        demo.run_demo(tmp_path, say=said.append)
    assert said[-1] == f"$ labelgan check {tmp_path / 'phantom'}"
    assert [path.name for path in tmp_path.iterdir()] == ["phantom"]
