"""The package as its users get it: a wheel, an empty environment, no checkout, and a first hour's commands.

    python bench/from_wheel.py --work /tmp/labelgan-wheel

Builds the wheel, installs it with pip and the pinned torch into a new virtual environment, and runs there, in a folder
away from this one: ``doctor``, ``demo``, ``export`` for nnU-Net and BIDS, ``check`` of both, and ``studio``, whose
page and scripts are fetched. Prints each command with its seconds and stops at the first that fails.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
import venv
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DEADLINE_S = 60.0  # for studio to answer


def ran(command: Sequence[str | Path], folder: Path) -> str:
    """Runs a command in a folder, as a user's shell would; prints its seconds, gives what it printed."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL"))}
    begun = time.monotonic()
    done = subprocess.run(
        [str(part) for part in command], cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, check=False,
    )  # fmt: skip
    words = " ".join([Path(command[0]).name, *map(str, command[1:])])
    print(f"{time.monotonic() - begun:7.1f} s  {words}", flush=True)
    if done.returncode:
        print(done.stdout)
        raise SystemExit(f"{words}: exit code {done.returncode}")
    return done.stdout


def wheel_of(root: Path, work: Path) -> Path:
    """Builds the checkout's wheel."""
    ran([sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", work / "dist", root], work)
    (wheel,) = (work / "dist").glob("labelgan-*.whl")
    print(f"           {wheel.name}: {wheel.stat().st_size / 1e6:.1f} MB")
    return wheel


def pinned_torch() -> str:
    """The version of torch that `make` installs, as pip is told."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return next(line for line in lines if line.startswith("torch=="))


def fetched(address: str, opener: urllib.request.OpenerDirector) -> bytes:
    """A page's bytes."""
    with opener.open(address, timeout=DEADLINE_S) as answer:
        return answer.read()


def visit_studio(labelgan: Path, folder: Path) -> None:
    """Starts studio over a folder and fetches its page and everything that this names; without the token it refuses."""
    begun = time.monotonic()
    command = [str(labelgan), "studio", ".", "--port", "0", "--no-browser"]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            found = None
            for line in server.stdout:
                if found := re.search(r"http://127\.0\.0\.1:\d+/\S+", line):
                    break
            if found is None:
                raise SystemExit("studio told no address")
            opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
            page = fetched(found.group(), opener).decode()
            site = re.match(r"http://[^/]+", found.group())
            assert site is not None
            parts = re.findall(r'(?:src|href)="(/?[^":#]+\.(?:js|css))"', page)
            if not parts:
                raise SystemExit("studio's page names no script")
            for part in parts:
                fetched(f"{site.group()}/{part.lstrip('/')}", opener)
            try:
                fetched(site.group() + "/", urllib.request.build_opener())
            except urllib.error.HTTPError as error:
                if error.code not in (401, 403):
                    raise
            else:
                raise SystemExit("studio answers without its token")
        finally:
            server.terminate()
    print(f"{time.monotonic() - begun:7.1f} s  labelgan studio . ({len(page)} bytes, {len(parts)} scripts and styles)")


def main() -> int:
    """Builds, installs, runs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="new folder, away from the checkout")
    work = parser.parse_args().work.resolve()
    if work.is_relative_to(ROOT):
        parser.error("--work must lie outside the checkout")
    work.mkdir(parents=True)
    wheel = wheel_of(ROOT, work)
    venv.create(work / "env", with_pip=True)
    binaries = work / "env" / "bin"
    pip = [binaries / "python", "-m", "pip", "--disable-pip-version-check", "--quiet", "install"]
    ran([*pip, pinned_torch()], work)
    ran([*pip, wheel], work)
    labelgan, home = binaries / "labelgan", work / "home"
    home.mkdir()
    print(ran([labelgan, "doctor"], home))
    print(ran([labelgan, "demo"], home)[-600:])
    for name in ("nnunet", "bids"):
        sources = [Path("demo/phantom"), Path("demo/synthetic")]
        ran([labelgan, "export", *sources, "--out", f"{name}/Dataset501_Demo", "--format", name], home)
        ran([labelgan, "check", f"{name}/Dataset501_Demo"], home)
    visit_studio(labelgan, home)
    shutil.rmtree(work / "env")
    return 0


if __name__ == "__main__":
    sys.exit(main())
