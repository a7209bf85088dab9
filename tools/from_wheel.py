"""The package as its users get it: a wheel, an empty environment, no checkout, and a first hour's commands.

    python -m tools.from_wheel --work /tmp/labelgan-wheel [--parts demo,mlflow]

Builds the wheel, installs it with pip and the pinned torch into a new virtual environment, and runs there, in a folder
away from this one: ``doctor``, ``demo``, ``export`` for nnU-Net and BIDS, ``check`` of both, and ``studio``, whose
page and scripts are fetched. With the part ``mlflow``, also a training that tells a real MLflow server, stops and goes
on. Prints each command with its seconds and stops at the first that fails.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import socket
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


_TOLD = """
import json, sys
from mlflow import MlflowClient
client = MlflowClient()
(run,) = client.search_runs([client.get_experiment_by_name("labelgan").experiment_id])
points = {name: len(client.get_metric_history(run.info.run_id, name)) for name in run.data.metrics}
print(json.dumps([run.info.status, len(run.data.params), points]))
"""


def tell_mlflow(binaries: Path, labelgan: Path, folder: Path) -> None:
    """Trains ten steps, then ten more of the same run, before a server of its own, and asks that what it was told."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = [binaries / "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--backend-store-uri"]
    server = [str(part) for part in [*server, "sqlite:///mlflow.db"]]
    os.environ["MLFLOW_TRACKING_URI"] = address = f"http://127.0.0.1:{port}"
    log = folder / "mlflow.log"
    with (
        log.open("wb") as stream,
        subprocess.Popen(server, cwd=folder, stdout=stream, stderr=stream, start_new_session=True) as process,
    ):
        try:
            until = time.monotonic() + DEADLINE_S
            while True:
                try:
                    urllib.request.urlopen(f"{address}/health", timeout=5).close()
                    break
                except OSError:
                    if time.monotonic() > until:
                        raise SystemExit(f"no MLflow server: {log.read_text()[-2000:]}") from None
                    time.sleep(0.5)
            ran([labelgan, "phantom", "few", "--patients", "2"], folder)
            ran([labelgan, "prepare", "few", "few-store", "--size", "32", "--spacing", "7"], folder)
            train = [labelgan, "train", "few-store", "--out", "tracked", "--preset", "laptop", "--track", "mlflow"]
            ran([*train, "--steps", "10"], folder)
            ran([*train, "--steps", "20", "--resume"], folder)
            status, parameters, points = json.loads(ran([binaries / "python", "-c", _TOLD], folder).splitlines()[-1])
        finally:
            os.killpg(process.pid, signal.SIGTERM)
    print(f"           MLflow: one run, {status}, {parameters} parameters, points by figure: {points}")
    if status != "FINISHED" or not parameters or not points:
        raise SystemExit("the server was not told all")


def main() -> int:
    """Builds, installs, runs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="new folder, away from the checkout")
    parser.add_argument("--parts", default="demo", help="of demo,mlflow, with commas")
    given = parser.parse_args()
    work, parts = given.work.resolve(), given.parts.split(",")
    if work.is_relative_to(ROOT):
        parser.error("--work must lie outside the checkout")
    work.mkdir(parents=True)
    wheel = wheel_of(ROOT, work)
    venv.create(work / "env", with_pip=True)
    binaries = work / "env" / "bin"
    pip = [binaries / "python", "-m", "pip", "--disable-pip-version-check", "--quiet", "install"]
    ran([*pip, pinned_torch()], work)
    ran([*pip, f"{wheel}[mlflow]" if "mlflow" in parts else wheel], work)
    labelgan, home = binaries / "labelgan", work / "home"
    home.mkdir()
    print(ran([labelgan, "doctor"], home))
    if "demo" in parts:
        print(ran([labelgan, "demo"], home)[-600:])
        for name in ("nnunet", "bids"):
            folder = f"{name}/Dataset501_Demo"
            ran([labelgan, "export", "demo/phantom", "demo/synthetic", "--out", folder, "--format", name], home)
            ran([labelgan, "check", folder], home)
        visit_studio(labelgan, home)
    if "mlflow" in parts:
        tell_mlflow(binaries, labelgan, home)
    shutil.rmtree(work / "env")
    return 0


if __name__ == "__main__":
    sys.exit(main())
