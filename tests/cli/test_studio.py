from __future__ import annotations

import pytest

from labelgan.cli.app import run_command


@pytest.fixture
def served(monkeypatch):
    """What the command asks for, without a server."""
    asked = {}

    def run_studio(roots, port, *, ready):
        asked.update(roots=roots, port=port)
        ready("http://127.0.0.1:1/?token=t")

    monkeypatch.setattr("labelgan.studio.serve.run_studio", run_studio)
    monkeypatch.setattr("webbrowser.open", lambda address: asked.setdefault("opened", address))
    return asked


def test_it_prints_the_address_and_opens_it(served, tmp_path, capsys):
    assert run_command(["studio", str(tmp_path)]) == 0
    shown = capsys.readouterr()
    assert shown.out == "LabelGAN studio: http://127.0.0.1:1/?token=t\n"
    assert "Ctrl-C ends it" in shown.err
    assert served == {"roots": [tmp_path], "port": 8765, "opened": "http://127.0.0.1:1/?token=t"}


def test_it_opens_nothing_where_it_should_not(served, tmp_path):
    assert run_command(["studio", str(tmp_path), str(tmp_path / "b"), "--port", "0", "--no-browser"]) == 0
    assert served == {"roots": [tmp_path, tmp_path / "b"], "port": 0}


def test_nothing_to_see_is_one_line(tmp_path, capsys):
    assert run_command(["studio", str(tmp_path), "--port", "0", "--no-browser"]) == 2
    assert capsys.readouterr().err.startswith(f"error: {tmp_path}: holds no cohort, run")
    assert run_command(["studio", str(tmp_path / "none"), "--port", "0"]) == 2
    assert "no such folder" in capsys.readouterr().err


def test_a_port_that_is_none_is_wrong_usage(tmp_path, capsys):
    assert run_command(["studio", str(tmp_path), "--port", "70000"]) == 2
    assert "error: --port" in capsys.readouterr().err
