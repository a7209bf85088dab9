from __future__ import annotations

from labelgan.cli.app import run_command
from labelgan.data.layouts.detect import read_cohort


def test_a_mix_is_written_and_told(phantom_cohort, tiny_samples, tmp_path, capsys):
    out = tmp_path / "out"
    assert run_command(["export", str(phantom_cohort), str(tiny_samples), "--out", str(out), "--format", "wmh"]) == 0
    assert f"3 real and 6 synthetic cases in {out}" in capsys.readouterr().out
    assert len(read_cohort(out).cases) == 9


def test_folds_are_told(phantom_cohort, tmp_path, capsys):
    assert run_command(["export", str(phantom_cohort), "--out", str(tmp_path / "out"), "--folds", "3"]) == 0
    assert "3 folds, cases to train on + validate on: 2+1, 2+1, 2+1" in capsys.readouterr().out
    assert (tmp_path / "out" / "splits_final.json").is_file()


def test_a_leak_is_refused_with_exit_code_3(phantom_cohort, tiny_samples, tmp_path, capsys):
    out = tmp_path / "out"
    assert run_command(["export", str(phantom_cohort), str(tiny_samples), "--out", str(out)]) == 3
    assert f"error: {tiny_samples}: its generator has seen all 3 annotated patients" in capsys.readouterr().err
    assert not out.exists()


def test_wrong_usage_is_exit_code_2(phantom_cohort, tmp_path, capsys):
    arguments = ["export", str(phantom_cohort), "--out", str(tmp_path / "out")]
    assert run_command([*arguments, "--format", "zip"]) == 2
    assert "error: --format zip: unknown format; one of wmh, bids, nnunet" in capsys.readouterr().err
    assert run_command([*arguments, "--exclude", "nobody"]) == 2
    assert "error: --exclude nobody: no such case or patient" in capsys.readouterr().err
