"""The contract of an engine, and what engines share."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from labelgan.core.errors import ConfigError
from labelgan.study.engine.ledger import Job


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
        """Number of jobs with so many GPUs that it takes now; 0 while nothing runs means never."""
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
    """Base of engines, as a context."""

    def close(self, *, now: bool = False) -> None:
        """As `Engine.close`."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.close(now=error is not None)


@contextlib.contextmanager
def extra_needed(engine: str, package: str) -> Iterator[None]:
    """Context of imports (PackageNotFoundError is an ImportError too); raises ConfigError naming the missing extra."""
    try:
        yield
    except ImportError:
        raise ConfigError(
            f"--engine {engine}", f"needs {package}, which is not installed: pip install labelgan[{engine}]"
        ) from None
