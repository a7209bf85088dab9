from __future__ import annotations

from labelgan.cli.options import ids, say


def test_ids_are_split_at_commas():
    assert ids("a,b, c ,,") == ["a", "b", "c"]
    assert ids("") == []


def test_words_go_to_stderr(capsys):
    say("warning: x")
    assert capsys.readouterr() == ("", "warning: x\n")
