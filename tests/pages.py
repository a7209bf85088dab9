"""What a browser would make of a page: its elements, what it would load, and the text that is shown."""

from __future__ import annotations

import re
from html.parser import HTMLParser

_LOADING = ("src", "href", "srcset", "data", "action", "poster", "background", "xlink:href")


class _Parser(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text: list[str] = []
        self.styles: list[str] = []
        self._inside = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        self._inside = tag

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        (self.styles if self._inside == "style" else self.text).append(data)


def _parsed(page: str) -> _Parser:
    parser = _Parser()
    parser.feed(page)
    parser.close()
    return parser


def elements(page: str) -> list[tuple[str, dict[str, str]]]:
    """Every element with its attributes, in order."""
    return _parsed(page).elements


def references(page: str) -> list[str]:
    """Everything that a browser would load or follow: by attribute, or from a style."""
    parsed = _parsed(page)
    by_attribute = [shown[name] for _, shown in parsed.elements for name in _LOADING if name in shown]
    styles = [*parsed.styles, *(shown["style"] for _, shown in parsed.elements if "style" in shown)]
    return by_attribute + [found for style in styles for found in re.findall(r"url\(.*?\)|@import[^;]*", style)]


def text_of(page: str) -> str:
    """The text that is shown."""
    return "\n".join(_parsed(page).text)
