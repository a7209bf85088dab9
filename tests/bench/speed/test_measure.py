"""Tests of `measure`: the statistics of ratios, taking turns, and what is written."""

from __future__ import annotations

from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from statistics import median

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.speed import measure
from bench.speed.measure import (
    Bench,
    Figure,
    Turns,
    as_table,
    in_rounds,
    median_interval,
    median_ratio,
    read_baseline,
    single,
    stopwatch,
    take_turns,
    target_text,
    write,
)
from labelgan.core.rng import generator_for


class Clock:
    """Seconds that stand still but for `spend`."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def spend(self, seconds: float) -> None:
        self.now += seconds


def figure(name: str = "a", value: float = 2.0, **changes: object) -> Figure:
    return Figure(**{"name": name, "against": "b", "ratio": single(value), "better": "higher", **changes})  # type: ignore[arg-type]


def test_the_ratio_is_the_median_of_pairs_and_not_the_ratio_of_medians() -> None:
    slow, fast = [2.0, 40.0, 9.0], [1.0, 10.0, 3.0]  # pairs 2, 4, 3; medians 9 over 3
    assert median_ratio(slow, fast).value == 3.0
    slow, fast = [10.0, 1.0, 4.0], [1.0, 5.0, 4.0]  # pairs 10, 0.2, 1; medians 4 over 4
    assert median_ratio([*slow, 8.0, 8.0], [*fast, 2.0, 2.0]).value == 4.0


def test_what_slows_both_alike_leaves_the_ratio() -> None:
    load = [1.0, 7.0, 2.0, 1.5, 30.0, 1.0, 1.1]
    ratio = median_ratio([3.0 * k for k in load], load)
    assert (ratio.value, ratio.low, ratio.high) == pytest.approx((3.0, 3.0, 3.0))
    assert ratio.pairs == len(load)


# Conover, Practical Nonparametric Statistics: places of the 95 % interval of a median, counted from 1.
@pytest.mark.parametrize(("count", "place"), [(1, 1), (5, 1), (6, 1), (8, 1), (9, 2), (12, 3), (20, 6), (25, 8)])
def test_the_interval_of_the_median_has_the_places_of_the_sign_test(count: int, place: int) -> None:
    values = [float(value) for value in range(1, count + 1)]
    assert median_interval(values[::-1]) == (place, count + 1 - place)


def test_the_interval_holds_the_true_median_as_often_as_it_says() -> None:
    rng = generator_for(0, "coverage")
    draws = rng.lognormal(size=(2000, 11))  # its median is 1
    held = [low <= 1 <= high for low, high in (median_interval(list(row)) for row in draws)]
    assert 0.95 <= sum(held) / len(held) <= 0.995  # 98.8 % exactly, for eleven values


@given(st.lists(st.floats(0.01, 100), min_size=1, max_size=40))
def test_the_interval_holds_the_median_of_its_values(values: list[float]) -> None:
    low, high = median_interval(values)
    assert min(values) <= low <= median(values) <= high <= max(values)


def test_calls_take_turns_in_changing_order_after_a_round_that_does_not_count() -> None:
    clock, order = Clock(), []

    def call(name: str, seconds: float):
        def run() -> None:
            order.append(name)
            clock.spend(seconds if len(order) > 2 else 50.0)

        return run

    times = take_turns([call("a", 1.0), call("b", 3.0)], 3, clock)
    assert times == [[1.0] * 3, [3.0] * 3]
    assert order[2:] == ["a", "b", "b", "a", "a", "b"]


def test_a_call_may_tell_its_own_seconds() -> None:
    assert take_turns([lambda: 0.25, lambda: None], 2, Clock()) == [[0.25, 0.25], [0.0, 0.0]]


def test_a_training_and_its_rivals_are_timed_from_report_to_report() -> None:
    clock, made = Clock(), []

    def rival(index: int) -> None:
        made.append(index)
        clock.spend(10.0)

    turns = Turns([rival, lambda _: 0.5], clock)
    for step in range(4):
        clock.spend(7.0 if step == 0 else 1.0)  # what comes before the first report is set-up
        turns(step + 1, 4, "")
    assert turns.times == [[1.0] * 3, [10.0] * 3, [0.5] * 3]
    assert made == [1, 2, 3]


def test_rounds_are_whole() -> None:
    assert in_rounds([1.0, 2.0, 3.0, 4.0, 5.0], 2) == [3.0, 7.0]
    assert in_rounds([1.0], 2) == []
    assert in_rounds([1.0, 2.0], 1) == [1.0, 2.0]


def test_a_stopwatch_collects_and_puts_back() -> None:
    clock = Clock()

    class Source:
        def batch(self, seconds: float) -> float:
            clock.spend(seconds)
            return seconds * 2

    original = Source.batch
    with stopwatch(Source, "batch", clock) as spent:
        assert Source().batch(3.0) == 6.0
        Source().batch(4.0)
    assert spent == [3.0, 4.0]
    assert Source.batch is original


@pytest.mark.parametrize(
    ("better", "value", "met"), [("higher", 20.0, True), ("higher", 19.9, False), ("lower", 1.05, True)]
)
def test_a_target_is_met_on_its_own_side(better: str, value: float, met: bool) -> None:
    one = figure(value=value, better=better, target=20.0 if better == "higher" else 1.05)
    assert one.met is met
    assert ("missed" in target_text(one)) is not met
    assert figure().met is None
    assert target_text(figure()) == ""


def test_a_written_table_reads_back_and_leaves_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "DOCUMENT", tmp_path / "speed.md")
    monkeypatch.setattr(measure, "BASELINE", tmp_path / "baseline.json")

    def bench(name: str) -> Bench:
        return Bench(name, name.title(), f"python {name}.py", f"About {name}.", lambda short: [])

    second = figure("z", 0.123456, unit="s", slack=0.5, short=False, target=1.0, better="lower")
    write(bench("second"), [figure("x"), second], (0.5, 1.234))
    before = (tmp_path / "speed.md").read_text()
    write(bench("first"), [figure("y")], (2.0, 2.0))
    table = read_baseline(tmp_path / "baseline.json")
    assert list(table) == ["first", "second"]
    assert [Figure.from_json(each) for each in table["second"]["figures"]] == [figure("x"), second]
    assert table["second"]["load"] == [0.5, 1.23]
    page = (tmp_path / "speed.md").read_text()
    assert page.startswith(before)
    assert "| z | b | 0.123 s |  | 1 | ≤ 1.00: met |  |" in page
    assert "0.5 before, 1.2 after" in page


def test_the_table_has_a_row_a_figure_of_as_many_columns() -> None:
    table = as_table([figure("x", 1234.5), figure("y", 0.0)]).splitlines()
    assert len({line.count("|") for line in table}) == 1
    assert "| x | b | 1,234 |" in table[2] or "| x | b | 1,235 |" in table[2]
    assert all(before != after for before, after in pairwise(table))
    assert asdict(figure())["ratio"]["pairs"] == 1
