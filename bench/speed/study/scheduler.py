"""Times the study's own machinery: what a job costs besides its work, what a second worker brings, what 100,000 cost.

Run: ``python -m bench.speed.study.scheduler`` for the local engine; ``python -m bench.speed.study.scheduler --simulate
100000`` for a study of that size through the real ledger and scheduler, its jobs done in no time by threads of this
process. As real workers do, they sync every done.json to disk, which then costs most; ``--folder /dev/shm/NAME``
leaves the machinery alone.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

from labelgan.config.study import EngineConfig
from labelgan.core.provenance import measured_at
from labelgan.study.engine.base import Ended, EngineBase
from labelgan.study.engine.ledger import Job, JobFolder, Ledger
from labelgan.study.engine.local import LocalEngine
from labelgan.study.engine.scheduler import Event, run_jobs
from labelgan.study.engine.worker import Context

TARGET_MS = 50.0
ARMS = 5


# Runners, which the workers import from this file


def nothing(context: Context) -> dict[str, Any]:
    """Returns at once."""
    return {"value": context.params["number"]}


def compute(context: Context) -> dict[str, Any]:
    """Keeps one core busy with arithmetic that needs no memory."""
    total = 0
    for number in range(context.params["rounds"]):
        total += number * number % 7
    return {"total": total}


def _job(runner: str, kind: str, number: int, **values: Any) -> Job:
    return Job(kind, f"{kind} {number}", {"number": number, **values}, {}, f"bench.speed.study.scheduler:{runner}")


def cost_of_a_job(count: int, root: Path) -> float:
    """Milliseconds per trivial job on one local worker, from the first job's end to the last's."""
    ends = []

    def note(event: Event) -> None:
        if event.what == "done":
            ends.append(time.perf_counter())

    jobs = [_job("nothing", "trivial", number) for number in range(count)]
    with LocalEngine(EngineConfig(workers=1, gpus=0)) as engine:
        summary = run_jobs(jobs, Ledger(root), engine, tell=note)
    assert summary.done == count
    return (ends[-1] - ends[0]) / (count - 1) * 1e3


def seconds_with(workers: int, count: int, rounds: int, root: Path) -> float:
    """Wall-clock time of CPU-bound jobs of one thread each, the start of the workers left out."""
    jobs = [_job("compute", "busy", number, rounds=rounds) for number in range(count)]
    warm = [_job("compute", "warm", number, rounds=1_000_000) for number in range(2 * workers)]
    ledger = Ledger(root)
    with LocalEngine(EngineConfig(workers=workers, threads=1, gpus=0)) as engine:
        run_jobs(warm, ledger, engine)
        return run_jobs(jobs, ledger, engine).seconds


# A simulated study


def study_like(count: int) -> Iterator[Job]:
    """Gives ``count`` jobs of the shape of a study: one store; in each fold generator, samples, audit, arms, scores."""
    config = {"steps": 5000, "network": {"width": 64, "latent_dim": 128}, "seed": 0}  # shared, as a real plan shares it
    store = Job("prepare", "prepare", {"size": [200, 200]})
    yield store
    given, fold = 1, 0
    while given < count:
        generator = Job(
            "train generator", f"generator, fold {fold}", {"fold": fold, "config": config}, {"store": store}
        )
        sample = Job("sample", f"samples, fold {fold}", {"num": 500}, {"generator": generator})
        jobs = [generator, sample, Job("audit", f"audit, fold {fold}", {}, {"samples": sample, "store": store})]
        for arm in range(ARMS):
            seen = {"store": store, "samples": sample}
            member = Job("train member", f"arm {arm}, fold {fold}", {"fold": fold, "arm": arm, "config": config}, seen)
            predict = Job("predict", f"predict {arm}, fold {fold}", {}, {"member": member})
            jobs += [member, predict, Job("score", f"score {arm}, fold {fold}", {}, {"predictions": predict})]
        yield from jobs[: count - given]
        given += len(jobs)
        fold += 1


def finish(folder: Path) -> None:
    """What a worker leaves behind, without the work: reads the job, writes done.json."""
    JobFolder(folder).write_done(0.0, {"value": 0}, {"labelgan": "simulated"})


class InstantEngine(EngineBase):
    """Threads that finish every job at once; like a cluster's workers, they share one disk."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._pool = ThreadPoolExecutor(threads)
        self._running: dict[Future[None], str] = {}

    def room(self, gpus: int) -> int:
        """Enough that no thread waits."""
        return 4 * self.threads - len(self._running)

    def submit(self, job: Job, folder: Path) -> None:
        """Hands a job folder to a thread."""
        self._running[self._pool.submit(finish, folder)] = job.key

    def wait(self) -> list[Ended]:
        """Waits for the first threads that are done."""
        ended, _ = wait(self._running, return_when=FIRST_COMPLETED)
        for future in ended:
            future.result()
        return [Ended(self._running.pop(future)) for future in ended]

    def close(self, *, now: bool = False) -> None:
        """Ends the threads."""
        self._pool.shutdown()


def peak_mb() -> float:
    """The process's largest resident size so far, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)


def simulate(count: int, threads: int, root: Path) -> tuple[float, float, float, float]:
    """Plans and runs ``count`` jobs, then runs them again; seconds of planning, running, running again, and peak MB."""
    started = time.perf_counter()
    jobs = list(study_like(count))
    assert len({job.key for job in jobs}) == count
    planned = time.perf_counter()
    with InstantEngine(threads) as engine:
        summary = run_jobs(jobs, Ledger(root), engine)
        ran = time.perf_counter()
        again = run_jobs(jobs, Ledger(root), engine)
    rerun = time.perf_counter() - ran
    assert (summary.done, again.done, again.reused) == (count, 0, count)
    return planned - started, ran - planned, rerun, peak_mb()


def main() -> None:
    """Prints the tables as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--simulate", type=int, metavar="JOBS", help="simulate studies of 1 %%, 10 %% and all of JOBS")
    parser.add_argument("--folder", type=Path, help="where job folders are made (default: a temporary folder)")
    parser.add_argument("--threads", type=int, default=16, help="workers of the simulation")
    parser.add_argument("--jobs", type=int, default=1000, help="trivial jobs on the local engine")
    parser.add_argument("--rounds", type=int, default=6_000_000, help="length of a CPU-bound job")
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    os.environ["PYTHONPATH"] = os.pathsep.join(
        [str(Path(__file__).resolve().parents[3]), os.environ.get("PYTHONPATH", "")]
    )
    if arguments.folder is not None:
        arguments.folder.mkdir(parents=True, exist_ok=True)
    print(measured_at() + "\n")
    with tempfile.TemporaryDirectory(dir=arguments.folder) as place:
        root = Path(place)
        if arguments.simulate:
            print("| jobs | plan, s | run, s | ms a job | second run, s | peak memory, MB |")
            print("|---:|---:|---:|---:|---:|---:|")
            for count in (arguments.simulate // 100, arguments.simulate // 10, arguments.simulate):
                plan, run, again, peak = simulate(count, arguments.threads, root / str(count))
                each = (plan + run) / count * 1e3
                print(f"| {count:,} | {plan:.2f} | {run:.1f} | {each:.2f} | {again:.2f} | {peak:.0f} |", flush=True)
            return
        each = cost_of_a_job(arguments.jobs, root / "trivial")
        print(f"{arguments.jobs} trivial jobs, one worker: {each:.2f} ms a job (target: {TARGET_MS:.0f})", flush=True)
        for repeat in range(arguments.repeats):
            one = seconds_with(1, 12, arguments.rounds, root / f"one-{repeat}")
            two = seconds_with(2, 12, arguments.rounds, root / f"two-{repeat}")
            print(f"12 CPU-bound jobs: W = 1 {one:.2f} s, W = 2 {two:.2f} s, ratio {one / two:.2f}", flush=True)


if __name__ == "__main__":
    main()
