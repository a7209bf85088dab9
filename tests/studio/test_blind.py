from __future__ import annotations

import io
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from labelgan.core.errors import DataError
from labelgan.data.curation import BLIND_TESTS
from labelgan.studio.blind import BlindTests, chance_words, wilson_interval
from labelgan.studio.session import Session


@pytest.fixture
def source(session):
    return next(s for s in session.index.sources.values() if s.kind == "synthetic")


def begin(session, source, trials=8, seed=1, **more):
    return session.blind.begin(source, trials, seed, **more)


# The interval


@pytest.mark.parametrize(
    ("successes", "trials", "expected"),
    [
        # Newcombe, Statistics in Medicine 17 (1998) 857-872, table I, method 3
        (81, 263, (0.2553, 0.3662)),
        (15, 148, (0.0624, 0.1605)),
        (0, 20, (0.0, 0.1611)),
        (1, 29, (0.0061, 0.1718)),
    ],
)
def test_the_interval_is_the_published_one(successes, trials, expected):
    assert wilson_interval(successes, trials) == pytest.approx(expected, abs=5e-5)


@given(st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_interval_holds_the_share_and_is_symmetric(case):
    successes, trials = case
    low, high = wilson_interval(successes, trials)
    assert 0 <= low <= successes / trials <= high <= 1
    assert wilson_interval(trials - successes, trials) == pytest.approx((1 - high, 1 - low))
    # its ends are where the score test just rejects: |p - share| = z sqrt(share (1 - share) / n)
    for end in (low, high):
        if 0 < end < 1:
            distance = abs(successes / trials - end)
            assert distance == pytest.approx(1.959964 * math.sqrt(end * (1 - end) / trials), rel=1e-5)


@pytest.mark.parametrize(("successes", "trials"), [(0, 0), (3, 2), (-1, 5)])
def test_what_is_no_share_has_no_interval(successes, trials):
    with pytest.raises(ValueError, match="is no share"):
        wilson_interval(successes, trials)


@pytest.mark.parametrize(
    ("interval", "word"), [([0.6, 0.9], "better"), ([0.1, 0.4], "worse"), ([0.4, 0.6], "chance is inside")]
)
def test_an_accuracy_is_put_into_words(interval, word):
    assert chance_words({"interval": interval}).startswith(word)


# The test


def test_slices_come_by_the_toss_of_a_coin_and_none_twice(session, source):
    tests = [begin(session, source, 5, seed).truth for seed in range(40)]
    synthetic = sum(truth == "synthetic" for trial in tests for truth in trial)
    assert 70 <= synthetic <= 130  # of 200; beyond it a fair coin comes once in 40,000 times
    assert len({tuple(trial) for trial in tests}) > 15
    drawn = begin(session, source).trials
    assert len(set(drawn)) == len(drawn)
    assert [e.key for e in begin(session, source).trials] == [e.key for e in drawn]


def test_real_slices_are_of_the_cohort_that_the_generator_learned_from(session, source):
    test = begin(session, source, 12, 3)
    assert {e.case.source.kind for e in test.trials} == {"store", "synthetic"}


def test_real_and_synthetic_look_alike_but_for_their_content(session, source):
    test = begin(session, source, 10, 2)
    shapes = set()
    for trial in range(10):
        drawn = Image.open(io.BytesIO(session.blind.picture(test, trial, 0, 64)))
        shapes.add((drawn.size, drawn.mode, tuple(drawn.info)))
        values = np.asarray(drawn)
        assert values.max() > 250
        session.blind.answer(test, trial, "real")
    assert shapes == {((64, 64), "L", ())}


def test_slices_to_come_cannot_be_seen(session, source):
    test = begin(session, source)
    for trial, channel in ((1, 0), (-1, 0), (0, 2), (0, -1)):
        with pytest.raises(DataError, match="not due"):
            session.blind.picture(test, trial, channel, 64)


def test_a_perfect_eye_is_told_and_saved(session, source, samples):
    test = begin(session, source)
    told = {}
    for trial, truth in enumerate(test.truth):
        told = session.blind.answer(test, trial, truth)
        assert ("result" in told) == (trial == 7)
    assert told["result"]["accuracy"] == 1
    assert told["result"]["interval"] == list(wilson_interval(8, 8))
    (saved,) = json.loads((samples / BLIND_TESTS).read_text())["tests"]
    assert saved["right"] == saved["trials"] == len(saved["rows"]) == 8
    assert saved["table"]["real called synthetic"] == saved["table"]["synthetic called real"] == 0
    assert sum(saved["table"].values()) == 8
    assert all(row["truth"] == row["answer"] for row in saved["rows"])


def test_tests_are_added_to_earlier_ones(session, source, samples):
    for seed in (1, 2):
        test = begin(session, source, 5, seed)
        for trial in range(5):
            session.blind.answer(test, trial, "real")
    assert [t["seed"] for t in json.loads((samples / BLIND_TESTS).read_text())["tests"]] == [1, 2]


def test_an_answer_is_given_once(session, source):
    test = begin(session, source)
    session.blind.answer(test, 0, "real")
    for trial, answer in ((0, "real"), (2, "real"), (1, "perhaps"), (1, None)):
        with pytest.raises(DataError, match="expected real or synthetic"):
            session.blind.answer(test, trial, answer)


def test_a_folder_that_cannot_be_written_to_loses_no_result(session, source, samples):
    (samples / BLIND_TESTS).write_text("[]")
    test = begin(session, source, 5)
    told = {}
    for trial in range(5):
        told = session.blind.answer(test, trial, "synthetic")
    assert "move it away" in told["not_saved"]
    assert told["result"]["trials"] == 5


@pytest.mark.parametrize(
    ("trials", "more", "said"),
    [(4, {}, "5 to 500 are possible"), (501, {}, "5 to 500 are possible"), (80, {}, "too few slices for 80 trials")],
)
def test_what_cannot_be_drawn_is_told(session, source, trials, more, said):
    with pytest.raises(DataError, match=said):
        begin(session, source, trials, **more)


def test_without_real_slices_there_is_no_test(samples):
    session = Session([samples])
    session.fill()
    with pytest.raises(DataError, match="there is no real slice to show"):
        begin(session, next(iter(session.index.sources.values())))


def test_old_tests_are_let_go(session, source, monkeypatch):
    monkeypatch.setattr("labelgan.studio.blind.MOST_TESTS", 2)
    keys = [begin(session, source, 5).key for _ in range(3)]
    assert list(session.blind.tests) == keys[1:]
    assert isinstance(session.blind, BlindTests)
