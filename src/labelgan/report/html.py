"""HTML pages: one offline file each, every value escaped."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labelgan.core.files import write_text_atomic


@dataclass(frozen=True)
class Picture:
    """A PNG to embed; ``alt`` says in words what it shows."""

    png: bytes
    title: str
    alt: str

    @property
    def uri(self) -> str:
        """The picture as a data URI."""
        return "data:image/png;base64," + base64.b64encode(self.png).decode("ascii")


def render(template: str, values: dict[str, Any]) -> str:
    """Fills a template of ``report/templates``; everything is escaped, and an unknown name is an error."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("labelgan.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(values)


def write_page(path: Path, template: str, **values: Any) -> None:
    """Renders a template to a file, atomically."""
    write_text_atomic(path, render(template, values))
