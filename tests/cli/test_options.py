from __future__ import annotations

import re
from typing import Any, get_args

import pytest
import typer

from labelgan.cli.app import app
from labelgan.cli.options import Load, ids, say
from labelgan.config import gan, seg
from labelgan.config.gan import MODELS
from labelgan.data.export.write import EXPORTERS, FORMATS
from labelgan.data.prepare.brain import BRAIN_MASKS
from labelgan.gan.inputs.compose import LOADS
from labelgan.seg.networks import SEGMENTERS
from labelgan.study.engine.engines import ENGINES


def test_ids_are_split_at_commas():
    assert ids("a,b, c ,,") == ["a", "b", "c"]
    assert ids("") == []


def test_words_go_to_stderr(capsys):
    say("warning: x")
    assert capsys.readouterr() == ("", "warning: x\n")


def test_conditions_that_can_be_asked_for_are_those_of_the_composer():
    assert set(get_args(Load)) == set(LOADS)


@pytest.mark.parametrize(
    ("words", "option", "names"),
    [
        ("train", "model", ["auto", *MODELS]),
        ("train", "preset", gan.PRESETS),
        ("study", "model", ["auto", *MODELS]),
        ("study", "network", SEGMENTERS),
        ("study", "engine", ENGINES),
        ("segment train", "network", SEGMENTERS),
        ("segment train", "preset", seg.PRESETS),
        ("sample", "format", EXPORTERS),
        ("export", "format", FORMATS),
        ("prepare", "brain_mask", BRAIN_MASKS),
    ],
)
def test_what_an_option_takes_is_said_and_completed(words, option, names):
    command: Any = typer.main.get_command(app)
    for word in words.split():
        command = command.commands[word]
    (given,) = [param for param in command.params if param.name == option]
    completed = [item.value for item in given.shell_complete(typer.Context(command), "")]
    assert sorted(completed) == sorted(names)
    assert [item.value for item in given.shell_complete(typer.Context(command), completed[0])][:1] == completed[:1]
    if words != "study" or option != "model":
        said = given.help
        assert [name for name in names if not re.search(rf"(?<![\w-]){name}(?![\w-])", said)] == []
