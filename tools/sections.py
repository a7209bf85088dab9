"""Sections of a document that commands write, each its own: text between two marks is replaced, all else is kept."""

from __future__ import annotations

import re
from pathlib import Path

from labelgan.core.files import write_text_atomic

TITLES = {
    "mutants.md": "# Mutants\n\nDo the tests notice a mistake? One is made, and they are run.\n",
    "reliability.md": "# Reliability\n\nWhat was broken, and what came of it. Each command writes its section.\n",
    "speed.md": "# Speed and memory\n\nEach command writes its section.\n",
}


def write_section(doc: Path, name: str, text: str) -> None:
    """Puts ``text`` between the marks of ``name``, after all other sections where there are none yet.

    Args:
        doc: Markdown file; begun with its line of ``TITLES`` where it is missing.
        name: of the section, in lower case with hyphens.
        text: Markdown, its heading included.
    """
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    page = doc.read_text(encoding="utf-8") if doc.exists() else TITLES[doc.name]
    section = f"{begin}\n{text.strip()}\n{end}"
    between = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
    if not between.search(page):
        page = f"{page.rstrip()}\n\n{section}\n"
    write_text_atomic(doc, between.sub(lambda _: section, page, count=1))
