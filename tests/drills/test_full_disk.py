"""A full disk: one line, an exit code, nothing finished is lost, and with room it goes on to the same bytes."""

from __future__ import annotations

import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from drill_children import begin, command
from drill_commands import COMMANDS, complaint
from drill_kills import DONE_JOBS, checkpoints_hold, differences, ended, results_of

DRILL = pytest.mark.drill
ROOMY_KB = 64 * 1024


class SmallDisk:
    """A file system of its own, as large as is asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def resize(self, kb: int) -> None:
        """Makes it larger or smaller; its files stay."""
        subprocess.run(["mount", "-o", f"remount,size={kb}k", str(self.folder)], check=True, capture_output=True)


def mount(folder: Path) -> str | None:
    """Mounts a small disk; gives the reason where that may not be."""
    call = ["mount", "-t", "tmpfs", "-o", f"size={ROOMY_KB}k", "tmpfs", str(folder)]
    try:
        made = subprocess.run(call, capture_output=True, text=True)
    except OSError as error:
        return str(error)
    return (made.stderr.strip() or "refused") if made.returncode else None


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    folder = tmp_path / "disk"
    folder.mkdir()
    reason = mount(folder)
    if reason is not None:
        pytest.skip(f"a small disk cannot be mounted here: {reason}")
    try:
        yield SmallDisk(folder)
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def used_kb(folder: Path) -> int:
    """Room that a folder's files take on a disk, KB."""
    return sum(path.lstat().st_blocks for path in folder.rglob("*") if path.is_file()) // 2


SHARES = (0.05, 0.2, 0.4, 0.6, 0.8, 0.95)
DRILLS = [
    pytest.param("sample", (0.6,)),
    *(pytest.param(name, SHARES, marks=DRILL) for name in ("prepare", "train", "segment train", "sample")),
    pytest.param("study", (0.1, 0.5, 0.9), marks=DRILL),
]


@pytest.mark.parametrize(("what", "shares"), DRILLS)
def test_a_disk_that_is_full(drill_places: dict[str, str], disk: SmallDisk, tmp_path: Path, told, what: str, shares):
    arguments, keeps = COMMANDS[what].arguments, COMMANDS[what].goes_on
    log = tmp_path / "log.txt"
    assert ended(begin(command, arguments({**drill_places, "out": str(tmp_path / "peace")}), log=log), log) == 0
    wanted, needed, losses = results_of(tmp_path / "peace"), used_kb(tmp_path / "peace"), []
    finished = disk.folder / "finished"
    finished.mkdir()
    (finished / "before").write_bytes(b"mine")
    for share in shares:
        out, log = disk.folder / f"out-{share:g}", tmp_path / f"log-{share:g}.txt"
        disk.resize(used_kb(disk.folder) + max(4, round(share * needed)))
        code = ended(begin(command, arguments({**drill_places, "out": str(out)}), log=log), log)
        line = complaint(log)
        if what == "study":
            assert code in (1, 2), line
            assert "no space left on device" in log.read_text().lower()
        else:
            assert (code, line.startswith("error: ")) == (2, True), line
            assert line.endswith("no space left on device; what was finished is kept: make room and go on")
            assert out.name in line
        if not keeps and out.exists():
            losses.append(f"{out.name} is there half")
        losses += [broken for broken in (checkpoints_hold(out),) if broken]
        done = {path: path.read_bytes() for path in out.glob(DONE_JOBS)}
        disk.resize(ROOMY_KB)
        log = tmp_path / f"log-{share:g}-again.txt"
        code = ended(begin(command, arguments({**drill_places, "out": str(out)}), log=log), log)
        losses += [f"{out.name}: {complaint(log)}"] if code else []
        losses += [f"{out.name}: {name}" for name in differences(results_of(out), wanted)]
        losses += [f"{path} was done" for path, content in done.items() if path.read_bytes() != content]
    assert [path.name for path in finished.iterdir()] == ["before"]
    told(
        "full disk",
        what,
        len(shares),
        len(losses),
        f"{needed} KB needed, {', '.join(f'{s:.0%}' for s in shares)} given",
    )
    assert losses == []


@DRILL
@pytest.mark.parametrize(
    ("what", "limit"),
    # a generator's checkpoint; its pictures for TensorBoard, which writes in a thread of its own; a manifest
    [("prepare", 8192), ("train", 8192), ("train", 40960), ("segment train", 8192), ("sample", 2048)],
)
def test_a_file_larger_than_the_limit(drill_places: dict[str, str], tmp_path: Path, told, what: str, limit: int):
    """Without the right to mount: no file may grow beyond a limit; Python is told as of a full disk."""
    arguments = COMMANDS[what].arguments
    call, log = arguments({**drill_places, "out": str(tmp_path / "out")}), tmp_path / "log.txt"
    code = ended(begin(command, call, log=log, limits={resource.RLIMIT_FSIZE: limit}), log)
    line = complaint(log)
    assert (code, line.endswith("file too large; what was finished is kept: make room and go on")) == (2, True), line
    log = tmp_path / "again.txt"
    assert ended(begin(command, call, log=log), log) == 0, log.read_text()
    assert ended(begin(command, arguments({**drill_places, "out": str(tmp_path / "peace")}), log=log), log) == 0
    losses = differences(results_of(tmp_path / "out"), results_of(tmp_path / "peace"))
    told("full disk", f"{what}, files of {limit >> 10} KB at most", 1, len(losses))
    assert losses == []


@pytest.mark.parametrize("what", [pytest.param(name, marks=[] if name == "prepare" else DRILL) for name in COMMANDS])
def test_a_disk_that_may_only_be_read(drill_places: dict[str, str], disk: SmallDisk, tmp_path: Path, told, what: str):
    """Root may write where permissions forbid it, but not on a read-only disk."""
    before = disk.folder / "before"
    before.write_bytes(b"mine")
    subprocess.run(["mount", "-o", "remount,ro", str(disk.folder)], check=True, capture_output=True)
    log, out = tmp_path / "log.txt", disk.folder / "out"
    code = ended(begin(command, COMMANDS[what].arguments({**drill_places, "out": str(out)}), log=log), log)
    line = complaint(log)
    assert (code, line.startswith("error: "), line.endswith("read-only file system")) == (2, True, True), line
    told("read-only folder", what, 1, 0, "one line, exit code 2")
    assert [path.name for path in disk.folder.iterdir()] == ["before"]
