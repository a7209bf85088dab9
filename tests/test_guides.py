"""The documents: their code runs, their links lead somewhere, their commands and settings exist."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.rglob("*.md"), *ROOT.glob("*.md")])
EXTENDING = DOCS / "guides" / "extending.md"

_FENCE = re.compile(r"^(`{3,})[^\n]*\n.*?^\1\s*$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(?<!\\)\[(?:[^\[\]]|\[[^\]]*\])*\]\(([^()\s]+)(?:\s+\"[^\"]*\")?\)")
_HEADING = re.compile(r"^#{1,6}\s+(.+?)\s*#*$", re.MULTILINE)
_RUN = re.compile(r"^<!-- run -->\n```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def prose(text: str) -> str:
    """The text without code."""
    return re.sub(r"`[^`\n]+`", "", _FENCE.sub("", text))


def anchor(heading: str) -> str:
    """The name by which a heading is linked to, as GitHub and mkdocs make it."""
    plain = re.sub(r"[^\w\- ]", "", re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).strip().lower())
    return re.sub(r"[\s]+", "-", plain)


def dead_links(page: Path, inside: Path) -> Iterator[str]:
    """Gives the local links of a page that lead to no file under ``inside``, or to no heading of it."""
    for target in _LINK.findall(prose(page.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, part = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        if not file.exists() or not file.is_relative_to(inside):
            yield f"{page.name}: {target}: no such file"
        elif part and file.suffix == ".md":
            known = {anchor(heading) for heading in _HEADING.findall(_FENCE.sub("", file.read_text(encoding="utf-8")))}
            if part not in known:
                yield f"{page.name}: {target}: no such heading"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page):
    inside = DOCS if page.is_relative_to(DOCS) else ROOT  # the site holds docs/ alone
    assert list(dead_links(page, inside)) == []


def test_dead_links_are_found(tmp_path):
    (tmp_path / "there.md").write_text("# One heading, *two*\n")
    page = tmp_path / "page.md"
    page.write_text(
        "[a](there.md) [b](there.md#one-heading-two) [c](gone.md) [![d](gone.png)](there.md) [e](there.md#three)\n"
        "```\n[in code](nowhere.md)\n```\n`[in code](nowhere.md)` [out](https://example.org) [self](#nothing)\n"
    )
    assert [line.split(": ", 1)[1] for line in dead_links(page, tmp_path)] == [
        "gone.md: no such file",
        "there.md#three: no such heading",
        "#nothing: no such heading",
    ]


def test_every_page_is_in_the_navigation_once():
    nav = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:\n")[2]
    listed = sorted(re.findall(r"^ +- (?:[^:\n]+: )?(\S+\.md)$", nav, re.MULTILINE))
    assert listed == sorted(page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md"))


# The code of the guide to extending

SNIPPETS = [(match.start(), match[1]) for match in _RUN.finditer(EXTENDING.read_text(encoding="utf-8"))]


@pytest.fixture
def registries():
    """Every dict that the guide adds to, as it was before, afterwards."""
    from labelgan.audit import gates
    from labelgan.audit import run as audit_run
    from labelgan.config import gan as config_gan
    from labelgan.config import seg as config_seg
    from labelgan.data.export import write as export
    from labelgan.data.layouts import detect as layouts
    from labelgan.data.prepare import brain
    from labelgan.gan import objectives, tracking
    from labelgan.gan.inputs import augment, inputs, mask_channel
    from labelgan.gan.networks import families as networks
    from labelgan.scoring import metrics
    from labelgan.seg import networks as segmenters
    from labelgan.study import arms, jobs
    from labelgan.study.engine import engines

    dicts = {
        "OBJECTIVES": objectives.OBJECTIVES, "MODELS": config_gan.MODELS, "NETWORKS": networks.NETWORKS,
        "INPUTS": inputs.INPUTS, "AUGMENTATIONS": augment.AUGMENTATIONS, "ENCODINGS": mask_channel.ENCODINGS,
        "LAYOUTS": layouts.LAYOUTS, "FORMATS": export.FORMATS, "METRICS": metrics.METRICS,
        "SEGMENTERS": segmenters.SEGMENTERS, "RECIPES": config_seg.RECIPES, "ARMS": arms.ARMS,
        "KINDS": jobs.KINDS, "ENGINES": engines.ENGINES, "PARTS": audit_run.PARTS, "GATES": gates.GATES,
        "BRAIN_MASKS": brain.BRAIN_MASKS, "TRACKERS": tracking.TRACKERS,
    }  # fmt: skip
    before = {name: dict(entries) for name, entries in dicts.items()}
    yield dicts
    for name, entries in dicts.items():
        entries.clear()
        entries.update(before[name])


@pytest.mark.parametrize(("place", "source"), SNIPPETS, ids=[f"at-{place}" for place, _ in SNIPPETS])
def test_code_of_the_guide_runs_and_adds_what_it_says(registries, place, source):
    before = {name: set(entries) for name, entries in registries.items()}
    exec(compile(source, f"extending.md, character {place}", "exec"), {"__name__": "guide"})
    said = set(re.findall(r"^([A-Z_]+)\[\"", source, re.MULTILINE))
    grown = {name for name, entries in registries.items() if set(entries) > before[name]}
    assert said
    assert grown == said


def test_every_place_to_add_has_an_example(registries):
    """The table of docs/architecture.md names the places."""
    text = EXTENDING.read_text(encoding="utf-8")
    table = (DOCS / "architecture.md").read_text(encoding="utf-8").partition("## One place to add")[2]
    # EXPORTERS are those FORMATS that can be read back; presets are told of beside their models.
    places = {"FORMATS", *re.findall(r"^\| [^|]+ \| `([A-Z_]+)`", table, re.MULTILINE)} - {"EXPORTERS", "PRESETS"}
    assert len(places) > 10
    for name in places:
        assert re.search(rf"^{name}\[\"", text, re.MULTILINE), f"{name} has no example"
    assert "preset" in text.lower()


# Commands and settings


def test_commands_of_the_guides_exist():
    import typer

    from labelgan.cli.app import app

    root = typer.main.get_command(app)
    names = set(root.commands)  # pyright: ignore[reportAttributeAccessIssue]
    found = set()
    for page in PAGES:
        told = set(re.findall(r"(?:^|`)labelgan ([a-z][a-z-]+)\b(?!<)", page.read_text(encoding="utf-8"), re.MULTILINE))
        assert told <= names, f"{page.name}: {told - names}"
        found |= told
    assert {"check", "train", "config", "study"} <= found


def test_settings_of_the_guides_exist():
    from labelgan.config.catalogue import TOPICS, walk

    known = {key for topic in TOPICS.values() for key, _, _ in walk(topic.config)}
    pages = sorted((DOCS / "guides").glob("*.md"))
    assert len(pages) >= 9
    for page in pages:
        for key in re.findall(r"--set ([a-z_.0-9]+)=", page.read_text(encoding="utf-8")):
            assert key in known, f"{page.name}: --set {key}"


def test_extras_of_the_guides_exist():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    for page in PAGES:
        for names in re.findall(r"labelgan\[([a-z,-]+)\]", page.read_text(encoding="utf-8")):
            assert set(names.split(",")) <= set(extras), f"{page.name}: labelgan[{names}]"


def test_the_spanish_readme_says_what_the_english_one_does():
    """The same commands, links and code; words differ."""
    english, spanish = ((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "README.es.md"))

    def code(text: str) -> list[str]:
        blocks = [block for block in _FENCE.finditer(text) if block[0].startswith(("```sh", "```python"))]
        return [re.sub(r"\s*#.*", "", block[0]) for block in blocks]

    def commands(text: str) -> set[str]:
        return set(re.findall(r"^\| `(labelgan [a-z -]+)", text, re.MULTILINE))

    assert code(spanish) == code(english)
    assert commands(english) - commands(spanish) == set()
    missing = set(_LINK.findall(prose(english))) - set(_LINK.findall(prose(spanish))) - {"README.es.md"}
    assert missing == set()
    assert len(re.findall(r"^#+ ", spanish, re.MULTILINE)) == len(re.findall(r"^#+ ", english, re.MULTILINE))
