"""Jobs that take no time, and ways for them to go wrong: for tests of ledger, scheduler and engines."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from labelgan.core.errors import LeakError
from labelgan.core.interrupts import Interrupts
from labelgan.study.engine.ledger import Job
from labelgan.study.engine.worker import Context

ENVIRONMENT = ("OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES")


def toy(how: str, name: str = "", gpus: int = 0, **inputs: Job) -> Job:
    """A job whose runner is the function ``how`` of this module."""
    return Job("toy " + how.replace("_", " "), f"{how} {name}", {"name": name}, inputs, f"toy_jobs:{how}", gpus)


def number(value: float, gpus: int = 0, **inputs: Job) -> Job:
    """A job whose result's ``value`` is the given one plus its inputs'."""
    return Job("toy add", f"add {value}", {"value": value}, inputs, "toy_jobs:add", gpus)


def add(context: Context) -> dict[str, Any]:
    return {"value": context.params["value"] + sum(result["value"] for result in context.results.values())}


def slow_add(context: Context) -> dict[str, Any]:
    time.sleep(context.params["seconds"])
    return {**add(context), "pid": os.getpid()}


def environment(context: Context) -> dict[str, Any]:
    time.sleep(0.05)
    return {"pid": os.getpid(), **{name: os.environ.get(name) for name in ENVIRONMENT}}


def speak(context: Context) -> dict[str, Any]:
    print("from python")
    print("from python, as an error", file=sys.stderr)
    os.write(1, b"from a descriptor\n")
    subprocess.run(["echo", "from a child"], check=True)
    return {"tty": sys.stderr.isatty()}


def fault(context: Context) -> dict[str, Any]:
    raise ValueError("three channels\n  were expected")


def leak(context: Context) -> dict[str, Any]:
    raise LeakError("fold-03", "patient P1 is held out")


def leave(context: Context) -> dict[str, Any]:
    sys.exit(5)


def not_json(context: Context) -> dict[str, Any]:
    return {"path": Path()}


def die(context: Context) -> dict[str, Any]:
    os.kill(os.getpid(), signal.SIGKILL)
    return {}


def die_once(context: Context) -> dict[str, Any]:
    """Counts its attempts in its folder, as a training's checkpoint would; the first is killed."""
    tries = context.folder / "tries.txt"
    with tries.open("a") as stream:
        stream.write("x")
    if tries.stat().st_size == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return {"tries": tries.stat().st_size}


def train(context: Context) -> dict[str, Any]:
    """Steps of 10 ms without end until it is told to stop; it saves how far it came, and ends soon after from there."""
    saved = context.folder / "step.txt"
    resumed = saved.is_file()
    first = int(saved.read_text()) if resumed else 0
    with Interrupts() as interrupts:
        for step in range(first, first + (10 if resumed else 100_000)):
            (context.folder / "running.txt").write_text(str(os.getpid()))
            if interrupts.wanted:
                saved.write_text(str(step))
                raise KeyboardInterrupt
            time.sleep(0.01)
    return {"first": first}


def deaf(context: Context) -> dict[str, Any]:
    """Hears no wish to stop."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    (context.folder / "running.txt").write_text(str(os.getpid()))
    time.sleep(context.params["seconds"])
    return {}


def add_slowly(context: Context) -> dict[str, Any]:
    """As `add`, after a while in which it says which process it is in."""
    (context.folder / "running.txt").write_text(str(os.getpid()))
    time.sleep(context.params["seconds"])
    return add(context)
