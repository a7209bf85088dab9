"""Runs one job folder, in a process that engines start: by itself, or one job after the other.

``python -m labelgan.study.engine.worker JOBFOLDER`` runs one by hand; it exits with 0 when the job is done.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import json
import os
import platform
import queue
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from labelgan.core.errors import EXIT_DONE, EXIT_INTERRUPTED, EXIT_PROBLEMS, EXIT_USAGE, DataError, LabelganError
from labelgan.core.output import accept_any_encoding
from labelgan.core.provenance import provenance
from labelgan.study.engine.ledger import JobFolder, job_lock

ALIVE_EVERY_S = 2.0
LOCK_WAIT_S = 60.0  # a worker that was lost may need this long to let go of its folder
INTERRUPTED = "interrupted"


@dataclass(frozen=True)
class Context:
    """Arguments of a runner.

    Args:
        kind: the job's kind.
        params: its parameters, as JSON gives them back.
        inputs: folders of the jobs that it reads, by name.
        folder: its own folder; what lies there from a killed attempt is still there.
        results: what the runners of those jobs returned, by the same names.
    """

    kind: str
    params: dict[str, Any]
    inputs: dict[str, Path]
    folder: Path
    results: dict[str, dict[str, Any]]


Runner = Callable[[Context], dict[str, Any]]


@functools.cache
def _made_with() -> dict[str, str]:
    return provenance()


def find_runner(name: str) -> Runner:
    """Gives the function that ``module:function`` names; raises DataError where there is none."""
    module, _, function = name.partition(":")
    try:
        return getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise DataError(name, f"cannot be found: {error}") from None


def context_of(folder: Path, job: dict[str, Any]) -> Context:
    """Puts together what the runner is given; raises DataError where a job that it reads is not done."""
    inputs = {name: folder.parent / key for name, key in job["inputs"].items()}
    results = {}
    for name, path in inputs.items():
        done = JobFolder(path).read_done()
        if done is None:
            raise DataError(path, f"is not done, and {job['label']} reads it")
        results[name] = done["result"]
    return Context(job["kind"], job["params"], inputs, folder, results)


def run_folder(folder: Path, lock_wait_s: float = LOCK_WAIT_S) -> int:
    """Runs the job of a folder in this process; what it prints goes to ``log.txt``, descriptors 1 and 2 included.

    It ends with ``done.json`` or ``failed.json``, unless it is interrupted. A job that is done is not run again.

    Returns:
        0, or the exit code of what went wrong.

    Raises:
        DataError: there is no such job here, or another process still runs it after ``lock_wait_s`` seconds.
        KeyboardInterrupt: the runner was interrupted.
    """
    at = JobFolder(folder)
    job = at.read_job()
    with _patient_lock(folder, lock_wait_s):
        with contextlib.suppress(DataError):
            if at.read_done() is not None:
                return EXIT_DONE
        with _output_to(at.log):
            now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
            where = f"{platform.node()}, process {os.getpid()}"
            print(f"== {job['label']}: attempt {job.get('attempt', 1)}, {now}, {where}", flush=True)
            started = time.monotonic()
            try:
                result = find_runner(job["runner"])(context_of(folder, job))
                at.write_done(round(time.monotonic() - started, 3), result, _made_with())
            except LabelganError as error:
                return _failed(at, str(error), error.exit_code)
            except KeyboardInterrupt:
                print("== interrupted", flush=True)
                raise
            except MemoryError as error:
                traceback.print_exc()
                return _failed(at, f"out of memory: {str(error) or 'the machine gave no more'}"[:500])
            except BaseException as error:
                traceback.print_exc()
                return _failed(at, f"{type(error).__name__}: {error}"[:500])
            print(f"== done in {time.monotonic() - started:.1f} s", flush=True)
            return EXIT_DONE


def _failed(at: JobFolder, reason: str, exit_code: int = EXIT_PROBLEMS) -> int:
    print(f"== failed: {reason}", flush=True)
    at.write_failed(reason, exit_code)
    return exit_code


@contextlib.contextmanager
def _patient_lock(folder: Path, wait_s: float) -> Iterator[None]:
    deadline = time.monotonic() + wait_s
    with contextlib.ExitStack() as stack:
        while True:
            try:
                stack.enter_context(job_lock(folder))
                break
            except DataError:
                if time.monotonic() >= deadline:
                    raise
                time.sleep(0.1)
        yield


@contextlib.contextmanager
def _output_to(log: Path) -> Iterator[None]:
    """Sends everything that this process and its children print to a file, appended."""
    sys.stdout.flush()
    sys.stderr.flush()
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    saved = os.dup(1), os.dup(2)
    try:
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        # Python's own streams too: somebody may have put others in their place.
        with (
            os.fdopen(descriptor, "w", buffering=1, encoding="utf-8", errors="replace") as stream,
            contextlib.redirect_stdout(stream),
            contextlib.redirect_stderr(stream),
        ):
            yield
    finally:
        os.dup2(saved[0], 1)
        os.dup2(saved[1], 2)
        for number in saved:
            os.close(number)


# The long-lived worker of the local engine: job folders come in as lines on one pipe, replies go out on another, and
# between them signs of life.


def serve(commands: int, replies: int, grace_s: float) -> None:
    """Runs one job folder after the other until ``commands`` ends, which it does when the engine's process dies.

    A job that is running then gets a SIGTERM, so that a training saves its state, and ``grace_s`` seconds.
    """
    for number in (commands, replies):
        os.set_inheritable(number, False)  # a job's own children must not keep the pipes open
    folders: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(commands, folders, grace_s), daemon=True).start()
    answering = threading.Lock()
    with os.fdopen(replies, "w", encoding="utf-8") as answer:

        def say(value: dict[str, str | None]) -> None:
            with answering:
                print(json.dumps(value), file=answer, flush=True)

        threading.Thread(target=_live, args=(say,), daemon=True).start()
        while (folder := folders.get()) is not None:
            lost = None
            try:
                run_folder(Path(folder))
            except KeyboardInterrupt:
                lost = INTERRUPTED
            except Exception as error:
                lost = str(error)
            say({"folder": folder, "lost": lost})


def _live(say: Callable[[dict[str, str | None]], None]) -> None:
    """Gives signs of life: they end where the process is stopped, or hangs in code that lets no other thread run."""
    with contextlib.suppress(OSError, ValueError):  # the pipe is closed: the engine is gone, or this process ends
        while True:
            say({})
            time.sleep(ALIVE_EVERY_S)


def _listen(commands: int, folders: queue.SimpleQueue[str | None], grace_s: float) -> None:
    with os.fdopen(commands, encoding="utf-8") as lines:
        for line in lines:
            folders.put(json.loads(line))
    folders.put(None)
    # With nothing to do, the main thread ends the process now.
    time.sleep(0.2)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(grace_s)
    os._exit(EXIT_INTERRUPTED)


def main(arguments: list[str]) -> int:
    """Runs one job folder, or serves: ``--serve COMMANDS REPLIES GRACE`` with the numbers of two open pipes."""
    accept_any_encoding()
    if len(arguments) == 4 and arguments[0] == "--serve":
        with contextlib.suppress(KeyboardInterrupt, BrokenPipeError):
            serve(int(arguments[1]), int(arguments[2]), float(arguments[3]))
        return EXIT_DONE
    if len(arguments) != 1 or arguments[0].startswith("-"):
        print("usage: python -m labelgan.study.engine.worker JOBFOLDER", file=sys.stderr)
        return EXIT_USAGE
    try:
        return run_folder(Path(arguments[0]).resolve())
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except LabelganError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
