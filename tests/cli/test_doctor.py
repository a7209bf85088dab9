from __future__ import annotations

import os
import platform
import re
import tomllib
from pathlib import Path

import torch

from labelgan.cli import doctor
from labelgan.cli.doctor import examine


def test_it_tells_what_matters_for_a_run():
    facts = examine()
    assert list(facts)[:8] == ["labelgan", "python", "torch", "device", "cores", "threads", "memory", "disk"]
    assert facts["python"].startswith(platform.python_version())
    assert facts["torch"] == torch.__version__
    assert 1 <= int(facts["cores"]) <= (os.cpu_count() or 1)
    assert facts["threads"] == str(torch.get_num_threads())
    assert re.fullmatch(r"\d+\.\d GiB free here", facts["disk"])


def test_memory_is_told_or_unknown(monkeypatch):
    free, total = map(float, re.findall(r"\d+\.\d", doctor._memory()))
    assert 0 < free <= total
    monkeypatch.setattr(os, "sysconf_names", {})
    assert doctor._memory() == "unknown"


def test_extras_say_how_to_install_them(monkeypatch):
    monkeypatch.setattr(doctor, "_EXTRAS", {"bet": "no-such-package-at-all", "dicom": "numpy"})
    facts = examine()
    assert facts["bet"] == "not installed (pip install 'labelgan[bet]')"
    assert facts["dicom"].startswith("numpy ")


def test_every_extra_that_commands_use_is_told():
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))
    extras = project["project"]["optional-dependencies"]
    for_developers = {"dev", "docs", "notebooks"}
    assert set(doctor._EXTRAS) == set(extras) - for_developers
    for extra, package in doctor._EXTRAS.items():
        assert any(line.startswith(package) for line in extras[extra])
