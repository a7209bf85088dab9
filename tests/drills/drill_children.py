"""What drills run in processes of their own, which may then be killed, starved or stopped.

They are forked from a server that has imported everything already, so that a moment drawn at random falls into the work
and not into the imports before it. Only that server imports this module's heavy parts.
"""

from __future__ import annotations

import itertools
import multiprocessing
import multiprocessing.process
import os
import resource
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

HEAVY = (
    "torch",
    "torch.utils.tensorboard.writer",
    "labelgan.api.study",
    "labelgan.audit.run",
    "labelgan.cli.app",
    "labelgan.data.prepare.cohort",
    "labelgan.gan.sample",
    "labelgan.gan.train",
    "labelgan.report.study",
    "labelgan.seg.predict",
    "labelgan.seg.train",
    "labelgan.study.run",
    "labelgan.cli.tables",
)
Child: TypeAlias = multiprocessing.process.BaseProcess


def begin(task: Callable[..., int], *arguments: Any, log: Path, limits: dict[int, int] | None = None) -> Child:
    """Starts ``task(*arguments)`` in a process of its own; its return value is the exit code.

    Args:
        task: a function of this module, found by name in the process.
        arguments: its own.
        log: what it prints is appended here, descriptors 1 and 2 included.
        limits: `resource` limit to value, set before the task begins.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["drill_children", *HEAVY])
    process = context.Process(target=_run, args=(task, arguments, str(log), limits or {}))
    process.start()
    return process


def _run(task: Callable[..., int], arguments: tuple[Any, ...], log: str, limits: dict[int, int]) -> None:
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    sys.stdout, sys.stderr = (os.fdopen(os.dup(descriptor), "w", buffering=1) for _ in range(2))
    for number, value in limits.items():
        resource.setrlimit(number, (value, resource.getrlimit(number)[1]))
    sys.exit(task(*arguments))


def nothing() -> int:
    """Ends at once: where the server that forks has yet to import everything, it has done so then."""
    return 0


def command(arguments: list[str]) -> int:
    """Runs ``labelgan ARGUMENTS``."""
    from labelgan.cli.app import run_command

    return run_command(arguments)


def inline_study(settings: str, data: str, out: str) -> int:
    """Runs a study whose jobs are done in this very process, so that a kill meets them; gives its exit code."""
    from labelgan.config.study import StudyConfig
    from labelgan.study.engine.engines import InlineEngine
    from labelgan.study.run import StudySources, run_study

    config = StudyConfig.from_toml(Path(settings))
    result = run_study(config, StudySources(Path(data)), Path(out), engine=lambda _: InlineEngine(), device="cpu")
    return 0 if result.run.complete else 1


def with_a_jumping_clock(hours: float, arguments: list[str]) -> int:
    """Runs ``labelgan ARGUMENTS`` while the clock is ``hours`` further, or further back, at every look at it.

    The clock that only counts on is left alone, as a jump leaves it. Workers of a study have clocks of their own.
    """
    import time

    plain, looks = time.time, itertools.count()

    def jumping() -> float:
        return plain() + 3600 * hours * next(looks)

    time.time = jumping
    time.time_ns = lambda: int(1e9 * jumping())
    return command(arguments)
