from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelgan.study.cost_rates import Rate, finished, fit, ledger_rates, median_rate
from labelgan.study.cost.work import Sizes
from labelgan.study.engine.ledger import Job, Ledger
from labelgan.study.plan import SAMPLE, SCORE

SIZES = Sizes({"data": {"a": 100, "b": 400}}, {"data": {"a": 1.0, "b": 4.0}}, {"A": ("a",), "B": ("b",)})


@settings(deadline=None)
@given(st.floats(0, 50), st.floats(1e-3, 10), st.lists(st.floats(1, 1000), min_size=5, max_size=30, unique=True))
def test_a_line_is_found_again(fixed, rate, amounts):
    work = np.array([*amounts, 2 * max(amounts)])
    found = fit(work, fixed + rate * work)
    assert found == pytest.approx((fixed, rate), rel=1e-6, abs=1e-6 * (fixed + rate * work.max()))


def test_a_disturbed_job_does_not_matter():
    work = np.arange(10.0, 20.0)
    seconds = 3 + 2 * work
    seconds[4] = 1000
    assert fit(work, seconds) == pytest.approx((3, 2), abs=0.1)


def test_few_jobs_or_jobs_alike_give_seconds_a_unit():
    assert fit(np.array([10.0, 40.0]), np.array([20.0, 120.0])) == (0, 2.5)
    assert fit(np.full(9, 7.0), np.full(9, 14.0)) == (0, 2)


def test_a_line_that_falls_gives_seconds_a_unit():
    work = np.array([1.0, 2, 3, 4, 5])
    assert fit(work, 10 - work) == (0, pytest.approx(7 / 3))


def test_a_rate_gives_seconds_and_bytes():
    rate = Rate(2, 0.5, fixed_bytes=100, unit_bytes=3)
    assert (rate.seconds(10), rate.bytes(10)) == (7, 130)


def test_the_median_rate():
    rates = [Rate(1, 10, jobs=2), Rate(3, 30, jobs=1), Rate(2, 90, fixed_bytes=6)]
    assert median_rate(rates) == Rate(2, 30, jobs=3)


def run(ledger: Ledger, job: Job, seconds: float, size: int = 0) -> None:
    at = ledger.prepare(job)
    (at.path / "made").write_bytes(bytes(size))
    at.write_done(seconds, {}, {})


def test_rates_of_finished_jobs(tmp_path):
    ledger = Ledger(tmp_path)
    draws = [Job(SAMPLE, "", {"num": num}) for num in (10, 20, 30)]
    scores = [Job(SCORE, "", {"cohort": "data", "cases": {name: {}}}) for name in ("a", "b")]
    for job, seconds in zip((*draws[:2], *scores), (5, 10, 1, 4), strict=True):
        run(ledger, job, seconds, size=100_000)
    ledger.prepare(draws[2])
    seconds = finished([*draws, *scores], ledger)
    assert seconds == {draws[0].key: 5, draws[1].key: 10, scores[0].key: 1, scores[1].key: 4}
    rates = ledger_rates([*draws, *scores], ledger, seconds, SIZES)
    assert (rates[SAMPLE][""].unit_s, rates[SAMPLE][""].jobs) == (0.5, 2)
    assert rates[SAMPLE][""].unit_bytes == pytest.approx(7500, rel=0.1)  # the folders' JSON besides
    assert rates[SCORE][""].unit_s == 0.01
    assert rates[SCORE][""].seconds(300) == 3


def test_nothing_is_finished_where_there_is_no_folder(tmp_path):
    assert finished([Job(SAMPLE, "", {"num": 1})], Ledger(tmp_path / "none")) == {}
    assert not (tmp_path / "none").exists()
