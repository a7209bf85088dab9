"""The dict of engines, what all of them share, and the engine that runs jobs in this process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from labelgan.config.study import EngineConfig
from labelgan.core.errors import ConfigError
from labelgan.study.engine.base import Ended, EngineBase
from labelgan.study.engine.engines import ENGINES, InlineEngine, make_engine
from labelgan.study.engine.ledger import Ledger
from toy_jobs import number


def test_the_engines():
    assert list(ENGINES) == ["local", "ray", "slurm"]


def test_an_unknown_engine_is_refused(tmp_path: Path):
    with pytest.raises(ConfigError, match="--engine dask: there is no such engine; choose from local, ray, slurm"):
        make_engine("dask", Ledger(tmp_path))


@pytest.mark.parametrize(("name", "package"), [("ray", "ray"), ("slurm", "submitit")])
def test_an_extra_that_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, package: str):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ConfigError) as raised:
        make_engine(name, Ledger(tmp_path), EngineConfig(gpus=0))
    said = f"--engine {name}: needs {package}, which is not installed: pip install labelgan[{name}]"
    assert str(raised.value) == said


def test_importing_the_engines_imports_nothing_heavy():
    modules = "scheduler, labelgan.study.engine.local, labelgan.study.engine.worker"
    program = f"import sys, labelgan.study.engine.{modules} as w; print(w)"
    program += "; print(sorted({'ray', 'submitit', 'torch', 'numpy', 'pandas'} & set(sys.modules)))"
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert shown.stdout.splitlines()[-1] == "[]"


def test_the_context_ends_workers_at_once_after_an_error():
    class Closing(EngineBase):
        closed: bool | None = None

        def close(self, *, now: bool = False) -> None:
            self.closed = now

    with Closing() as engine:
        pass
    assert engine.closed is False
    with pytest.raises(KeyboardInterrupt), engine:
        raise KeyboardInterrupt
    assert engine.closed is True


def test_the_inline_engine_runs_one_job_at_a_time(tmp_path: Path):
    seen = []
    engine = InlineEngine(seen.append)
    assert engine.room(0) == engine.room(3) == 1
    engine.submit(number(1), tmp_path)
    assert engine.room(0) == 0
    assert seen == []
    assert engine.wait() == [Ended(number(1).key)]
    assert seen == [tmp_path]
