from __future__ import annotations

import pytest

from labelgan.scoring.metrics import METRICS
from labelgan.report import study_words as words
from labelgan.report.study_files import Comparison, read_study
from studies import write_study


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


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0.0 s"),
        (9.94, "9.9 s"),
        (99, "99 s"),
        (100, "2 min"),
        (5940, "99 min"),
        (6000, "1 h 40 min"),
        (90061, "25 h 01 min"),
    ],
)
def test_durations(seconds, shown):
    assert words.duration(seconds) == shown


def test_small_words():
    assert [words.p_value(p) for p in (None, 0.0, 0.0009, 0.04, 1)] == ["–", "< 0.001", "< 0.001", "0.040", "1.000"]
    assert [words.counted(n, "patient") for n in (0, 1, 1234)] == ["0 patients", "1 patient", "1,234 patients"]
    assert (words.span([9, 9]), words.span([9, 8])) == ("9", "8 to 9")
    assert words.some(["a", "b", "c"], 2) == "a, b and 1 more"
    assert words.some([]) == ""


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
