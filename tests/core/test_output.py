"""Output in encodings that lack our signs."""

import io
import sys

import pytest

from labelgan.core.output import accept_any_encoding, spelt


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("240×240 – 3 ≥ 2 … µs", "240x240 - 3 >= 2 ... us"),
        ("Größe, Ñandú, cœur", "Grosse, Nandu, c?ur"),
        ("mask 脳", "mask ?"),
        ("plain", "plain"),
    ],
)
def test_text_is_spelt_in_ascii(text, plain):
    assert spelt(text) == plain


@pytest.mark.parametrize(
    ("encoding", "written"),
    [("utf-8", "é × 脳\n"), ("cp1252", "é × ?\n"), ("cp437", "é x ?\n"), ("ascii", "e x ?\n"), ("latin-1", "é × ?\n")],
)
def test_what_an_encoding_lacks_is_spelt(monkeypatch, encoding, written):
    streams = [io.TextIOWrapper(io.BytesIO(), encoding=encoding) for _ in range(2)]
    monkeypatch.setattr(sys, "stdout", streams[0])
    monkeypatch.setattr(sys, "stderr", streams[1])
    accept_any_encoding()
    for stream in streams:
        print("é × 脳", file=stream, flush=True)
        assert stream.buffer.getvalue() == written.encode(encoding)  # pyright: ignore[reportAttributeAccessIssue]


def test_a_stream_that_is_no_file_is_left_alone(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stdout", stream)
    accept_any_encoding()
    print("×")
    assert stream.getvalue() == "×\n"
