"""The dict of engines: in this process, local workers, Ray, Slurm."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from labelgan.config.study import EngineConfig
from labelgan.core.errors import ConfigError
from labelgan.study.engine.base import Ended, Engine, EngineBase
from labelgan.study.engine.ledger import Job, Ledger


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
