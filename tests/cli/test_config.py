from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from labelgan.cli.app import run_command
from labelgan.config.catalogue import TOPICS, walk
from labelgan.config.gan import GanConfig


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    capsys.readouterr()
    code = run_command(list(arguments))
    out, err = capsys.readouterr()
    return code, out, err


def test_show_lists_every_topic_and_the_way_to_each(capsys):
    code, out, _ = run(capsys, "config", "show")
    assert code == 0
    for name, topic in TOPICS.items():
        assert f"[{name}]  {topic.reached_by}" in out
    for key, _, _ in walk(GanConfig):
        assert f"\n  {key} = " in out


def test_show_tells_value_unit_origin_and_default(capsys):
    code, out, _ = run(capsys, "config", "show", "train", "--model", "wgan", "--set", "train.steps=9", "--changed")
    assert code == 0
    assert "  train.steps = 9 steps  (--set; default 5000)\n      generator steps\n" in out
    assert "  objective.name = wgan  (model wgan; default r3gan)" in out
    assert "mask.encoding" not in out


def test_show_reads_what_a_run_was_made_with(capsys, tmp_path):
    path = tmp_path / "config.toml"
    path.write_text(GanConfig.for_model("gan", None, ["train.seed=5"]).to_toml(), encoding="utf-8")
    code, out, _ = run(capsys, "config", "show", "--config", str(path), "--json")
    assert code == 0
    of = {entry["key"]: entry for entry in json.loads(out)}
    assert of["train.seed"]["origin"] == f"file {path}"
    assert of["train.seed"]["value"] == 5
    assert of["network.family"]["origin"] == "model gan"
    assert of["train.seed"]["reached_by"] == "labelgan train --set KEY=VALUE"


def test_a_preset_of_generators_alone_may_be_shown_with_all_topics(capsys):
    code, out, err = run(capsys, "config", "show", "--model", "wgan-gp", "--preset", "uned2019")
    assert code == 0, err
    assert "network.family = uned2019  (preset uned2019; default r3gan)" in out


def test_explain_tells_everything_about_a_setting(capsys):
    code, out, _ = run(capsys, "config", "explain", "train:reach_px")
    assert code == 0
    told = dict(line.strip().split(maxsplit=1) for line in out.splitlines() if line.startswith("  "))
    assert told == {
        "meaning": "distance at which the signed distance is cut off, pixels",
        "unit": "pixels",
        "allowed": "whole number, ≥ 1, ≤ 16",
        "default": "3",
        "value": "3, from default",
        "source": "ours, or none named",
        "change": "labelgan train --set mask.reach_px=VALUE",
    }


def test_explain_may_be_asked_for_several_and_for_a_model(capsys):
    code, out, _ = run(capsys, "config", "explain", "objective.penalty", "n4", "--model", "wgan-gp", "--json")
    assert code == 0
    penalty, n4 = json.loads(out)
    assert (penalty["value"], penalty["origin"]) == (10.0, "model wgan-gp")
    assert penalty["source"].startswith("Gulrajani et al. 2017")
    assert (n4["topic"], n4["value"]) == ("prepare", False)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["config", "show", "cook"], "error: cook: no settings of that name; choose from check,"),
        (["config", "show", "--set", "a=1"], "error: --set a=1: name the topic that it belongs to: check,"),
        (["config", "show", "--preset", "huge"], "error: --preset huge: unknown preset; one of uned2019, laptop"),
        (["config", "explain", "stepz"], "error: stepz: no such setting; did you mean steps"),
        (["config", "explain"], "error: keys: Missing argument"),
    ],
)
def test_wrong_usage_is_one_line(capsys, arguments, said):
    code, out, err = run(capsys, *arguments)
    assert code == 2
    assert out == ""
    assert err.startswith(said)
    assert err.count("\n") == 1


def test_it_needs_no_torch():
    program = """
import sys
from labelgan.cli.app import run_command
run_command(["config", "show"])
sys.exit("torch" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shell_completion_answers(shell):
    done = subprocess.run(
        [sys.executable, "-m", "labelgan", "--show-completion", shell],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        # or typer looks for the shell among the processes that started this one, and finds make's
        env={**os.environ, "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert "_LABELGAN_COMPLETE" in done.stdout
