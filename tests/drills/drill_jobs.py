"""Jobs that workers of a study come to harm by."""

from __future__ import annotations

import os
import resource
import signal
import time
from pathlib import Path
from typing import Any

from labelgan.study.engine.worker import Context


def fine(context: Context) -> dict[str, Any]:
    """Does nothing wrong."""
    return {"pid": os.getpid()}


def stop(context: Context) -> dict[str, Any]:
    """Stops its whole process, as a debugger or a frozen container does; the first ``times`` attempts."""
    if _attempt(context) <= context.params["times"]:
        os.kill(os.getpid(), signal.SIGSTOP)
    return {"attempts": _attempt(context)}


def linger(context: Context) -> dict[str, Any]:
    """Waits for what never comes, in a way that leaves its process alive; the first ``times`` attempts."""
    if _attempt(context) <= context.params["times"]:
        time.sleep(600)
    return {"attempts": _attempt(context)}


def die(context: Context) -> dict[str, Any]:
    """Is killed as the system does when memory is short; the first ``times`` attempts."""
    if _attempt(context) <= context.params["times"]:
        os.kill(os.getpid(), signal.SIGKILL)
    return {"attempts": _attempt(context)}


def eat(context: Context) -> dict[str, Any]:
    """Asks for more memory than its process may have."""
    allowed = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * os.sysconf("SC_PAGE_SIZE") + 2**26, allowed[1]))
    try:
        return {"bytes": len(bytearray(2**32))}
    finally:
        resource.setrlimit(resource.RLIMIT_AS, allowed)


def _attempt(context: Context) -> int:
    from labelgan.study.engine.ledger import JobFolder

    return JobFolder(context.folder).read_job()["attempt"]
