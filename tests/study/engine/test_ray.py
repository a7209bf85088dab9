"""Ray: its guard, a cluster started for a study, and one of two nodes on this machine that loses one of them."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from labelgan.config.study import EngineConfig
from labelgan.core.errors import ConfigError
from labelgan.study.engine.ledger import Job, Ledger, job_lock
from labelgan.study.engine.local import LocalEngine
from labelgan.study.engine.ray import RayEngine, guard, require_reachable, run_on_node
from labelgan.study.engine.scheduler import run_jobs
from toy_jobs import number, toy

TESTS = str(Path(__file__).resolve().parents[2])
TOKEN = "1234567890abcdef" * 4


@pytest.fixture(autouse=True)
def _toys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", TESTS)
    monkeypatch.setenv("RAY_AUTH_TOKEN", TOKEN)


# What needs no cluster


def test_a_cluster_of_our_own_gets_a_token_and_the_loopback_address():
    wanted = guard("2.60.0", True, {})
    assert wanted["RAY_AUTH_MODE"] == "token"
    assert len(wanted["RAY_AUTH_TOKEN"]) == 64
    assert wanted["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] == "0"
    assert wanted == guard("2.60.0", True, {})


@pytest.mark.parametrize(
    ("version", "own", "environment", "names"),
    [
        ("2.60.0", True, {"RAY_AUTH_TOKEN": "x"}, {"RAY_AUTH_MODE"}),
        ("2.60.0", True, {"RAY_AUTH_TOKEN_PATH": "x"}, {"RAY_AUTH_MODE"}),
        ("2.60.0", True, {"RAY_AUTH_MODE": "disabled"}, set()),
        ("2.51.1", True, {}, set()),
        ("3.0.0rc1", True, {"RAY_AUTH_TOKEN": "x"}, {"RAY_AUTH_MODE"}),
        ("2.60.0", False, {}, set()),
    ],
)
def test_what_is_set_or_belongs_to_others_is_left_alone(version: str, own: bool, environment: dict, names: set):
    wanted = guard(version, own, environment)
    assert {name for name in wanted if "AUTH" in name} == names
    assert wanted["RAY_USAGE_STATS_ENABLED"] == "0"


def test_an_address_where_nobody_answers_is_told_at_once():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(ConfigError, match=f"Ray cluster {address}: does not answer"):
            RayEngine(EngineConfig(address=address))
        taken.listen()
        require_reachable(address)
    require_reachable("auto")


def test_a_node_that_does_not_see_the_folder_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    said = run_on_node(str(tmp_path / "jobs" / "x"), 0)
    assert said is not None
    assert "must be on a file system that all share" in said
    assert os.environ["CUDA_VISIBLE_DEVICES"] == ""


def test_on_a_node_a_folder_says_how_it_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    ledger = Ledger(tmp_path)
    assert run_on_node(str(ledger.prepare(number(3)).path), 1) is None
    assert ledger.result(number(3)) == {"value": 3}
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "0"
    assert run_on_node(str(ledger.prepare(toy("fault")).path), 1) is None
    assert ledger.state(toy("fault")) == "failed"


# Real clusters


@pytest.mark.slow
def test_a_cluster_started_for_a_study(tmp_path: Path):
    ledger = Ledger(tmp_path)
    a, b = number(1), number(2)
    total = number(4, a=a, b=b)
    before = dict(os.environ)
    with RayEngine(EngineConfig(workers=2, gpus=0)) as engine:
        assert engine.room(1) == 0
        assert engine.room(0) == 2
        summary = run_jobs([total, toy("die_once"), toy("leak"), toy("environment")], ledger, engine)
        training = ledger.prepare(toy("train"))
        engine.submit(toy("train"), training.path)
        until((training.path / "running.txt").is_file, 60, training.path / "job.json")
        engine.close(now=True)
        assert (training.path / "step.txt").is_file()  # told to stop, it has saved its state
    assert ledger.result(total) == {"value": 7}
    assert ledger.result(toy("die_once")) == {"tries": 2}
    seen = ledger.result(toy("environment"))
    assert (seen["OMP_NUM_THREADS"], seen["CUDA_VISIBLE_DEVICES"]) == ("1", "")
    assert summary.done == 5
    assert [failure.exit_code for failure in summary.failed] == [3]
    assert {name for name in os.environ.keys() - before.keys() if name.startswith("RAY_AUTH")} == set()


def family(pid: int) -> list[int]:
    """A process and everything under it; Ray's processes are no group."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
    found = [pid]
    for member in found:
        found += [child for child, parent in parents.items() if parent == member]
    return found


def signal_all(pids: list[int], number: int) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def start_node(arguments: list[str], log: Path) -> subprocess.Popen[bytes]:
    """Starts a node; again when Ray gives up, as it does after half a minute on a machine that is busy."""
    program = [str(Path(sys.executable).with_name("ray")), "start", "--block", "--num-cpus=1", "--num-gpus=0"]
    # An engine of another test, open in this process, has this at "0", which keeps Ray on one machine.
    surroundings = {**os.environ, "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "1"}
    for _ in range(4):
        with log.open("wb") as stream:
            words = [*program, "--disable-usage-stats", *arguments]
            node = subprocess.Popen(words, stdout=stream, stderr=stream, env=surroundings)
        known = [node.pid]
        while node.poll() is None:
            if "Ray runtime started" in log.read_text():
                return node
            time.sleep(0.5)
            known = family(node.pid)
        signal_all(known, signal.SIGKILL)
    pytest.fail(log.read_text()[-3000:])


def until(what, seconds: float, told: Path) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, told.read_text(errors="replace")[-3000:]
        time.sleep(0.1)


@pytest.fixture
def two_nodes(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Address of a cluster of two nodes with one core each, and the second node's process."""
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    place = Path(tempfile.mkdtemp(prefix="ray-"))  # short: Ray makes sockets below it
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    nodes = []
    try:
        head = ["--head", "--node-ip-address=127.0.0.1", f"--port={port}", "--include-dashboard=false"]
        nodes.append(start_node([*head, f"--temp-dir={place}"], place / "head.log"))
        nodes.append(start_node([f"--address=127.0.0.1:{port}"], place / "second.log"))
        yield f"127.0.0.1:{port}", nodes[1]
    finally:
        for node in reversed(nodes):
            if node.poll() is None:
                signal_all(family(node.pid), signal.SIGKILL)
            node.wait()
        shutil.rmtree(place, ignore_errors=True)


STUDY = """
import json, sys
from pathlib import Path
from labelgan.config.study import EngineConfig
from labelgan.study.engine.ray import RayEngine
from labelgan.study.engine.ledger import Ledger
from labelgan.study.engine.scheduler import run_jobs
sys.path.insert(0, str(Path(sys.argv[3]).parent))
from test_ray import study
with RayEngine(EngineConfig(address=sys.argv[1])) as engine:
    events = []
    def tell(event):
        print(json.dumps([event.what, event.job.key, event.note]), flush=True)
    run_jobs(study(), Ledger(Path(sys.argv[2])), engine, tell=tell)
"""


def study() -> list[Job]:
    """Twelve jobs of a second, and sums of them: 'scores' that do not depend on who computed them."""
    leaves = [
        Job("toy", f"leaf {place}", {"value": 1.1 * place, "seconds": 1.0}, {}, "toy_jobs:add_slowly")
        for place in range(12)
    ]
    sums = [number(0.1, 0, a=leaves[place], b=leaves[11 - place]) for place in range(6)]
    return [*sums, number(0.3, 0, **{str(place): job for place, job in enumerate(sums)})]


def values(ledger: Ledger) -> list[float]:
    return [ledger.result(job)["value"] for job in study()]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds a node's processes through /proc")
def test_two_nodes_give_the_scores_of_one_machine_and_lose_only_what_a_killed_node_ran(two_nodes, tmp_path: Path):
    address, second = two_nodes
    ledger = Ledger(tmp_path / "ray")
    log = tmp_path / "study.log"
    with log.open("wb") as stream:
        arguments = [address, str(ledger.root), __file__]
        program = subprocess.Popen([sys.executable, "-c", STUDY, *arguments], stdout=stream, stderr=subprocess.STDOUT)
    try:
        done = lambda: {path.parent.name for path in ledger.jobs.glob("*/done.json")}  # noqa: E731
        running: set[str] = set()

        def frozen_at_work() -> bool:
            """Holds the second node still; lets it go on when it has no job or it is too early."""
            node = family(second.pid)
            signal_all(node, signal.SIGSTOP)
            begun = {path.parent.name: path.read_text() for path in ledger.jobs.glob("*/running.txt")}
            running.clear()
            running.update(key for key, pid in begun.items() if pid and int(pid) in node and key not in done())
            if running and len(done()) >= 3:
                signal_all(node, signal.SIGKILL)
                return True
            signal_all(node, signal.SIGCONT)
            return False

        until(frozen_at_work, 180, log)
        assert program.wait(240) == 0, log.read_text()[-3000:]
    finally:
        if program.poll() is None:
            program.kill()
            program.wait()
    events = [json.loads(line) for line in log.read_text().splitlines() if line.startswith('["')]
    retried = {key for what, key, _ in events if what == "retried"}
    assert len(running) == 1
    assert running <= retried
    assert len(retried) <= 2  # Ray may have handed the dying node one job more than it had begun
    starts = [key for what, key, _ in events if what == "started"]
    assert len(starts) == len(set(starts)) + len(retried)
    assert sum(what == "done" for what, _, _ in events) == len(set(starts)) == 19
    again = Ledger(tmp_path / "local")
    with LocalEngine(EngineConfig(workers=2, gpus=0)) as engine:
        assert run_jobs(study(), again, engine).complete
    assert values(ledger) == values(again)
    for job in study():
        with job_lock(ledger.folder(job)):
            pass
