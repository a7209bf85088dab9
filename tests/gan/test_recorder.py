from __future__ import annotations

import csv
import json
import math
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from labelgan.gan.recorder import COLUMNS, Recorder


def read(run: Path) -> list[dict[str, str]]:
    with (run / "metrics.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def record(run: Path, steps: range, start: int, every: int = 2, seconds_a_step: float = 0.5) -> None:
    recorder = Recorder(run, start, batch_size=4)
    for done, step in enumerate(steps, 1):
        recorder.add({"critic_loss": float(step), "generator_loss": 1.0})
        if step % every == 0:
            recorder.log(step, done * seconds_a_step)
    recorder.close()


def test_rows_are_means_since_the_last_one(tmp_path):
    record(tmp_path, range(1, 7), 0)
    rows = read(tmp_path)
    assert tuple(rows[0]) == COLUMNS
    assert [row["step"] for row in rows] == ["2", "4", "6"]
    assert [float(row["critic_loss"]) for row in rows] == [1.5, 3.5, 5.5]
    assert [float(row["seconds"]) for row in rows] == [1.0, 2.0, 3.0]
    # 2 steps of 4 images in one second
    assert [float(row["images_per_second"]) for row in rows] == [8.0, 8.0, 8.0]
    assert [row["penalty"] for row in rows] == ["", "", ""]


def test_a_row_that_a_kill_cut_in_two_has_the_same_means(tmp_path):
    """A checkpoint keeps the figures since the last row, to the last bit."""
    odd = [1 / 3, 1e-300, float("inf"), 2**0.5]
    first = Recorder(tmp_path, 0, batch_size=4)
    for value in odd[:2]:
        first.add({"critic_loss": value})
    kept = json.loads(json.dumps(first.unwritten, allow_nan=False))
    first.close()
    second = Recorder(tmp_path, 2, batch_size=4, unwritten=kept)
    assert second.unwritten == {"critic_loss": [value.hex() for value in odd[:2]]}
    second.add({"critic_loss": odd[3]})
    assert second.log(3, 1.0)["critic_loss"] == math.fsum([odd[0], odd[1], odd[3]]) / 3
    second.close()


def test_what_tensorboards_thread_cannot_write_is_told_once(tmp_path, monkeypatch):
    """Its thread's errors are raised again in the thread that trains: to print them as well is once too much."""
    printed = []
    monkeypatch.setattr(threading, "excepthook", printed.append)
    before = threading.excepthook
    recorder = Recorder(tmp_path, 0, batch_size=4)
    for error in (OSError(28, "No space left on device"), KeyError("another")):
        threading.excepthook(threading.ExceptHookArgs((type(error), error, None, None)))
    recorder.close()
    assert [failure.exc_type for failure in printed] == [KeyError]
    assert threading.excepthook == before


def test_a_resumed_run_drops_what_came_after_its_checkpoint_and_its_clock_goes_on(tmp_path):
    record(tmp_path, range(1, 9), 0)
    record(tmp_path, range(5, 9), 4)
    rows = read(tmp_path)
    assert [row["step"] for row in rows] == ["2", "4", "6", "8"]
    assert [float(row["seconds"]) for row in rows] == [1.0, 2.0, 3.0, 4.0]


@pytest.mark.parametrize("tail", ["6,3.0", "6,3.00,8.0,1", "x,3.00" + "," * 11, "6"])
def test_half_a_row_of_a_killed_process_is_dropped(tmp_path, tail):
    record(tmp_path, range(1, 5), 0)
    with (tmp_path / "metrics.csv").open("a") as stream:
        stream.write(tail)
    record(tmp_path, range(9, 11), 8)
    assert [row["step"] for row in read(tmp_path)] == ["2", "4", "10"]


def test_figures_that_come_seldom_are_means_of_those_that_came(tmp_path):
    recorder = Recorder(tmp_path, 0, batch_size=1)
    recorder.add({"critic_loss": 1.0, "r1": 8.0})
    recorder.add({"critic_loss": 3.0})
    means = recorder.log(2, 1.0)
    recorder.close()
    assert means == {"critic_loss": 2.0, "r1": 8.0}


def test_pictures_and_tensorboard(tmp_path):
    recorder = Recorder(tmp_path, 0, batch_size=1)
    images = np.random.default_rng(0).normal(size=(3, 2, 8, 8)).astype(np.float32)
    recorder.picture(12, images, images[:, 0] > 1)
    recorder.add({"critic_loss": 0.25})
    recorder.log(12, 1.0)
    recorder.close()
    with Image.open(tmp_path / "samples" / "step-00000012.png") as picture:
        assert picture.mode == "RGB"

    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(event.step, event.value) for event in events.Scalars("critic_loss")] == [(12, 0.25)]
    assert [event.step for event in events.Images("samples")] == [12]
