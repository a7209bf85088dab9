"""Where jobs are run: one dict of engines, and what an engine is."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from labelgan.config_engine import EngineConfig
from labelgan.core.errors import ConfigError
from labelgan.study.engine.ledger import Job, Ledger


@dataclass(frozen=True)
class Ended:
    """A job's attempt has ended: its folder says how, unless the worker was ``lost`` (the reason, one line)."""

    key: str
    lost: str | None = None


class Engine(Protocol):
    """Runs prepared job folders somewhere; `labelgan.study.engine.scheduler` decides which and when.

    An engine knows neither dependencies nor retries. It is a context: leaving it ends its workers, and leaving it by
    an exception interrupts what they run.
    """

    def room(self, gpus: int) -> int:
        """How many more jobs with so many GPUs it takes now; 0 while nothing runs means never."""
        ...

    def submit(self, job: Job, folder: Path) -> None:
        """Takes one prepared job folder; only where there is room."""
        ...

    def wait(self) -> list[Ended]:
        """Waits until at least one submitted job has ended; each is told once."""
        ...

    def close(self, *, now: bool = False) -> None:
        """Ends the workers; ``now`` interrupts running jobs and lets them save their state. A second call is idle."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None: ...


class EngineBase:
    """What engines share: being a context."""

    def close(self, *, now: bool = False) -> None:
        """As `Engine.close`."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.close(now=error is not None)


class InlineEngine(EngineBase):
    """Runs each job in this process when it is waited for: to look into a job with a debugger, and for simulations.

    Args:
        run: runs one job folder; `labelgan.study.engine.worker.run_folder` by default.
    """

    def __init__(self, run: Callable[[Path], object] | None = None) -> None:
        if run is None:
            from labelgan.study.engine.worker import run_folder

            run = run_folder
        self._run = run
        self._next: tuple[str, Path] | None = None

    def room(self, gpus: int) -> int:
        """One job at a time, whatever it asks for."""
        return int(self._next is None)

    def submit(self, job: Job, folder: Path) -> None:
        """As `Engine.submit`."""
        self._next = (job.key, folder)

    def wait(self) -> list[Ended]:
        """Runs the job that was submitted."""
        assert self._next is not None
        (key, folder), self._next = self._next, None
        self._run(folder)
        return [Ended(key)]


def _local(ledger: Ledger, config: EngineConfig) -> Engine:
    from labelgan.study.engine.local import LocalEngine

    return LocalEngine(config)


def _ray(ledger: Ledger, config: EngineConfig) -> Engine:
    from labelgan.study.engine.ray import RayEngine

    return RayEngine(config)


def _slurm(ledger: Ledger, config: EngineConfig) -> Engine:
    from labelgan.study.engine.slurm import SlurmEngine

    return SlurmEngine(ledger.root / "slurm", config)


ENGINES: dict[str, Callable[[Ledger, EngineConfig], Engine]] = {"local": _local, "ray": _ray, "slurm": _slurm}


def make_engine(name: str, ledger: Ledger, config: EngineConfig | None = None) -> Engine:
    """Starts an engine of `ENGINES`; use it as a context.

    Raises:
        ConfigError: there is no such engine, its extra is not installed, or its cluster cannot be reached.
    """
    if name not in ENGINES:
        raise ConfigError(f"--engine {name}", f"there is no such engine; choose from {', '.join(ENGINES)}")
    return ENGINES[name](ledger, config or EngineConfig())


@contextlib.contextmanager
def extra_needed(engine: str, package: str) -> Iterator[None]:
    """Context of imports (PackageNotFoundError is an ImportError too); raises ConfigError naming the missing extra."""
    try:
        yield
    except ImportError:
        raise ConfigError(
            f"--engine {engine}", f"needs {package}, which is not installed: pip install labelgan[{engine}]"
        ) from None
