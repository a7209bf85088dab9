from __future__ import annotations

import json
import shutil
import sys

import pytest

from labelgan.scoring.scores_csv import COLUMNS
from labelgan.study.engine.ledger import Ledger
from labelgan.study.results import scores_csv, shareable, study_json, write_if_new
from labelgan.study.run import StudySources, scan_cohorts


def test_undefined_values_are_empty(tiny_study, tmp_path):
    out = shutil.copytree(tiny_study.folder, tmp_path / "study")
    ledger, job = Ledger(out), tiny_study.plan.scores["fold-00", "classical"]
    path = ledger.folder(job) / "done.json"
    done = json.loads(path.read_text())
    done["result"]["rows"][0] |= {"dsc": None, "hd95_mm": None}
    path.write_text(json.dumps(done))
    lines = scores_csv(tiny_study.plan, ledger).splitlines()
    assert lines[0] == ",".join(COLUMNS)
    assert len(lines) == 1 + 2 * 4  # two arms, four patients
    row = dict(zip(COLUMNS, lines[1].split(","), strict=True))
    assert (row["dsc"], row["hd95_mm"], row["arm"]) == ("", "", "classical")
    assert "nan" not in "\n".join(lines).lower()


def test_what_is_not_scored_is_left_out_and_the_study_incomplete(tiny_study, study_config, study_cohort, tmp_path):
    out = shutil.copytree(tiny_study.folder, tmp_path / "study")
    ledger, job = Ledger(out), tiny_study.plan.scores["fold-01", "classical"]
    shutil.rmtree(ledger.folder(job))
    assert len(scores_csv(tiny_study.plan, ledger).splitlines()) == 1 + 2 * 4 - 2
    cohort, test = scan_cohorts(StudySources(study_cohort), tmp_path)
    facts = study_json(tiny_study.plan, ledger, study_config, cohort, test, [{"job": job.key}])
    assert (facts["status"], facts["failed"]) == ("incomplete", [{"job": job.key}])
    assert next(entry for entry in facts["cost"] if entry["kind"] == "score")["jobs"] == 3
    json.dumps(facts, allow_nan=False)


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        (["/usr/bin/labelgan", "study", "my scans", "--out", "x"], "labelgan study 'my scans' --out x"),
        (["/usr/bin/pytest", "-q"], ""),
        (
            ["/usr/bin/labelgan", "study", "/data/Jane Doe/scans", "--out", "../x/study", "--share", "1/3"],
            "labelgan study scans --out study --share 1/3",
        ),
        (["/usr/bin/labelgan", "study", "~/scans", "--out=/home/jane/study/"], "labelgan study scans --out=study"),
    ],
)
def test_the_command_is_told_where_there_was_one(
    tiny_study, study_config, study_cohort, tmp_path, monkeypatch, arguments, command
):
    monkeypatch.setattr(sys, "argv", arguments)
    cohort, test = scan_cohorts(StudySources(study_cohort), tmp_path)
    facts = study_json(tiny_study.plan, Ledger(tiny_study.folder), study_config, cohort, test, [])
    assert facts["command"] == command


def test_a_parent_run_is_told_by_its_name(study_config):
    assert shareable(study_config) == study_config
    there = study_config.model_copy(update={"start_from": "/data/JaneDoe/run"})
    assert shareable(there).start_from == "run"
    assert shareable(there).model_copy(update={"start_from": None}) == study_config


def test_a_file_is_written_only_when_it_changes(tmp_path):
    path = tmp_path / "a.txt"
    assert write_if_new(path, "one")
    assert not write_if_new(path, "one")
    assert write_if_new(path, "two")
    assert path.read_text() == "two"
