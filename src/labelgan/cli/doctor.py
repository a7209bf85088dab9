"""Describes this machine, for `labelgan doctor`."""

from __future__ import annotations

import os
import platform
import shutil
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from labelgan.core.provenance import provenance

_EXTRAS = {
    "bet": "deepbet",
    "torchio": "torchio",
    "keras": "h5py",
    "ray": "ray",
    "slurm": "submitit",
    "mlflow": "mlflow",
    "dicom": "highdicom",
}


def examine() -> dict[str, str]:
    """Gives name and value of everything that matters for a run, in the order to print."""
    import torch

    facts = {"labelgan": provenance()["labelgan"], "python": f"{platform.python_version()} on {platform.platform()}"}
    facts["torch"] = torch.__version__
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
        facts["device"] = f"cuda: {', '.join(names)}"
    elif torch.backends.mps.is_available():
        facts["device"] = "mps"
    else:
        facts["device"] = "cpu; a generator at 64×64 trains with --preset laptop, larger ones want a GPU"
    facts["cores"] = f"{len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()}"
    facts["threads"] = str(torch.get_num_threads())
    facts["memory"] = _memory()
    free = shutil.disk_usage(Path.cwd()).free
    facts["disk"] = f"{free / 2**30:.1f} GiB free here"
    for extra, package in _EXTRAS.items():
        try:
            facts[extra] = f"{package} {version(package)}"
        except PackageNotFoundError:
            facts[extra] = f"not installed (pip install 'labelgan[{extra}]')"
    return facts


def _memory() -> str:
    if "SC_PHYS_PAGES" not in getattr(os, "sysconf_names", {}):
        return "unknown"
    page = os.sysconf("SC_PAGE_SIZE")
    total, available = page * os.sysconf("SC_PHYS_PAGES"), page * os.sysconf("SC_AVPHYS_PAGES")
    return f"{available / 2**30:.1f} of {total / 2**30:.1f} GiB free"
