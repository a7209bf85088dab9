"""Versions and revision that made a result, to stand beside every number."""

from __future__ import annotations

import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from labelgan.core.version import __version__

_PACKAGES = ("torch", "numpy", "scipy", "nibabel", "SimpleITK", "pydantic", "safetensors")


def provenance() -> dict[str, str]:
    """Gives labelgan's version, its git revision in a checkout, Python's and the main packages' versions."""
    facts = {"labelgan": __version__, "python": platform.python_version(), "machine": platform.machine()}
    revision = git_revision()
    if revision:
        facts["git"] = revision
    for package in _PACKAGES:
        try:
            facts[package] = version(package)
        except PackageNotFoundError:
            continue
    return facts


def measured_at() -> str:
    """Gives the line that stands with every table of the benches: at which revision it was measured."""
    return f"Measured at revision {git_revision() or 'unknown (no checkout)'} of labelgan {__version__}."


def git_revision() -> str | None:
    """Gives the commit of the checkout that the package runs from, with ``-dirty`` for local changes, or None."""
    root = Path(__file__).resolve().parents[3]
    if not (root / ".git").exists():
        return None
    try:
        described = subprocess.run(
            ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12"],
            capture_output=True, text=True, timeout=10, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return described.stdout.strip() or None
