from __future__ import annotations

import json

import pytest

from labelgan.cli.app import run_command

SETTINGS = [
    *("encoder.side=16", "encoder.width=8", "encoder.features=8", "encoder.steps=3", "encoder.batch_size=8"),
    *("fidelity.projections=16", "fidelity.patches=8", "fidelity.pairs=20", "fidelity.kernel_blocks=3"),
]


@pytest.fixture
def run(phantom_cohort, phantom_store, tmp_path):
    """Audits the phantoms themselves, of whom P003 is held out."""

    def call(*more: str) -> int:
        settings = [part for setting in SETTINGS for part in ("--set", setting)]
        stores = ["--train", str(phantom_store.path), "--out", str(tmp_path / "out"), "--device", "cpu"]
        return run_command(["audit", str(phantom_cohort), *stores, *settings, *more])

    return call


def test_copies_are_refused_with_exit_code_3(run, tmp_path, capsys):
    assert run("--exclude", "P003") == 3
    shown = capsys.readouterr()
    assert "error: gate copies: share of samples that count as copies" in shown.err
    assert "failed; see" in shown.out
    assert "Traceback" not in shown.err
    assert json.loads((tmp_path / "out" / "audit.json").read_text())["passed"] is False
    assert "Failed: copies" in (tmp_path / "out" / "audit.html").read_text()


def test_limits_can_be_loosened(run, capsys):
    loose = ("max_copies=1", "max_certain_copies=1", "max_duplicates=1", "min_spread=0", "min_agreement=-9")
    assert run("--exclude", "P003", *(part for name in loose for part in ("--set", f"gates.{name}"))) == 0
    shown = capsys.readouterr()
    assert "passed; see" in shown.out
    assert "note: The samples' manifest does not tell" in shown.err


def test_stores_that_share_a_patient_are_a_leak(run, phantom_store, capsys):
    assert run("--held-out", str(phantom_store.path)) == 3
    assert "is the training case P001: the same voxels as P001" in capsys.readouterr().err


def test_nobody_held_out_is_wrong_usage(run, capsys):
    assert run() == 2
    assert "error: --held-out: give either" in capsys.readouterr().err
