from __future__ import annotations

import csv
import itertools
import json
import math
from pathlib import Path

import pytest

from labelgan.training.metrics_csv import MetricsCsv

COLUMNS = ("step", "seconds", "images_per_second", "loss", "penalty")


def table_of(folder: Path, step: int | None = 0) -> MetricsCsv:
    table = MetricsCsv(folder / "metrics.csv", COLUMNS, 4, itertools.count(100).__next__)
    if step is not None:
        table.open(step)
    return table


def record(folder: Path, steps: range, start: int = 0) -> None:
    """Four slices a step and a row every two steps, a second from one to the next."""
    table = table_of(folder, start)
    for step in steps:
        table.add({"loss": float(step)})
        if step % 2 == 0:
            table.write(step)


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_rows_are_means_since_the_last_one(tmp_path):
    record(tmp_path, range(1, 7))
    assert (tmp_path / "metrics.csv").read_text() == (
        "step,seconds,images_per_second,loss,penalty\n2,1.00,8.0,1.5,\n4,2.00,8.0,3.5,\n6,3.00,8.0,5.5,\n"
    )


def test_metrics_that_come_seldom_are_means_of_those_that_came(tmp_path):
    table = table_of(tmp_path)
    table.add({"loss": 1.0, "penalty": 8.0})
    table.add({"loss": 3.0})
    assert table.write(2) == {"loss": 2.0, "penalty": 8.0}
    assert table.unwritten == {}


def test_a_resumed_table_drops_what_came_after_its_checkpoint_and_its_clock_goes_on(tmp_path):
    record(tmp_path, range(1, 9))
    record(tmp_path, range(5, 9), start=4)
    rows = rows_of(tmp_path)
    assert [row["step"] for row in rows] == ["2", "4", "6", "8"]
    assert [float(row["seconds"]) for row in rows] == [1.0, 2.0, 3.0, 4.0]


def test_a_row_that_a_kill_cut_in_two_has_the_same_means(tmp_path):
    """A checkpoint keeps the values since the last row, to the last bit."""
    values = [1 / 3, 1e-300, 2**0.5]
    first = table_of(tmp_path)
    for value in values[:2]:
        first.add({"loss": value})
    second = table_of(tmp_path, 2)
    second.unwritten = json.loads(json.dumps(first.unwritten))
    second.add({"loss": values[2]})
    assert second.write(3)["loss"] == math.fsum(values) / 3


@pytest.mark.parametrize(
    "tail", ["6,3.0", "6,3.00,8.0,1.2,0.1", "x,3.00,8.0,1.2,0.1\n", "6\n", "6,3.00,8.0,1,2,5,2.5\n", "\n"]
)
def test_half_a_row_of_a_killed_process_is_dropped(tmp_path, tail):
    record(tmp_path, range(1, 5))
    with (tmp_path / "metrics.csv").open("a") as stream:
        stream.write(tail)
    record(tmp_path, range(9, 11), start=8)
    assert [row["step"] for row in rows_of(tmp_path)] == ["2", "4", "10"]


def test_a_metric_without_a_column_is_an_error(tmp_path):
    table = table_of(tmp_path)
    table.add({"speed": 1.0})
    with pytest.raises(ValueError, match="speed"):
        table.write(1)


def test_a_table_that_was_not_opened_writes_nothing(tmp_path):
    table = table_of(tmp_path, None)
    table.add({"loss": 1.0})
    assert table.write(1) == {"loss": 1.0}
    table.close(complete=True)
    assert list(tmp_path.iterdir()) == []
