from __future__ import annotations

import threading

import numpy as np
from PIL import Image

from labelgan.gan.recorder import Recorder


def test_errors_of_tensorboards_thread_are_printed_once(tmp_path, monkeypatch):
    """Its thread's errors are raised again in the thread that trains: to print them as well is once too much."""
    printed = []
    monkeypatch.setattr(threading, "excepthook", printed.append)
    before = threading.excepthook
    recorder = Recorder(tmp_path, batch_size=4)
    recorder.open(0)
    for error in (OSError(28, "No space left on device"), KeyError("another")):
        threading.excepthook(threading.ExceptHookArgs((type(error), error, None, None)))
    recorder.close(complete=True)
    assert [failure.exc_type for failure in printed] == [KeyError]
    assert threading.excepthook == before


def test_pictures_and_tensorboard(tmp_path):
    recorder = Recorder(tmp_path, batch_size=1)
    recorder.open(0)
    images = np.random.default_rng(0).normal(size=(3, 2, 8, 8)).astype(np.float32)
    recorder.picture(12, images, images[:, 0] > 1)
    recorder.add({"critic_loss": 0.25})
    recorder.write(12)
    recorder.close(complete=True)
    with Image.open(tmp_path / "samples" / "step-00000012.png") as picture:
        assert picture.mode == "RGB"

    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(event.step, event.value) for event in events.Scalars("critic_loss")] == [(12, 0.25)]
    assert [event.step for event in events.Images("samples")] == [12]
