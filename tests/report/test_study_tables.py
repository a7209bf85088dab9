from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from labelgan.scoring.metrics import METRICS
from labelgan.report import study_tables as tables
from labelgan.report.study_files import Cost, StudyFiles, read_study
from studies import ARMS, write_study


@pytest.fixture(scope="module")
def crossed(tmp_path_factory) -> StudyFiles:
    return read_study(write_study(tmp_path_factory.mktemp("crossed"), undefined=0.1))


def test_the_verdicts_own_reference_comes_first(crossed):
    groups = tables.comparison_groups(crossed.verdict)
    assert [group.title for group in groups] == ["compared with classical", "compared with real"]
    assert [arm for arm, _ in groups[0].glance] == [arm for arm in ARMS if arm != "classical"]
    assert sum(len(group.lines) for group in groups) == len(crossed.verdict.comparisons)
    for group in groups:
        told = {(e.arm, e.metric): e.verdict for e in group.comparisons}
        for arm, cells in group.glance:
            assert [cell and cell[0] for cell in cells] == [told[arm, name] for name in METRICS]
    line, entry = groups[0].lines[1], groups[0].comparisons[1]
    assert (line["arm"], line["n"], line["sentence"]) == (entry.arm, entry.n, entry.sentence)
    assert line["p"] == ("< 0.001" if entry.p_holm == 0.0004 else "0.050")


def test_a_learning_curve_has_a_group_a_number_of_patients(tmp_path: Path):
    study = write_study(tmp_path, patients=[f"P{i}" for i in range(12)], numbers=(3, 8), arms=("real", "classical"))
    verdict = read_study(study).verdict
    assert verdict is not None
    assert [group.title for group in tables.comparison_groups(verdict)] == [
        f"compared with {reference}, {n} training patients" for reference in ("classical", "real") for n in (3, 8)
    ]
    assert [group["title"] for group in tables.summary_groups(verdict, ("real", "classical"))] == [
        "3 training patients",
        "8 training patients",
    ]


def test_a_summary_has_a_cell_for_every_arm_and_metric(crossed):
    (group,) = tables.summary_groups(crossed.verdict, (*ARMS, "never run"))
    assert [arm for arm, _ in group["rows"]] == list(ARMS)
    cells = {(arm, name): cell for arm, row in group["rows"] for name, cell in zip(METRICS, row, strict=True)}
    for entry in crossed.verdict.summary:
        cell = cells[entry.arm, entry.metric]
        assert (cell["n"], cell["undefined"]) == (str(entry.n), str(entry.undefined))
        assert float(cell["mean"]) == pytest.approx(entry.mean, rel=0.01)


def test_facts_count_what_was_run(crossed):
    facts = dict(tables.facts(crossed))
    assert facts["patients"] == "10, of whom 10 were tested"
    assert facts["folds"] == "10, each with 9 training patients"
    assert facts["scores"] == "50 rows of fold, arm and case"
    assert facts["cost"] == "35 min in 41 jobs"
    assert facts["sites"] == "Utrecht"


def test_costs_add_up():
    rows = tables.cost_rows([Cost(kind="a", jobs=3, seconds=90), Cost(kind="b", jobs=0, seconds=0)])
    assert [tuple(row.values()) for row in rows] == [
        ("a", "3", "90 s", "30 s", "100 %"),
        ("b", "0", "0.0 s", "–", "0 %"),
        ("together", "3", "90 s", "", ""),
    ]
    assert tables.cost_rows([]) == []
    assert tables.cost_rows([Cost(kind="a", jobs=1, seconds=0)])[0]["share"] == "–"


def test_folds_are_shown_with_their_generators(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(tables, "MOST_FOLDS", 3)
    generators = [{"fold": "fold-01", "diversity": 0.04, "lesion_rate": 0.5, "steps": 1500}, {"fold": "fold-02"}]
    files = read_study(write_study(tmp_path, generators=generators, shares={"fold-01": 0.25}))
    shown = tables.fold_rows(files)
    assert shown["more"] == 7
    assert [row["share"] for row in shown["rows"]] == ["–", "25 %", "–"]
    assert [(row["tested"], row["steps"], row["diversity"], row["lesion_rate"]) for row in shown["rows"]] == [
        ("P001", "–", "–", "–"),
        ("P002", "1,500", "0.04", "50 %"),
        ("P003", "–", "–", "–"),
    ]


def test_undefined_rows_and_the_worst(crossed):
    counts = {arm: (rows, numbers) for arm, rows, numbers in tables.undefined_rows(crossed)}
    for arm, (rows, numbers) in counts.items():
        mine = [row for row in crossed.rows if row.arm == arm]
        assert rows == len(mine) == 10
        assert numbers == [sum(row.scores[name] is None for row in mine) for name in METRICS]
    shown = tables.worst_tables(crossed)
    assert shown["lost_to"] == "classical"
    lowest = min(row.scores["dsc"] for row in crossed.rows if row.scores["dsc"] is not None)
    assert shown["worst"][0]["scores"][0] == f"{lowest:.3f}"
    assert all(row["arm"] != "classical" and row["loss"].startswith("−") for row in shown["lost"])


def test_the_configuration_is_toml_without_what_is_none():
    config = {"seed": 1, "start_from": None, "generator": {"steps": 5, "x": None}, "arms": ["a", None]}
    assert tomllib.loads(tables.configuration(config)) == {"seed": 1, "generator": {"steps": 5}, "arms": ["a"]}
    assert tables.configuration({}) == ""
    hostile = {'a"]\n[x]': "</pre>'''\n", "nested": {"deep": [{"a": 1}, {"b": None}]}}
    assert tomllib.loads(tables.configuration(hostile)) == hostile | {"nested": {"deep": [{"a": 1}, {}]}}
    assert json.loads(json.dumps(config)) == config  # left as it was
