from __future__ import annotations

import re
import subprocess
from importlib.metadata import version

import labelgan
from labelgan.core import provenance as module
from labelgan.core.provenance import git_revision, measured_at, provenance


def test_versions_are_those_installed():
    facts = provenance()
    assert facts["labelgan"] == labelgan.__version__
    assert facts["torch"] == version("torch")
    assert re.fullmatch(r"3\.\d+\.\d+\S*", facts["python"])
    assert all(isinstance(value, str) and value for value in facts.values())


def test_packages_that_are_not_installed_are_left_out(monkeypatch):
    monkeypatch.setattr(module, "_PACKAGES", ("numpy", "no-such-package-at-all"))
    assert provenance().keys() <= {"labelgan", "python", "machine", "git", "numpy"}
    assert "numpy" in provenance()


def checkout(tmp_path, monkeypatch):
    place = tmp_path / "src" / "labelgan" / "core" / "provenance.py"
    place.parent.mkdir(parents=True)
    place.write_text("")
    monkeypatch.setattr(module, "__file__", str(place))

    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
        command = ["git", "-C", str(tmp_path), *identity, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    return place, git


def test_the_revision_tells_local_changes(tmp_path, monkeypatch):
    place, git = checkout(tmp_path, monkeypatch)
    assert git_revision() is None
    assert "git" not in provenance()
    git("init", "-q")
    git("add", ".")
    git("commit", "-q", "-m", "first")
    revision = git("rev-parse", "--short=12", "HEAD")
    assert git_revision() == revision
    assert provenance()["git"] == revision
    place.write_text("changed")
    assert git_revision() == f"{revision}-dirty"


def test_without_git_there_is_no_revision(tmp_path, monkeypatch):
    checkout(tmp_path, monkeypatch)
    (tmp_path / ".git").mkdir()
    monkeypatch.setenv("PATH", "")
    assert git_revision() is None


def test_the_line_of_a_table_names_the_revision(monkeypatch):
    monkeypatch.setattr(module, "git_revision", lambda: "abc123-dirty")
    assert measured_at() == f"Measured at revision abc123-dirty of labelgan {labelgan.__version__}."
    monkeypatch.setattr(module, "git_revision", lambda: None)
    assert "unknown" in measured_at()
