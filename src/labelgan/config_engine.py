"""Settings of where and with how much a study's jobs are run; they never change a score."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from labelgan.config.base import Config


class EngineConfig(Config):
    """Everything that an engine of `labelgan.study.engine.engines` can be told; each reads the settings that concern it."""

    workers: int | None = Field(
        default=None, ge=1, le=4096, description="jobs at a time; None: one per GPU, or one per core, or the cluster's"
    )
    threads: int | None = Field(
        default=None, ge=1, le=1024, description="cores of a job; None: 1 where there are several workers, else all"
    )
    gpus: int | None = Field(default=None, ge=0, le=1024, description="GPUs of this machine to use; None: all")
    grace_s: float = Field(
        default=60.0, ge=0, description="how long an interrupted job may take to save its state, seconds"
    )
    silence_s: float | None = Field(
        default=1800.0,
        gt=0,
        description="local: a worker that gives no sign of life for so long, seconds, is ended; None: never",
    )
    job_minutes: float | None = Field(
        default=None,
        gt=0,
        description="local: how long an attempt at a job may take; it then saves its state and is tried again",
    )
    address: str | None = Field(
        default=None, description="ray: HOST:PORT of a running cluster, or auto; None: one is started on this machine"
    )
    partition: str | None = Field(default=None, description="slurm: partition")
    account: str | None = Field(default=None, description="slurm: account")
    minutes: int = Field(default=24 * 60, ge=1, description="slurm: time limit of a job; it goes on after it")
    memory_gb: int = Field(default=16, ge=1, description="slurm: memory of a job, GB")
    array_size: int = Field(default=1000, ge=1, description="slurm: most jobs submitted and not yet ended")
    setup: tuple[str, ...] = Field(default=(), description="slurm: shell lines before the job, such as module load")
    cluster: Literal["slurm", "local"] = Field(
        default="slurm", description="slurm: where submitit submits; local: processes of this machine, to try it out"
    )
    poll_s: float = Field(default=5.0, gt=0, description="slurm: seconds between two looks at the job folders")
