"""Standard output and error in any encoding: characters that it lacks are spelt out, not fatal."""

from __future__ import annotations

import codecs
import sys
import unicodedata

_SPELT = {
    "×": "x", "–": "-", "—": "-", "−": "-", "…": "...", "→": "->", "←": "<-", "↑": "^", "↓": "v", "≥": ">=", "≤": "<=",
    "≈": "~", "·": ".", "•": "*", "µ": "u", "μ": "u", "±": "+/-", "²": "2", "³": "3", "‘": "'", "’": "'",
    "“": '"', "”": '"', "█": "#", "━": "-", "─": "-", "│": "|", "ß": "ss", "ø": "o", "Ø": "O", "æ": "ae", "Æ": "AE",
}  # fmt: skip


def spelt(text: str) -> str:
    """Spells a text in ASCII: known signs by `_SPELT`, letters without their accents, anything else as ``?``."""
    plain = "".join(_SPELT.get(sign, sign) for sign in text)
    bare = (sign for sign in unicodedata.normalize("NFKD", plain) if not unicodedata.combining(sign))
    return "".join(sign if sign.isascii() else "?" for sign in bare)


def _replace(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return spelt(error.object[error.start : error.end]), error.end


def accept_any_encoding() -> None:
    """Makes standard output and error write what their encoding lacks as `spelt` does, for cp1252, cp437 and ASCII."""
    codecs.register_error("spelt", _replace)
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)  # a stream that a test or a notebook put there has none
        if reconfigure is not None:
            reconfigure(errors="spelt")
