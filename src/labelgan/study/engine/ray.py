"""The Ray engine: jobs on a running cluster, or on one that is started here for the study and ends with it."""

from __future__ import annotations

import functools
import logging
import os
import secrets
import socket
import time
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

from labelgan.config.study import EngineConfig
from labelgan.core.errors import ConfigError
from labelgan.study.engine.base import Ended, EngineBase, extra_needed
from labelgan.study.engine.ledger import Job
from labelgan.study.engine.local import cores

_AUTH_SINCE = (2, 52)
_ASK_EVERY_S = 5.0  # what the cluster has
_LOOK_S = 1.0
_KNOCK_S = 5.0


def run_on_node(folder: str, gpus: int) -> str | None:
    """Runs one job folder on a node; None when its folder says how it ended, else why it did not, in one line."""
    from labelgan.study.engine.worker import INTERRUPTED, run_folder

    if not gpus:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # Ray hides them only from tasks that ask for some
    if not Path(folder, "job.json").is_file():
        return f"{folder} is not on {os.uname().nodename}: a Ray study's folder must be on a file system that all share"
    try:
        run_folder(Path(folder))
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:
        return str(error)
    return None


@functools.cache
def _token() -> str:
    return secrets.token_hex(32)  # one for this process, because Ray reads it only once


def guard(version: str, own: bool, environment: dict[str, str]) -> dict[str, str]:
    """Gives the environment variables that keep others out of a cluster, where they are not set already.

    Everything that can reach an unguarded Ray cluster can run code there. Since 2.52 Ray asks for a token
    (``RAY_AUTH_MODE=token``); a cluster of our own gets a random one, a running one has its own, which Ray finds in
    ``RAY_AUTH_TOKEN``, ``RAY_AUTH_TOKEN_PATH`` or ``~/.ray/auth_token``.

    Args:
        version: Ray's.
        own: whether the cluster is started by us.
        environment: what is set.
    """
    wanted = {"RAY_USAGE_STATS_ENABLED": "0"}
    if own:
        wanted["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # whatever the system, "0" binds Ray to the loopback address
    number = tuple(int(part) for part in version.split(".")[:2])
    if own and number >= _AUTH_SINCE:
        wanted |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": _token()}
        if {"RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & environment.keys():
            del wanted["RAY_AUTH_TOKEN"]
    return {name: value for name, value in wanted.items() if name not in environment}


def require_reachable(address: str) -> None:
    """Raises ConfigError where nobody answers at ``HOST:PORT``; Ray itself would wait for minutes."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), _KNOCK_S).close()
    except OSError as error:
        raise ConfigError(f"Ray cluster {address}", f"does not answer: {error}") from None


class RayEngine(EngineBase):
    """Runs each job as a Ray task that asks for its cores and GPUs; the study's folder is what the nodes share.

    Ray's own retries are off: the scheduler tries again what was lost with a worker or a node.

    Args:
        config: ``address``, ``workers`` (jobs at a time; of a cluster started here, its cores), ``threads`` (cores of
            a job) and ``gpus`` (of a cluster started here) are read.

    Raises:
        ConfigError: Ray is not installed, or the cluster cannot be reached.
    """

    def __init__(self, config: EngineConfig | None = None) -> None:
        self.config = config or EngineConfig()
        own = self.config.address is None
        with extra_needed("ray", "ray"):
            found = version("ray")
        if self.config.address is not None:
            require_reachable(self.config.address)
        self._set = guard(found, own, dict(os.environ))
        os.environ.update(self._set)  # before Ray is imported, which reads them then, once for the process
        with extra_needed("ray", "ray"):
            import ray
            import ray.exceptions
        self._ray: Any = ray
        self._threads = self.config.threads or 1
        options: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
        if own:
            slots = (self.config.workers or max(1, cores() // self._threads)) * self._threads
            options |= {
                "address": "local",
                "include_dashboard": False,
                "_node_ip_address": "127.0.0.1",
                "num_cpus": slots,
                "num_gpus": self.config.gpus,
            }
        else:
            options["address"] = self.config.address
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", category=FutureWarning, module="ray")
                warnings.filterwarnings("ignore", category=DeprecationWarning, module="ray")
                ray.init(**options)
        except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
            ray.shutdown()
            self._forget()
            where = self.config.address or "started here"
            raise ConfigError(f"Ray cluster {where}", f"cannot be reached: {error}"[:500]) from None
        self._task = ray.remote(max_retries=0)(run_on_node)
        self._running: dict[Any, str] = {}
        self._gpus_asked = 0
        self._has: dict[str, float] = {}
        self._asked = -_ASK_EVERY_S

    def _resources(self) -> dict[str, float]:
        if time.monotonic() - self._asked >= _ASK_EVERY_S:
            self._asked = time.monotonic()
            self._has = dict(self._ray.cluster_resources())
        return self._has

    def room(self, gpus: int) -> int:
        """As `Engine.room`; twice what can run, so that no node waits for this process."""
        has = self._resources()
        if gpus > has.get("GPU", 0):
            return 0
        most = self.config.workers or 2 * max(1, int(has.get("CPU", 0)) // self._threads)
        return max(0, most - len(self._running))

    def submit(self, job: Job, folder: Path) -> None:
        """As `labelgan.study.engine.engines.Engine.submit`."""
        task = self._task.options(num_cpus=self._threads, num_gpus=job.gpus, name=job.kind)
        self._running[task.remote(str(folder.resolve()), job.gpus)] = job.key

    def wait(self) -> list[Ended]:
        """As `labelgan.study.engine.engines.Engine.wait`."""
        while True:
            over, _ = self._ray.wait(list(self._running), num_returns=1, timeout=_LOOK_S)
            if over:
                return [self._ended(reference) for reference in over]

    def _ended(self, reference: Any) -> Ended:
        key = self._running.pop(reference)
        try:
            return Ended(key, self._ray.get(reference))
        except self._ray.exceptions.RayError as error:
            said = str(error).strip().splitlines() or [""]
            return Ended(key, f"{type(error).__name__}: {said[0]}"[:300])

    def close(self, *, now: bool = False) -> None:
        """As `labelgan.study.engine.engines.Engine.close`; a cluster that was started for this study ends with it."""
        if self._ray.is_initialized():
            for reference in self._running:
                self._ray.cancel(reference)  # a KeyboardInterrupt in the task, so that a training saves its state
            if self._running:
                self._ray.wait(list(self._running), num_returns=len(self._running), timeout=self.config.grace_s)
            self._running.clear()
            self._ray.shutdown()
        self._forget()

    def _forget(self) -> None:
        for name in self._set:
            os.environ.pop(name, None)
