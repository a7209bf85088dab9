"""The local engine: worker processes on this machine, one job each, one GPU each where jobs want one."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from labelgan.config.study import EngineConfig
from labelgan.study.engine.base import Ended, EngineBase
from labelgan.study.engine.ledger import Job

_LOOK_EVERY_S = 1.0  # at processes, besides their pipes: a child of a dead worker may hold a pipe open
_LEAVE_S = 5.0  # in which a worker with nothing to do ends by itself


def cores() -> int:
    """Number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def visible_gpus(limit: int | None = None) -> tuple[str, ...]:
    """Names of this machine's GPUs as ``CUDA_VISIBLE_DEVICES`` takes them, the first ``limit``."""
    if limit == 0:
        return ()
    listed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if listed is not None:
        names = [name.strip() for name in listed.split(",") if name.strip() not in ("", "-1")]
    else:
        import torch

        names = [str(index) for index in range(torch.cuda.device_count())]
    return tuple(names[:limit])


def how_it_ended(code: int) -> str:
    """Gives a worker's end in words, from its return code as `subprocess` has it."""
    if code >= 0:
        return f"its worker ended with exit code {code}"
    with contextlib.suppress(ValueError):
        name = signal.Signals(-code).name
        return f"its worker was killed by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")
    return f"its worker was killed by signal {-code}"


@dataclass(eq=False)
class _Worker:
    """A process that `labelgan.study.engine.worker.serve` runs in.

    ``key`` is the job that it is at, if any, since ``began``; it was ``heard`` last then, both monotonic seconds.
    """

    process: subprocess.Popen[bytes]
    commands: int
    replies: int
    devices: tuple[str, ...]
    key: str | None = None
    began: float = 0.0
    heard: float = 0.0
    unread: bytes = field(default=b"")

    @classmethod
    def start(cls, devices: tuple[str, ...], threads: int | None, grace_s: float) -> _Worker:
        environment = dict(os.environ, CUDA_VISIBLE_DEVICES=",".join(devices))
        if threads is not None:
            environment |= dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(threads))
        their_commands, commands = os.pipe()
        replies, their_replies = os.pipe()
        arguments = ["--serve", str(their_commands), str(their_replies), str(grace_s)]
        # A program of its own, not a fork: torch's threads do not survive forks. A session of its own, so that a
        # terminal's Ctrl-C reaches the study alone, which then ends its workers in order.
        process = subprocess.Popen(
            [sys.executable, "-m", "labelgan.study.engine.worker", *arguments],
            env=environment,
            stdin=subprocess.DEVNULL,
            pass_fds=(their_commands, their_replies),
            start_new_session=True,
        )
        os.close(their_commands)
        os.close(their_replies)
        return cls(process, commands, replies, devices)

    def give(self, key: str, folder: Path) -> None:
        self.key = key
        self.began = self.heard = time.monotonic()
        with contextlib.suppress(BrokenPipeError):  # it is dead, which the next wait finds out
            os.write(self.commands, json.dumps(str(folder)).encode() + b"\n")

    def read(self) -> list[dict[str, str | None]] | None:
        """Gives the replies that are there, signs of life left out, or None at the end of the pipe."""
        block = os.read(self.replies, 65536)
        if not block:
            return None
        self.heard = time.monotonic()
        *lines, self.unread = (self.unread + block).split(b"\n")
        return [reply for line in lines if (reply := json.loads(line))]

    def dismiss(self) -> None:
        """Tells it to end: at once when it has nothing to do, else after its job has saved its state."""
        if self.commands >= 0:
            os.close(self.commands)
            self.commands = -1

    def reap(self, wait_s: float) -> int:
        """Waits for its end, kills it and its children after ``wait_s`` seconds; gives its return code."""
        self.dismiss()
        try:
            code = self.process.wait(max(0.0, wait_s))
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            code = self.process.wait()
        os.close(self.replies)
        return code


class LocalEngine(EngineBase):
    """Long-lived worker processes on this machine, started when they are needed.

    Each runs one job at a time. Jobs that ask for GPUs run in workers that see just those, the others in workers
    that see none. A worker that died is replaced.

    Args:
        config: ``workers``, ``threads``, ``gpus``, ``grace_s``, ``silence_s`` and ``job_minutes`` are read. With
            several workers each has one thread unless ``threads`` says otherwise.
    """

    def __init__(self, config: EngineConfig | None = None) -> None:
        self.config = config or EngineConfig()
        self._workers: list[_Worker] = []
        self._selector = selectors.DefaultSelector()

    @functools.cached_property
    def gpus(self) -> tuple[str, ...]:
        """GPUs that jobs are given."""
        return visible_gpus(self.config.gpus)

    @functools.cached_property
    def slots(self) -> int:
        """Number of jobs that run at a time."""
        return self.config.workers or len(self.gpus) or max(1, cores() // (self.config.threads or 1))

    @property
    def _threads(self) -> int | None:
        return self.config.threads or (1 if self.slots > 1 else None)

    def _busy(self) -> list[_Worker]:
        return [worker for worker in self._workers if worker.key is not None]

    def _free_gpus(self, busy: Collection[_Worker]) -> list[str]:
        taken = {name for worker in busy for name in worker.devices}
        return [name for name in self.gpus if name not in taken]

    def room(self, gpus: int) -> int:
        """As `labelgan.study.engine.engines.Engine.room`."""
        busy = self._busy()
        room = self.slots - len(busy)
        return min(room, len(self._free_gpus(busy)) // gpus) if gpus else room

    def submit(self, job: Job, folder: Path) -> None:
        """As `labelgan.study.engine.engines.Engine.submit`."""
        free = self._free_gpus(self._busy()) if job.gpus else []
        idle = [worker for worker in self._workers if worker.key is None]
        for worker in idle:
            if len(worker.devices) == job.gpus and set(worker.devices) <= set(free):
                break
        else:
            devices = tuple(free[: job.gpus])
            for other in idle:
                if set(other.devices) & set(devices):  # idle, but it still holds memory there
                    self._remove(other, _LEAVE_S)
            worker = _Worker.start(devices, self._threads, self.config.grace_s)
            self._workers.append(worker)
            self._selector.register(worker.replies, selectors.EVENT_READ, worker)
        worker.give(job.key, folder.resolve())

    def wait(self) -> list[Ended]:
        """As `labelgan.study.engine.engines.Engine.wait`."""
        while True:
            ended = []
            for selected, _ in self._selector.select(_LOOK_EVERY_S):
                ended += self._hear(selected.data)
            for worker in list(self._workers):
                if worker.process.poll() is not None:
                    ended += self._hear(worker)
            ended += [end for worker in self._busy() if (end := self._give_up(worker)) is not None]
            if ended:
                return ended

    def _hear(self, worker: _Worker) -> list[Ended]:
        if worker not in self._workers:
            return []
        dead = worker.process.poll() is not None
        replies = worker.read() if not dead or self._readable(worker) else None
        if replies is not None:
            ended = [Ended(worker.key, reply["lost"]) for reply in replies if worker.key is not None]
            if ended:
                worker.key = None
            return ended
        key = worker.key
        code = self._remove(worker, _LEAVE_S)
        return [Ended(key, how_it_ended(code))] if key is not None else []

    def _give_up(self, worker: _Worker) -> Ended | None:
        """Ends a worker that is silent, or at its job, for too long; gives its job as lost."""
        key, now = worker.key, time.monotonic()
        silence_s, job_minutes = self.config.silence_s, self.config.job_minutes
        if key is not None and silence_s is not None and now - worker.heard > silence_s:
            self._remove(worker, 0.0)
            return Ended(key, f"its worker gave no sign of life for {silence_s:g} s: it was stopped, or hung")
        if key is not None and job_minutes is not None and now - worker.began > 60 * job_minutes:
            self._remove(worker, self.config.grace_s)
            return Ended(key, f"took longer than the engine's job_minutes, {job_minutes:g}")
        return None

    def _readable(self, worker: _Worker) -> bool:
        return any(selected.data is worker for selected, _ in self._selector.select(0))

    def _remove(self, worker: _Worker, wait_s: float) -> int:
        self._workers.remove(worker)
        self._selector.unregister(worker.replies)
        return worker.reap(wait_s)

    def close(self, *, now: bool = False) -> None:
        """As `Engine.close`; running jobs have ``grace_s`` seconds, a second Ctrl-C none."""
        for worker in self._workers:
            worker.dismiss()
        saving = any(worker.key is not None for worker in self._workers)
        deadline = time.monotonic() + (self.config.grace_s if saving else _LEAVE_S)
        try:
            while self._workers:
                self._remove(self._workers[-1], deadline - time.monotonic())
        finally:
            while self._workers:
                self._remove(self._workers[-1], 0.0)
            self._selector.close()
