"""Jobs and what has become of them: a folder for each, named by what goes into it, done when it says so."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from labelgan.core.errors import ConfigError, DataError
from labelgan.core.files import fsync_folder, lock_folder, make_folder, read_json, sweep, write_json_atomic

State = Literal["new", "open", "done", "failed", "damaged"]

_KIND = re.compile(r"^[a-z0-9][a-z0-9 .+-]{0,39}$")
_RUNNER = re.compile(r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")


@dataclass(frozen=True, eq=False)
class Job:
    """One piece of work; jobs with the same kind, parameters and inputs are the same job.

    Args:
        kind: what sort of work it is, such as ``train generator``; lower case.
        label: the job in words for people; not part of the key.
        params: JSON values, everything that the result depends on. They are not copied: leave them as they are.
        inputs: jobs whose folders and results this one reads, by the name that the runner knows them by.
        runner: ``module:function`` that does the work, see `labelgan.study.engine.worker.Context`; not part of the key.
        gpus: GPUs that it needs; with 0 an engine hides the machine's GPUs from it; not part of the key.
        key: made from the others: the kind with ``-`` for spaces, ``-``, and 16 hex digits of the SHA-256 of the
            canonical JSON of kind, parameters and the inputs' keys.

    Raises:
        ConfigError: the kind or runner is not well formed, or the parameters are not JSON.
    """

    kind: str
    label: str
    params: Mapping[str, Any] = field(default_factory=dict, repr=False)
    inputs: Mapping[str, Job] = field(default_factory=dict, repr=False)  # a chain of them would grow without end
    runner: str = "labelgan.study.jobs:run"
    gpus: int = 0
    key: str = field(init=False)

    def __post_init__(self) -> None:
        if not _KIND.match(self.kind):
            raise ConfigError(f"job {self.label}", f"'{self.kind}' is not a kind of job")
        if not _RUNNER.match(self.runner):
            raise ConfigError(f"job {self.label}", f"runner '{self.runner}' is not module:function")
        inputs = {name: job.key for name, job in self.inputs.items()}
        try:
            text = _canonical({"kind": self.kind, "params": self.params, "inputs": inputs})
        except (TypeError, ValueError) as error:
            raise ConfigError(f"job {self.label}", f"its parameters are not JSON: {error}") from None
        digest = hashlib.sha256(text.encode()).hexdigest()[:16]
        object.__setattr__(self, "key", f"{self.kind.replace(' ', '-')}-{digest}")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Job) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False, default=_plain)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} {value!r}")


@contextlib.contextmanager
def job_lock(folder: Path) -> Iterator[None]:
    """Keeps a second worker out of a job folder; raises DataError when one is in it. Dies with the process.

    The lock lies in a folder of its own, because a training inside locks the folder that it works in.
    """
    with lock_folder(folder / ".job"):
        sweep(folder)
        yield


class JobFolder:
    """One job's folder: ``job.json``, ``log.txt``, and at last ``done.json`` or ``failed.json``.

    Everything in it is written by whoever runs the job; it needs no ledger, only the folders beside it.
    """

    __slots__ = ("path",)

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def key(self) -> str:
        """The job's key, which names the folder."""
        return self.path.name

    @property
    def log(self) -> Path:
        """Log of the job, of all its attempts."""
        return self.path / "log.txt"

    def read_job(self) -> dict[str, Any]:
        """Gives ``job.json``: key, kind, label, params, inputs (name to key), runner, gpus, attempt.

        Raises:
            DataError: it cannot be read, or is another job's.
        """
        value = read_json(self.path / "job.json")
        if not isinstance(value, dict) or value.get("key") != self.key:
            raise DataError(self.path / "job.json", "is not this job's")
        return value

    def read_done(self) -> dict[str, Any] | None:
        """Gives ``done.json``: key, kind, label, seconds, result, made_with; None where there is none.

        Raises:
            DataError: it is damaged, or is another job's.
        """
        path = self.path / "done.json"
        try:
            value = json.loads(path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValueError, RecursionError) as error:
            raise DataError(path, f"cannot be read as JSON: {error}") from None
        if not isinstance(value, dict) or not isinstance(value.get("result"), dict):
            raise DataError(path, "holds no result")
        if value.get("key") != self.key:
            raise DataError(path, f"is of another job: {str(value.get('key'))[:80]}")
        return value

    def read_failed(self) -> dict[str, Any] | None:
        """Gives ``failed.json``: reason, attempts, exit_code; None where there is none that can be read."""
        try:
            value = json.loads((self.path / "failed.json").read_bytes())
        except (OSError, ValueError, RecursionError):
            return None
        return value if isinstance(value, dict) and isinstance(value.get("reason"), str) else None

    def write_done(self, seconds: float, result: Mapping[str, Any], made_with: Mapping[str, str]) -> None:
        """Says that the job is done; raises TypeError or ValueError where the result is not JSON.

        Args:
            seconds: what the attempt that finished took, wall clock.
            result: what the runner returned.
            made_with: versions and revision.
        """
        job = self.read_job()
        named = {name: job[name] for name in ("key", "kind", "label")}
        done = {**named, "seconds": seconds, "result": dict(result), "made_with": dict(made_with)}
        write_json_atomic(self.path / "done.json", done)
        fsync_folder(self.path.parent)  # a power cut would take the folder with all that is in it
        (self.path / "failed.json").unlink(missing_ok=True)

    def write_failed(self, reason: str, exit_code: int = 1) -> None:
        """Says in one line why an attempt failed; ``exit_code`` is what a command would end with (3: a leak)."""
        attempt = self.read_job().get("attempt", 1)
        line = " ".join(reason.split())
        write_json_atomic(self.path / "failed.json", {"reason": line, "attempts": attempt, "exit_code": exit_code})


class Ledger:
    """The job folders of one study, under ``root/jobs``.

    A job is done when its ``done.json`` is whole and names its key; nothing else is kept anywhere, so that a study
    can be killed at any moment, moved, or gone on with by another engine.
    """

    def __init__(self, root: Path) -> None:
        self.root = Path(root)
        self.jobs = self.root / "jobs"

    def at(self, job: Job) -> JobFolder:
        """The folder of a job, as its reader and writer."""
        return JobFolder(self.jobs / job.key)

    def folder(self, job: Job) -> Path:
        """The folder of a job, there or not."""
        return self.jobs / job.key

    def state(self, job: Job) -> State:
        """State of a job; a damaged ``done.json`` counts as not done."""
        at = self.at(job)
        try:
            if at.read_done() is not None:
                return "done"
        except DataError:
            return "damaged"
        if at.read_failed() is not None:
            return "failed"
        return "open" if at.path.is_dir() else "new"

    def is_done(self, job: Job) -> bool:
        """Whether its ``done.json`` is there, whole and its own."""
        return self.state(job) == "done"

    def result(self, job: Job) -> dict[str, Any]:
        """Result that the runner returned; raises DataError where the job is not done, or its ``done.json`` damaged."""
        return self.record(job)["result"]

    def record(self, job: Job) -> dict[str, Any]:
        """The whole ``done.json``; raises DataError where the job is not done, or it is damaged."""
        done = self.at(job).read_done()
        if done is None:
            raise DataError(self.folder(job), f"{job.label} is not done")
        return done

    def prepare(self, job: Job) -> JobFolder:
        """Makes a job ready for an attempt: writes ``job.json`` and takes away what an earlier attempt failed with.

        Everything else in the folder stays, so that a training inside goes on.
        """
        at = self.at(job)
        make_folder(self.jobs)
        try:
            at.path.mkdir()
            known = False
        except FileExistsError:
            known = True
        failed = at.read_failed() if known else None
        attempts = failed.get("attempts") if failed else 0
        described = {
            "key": job.key,
            "kind": job.kind,
            "label": job.label,
            "params": job.params,
            "inputs": {name: given.key for name, given in job.inputs.items()},
            "runner": job.runner,
            "gpus": job.gpus,
            "attempt": attempts + 1 if isinstance(attempts, int) else 1,
        }
        # Not synced to disk, as done.json is: after a power cut it is written again.
        temporary = at.path / ".job.json.tmp"
        temporary.write_text(json.dumps(described, indent=1, default=_plain) + "\n", encoding="utf-8")
        temporary.replace(at.path / "job.json")
        if known:
            (at.path / "failed.json").unlink(missing_ok=True)
        return at
