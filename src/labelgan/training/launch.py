"""Start-up, rendezvous and shutdown of the processes of one training on several devices.

The first process is the one that was asked to train. It alone writes files and reports progress; the others follow it,
and end when it ends, however that happens. The process group is torch.distributed's own: NCCL on GPUs, Gloo on a CPU.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import IO

import torch

from labelgan.core.errors import EXIT_INTERRUPTED, ConfigError, LabelganError, TrainingError
from labelgan.training.device import choose_device
from labelgan.training.team import JointTeam, Team

# Longest wait for a process that has stopped answering. On a CPU one that has died is noticed at once.
PATIENCE = timedelta(minutes=10)
ADDRESS = "127.0.0.1"
GRACE_S = 10.0
COMMAND = "from labelgan.training.launch import serve; serve()"


@contextlib.contextmanager
def gathered(
    devices: int, device: str, batch_size: int, follow: Callable[..., object], *arguments: object
) -> Iterator[Team]:
    """Gives the team of a training in which this process is the first.

    With one device that is this process alone. With more, others are started for as long as the context lasts; each
    runs ``follow(team, *arguments)``, which must make the same steps and write nothing. They end with the context.

    Args:
        devices: how many processes.
        device: ``auto``, ``cuda`` or ``cpu`` (or, for one process, any that `choose_device` takes).
        batch_size: slices of a whole batch.
        follow: a function at the top of a module, given by its name.
        arguments: picklable.

    Raises:
        ConfigError: the batch cannot be shared evenly, or there are too few GPUs.
        TrainingError: another process ended before its time.
    """
    if devices == 1:
        yield Team(choose_device(device))
        return
    accelerator = _accelerator(devices, device, batch_size)
    port = _free_port()
    others: list[_Follower] = []
    try:
        for rank in range(1, devices):
            others.append(_Follower.start((_Seat(rank, devices, port), accelerator, follow, arguments)))
        for other in others:
            other.await_ready()
        with _joined(_Seat(0, devices, port), accelerator) as team:
            yield team
    except RuntimeError as error:  # what a broken connection raises
        dead = _first_dead(others)
        if dead is None:
            raise
        raise TrainingError("train.devices", dead.exit_message()) from error
    finally:
        for other in others:
            other.dismiss()


def _accelerator(devices: int, device: str, batch_size: int) -> str:
    chosen = choose_device(device)
    if batch_size % devices:
        raise ConfigError("train.batch_size", f"{batch_size} slices cannot be shared evenly among {devices} devices")
    if chosen.type not in ("cpu", "cuda") or chosen.index is not None:
        raise ConfigError(f"--device {device}", f"is one device, not the {devices} of train.devices; say cuda or cpu")
    if chosen.type == "cuda" and torch.cuda.device_count() < devices:
        count = torch.cuda.device_count()
        raise ConfigError("train.devices", f"is {devices}, and this machine has {count} GPU{'s' * (count > 1)}")
    if not torch.distributed.is_available():
        raise ConfigError("train.devices", "more than one needs a build of torch that has torch.distributed")
    if torch.distributed.is_initialized():
        raise ConfigError("train.devices", "this process is in a group of torch.distributed already")
    return chosen.type


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((ADDRESS, 0))
        return probe.getsockname()[1]


@dataclass(frozen=True)
class _Seat:
    """The place of one process in its team."""

    rank: int
    size: int
    port: int


@contextlib.contextmanager
def _joined(seat: _Seat, accelerator: str) -> Iterator[Team]:
    """Forms the process group, and leaves the process as it was found."""
    threads, hook = torch.get_num_threads(), sys.excepthook
    device = torch.device(accelerator, seat.rank) if accelerator == "cuda" else torch.device("cpu")
    if device.type == "cuda":
        torch.cuda.set_device(device)
    try:
        torch.distributed.init_process_group(
            "nccl" if device.type == "cuda" else "gloo",
            init_method=f"tcp://{ADDRESS}:{seat.port}",
            rank=seat.rank,
            world_size=seat.size,
            timeout=PATIENCE,
        )
    finally:
        sys.excepthook = hook  # torch's puts its rank before every line, and outlives the group
    if device.type == "cpu":  # they share the cores
        torch.set_num_threads(max(1, threads // seat.size))
    try:
        yield JointTeam(device, seat.rank, seat.size)
    finally:
        torch.set_num_threads(threads)
        torch.distributed.destroy_process_group()


class _Follower:
    """Another process of the team. It lives while the pipe to it is open, and no longer than this process."""

    def __init__(self, number: int, process: subprocess.Popen[bytes], said: IO[bytes]) -> None:
        self.number, self.process, self.said = number, process, said

    @classmethod
    def start(cls, task: tuple[_Seat, str, Callable[..., object], tuple[object, ...]]) -> _Follower:
        said = tempfile.TemporaryFile()  # noqa: SIM115  closed by `dismiss`
        # A program of its own, not a fork: torch's threads do not survive forks. It finds the modules that we find.
        process = subprocess.Popen(
            [sys.executable, "-c", COMMAND],
            env=dict(os.environ, PYTHONPATH=os.pathsep.join(path for path in sys.path if path)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=said,
            start_new_session=True,  # a terminal's Ctrl-C is for the first process, which answers for all
        )
        follower = cls(task[0].rank + 1, process, said)
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it is dead, which `await_ready` finds out
            process.stdin.write(pickle.dumps(task))
            process.stdin.flush()
        return follower

    def await_ready(self) -> None:
        assert self.process.stdout is not None
        if not self.process.stdout.readline():
            self.process.wait()
            raise TrainingError("train.devices", self.exit_message())

    def exit_message(self) -> str:
        self.said.seek(0)
        lines = self.said.read().decode(errors="replace").strip().splitlines()
        return (
            f"process {self.number} ended with code {self.process.wait()}: {lines[-1] if lines else 'it said nothing'}"
        )

    def dismiss(self) -> None:
        """Ends it, whatever it is at: it has nothing to save."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        try:
            self.process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        self.said.close()


def _first_dead(others: list[_Follower]) -> _Follower | None:
    """The process that broke the connection, if it was another; its end may come a moment later."""
    until = time.monotonic() + GRACE_S / 2
    while others and time.monotonic() < until:
        for other in others:
            if other.process.poll() is not None:
                return other
        time.sleep(0.05)
    return None


def serve() -> None:
    """Runs in another process of a team: reads its task from standard input, and does it."""
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print is no reply
    seat, accelerator, follow, arguments = pickle.load(sys.stdin.buffer)
    threading.Thread(target=_end_with, args=(sys.stdin.fileno(),), daemon=True).start()
    try:
        replies.write(b"ready\n")
        replies.close()
        with _joined(seat, accelerator) as team:
            follow(team, *arguments)
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)
    except LabelganError as error:
        sys.exit(str(error))


def _end_with(pipe: int) -> None:
    # Not sys.stdin.read, whose lock an ending interpreter could not take from this thread.
    while os.read(pipe, 1):
        pass
    os._exit(0)
