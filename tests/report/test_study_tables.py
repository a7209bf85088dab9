from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from labelgan.report import study_tables as tables
from labelgan.report import study_tables as words
from labelgan.report.study_files import Comparison, Cost, Row, StudyFiles, VerdictFile, read_study
from labelgan.report.study_tables import (
    Pair,
    draw_means,
    lost_to,
    patient_pairs,
    row_counts,
    undefined_counts,
    worst_rows,
)
from labelgan.scoring.metrics import METRICS
from studies import ARMS, write_study


@pytest.fixture(scope="module")
def crossed(tmp_path_factory) -> StudyFiles:
    return read_study(write_study(tmp_path_factory.mktemp("crossed"), undefined=0.1))


def test_the_verdicts_own_reference_comes_first(crossed):
    groups = tables.comparison_groups(crossed.verdict)
    assert [group.title for group in groups] == ["compared with classical", "compared with real (secondary)"]
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
        f"compared with {reference}, {n} training patients"
        for reference in ("classical", "real (secondary)")
        for n in (3, 8)
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
        ("a", "3", "2 min", "30 s", "100 %"),
        ("b", "0", "0.0 s", "–", "0 %"),
        ("together", "3", "2 min", "", ""),
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


@pytest.mark.parametrize(
    ("name", "value", "signed", "shown"),
    [
        ("dsc", 0.12349, False, "0.123"),
        ("dsc", -0.02, True, "−0.020"),
        ("hd95_mm", 1.195, True, "+1.20"),
        ("avd_percent", 12.34, False, "12.3"),
        ("avd_percent", 1234567.0, True, "+1.23e+06"),
        ("dsc", None, True, "–"),
    ],
)
def test_numbers_have_the_digits_of_their_unit(name, value, signed, shown):
    assert words.number(value, METRICS[name], signed=signed) == shown


def test_every_metric_has_a_heading_and_a_meaning():
    assert [words.heading(metric) for metric in METRICS.values()][:3] == [
        "DSC\u00a0↑",
        "HD95, mm\u00a0↓",
        "AVD, %\u00a0↓",
    ]
    assert set(words.WHAT_METRICS_SAY) == set(METRICS)


def test_small_words():
    assert [words.p_value(p) for p in (None, 0.0, 0.0009, 0.04, 1)] == ["–", "< 0.001", "< 0.001", "0.040", "1.000"]
    assert (words.span([9, 9]), words.span([9, 8])) == ("9", "8 to 9")


def test_an_arm_is_described_by_the_study_or_else_by_the_parts_of_its_name():
    assert words.arm_text("classical", {"classical": "as told"}) == "as told"
    assert words.arm_text("real+synthetic", {}) == (
        "real slices as they are; with synthetic slices with their synthetic masks"
    )
    assert words.arm_text("classical+magic", {}) == "not described by the study"


def test_an_interval_and_a_tally():
    def entry(**values) -> Comparison:
        plain = {"arm": "a", "reference": "b", "metric": "dsc", "difference": 0.1, "n": 3, "verdict": "no evidence"}
        return Comparison.model_validate(plain | {"interval": (-0.1, 0.2)} | values)

    assert words.interval(entry()) == "−0.100 to +0.200"
    assert words.interval(entry(interval=None)) == "–"
    told = words.tally([entry(), entry(), entry(verdict="harms", interval=(-0.2, -0.1))])
    assert told == [("helps", 0), ("harms", 1), ("no evidence", 2)]


def test_a_multiplier_is_shown_with_what_is_known_of_its_interval():
    plain = {"arm": "a", "reference": "b", "n_train": 5, "score": 0.5, "needed": 10.0, "multiplier": 2.0}
    rows = [
        plain | {"interval": (1.25, None), "note": "the interval reaches beyond the measured curve"},
        plain | {"interval": (None, 4.0)},
        plain | {"interval": None, "note": "no interval: 1 training draw, and 3 are needed"},
        plain | {"needed": None, "multiplier": None, "interval": (8.0, None), "note": "beyond the curve"},
    ]
    verdict = VerdictFile.model_validate({"format": 1, "headline": "", "multipliers": rows})
    assert [(row["multiplier"], row["interval"]) for row in tables.multiplier_rows(verdict)] == [
        ("×2.00", "1.25 to beyond it"),
        ("×2.00", "before the curve to 4.00"),
        ("×2.00", "–"),
        ("cannot be read off", "8.00 to beyond it"),
    ]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"reference": "classical"}, "classical: the strongest of these arms without synthetic slices; comparisons"),
        (
            {"reference": "real", "config": {"reference": "real"}},
            "real: named; comparisons with classical are secondary",
        ),
        ({"reference": "real", "references": ["real"]}, "real: the strongest of these arms without synthetic slices"),
    ],
)
def test_the_reference_is_among_the_facts(tmp_path, more, said):
    assert dict(tables.facts(read_study(write_study(tmp_path, **more))))["reference"].startswith(said)
    assert "reference" not in dict(tables.facts(read_study(write_study(tmp_path / "old"))))


def test_a_corrected_p_that_knows_of_draws_is_shown_before_that_of_ranks():
    plain = {"arm": "a", "reference": "b", "metric": "dsc", "difference": 0.1, "interval": (-0.1, 0.2), "n": 3}
    rows = [plain | {"p_holm": 0.01, "verdict": "no evidence"}]
    rows.append(rows[0] | {"p_draws_holm": 0.2, "p_family": 0.5, "primary": True})
    verdict = VerdictFile.model_validate({"format": 1, "headline": "", "comparisons": rows})
    (group,) = tables.comparison_groups(verdict)
    assert [(line["p"], line["p_family"]) for line in group.lines] == [("0.010", None), ("0.200", "0.500")]


def test_verdicts_differ_in_shape_and_class():
    assert len(set(words.SHAPES.values())) == len(set(words.CLASSES.values())) == 3


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "Cross-validation (leave one patient out): every patient is held out once and tested with networks of 9 "),
        ({"numbers": (3, 5), "repeats": 2}, "Learning curve: 2 draws of 3, 5 training patients each."),
        ({"folds": [], "generators": []}, "No folds are recorded."),
        (
            {"folds": [{"name": f"fold-{i:02d}", "n_train": 5 + i % 2, "repeat": i // 5, "test": ["a", "b"]}
                       for i in range(10)]},
            "Cross-validation (5 folds, 2 times over): every patient is held out once each time and tested with "
            "networks of 5 to 6 training patients.",
        ),
    ],
)  # fmt: skip
def test_the_protocol_in_words(tmp_path, settings, said):
    assert words.protocol_text(read_study(write_study(tmp_path, **settings))).startswith(said)


def row(fold: str, arm: str, patient: str, dsc: float | None, *, case: str = "", n_train: int = 3) -> Row:
    scores = dict.fromkeys(METRICS, 1.0) | {"dsc": dsc}
    return Row(fold, n_train, 0, arm, patient, case or patient, scores)


def test_pairs_are_of_the_same_fold_and_case_and_averaged_by_patient():
    rows = [
        row("f0", "real", "A", 0.2, case="A1"),
        row("f0", "real", "A", 0.4, case="A2"),
        row("f0", "new", "A", 0.5, case="A1"),
        row("f0", "new", "A", None, case="A2"),  # so A2 is no pair
        row("f1", "real", "A", 0.6, case="A1"),
        row("f1", "new", "A", 0.9, case="A1"),
        row("f0", "real", "B", 0.5),
        row("f1", "new", "B", 0.6),  # another fold
    ]
    (pair,) = patient_pairs(rows, "real", "new", "dsc")
    assert pair.patient == "A"
    assert (pair.reference, pair.arm) == (pytest.approx(0.4), pytest.approx(0.7))
    assert patient_pairs(rows, "real", "absent", "dsc") == []
    assert patient_pairs(rows, "real", "new", "lesion_f1")[0] == Pair("A", 1.0, 1.0)


def test_a_draws_mean_is_over_patients_not_over_scans():
    rows = [
        row("d0", "new", "A", 0.0, case="A1"),
        row("d0", "new", "A", 0.2, case="A2"),
        row("d0", "new", "B", 0.5),
        row("d1", "new", "B", 0.9),
        row("d2", "new", "B", 0.7, n_train=5),
        row("d2", "new", "C", None, n_train=5),
        row("d0", "real", "A", 1.0),
    ]
    assert draw_means(rows, "new", "dsc") == {3: [pytest.approx(0.3), pytest.approx(0.9)], 5: [pytest.approx(0.7)]}


def test_what_is_undefined_is_counted_for_every_arm():
    rows = [row("f0", "a", "A", None), row("f0", "a", "B", 0.1)]
    nothing = dict.fromkeys(METRICS, 0)
    assert undefined_counts(rows, ("a", "b")) == {"a": nothing | {"dsc": 1}, "b": nothing}
    assert row_counts(rows, ("a", "b")) == {"a": 2, "b": 0}


def test_the_worst_come_first_and_undefined_is_not_worst():
    rows = [row("f0", "a", "A", 0.5), row("f0", "a", "B", None), row("f0", "b", "A", 0.1), row("f0", "b", "B", 0.5)]
    assert [(r.arm, r.patient) for r in worst_rows(rows)] == [("b", "A"), ("a", "A"), ("b", "B")]
    assert len(worst_rows(rows, 1)) == 1


def test_losses_are_against_the_same_case():
    rows = [
        row("f0", "classical", "A", 0.5),
        row("f0", "new", "A", 0.3),
        row("f0", "classical", "B", 0.5),
        row("f0", "new", "B", 0.6),  # a gain
        row("f0", "worse", "B", 0.1),
        row("f1", "new", "A", 0.1),  # no reference in this fold
    ]
    found = [(r.arm, r.patient, round(loss, 6), base) for r, loss, base in lost_to(rows, "classical")]
    assert found == [("worse", "B", 0.4, 0.5), ("new", "A", 0.2, 0.5)]
    assert lost_to(rows, "absent") == []
