from __future__ import annotations

from dataclasses import replace

import pytest

from labelgan.study.verdict.wording import Finding, headline_of, is_synthetic, policy_of, sentence_of, signed

FINDING = Finding(
    arm="classical+synthetic",
    reference="classical",
    n_train=9,
    metric="lesion_recall",
    difference=0.03,
    interval=(-0.01, 0.07),
    p_corrected=0.4,
    n=10,
    undefined=(0, 0, 0),
    verdict="no evidence",
    too_few=False,
    draws=10,
    bound=None,
    overruled=None,
    confidence=0.95,
)
HELPS = replace(FINDING, interval=(0.01, 0.05), p_corrected=0.01, verdict="helps")
HARMS = replace(FINDING, metric="hd95_mm", difference=1.5, interval=(0.5, 2.5), p_corrected=0.02, verdict="harms")


def test_a_sentence_holds_the_figures() -> None:
    assert sentence_of(FINDING) == (
        "Adding synthetic slices to classical training changed lesion recall by +0.030 (95 % interval −0.010 to +0.070)"
        " in 10 patients, with 9 training patients: no evidence that it helps or harms."
    )


def test_help_and_harm_are_said_alike() -> None:
    assert sentence_of(HELPS).endswith("in 10 patients, with 9 training patients: it helps.")
    assert sentence_of(HARMS) == (
        "Adding synthetic slices to classical training changed distance from the expert's outline (HD95) by +1.50 mm"
        " (95 % interval +0.50 to +2.50) in 10 patients, with 9 training patients: it harms."
    )


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"draws": 1, "verdict": "helps"},
            "it helps, for this one draw of training patients (another draw may differ)",
        ),
        ({"too_few": True}, "harms; so few patients can never show it, whatever their scores."),
        ({"overruled": "helps"}, "because the values that are undefined could turn it around."),
        ({"interval": (0.01, 0.05), "p_corrected": 0.08}, "does not bear it out over all metrics (p = 0.08)."),
        ({"interval": None, "n": 1}, "lesion recall by +0.030 in 1 patient, with 9"),
        ({"undefined": (2, 0, 2)}, "; 2 scans left out without a value (2 of classical+synthetic, 0 of classical)."),
        ({"undefined": (2, 0, 2), "bound": -0.01}, "and counting each of these at its best or worst gives −0.010."),
        ({"undefined": (1, 1, 2), "bound": -0.01}, "(1 of classical+synthetic, 1 of classical)."),
        ({"arm": "real"}, "Training on real instead of classical changed"),
        ({"arm": "classical+shuffled"}, "Adding synthetic slices with each other's masks (a control) to classical"),
        ({"metric": "avd_percent", "difference": -3.14}, "volume error (AVD) by −3.14 percentage points"),
        ({"interval": (0.0002, 0.06)}, "(95 % interval +0.0002 to +0.0600)"),
        ({"confidence": 0.9}, "(90 % interval"),
    ],
)
def test_a_sentence_says_what_a_reader_must_know(changes, said) -> None:
    assert said in sentence_of(replace(FINDING, **changes))


def test_nothing_to_compare_is_said() -> None:
    sentence = sentence_of(replace(FINDING, difference=None, interval=None, n=0, undefined=(4, 0, 4)))
    assert "could not be judged by lesion recall: no patient has a value in both arms; 4 scans left out" in sentence


@pytest.mark.parametrize(
    ("value", "decimals", "text"), [(-0.0004, 3, "0.000"), (0.0, 1, "0.0"), (-1.25, 1, "−1.2"), (2.0, 0, "+2")]
)
def test_signs(value, decimals, text) -> None:
    assert signed(value, decimals) == text


@pytest.mark.parametrize(
    ("arm", "expected"),
    [
        ("synthetic", True),
        ("real+synthetic", True),
        ("classical+synthetic", True),
        ("classical+shuffled", False),
        ("classical+copypaste+synthetic", True),
        ("strong+synthetic: r3gan", True),  # as the league names them
        ("classical+shuffled: r3gan", False),
        ("classical", False),
    ],
)
def test_which_arms_tell_of_synthetic_slices(arm, expected) -> None:
    assert is_synthetic(arm) == expected


# The headline

CONTROL = replace(HELPS, arm="classical+shuffled")


@pytest.mark.parametrize(
    ("findings", "adjusted", "said"),
    [
        (
            [FINDING],
            [0.4],
            "No evidence that synthetic slices help or harm (classical+synthetic: 1 comparison with classical in 10"
            " patients).",
        ),
        (
            [HELPS, HARMS],
            [0.02, 0.03],
            "classical+synthetic helps lesion recall; classical+synthetic harms HD95 (corrected over 2 comparisons with"
            " classical in 10 patients).",
        ),
        (
            [HELPS, replace(HELPS, metric="dsc")],
            [0.02, 0.02],
            "classical+synthetic helps lesion recall and DSC (corrected over 2 comparisons with classical in 10"
            " patients).",
        ),
        ([HELPS], [0.08], "Taken alone, classical+synthetic helps lesion recall; this does not outlast the correction"),
        ([HARMS], [0.08], "Taken alone, classical+synthetic harms HD95; this does not outlast the correction"),
        ([HELPS, CONTROL], [0.02, None], "Beware: classical+shuffled helps lesion recall, though its masks belong"),
        ([replace(FINDING, too_few=True)], [1.0], "Too few patients to say whether synthetic slices help or harm"),
        (
            [replace(HELPS, draws=1)],
            [0.01],
            "No evidence that synthetic slices help or harm (classical+synthetic: 1 comparison with classical in 10"
            " patients). In the one draw of training patients that there is, classical+synthetic helps lesion recall:"
            " another draw may differ.",
        ),
        (
            [HELPS, replace(HELPS, n_train=20, n=8)],
            [0.01, 0.01],
            "classical+synthetic helps lesion recall with 9 training patients; classical+synthetic helps lesion recall"
            " with 20 training patients (corrected over 2 comparisons with classical in 8 to 10 patients).",
        ),
        ([CONTROL], [None], "No arm with synthetic slices was compared"),
        ([], [], "No arm with synthetic slices was compared"),
    ],
)
def test_the_headline_is_the_verdict_in_one_line(findings, adjusted, said) -> None:
    line = headline_of(findings, adjusted, 0.05)
    assert said in line
    assert "\n" not in line


def test_a_control_that_helps_alone_is_no_warning() -> None:
    assert "Beware" not in headline_of([FINDING, CONTROL], [0.4, None], 0.05)


def test_the_policy_says_what_one_draw_cannot_tell() -> None:
    assert "10,000 resamples" in policy_of(0.95, 10_000, one_draw=False)
    assert "one draw" not in policy_of(0.95, 10_000, one_draw=False)
    assert "cannot be known" in policy_of(0.95, 10_000, one_draw=True)
