"""Tests of `regression`: what counts as worse, what is measured twice, what is flagged."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.speed import regression
from bench.speed.measure import BASELINE, Figure, median_ratio, single
from bench.speed.regression import as_text, best_of, check, committed_table, compare, worsening


def figure(name: str, value: float, better: str = "lower", **changes: object) -> Figure:
    return Figure(**{"name": name, "against": "b", "ratio": single(value), "better": better, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("better", "was", "now", "verdict"),
    [
        ("lower", 1.0, 1.19, "as before"),
        ("lower", 1.0, 1.21, "worse"),
        ("lower", 1.21, 1.0, "as before"),
        ("lower", 1.3, 1.0, "better"),
        ("higher", 24.0, 20.1, "as before"),
        ("higher", 24.0, 19.9, "worse"),
        ("higher", 20.0, 30.0, "better"),
    ],
)
def test_more_than_a_fifth_worse_is_worse_in_either_direction(better, was, now, verdict) -> None:
    (row,) = compare([figure("a", was, better)], [figure("a", now, better)])
    assert (row.verdict, row.before, row.now) == (verdict, was, now)


@given(st.floats(0.01, 100), st.floats(0.01, 100))
def test_higher_and_lower_mirror_each_other(was: float, now: float) -> None:
    down = worsening(figure("a", was), figure("a", now))
    up = worsening(figure("a", 1 / was, "higher"), figure("a", 1 / now, "higher"))
    assert down == pytest.approx(up, rel=1e-9, abs=1e-12)
    assert (down > 0) == (now > was)


def test_a_small_share_may_double_within_its_slack() -> None:
    before = figure("waiting", 0.01, slack=0.02)
    assert compare([before], [figure("waiting", 0.025)])[0].verdict == "as before"
    assert compare([before], [figure("waiting", 0.04)])[0].verdict == "worse"


def test_a_share_of_nothing_that_becomes_something_is_worse() -> None:
    assert compare([figure("a", 0.0)], [figure("a", 0.1)])[0].verdict == "worse"
    assert compare([figure("a", 0.0)], [figure("a", 0.0)])[0].verdict == "as before"


def test_what_is_no_longer_measured_is_missing_unless_the_short_run_leaves_it_out() -> None:
    before = [figure("a", 1.0), figure("long", 1.0, short=False), figure("seconds", 1.0, unit="s")]
    rows = compare(before, [figure("b", 3.0), figure("seconds", 9.0, unit="s")])
    assert [(row.name, row.verdict) for row in rows] == [("a", "missing"), ("b", "new")]


def test_the_better_of_two_measurements_counts() -> None:
    first = [figure("low", 1.0), figure("high", 1.0, "higher"), figure("only first", 5.0)]
    second = [figure("low", 2.0), figure("high", 2.0, "higher"), figure("only second", 6.0)]
    chosen = {each.name: each.ratio.value for each in best_of(first, second)}
    assert chosen == {"low": 1.0, "high": 2.0, "only first": 5.0, "only second": 6.0}


def test_only_what_is_worse_twice_is_flagged() -> None:
    table = {"calm": [figure("a", 1.0)], "noisy": [figure("b", 1.0)], "slower": [figure("c", 1.0)]}
    answers = {"calm": [1.0], "noisy": [1.9, 1.1], "slower": [1.5, 1.4]}
    asked: list[str] = []

    def measure(name: str) -> list[Figure]:
        asked.append(name)
        return [figure(table[name][0].name, answers[name][asked.count(name) - 1])]

    found = check(table, measure)
    assert {name: rows[0].verdict for name, rows in found.items()} == {
        "calm": "as before",
        "noisy": "as before",
        "slower": "worse",
    }
    assert asked == ["calm", "noisy", "noisy", "slower", "slower"]
    assert found["slower"][0].worse == pytest.approx(0.4)
    assert "| slower | c | 1 | 1.4 | +40% | **worse** |" in as_text(found)


def test_a_slowed_call_is_found_whatever_the_load() -> None:
    """The whole way, on planted times: the load swings tenfold, and the call becomes a quarter slower."""
    load = [1.0, 4.0, 9.0, 2.0, 10.0, 1.5, 3.0]
    before = figure("a", 0)
    was = Figure("a", "b", median_ratio([1.04 * k for k in load], load), "lower")
    now = Figure("a", "b", median_ratio([1.30 * k for k in reversed(load)], load[::-1]), "lower")
    assert before.better == was.better
    assert compare([was], [now])[0].verdict == "worse"
    assert compare([was], [was])[0].verdict == "as before"


def test_a_bench_that_fails_is_flagged() -> None:
    found = check({"gone": [figure("a", 1.0)]}, lambda name: [])
    assert [row.verdict for row in found["gone"]] == ["missing"]


def test_what_takes_too_long_is_passed_over() -> None:
    table = {"long": [figure("a", 1.0, short=False), figure("b", 1.0, unit="s")]}
    assert check(table, lambda name: pytest.fail("was measured")) == {}


def run_main(monkeypatch: pytest.MonkeyPatch, now: float, *options: str) -> int:
    monkeypatch.setattr(regression, "committed_table", lambda: {"metrics": [figure("a", 1.0)], "other": []})
    monkeypatch.setattr(regression, "run_bench", lambda name, folder, options: [figure("a", now)])
    monkeypatch.setattr("sys.argv", ["regression.py", *options])
    return regression.main()


def test_the_exit_code_tells(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_main(monkeypatch, 1.1) == 0
    assert "0 flagged" in capsys.readouterr().out
    assert run_main(monkeypatch, 1.3) == 1
    assert "1 flagged\n  metrics: a" in capsys.readouterr().out
    assert run_main(monkeypatch, 1.3, "--tolerance", "0.5") == 0
    assert run_main(monkeypatch, 1.0, "--only", "store-reading") == 2


def test_the_table_is_the_one_of_the_last_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def git(*words: str) -> None:
        subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b", *words], cwd=tmp_path, check=True)

    def entry(value: float) -> str:
        ratio = {"value": value, "low": value, "high": value, "pairs": 1}
        told = {"name": "a", "against": "b", "ratio": ratio, "better": "lower"}
        return json.dumps({"metrics": {"load": [0, 0], "figures": [told]}})

    table = tmp_path / "bench" / "speed" / "baseline.json"
    table.parent.mkdir(parents=True)
    monkeypatch.setattr(regression, "ROOT", tmp_path)
    monkeypatch.setattr(regression, "BASELINE", table)
    assert committed_table() == {}
    table.write_text(entry(1.0))
    assert committed_table()["metrics"][0].ratio.value == 1.0  # no repository: the file
    git("init", "--quiet")
    git("add", ".")
    git("commit", "--quiet", "--message", "a table")
    table.write_text(entry(2.0))
    assert committed_table()["metrics"][0].ratio.value == 1.0  # what was measured since is not committed


@pytest.mark.skipif(not BASELINE.is_file(), reason="no table yet")
def test_the_committed_table_reads_and_compares_with_itself() -> None:
    table = {name: [Figure.from_json(each) for each in entry["figures"]] for name, entry in _entries().items()}
    assert set(table) <= set(regression.SCRIPTS)
    for figures in table.values():
        assert all(row.verdict == "as before" for row in compare(figures, figures))


def _entries() -> dict:
    return json.loads(BASELINE.read_text(encoding="utf-8"))
