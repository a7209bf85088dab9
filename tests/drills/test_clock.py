"""The clock jumps, backwards or a day ahead, while something runs: it ends as ever, with the same bytes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from drill_children import begin, with_a_jumping_clock
from drill_commands import SAVING, options
from drill_kills import differences, ended, results_of

from labelgan.data.store import SliceStore
from tiny import SEG_SETTINGS, SETTINGS, tiny_study_config

HOURS = {"back three hours at every look": -3.0, "ahead a day at every look": 24.0}
DRILL = pytest.mark.drill


def commands(store: Path, run: Path, data: Path, settings: Path) -> dict[str, list[str]]:
    return {
        "train": [*("train", str(store), "--model", "r3gan"), *options([*SETTINGS, *SAVING, "train.collapse_ratio=0"])],
        "segment train": ["segment", "train", str(store), *options([*SEG_SETTINGS, *SAVING])],
        "sample": ["sample", str(run), "--num", "8", "--format", "wmh"],
        "study": ["study", str(data), "--config", str(settings), "--workers", "1", "--device", "cpu"],
    }


@pytest.mark.parametrize(
    ("what", "jump"),
    [
        pytest.param(what, jump, marks=[] if (what, jump) == ("train", "ahead a day at every look") else DRILL)
        for what in ("train", "segment train", "sample", "study")
        for jump in HOURS
    ],
)
def test_a_jump(
    phantom_store: SliceStore, tiny_run: Path, study_cohort: Path, tmp_path: Path, told, what: str, jump: str
):
    settings, log = tmp_path / "study.toml", tmp_path / "log.txt"
    settings.write_text(tiny_study_config('arms=["classical"]', "folds=2").to_toml())
    call = commands(phantom_store.path, tiny_run, study_cohort, settings)[what]
    for name, hours in (("steady", 0.0), ("jumping", HOURS[jump])):
        child = begin(with_a_jumping_clock, hours, [*call, "--out", str(tmp_path / name)], log=log)
        assert ended(child, log) == 0, log.read_text()
    lost = differences(results_of(tmp_path / "jumping"), results_of(tmp_path / "steady"))
    told("clock", f"{what}: {jump}", 1, len(lost), "the same bytes")
    assert lost == []


@DRILL
def test_files_from_another_day_are_read_again_and_no_job_is_done_again(study_cohort: Path, tmp_path: Path, told):
    """A study knows files by size and time, and jobs by content."""
    import shutil

    from labelgan.study.engine.engines import InlineEngine
    from labelgan.study.run import StudySources, run_study

    data, config = shutil.copytree(study_cohort, tmp_path / "data"), tiny_study_config('arms=["classical"]', "folds=2")

    def run():
        return run_study(config, StudySources(data), tmp_path / "s", engine=lambda _: InlineEngine(), device="cpu").run

    first = run()
    for path in data.rglob("*.nii.gz"):
        os.utime(path, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns - 86_400 * 10**9))
    second = run()
    told("clock", "study: scans a day younger", 1, second.done, f"{first.done} jobs, none done again")
    assert (second.done, second.reused) == (0, first.done)
