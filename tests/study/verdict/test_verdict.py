from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
import pandas
import pytest

from bench.experiments import verdict_power
from labelgan.core.errors import ConfigError, DataError
from labelgan.core.rng import generator_for
from labelgan.scoring.metrics import METRICS
from labelgan.scoring.scores_csv import read_scores
from labelgan.study.verdict.verdict import make_verdict
from scores import make_scores

ARM = "classical+synthetic"
BASE = np.clip(generator_for(0, "tests", "base").normal(0.6, 0.1, 12), 0, 0.9)
NOISE = generator_for(0, "tests", "noise").normal(0, 0.01, 12)


def judge(frame: Any, **options: Any) -> dict[str, Any]:
    return make_verdict(frame, **{"resamples": 1000, **options})


def comparison(verdict: dict[str, Any], metric: str = "dsc", arm: str = ARM, **keys: Any) -> dict[str, Any]:
    wanted = {"metric": metric, "arm": arm, **keys}
    (row,) = [one for one in verdict["comparisons"] if all(one[key] == value for key, value in wanted.items())]
    return row


def gain(size: float, patients: int = 12) -> Any:
    return make_scores({"classical": BASE[:patients], ARM: (BASE + NOISE + size)[:patients]}, n_train=11)


def test_planted_help_is_called_help_whatever_the_direction() -> None:
    verdict = judge(gain(0.05))
    assert {row["metric"]: row["verdict"] for row in verdict["comparisons"]} == dict.fromkeys(METRICS, "helps")
    assert comparison(verdict, "hd95_mm")["difference"] == pytest.approx(-0.5, abs=0.1)
    assert comparison(verdict, "avd_percent")["interval"][1] < 0
    assert verdict["headline"].startswith("classical+synthetic helps DSC, HD95, AVD, lesion recall and lesion F1")


def test_planted_harm_is_called_harm_whatever_the_direction() -> None:
    verdict = judge(gain(-0.05))
    assert {row["verdict"] for row in verdict["comparisons"]} == {"harms"}
    assert comparison(verdict, "hd95_mm")["interval"][0] > 0
    assert verdict["headline"].startswith("classical+synthetic harms DSC, HD95, AVD, lesion recall and lesion F1")
    assert comparison(verdict)["sentence"].endswith(": it harms.")


def test_no_difference_is_no_evidence() -> None:
    verdict = judge(gain(0))
    assert {row["verdict"] for row in verdict["comparisons"]} == {"no evidence"}
    assert verdict["headline"].startswith("No evidence that synthetic slices help or harm")
    same = judge(make_scores({"classical": BASE, ARM: BASE}))
    assert comparison(same)["p"] == 1
    assert comparison(same)["interval"] == [0, 0]


def test_known_figures() -> None:
    verdict = judge(make_scores({"classical": [0.5, 0.6, 0.7], ARM: [0.6, 0.6, 0.9]}))
    row = comparison(verdict)
    assert row["difference"] == pytest.approx(0.1)
    assert row["p"] == 0.5  # ranks 2 and 3 of three, both positive: two of four signs are as far out
    assert row["p_holm"] == 1
    assert (row["n"], row["undefined"], row["n_train"]) == (3, 0, 2)
    (summary,) = [one for one in verdict["summary"] if one["arm"] == ARM and one["metric"] == "dsc"]
    expected = {"arm": ARM, "n_train": 2, "metric": "dsc", "mean": 0.7, "median": 0.6, "n": 3, "undefined": 0}
    assert summary == expected | {"mean": pytest.approx(0.7), "sd": pytest.approx(np.std([0.6, 0.6, 0.9], ddof=1))}


def test_what_the_correction_takes_away_is_no_evidence() -> None:
    steps = 0.01 * np.array([1, 2, 3, 4, -5, 6, 7, 8, 9, 10])
    row = comparison(judge(make_scores({"classical": BASE[:10], ARM: BASE[:10] + steps})))
    assert row["p"] == pytest.approx(20 / 1024)  # ten of 1024 signs have a rank sum of 5 or less
    assert row["p_holm"] == pytest.approx(100 / 1024)
    assert row["interval"][0] > 0
    assert row["verdict"] == "no evidence"


def test_the_verdict_has_the_agreed_shape() -> None:
    frame = make_scores({"real": BASE, "classical": BASE + 0.01, ARM: BASE + NOISE}, n_train=11)
    verdict = judge(frame, seed=3)
    assert list(verdict) == [
        *("format", "headline", "reference", "references", "summary", "comparisons", "multipliers"),
        *("policy", "resamples", "seed"),
    ]
    assert (verdict["format"], verdict["reference"], verdict["resamples"], verdict["seed"]) == (1, "classical", 1000, 3)
    assert len(verdict["summary"]) == 3 * len(METRICS)
    pairs = {(row["arm"], row["reference"]) for row in verdict["comparisons"]}
    assert pairs == {("real", "classical"), (ARM, "classical"), ("classical", "real"), (ARM, "real")}
    assert verdict["multipliers"] == []


def test_json_is_strict_even_where_nothing_is_defined() -> None:
    nothing = [None] * 12
    cases = [
        make_scores({"classical": nothing, ARM: nothing}),
        make_scores({"classical": BASE, ARM: nothing}),
        make_scores({"classical": [0.5], ARM: [0.6]}),
        make_scores({"synthetic": BASE}),
    ]
    for frame in cases:
        verdict = judge(frame)
        assert json.loads(json.dumps(verdict, allow_nan=False)) == verdict
    hollow = comparison(judge(cases[1]))
    assert (hollow["difference"], hollow["interval"], hollow["p"], hollow["n"]) == (None, None, None, 0)
    assert hollow["undefined"] == 12
    assert judge(cases[3])["reference"] is None


def test_swapping_arms_mirrors_the_verdict() -> None:
    frame = make_scores({"classical": BASE, "real": BASE + NOISE + 0.03})
    verdict = judge(frame)
    for metric in METRICS:
        one = comparison(verdict, metric, arm="real")
        other = comparison(verdict, metric, arm="classical")
        assert one["difference"] == pytest.approx(-other["difference"])
        assert one["interval"] == pytest.approx([-end for end in reversed(other["interval"])])
        assert (one["p"], one["p_holm"]) == pytest.approx((other["p"], other["p_holm"]))
        assert {one["verdict"], other["verdict"]} == {"helps", "harms"}


def test_a_change_of_scale_changes_nothing_but_the_scale() -> None:
    one = judge(gain(0.03))
    frame = gain(0.03)
    frame["hd95_mm"] = 100 + 3 * frame["hd95_mm"]
    row, scaled = comparison(one, "hd95_mm"), comparison(judge(frame), "hd95_mm")
    assert scaled["difference"] == pytest.approx(3 * row["difference"])
    assert scaled["interval"] == pytest.approx([3 * end for end in row["interval"]])
    assert (scaled["p"], scaled["verdict"]) == (row["p"], row["verdict"])


def test_neither_order_nor_seedless_luck_matters() -> None:
    frame = gain(0.02)
    shuffled = frame.sample(frac=1, random_state=0)
    order = frame["arm"].unique().tolist()
    assert shuffled["arm"].unique().tolist() != order or not shuffled.equals(frame)
    one, other = judge(frame), judge(shuffled)
    assert comparison(one) == comparison(other)
    assert judge(frame) == one
    assert comparison(judge(frame, seed=1))["interval"] != comparison(one)["interval"]


# Patients are the units


@pytest.mark.parametrize("curve", [False, True])
def test_repeats_and_scans_do_not_add_patients(curve) -> None:
    arms = {"classical": BASE, ARM: BASE + NOISE + 0.004}
    once = judge(make_scores(arms, curve=curve))
    fold_again = judge(make_scores({arm: np.tile(table[:, None], (1, 5)) for arm, table in arms.items()}, curve=curve))
    frame = make_scores(arms, curve=curve)
    scans = judge(pandas.concat([frame.assign(case=frame["case"] + f"-{number}") for number in range(5)]))
    for metric in METRICS:
        row = comparison(once, metric)
        for again in (fold_again, scans):
            other = comparison(again, metric)
            assert other["n"] == 12
            assert other["interval"] == pytest.approx(row["interval"])
            assert (other["p"], other["verdict"]) == (row["p"], row["verdict"])


def test_a_lucky_draw_is_no_help() -> None:
    lucky = np.array([[0.0, 0.0, 0.06]])
    arms = {"classical": np.tile(BASE[:, None], (1, 3)), ARM: (BASE + NOISE)[:, None] + lucky}
    row = comparison(judge(make_scores(arms, curve=True)))
    assert row["p_holm"] < 0.05
    assert row["verdict"] == "no evidence"
    assert "the interval" not in row["sentence"].split(":")[1]
    alone = comparison(judge(make_scores({arm: table[:, 2:] for arm, table in arms.items()}, curve=True)))
    assert alone["verdict"] == "helps"
    assert "another draw may differ" in alone["sentence"]


def test_a_learning_curve_is_judged_at_every_size() -> None:
    parts = [
        make_scores({"classical": BASE + grown, ARM: BASE + NOISE + grown + more}, n_train=size, curve=True)
        for size, grown, more in ((3, 0.0, 0.08), (10, 0.05, 0.0))
    ]
    verdict = judge(pandas.concat(parts))
    assert comparison(verdict, n_train=3)["verdict"] == "helps"
    assert comparison(verdict, n_train=10)["verdict"] == "no evidence"
    assert "with 3 training patients" in verdict["headline"] or "helps DSC" in verdict["headline"]
    assert [row["n_train"] for row in verdict["multipliers"]] == [3, 10]


def test_the_headline_corrects_for_draws_over_the_whole_curve() -> None:
    luck = np.array([[0.045, 0.05, 0.055]])  # two degrees of freedom: p = .0033, .017 over 5 metrics, .07 over all 20
    parts = [
        make_scores({"classical": np.tile(BASE[:, None], (1, 3)), ARM: (BASE + NOISE)[:, None] + more}, n_train=size,
                    curve=True)
        for size, more in ((3, luck), (5, 0 * luck), (10, 0 * luck), (20, 0 * luck))
    ]  # fmt: skip
    verdict = judge(pandas.concat(parts))
    assert comparison(verdict, n_train=3)["verdict"] == "helps"
    assert verdict["headline"].startswith("No evidence")
    assert "Taken alone, classical+synthetic helps" in verdict["headline"]
    first = comparison(verdict, n_train=3)
    assert first["p_holm"] < 0.01  # ranks of patients know nothing of draws
    assert first["p_draws_holm"] == pytest.approx(5 * first["p_draws"])
    assert first["p_family"] == pytest.approx(20 * first["p_draws"])


def test_an_interval_ends_where_the_metric_does() -> None:
    recall = {"classical": np.tile([0.1, 0.2, 0.1], (12, 1)), ARM: np.tile([0.95, 0.1, 0.3], (12, 1))}
    distances = {arm: 10 * table for arm, table in recall.items()}
    dsc = dict.fromkeys(recall, np.tile(BASE[:, None], (1, 3)))
    frame = make_scores(dsc, curve=True, lesion_recall=recall, hd95_mm=distances)
    verdict = judge(frame)
    low, high = comparison(verdict, "lesion_recall")["interval"]
    assert low > -1
    assert high == 1  # three draws of +.85, -.1 and +.2 reach 1.5 by Student's t
    assert comparison(verdict, "hd95_mm")["interval"][1] > 10  # a distance has no largest value


def test_few_patients_are_never_told_that_it_helps() -> None:
    for patients in (2, 5, 7):
        verdict = judge(gain(0.3, patients))
        assert {row["verdict"] for row in verdict["comparisons"]} == {"no evidence"}
        assert "so few patients can never show it" in comparison(verdict)["sentence"]
        assert verdict["headline"].startswith("Too few patients")
    assert comparison(judge(gain(0.3, 8)))["verdict"] == "helps"


# References


def test_without_a_name_the_strongest_arm_without_synthetic_slices_is_the_reference() -> None:
    names = ("real", "strong", "classical+copypaste", ARM, "classical+copypaste+synthetic", "classical+shuffled")
    frame = make_scores({arm: BASE + number * NOISE for number, arm in enumerate(names)})
    verdict = judge(frame)
    assert (verdict["reference"], verdict["references"]) == ("strong", ["strong", "classical+copypaste", "real"])
    asked = {(row["arm"], row["reference"]) for row in verdict["comparisons"] if row["primary"]}
    assert asked == {(ARM, "strong"), ("classical+copypaste+synthetic", "strong")}
    for row in verdict["comparisons"]:
        assert (row["p_family"] is not None) == row["primary"]
    assert "10 comparisons with strong" in verdict["headline"]
    assert len(verdict["comparisons"]) == 3 * 5 * len(METRICS)


def test_a_named_reference_is_what_the_headline_is_about() -> None:
    arms = {"classical": BASE, "classical+copypaste": BASE + 0.05, ARM: BASE + NOISE + 0.05}
    default = judge(make_scores(arms))
    assert default["headline"].startswith("No evidence")
    named = judge(make_scores(arms), references=("classical", "classical+copypaste"))
    assert named["headline"].startswith("classical+synthetic helps")
    assert (named["reference"], default["reference"]) == ("classical", "classical+copypaste")
    rows = [{key: row[key] for key in ("arm", "reference", "metric", "difference", "interval", "p", "verdict")}
            for verdict in (named, default) for row in verdict["comparisons"]]  # fmt: skip
    half = len(rows) // 2
    assert sorted(map(str, rows[:half])) == sorted(map(str, rows[half:]))  # other comparisons stay as they were


# Undefined values


def test_undefined_pairs_are_counted_in_either_arm() -> None:
    reference, arm = (BASE + 0.0).tolist(), (BASE + NOISE + 0.05).tolist()
    reference[0] = arm[1] = None
    reference[2] = arm[2] = None
    verdict = judge(make_scores({"classical": reference, ARM: arm}))
    row = comparison(verdict)
    assert (row["n"], row["undefined"]) == (9, 3)
    assert "3 scans left out without a value (2 of classical+synthetic, 2 of classical)" in row["sentence"]
    assert [one["undefined"] for one in verdict["summary"] if one["metric"] == "dsc"] == [2, 2]


def test_rows_that_are_missing_are_counted_too() -> None:
    frame = gain(0.05)
    row = comparison(judge(frame[(frame["arm"] == "classical") | (frame["patient"] != "p03")]))
    assert (row["n"], row["undefined"]) == (11, 1)
    assert row["verdict"] == "helps"  # a job that failed says nothing of its arm


def hollow(voxels: int) -> dict[str, Any]:
    """The arm is better by 1 mm where it finds anything, and in two patients it has no HD95."""
    distances = np.full(12, 5.0)
    ours = distances - 1 + NOISE
    ours[:2] = np.nan
    frame = make_scores(
        {"classical": BASE, ARM: BASE}, hd95_mm={"classical": np.append([5.0, 30.0], distances[2:]), ARM: ours}
    )
    missed = (frame["arm"] == ARM) & frame["patient"].isin(["p00", "p01"])
    frame.loc[missed, "predicted_voxels"] = 0
    frame.loc[frame["patient"].isin(["p00", "p01"]), "lesion_voxels"] = voxels
    return comparison(judge(frame), "hd95_mm")


def test_help_that_hides_its_failures_is_not_believed() -> None:
    row = hollow(voxels=50)
    assert row["interval"][1] < 0
    assert row["p_holm"] < 0.05
    assert row["verdict"] == "no evidence"
    assert "the values that are undefined could turn it around" in row["sentence"]
    assert "counting each of these at its best or worst gives +1.25 mm" in row["sentence"]


def test_nothing_found_where_nothing_is_counts_for_an_arm() -> None:
    row = hollow(voxels=0)
    assert row["verdict"] == "helps"
    assert "counting each of these at its best or worst gives −3.7" in row["sentence"]


# What is refused


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(ConfigError, match="resamples: 99 is too few"):
        make_verdict(gain(0), resamples=99)
    for confidence in (0.4, 1.0):
        with pytest.raises(ConfigError, match="confidence"):
            make_verdict(gain(0), confidence=confidence)
    with pytest.raises(DataError, match="scores: has no column dsc"):
        make_verdict(gain(0).drop(columns="dsc"))


def test_a_file_gives_the_verdict_of_its_frame(tmp_path) -> None:
    gain(0.02).to_csv(tmp_path / "scores.csv", index=False, float_format="%.17g")
    assert judge(read_scores(tmp_path / "scores.csv")) == judge(gain(0.02))


def test_importing_is_light() -> None:
    import subprocess

    program = "import sys, labelgan.study.verdict.verdict; print({'scipy', 'pandas', 'torch'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "set()\n"


# Simulated studies, as in docs/results/verdict.md


@pytest.mark.slow
def test_studies_without_an_effect_seldom_say_helps_and_large_effects_are_seen() -> None:
    bench, studies = verdict_power, 40
    for world in (
        bench.World(10, folds=10),
        bench.World(20, repeats=3, draw_spread=0.02),
    ):
        found = bench.judge(world, studies, 300)
        # At 5 % more than 6 of 40 would be a chance of one in three hundred.
        assert found["helps any"] <= 6
        assert found["harms any"] <= 6
    seen = bench.judge(bench.World(20, folds=20, gain=0.05, spread=0.02), 10, 300)
    assert seen["helps dsc"] == 10
    assert seen["harms any"] == 0
