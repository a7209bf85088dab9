"""The Slurm engine: arrays of jobs that are ready, submitted by submitit, watched through their folders."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labelgan.config.study import EngineConfig
from labelgan.core.errors import ConfigError, DataError
from labelgan.study.engine.base import Ended, EngineBase, extra_needed
from labelgan.study.engine.ledger import Job, JobFolder
from labelgan.study.engine.local import cores, how_it_ended

if TYPE_CHECKING:
    import submitit

_REQUEUES = 1000  # a training goes on after each time limit, so that there may be many
_LOOK_S = 0.2
_SUBMITTED = "submitted.txt"


def command_of(folder: Path) -> list[str]:
    """Runs one job folder on a node."""
    return [sys.executable, "-m", "labelgan.study.engine.worker", str(folder)]


class JobTask:
    """Is called by submitit on the node: runs one job folder in a process of its own.

    Before the time limit Slurm signals submitit, which calls `checkpoint` and puts the task into the queue again: the
    job's process is asked to save its state, and goes on from there next time.

    Args:
        folder: the job's folder, on a file system that the nodes share.
        threads: for OpenMP.
        grace_s: how long the process may take to save its state, seconds.
    """

    def __init__(self, folder: str, threads: int, grace_s: float) -> None:
        self.folder, self.threads, self.grace_s = folder, threads, grace_s
        self._process: subprocess.Popen[bytes] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_process": None}

    def __call__(self) -> int:
        """Gives the exit code of the job's process; its folder has the rest."""
        environment = dict(os.environ, OMP_NUM_THREADS=str(self.threads))
        self._process = subprocess.Popen(command_of(Path(self.folder)), env=environment)
        try:
            # Not Popen.wait, whose lock `checkpoint` would meet: it is called by a signal in the midst of this.
            while self._process.poll() is None:
                time.sleep(_LOOK_S)
        finally:
            self._stop()
        if self._process.returncode < 0:
            print(how_it_ended(self._process.returncode), file=sys.stderr)
        return self._process.returncode

    def _stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(self.grace_s)
            except subprocess.TimeoutExpired:
                self._process.kill()

    def checkpoint(self) -> submitit.helpers.DelayedSubmission:
        """Lets the job save its state; gives what is to be submitted again."""
        from submitit.helpers import DelayedSubmission

        self._stop()
        return DelayedSubmission(self)


class SlurmEngine(EngineBase):
    """Submits job folders as Slurm arrays, one for each number of GPUs; only jobs whose inputs are done come here.

    A job has ended when its folder says so; Slurm is asked about the others, to find those that died. A study that was
    killed leaves its Slurm jobs running: the next one finds their numbers in the job folders and waits for them.

    Args:
        folder: where submitit keeps scripts, pickles and output; shared with the nodes.
        config: the settings for slurm, ``workers`` (array tasks at a time), ``threads`` (cores of a task), ``grace_s``.

    Raises:
        ConfigError: submitit is not installed, or there is no Slurm on this machine (at the first submission).
    """

    def __init__(self, folder: Path, config: EngineConfig | None = None) -> None:
        with extra_needed("slurm", "submitit"):
            import submitit.local.local
            import submitit.slurm.slurm
        self.folder = folder.resolve()
        self.config = config or EngineConfig()
        self._arrays: defaultdict[int, list[tuple[str, Path]]] = defaultdict(list)
        self._running: dict[str, tuple[JobFolder, Any]] = {}
        self._kinds = {"slurm": submitit.slurm.slurm.SlurmExecutor, "local": submitit.local.local.LocalExecutor}

    @property
    def _threads(self) -> int:
        return self.config.threads or 1

    def _executor(self, gpus: int, shown: bool = False) -> Any:
        kind = self._kinds["slurm" if shown else self.config.cluster]
        if shown:  # the script can be seen on a machine without Slurm
            kind = type(kind.__name__, (kind,), {"affinity": classmethod(lambda cls: 1)})
        try:
            executor = kind(self.folder, max_num_timeout=_REQUEUES)
        except RuntimeError as error:
            raise ConfigError("--engine slurm", str(error)) from None
        parameters: dict[str, Any] = {"timeout_min": self.config.minutes}
        if shown or self.config.cluster == "slurm":
            parameters = {
                "job_name": "labelgan",
                "time": self.config.minutes,
                "mem": f"{self.config.memory_gb}GB",
                "cpus_per_task": self._threads,
                "signal_delay_s": round(self.config.grace_s) + 30,
                "array_parallelism": self.config.workers or self.config.array_size,
            }
            if gpus:
                parameters["gpus_per_node"] = gpus
            if self.config.partition:
                parameters["partition"] = self.config.partition
            if self.config.account:
                parameters["account"] = self.config.account
            if self.config.setup:
                parameters["setup"] = list(self.config.setup)
        executor.update_parameters(**parameters)
        return executor

    def script(self, jobs: Sequence[Job], folders: Sequence[Path]) -> str:
        """Gives the sbatch script of an array of jobs that ask for the same GPUs; nothing is submitted.

        Args:
            jobs: at least one.
            folders: their folders, in the same order.
        """
        executor = self._executor(jobs[0].gpus, shown=True)
        if len(jobs) > 1:
            executor.parameters["map_count"] = len(jobs)
        text = executor._make_submission_file_text(executor._submitit_command_str, "")
        tasks = [f"# task {number}: {' '.join(command_of(folder))}" for number, folder in enumerate(folders)]
        return "\n".join([text.rstrip("\n"), "", "# what the array's tasks run, one each", *tasks, ""])

    def room(self, gpus: int) -> int:
        """As `labelgan.study.engine.engines.Engine.room`."""
        taken = len(self._running) + sum(len(array) for array in self._arrays.values())
        most = self.config.array_size if self.config.cluster == "slurm" else self.config.workers or cores()
        return max(0, most - taken)

    def submit(self, job: Job, folder: Path) -> None:
        """As `labelgan.study.engine.engines.Engine.submit`; it goes out with the next `wait`."""
        self._arrays[job.gpus].append((job.key, folder.resolve()))

    def _send(self) -> None:
        for gpus, array in self._arrays.items():
            executor = self._executor(gpus)
            new = []
            for key, path in array:
                left = self._left_running(executor, path)
                if left is None:
                    new.append((key, path))
                else:
                    self._running[key] = (JobFolder(path), left)
            tasks = [JobTask(str(path), self._threads, self.config.grace_s) for _, path in new]
            with executor.batch():
                sent = [executor.submit(task) for task in tasks]
            for (key, path), job in zip(new, sent, strict=True):
                (path / _SUBMITTED).write_text(f"{self.config.cluster} {job.job_id}\n", encoding="utf-8")
                self._running[key] = (JobFolder(path), job)
        self._arrays.clear()

    def _left_running(self, executor: Any, path: Path) -> Any:
        """Gives the submission that an earlier study left running for a job, or None."""
        try:
            cluster, number = (path / _SUBMITTED).read_text(encoding="utf-8").split()
        except (OSError, ValueError):
            return None
        if cluster != self.config.cluster:
            return None
        job = executor.job_class(self.folder, number)
        return None if job.done(force_check=True) else job

    def wait(self) -> list[Ended]:
        """As `labelgan.study.engine.engines.Engine.wait`; jobs that ended between two looks are told together."""
        self._send()
        while True:
            ended = [end for key in list(self._running) if (end := self._ended(key)) is not None]
            for end in ended:
                del self._running[end.key]
            if ended:
                return ended
            time.sleep(self.config.poll_s)

    def _ended(self, key: str) -> Ended | None:
        at, job = self._running[key]
        over = job.done()  # asked first: what it has written, it has written before
        if self.config.cluster == "local" and not over:
            return None  # its processes are ours to wait for
        with contextlib.suppress(DataError):
            if at.read_done() is not None:
                return Ended(key)
        if at.read_failed() is not None:
            return Ended(key)
        if not over:
            return None
        printed = (job.stderr() or "").strip().splitlines()
        return Ended(key, f"Slurm job {job.job_id} ended as {job.state}" + (f": {printed[-1]}" if printed else ""))

    def close(self, *, now: bool = False) -> None:
        """As `labelgan.study.engine.engines.Engine.close`: cancels what is submitted and has not ended."""
        self._arrays.clear()
        for _, job in self._running.values():
            job.cancel(check=False)
        deadline = time.monotonic() + self.config.grace_s
        while self.config.cluster == "local" and time.monotonic() < deadline:
            if all(job.done() for _, job in self._running.values()):
                break
            time.sleep(_LOOK_S)
        self._running.clear()
