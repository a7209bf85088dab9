"""Installs the oldest versions that pyproject.toml allows into an environment of their own, and tests on them.

    python -m tools.oldest [--torch 2.13.0] [--keep FOLDER] [-- PYTEST ARGUMENTS]

Every direct dependency of the base install is pinned to its floor; what those need in turn, pip chooses. An old torch
is only to be had with gigabytes of CUDA packages: torch is that of constraints.txt unless ``--torch`` names another.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
TOOLS = ("pytest", "hypothesis", "pytest-xdist")
# Every layer, and every package that is pinned; no extras.
PART = (
    *(
        "tests/scoring/test_metrics.py",
        "tests/config/test_base.py",
        "tests/cli/test_app.py",
        "tests/training/test_checkpoint.py",
    ),
    *("tests/scoring/test_files.py", "tests/data/reading/test_nifti.py", "tests/data/reading/test_pictures.py"),
    *("tests/data/test_store.py", "tests/data/prepare/test_cohort.py", "tests/data/prepare/test_brain_search.py"),
    *(
        "tests/data/prepare/test_itk.py",
        "tests/data/phantom/test_cohort.py",
        "tests/gan/test_train.py",
        "tests/gan/test_sample.py",
    ),
    *("tests/gan/test_objectives.py", "tests/seg/test_train.py", "tests/seg/test_networks.py"),
    *("tests/audit/fidelity/test_fidelity.py", "tests/report/test_study.py", "tests/study/test_run.py"),
    "tests/studio/test_app.py",
)


def floors(pyproject: str) -> dict[str, str]:
    """Name to oldest allowed version of every direct dependency of the base install.

    Raises:
        ValueError: one has no floor.
    """
    found: dict[str, str] = {}
    for text in tomllib.loads(pyproject)["project"]["dependencies"]:
        need = Requirement(text)
        lowest = [part.version for part in need.specifier if part.operator == ">="]
        if len(lowest) != 1:
            raise ValueError(f"{text}: one >= is wanted")
        found[need.name] = lowest[0]
    return found


def main() -> int:
    """Installs, tests, and gives pytest's exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--torch", help="version of torch (default: that of constraints.txt)")
    parser.add_argument("--keep", type=Path, help="folder of the environment, which is left there and used again")
    parser.add_argument("pytest", nargs="*", help="arguments of pytest instead of the usual part of the tests")
    options = parser.parse_args()
    constraints = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    pinned = re.search(r"^torch==(\S+)", constraints, re.MULTILINE)
    assert pinned is not None
    wanted = floors((ROOT / "pyproject.toml").read_text(encoding="utf-8")) | {"torch": options.torch or pinned[1]}
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.keep or Path(temporary, "env")
        python = folder / "bin" / "python"
        if not python.exists():
            subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
            oldest = Path(temporary, "oldest.txt")
            oldest.write_text("".join(f"{name}=={version}\n" for name, version in wanted.items()), encoding="utf-8")
            pip = [str(python), "-m", "pip", "--disable-pip-version-check", "--quiet", "install"]
            subprocess.run([*pip, "--upgrade", "pip>=24"], check=True)
            subprocess.run([*pip, "-c", str(oldest), f"torch=={wanted['torch']}"], check=True)
            subprocess.run([*pip, "-c", str(oldest), str(ROOT), *TOOLS], check=True)
        for name, version in wanted.items():
            print(f"{name:<12} {version}")
        # Old releases warn of what newer Pythons do away with; that is theirs to mend.
        quiet = ["-W", "default", "-p", "no:cacheprovider"]
        return subprocess.run([str(python), "-m", "pytest", *quiet, *(options.pytest or PART)], cwd=ROOT).returncode


if __name__ == "__main__":
    sys.exit(main())
