"""Peak memory of every stage of the command line on the largest scans at hand, each in a process of its own.

Run: ``python -m bench.speed.stage_memory``. Prints one table. The scans are those of ``../shared/data/open-ms-bids``
where they are, else phantoms of the same size. ``predict_memory.py`` looks at Li et al.'s full networks.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from bench.speed.measure import ROOT, Bench, Figure, main, single

SCANS = ROOT.parent / "shared" / "data" / "open-ms-bids"
SHAPE = (182, 218, 182)
VOLUMES = 3  # FLAIR, T1, mask
SCAN_BYTES = 4 * VOLUMES * SHAPE[0] * SHAPE[1] * SHAPE[2]
LIMIT_GB = 4.0
LAST_LINES = 20


@dataclass(frozen=True)
class Stage:
    """A command and what it costs: ``fine`` are the exit codes that are no failure."""

    name: str
    arguments: tuple[str, ...]
    fine: tuple[int, ...] = (0,)


def stages(scans: Path, folder: Path, held_out: str) -> list[Stage]:
    """All commands, each after those whose folders it reads."""
    store, run, samples, segmenter = (str(folder / name) for name in ("store", "run", "samples", "segmenter"))
    here = ("--set", "train.device=cpu", "--set", "train.threads=1")
    few, two = ("--set", "content.stock=64"), ("--steps", "2")
    return [
        Stage("check", ("check", str(scans)), fine=(0, 1)),
        Stage("prepare", ("prepare", str(scans), store)),
        Stage("train", ("train", store, "--out", run, *two, "--exclude", held_out, *here, *few)),
        Stage("sample", ("sample", run, "--num", "32", "--out", samples, "--device", "cpu", "--force")),
        Stage(
            "audit",
            ("audit", samples, "--train", store, "--exclude", held_out, "--out", str(folder / "audit"),
             "--device", "cpu", "--set", "data.threads=1", "--set", "encoder.steps=20"),
            fine=(0, 3),
        ),
        Stage(
            "segment train",
            ("segment", "train", store, "--out", segmenter, "--preset", "laptop", "--ensemble", "1", *two, *here),
        ),
        Stage(
            "segment predict",
            ("segment", "predict", segmenter, str(scans), "--out", str(folder / "predicted"), "--device", "cpu"),
        ),
    ]  # fmt: skip


# A process counts what its parent held when it was started. So a small Python of its own starts each command.
LAUNCHER = """
import os, subprocess, sys
with open(sys.argv[1], "wb") as log:
    process = subprocess.Popen([sys.executable, *sys.argv[2:]], stdout=log, stderr=subprocess.STDOUT)
    _, status, used = os.wait4(process.pid, 0)
print(os.waitstatus_to_exitcode(status), used.ru_maxrss)
"""


def peak_bytes(arguments: list[str], fine: tuple[int, ...], log: Path) -> int:
    """Runs Python to its end; gives the largest resident memory of that process as the kernel counted it."""
    command = [sys.executable, "-I", "-S", "-c", LAUNCHER, str(log), *arguments]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    code, largest = (int(word) for word in told.split())
    if code not in fine:
        last = log.read_text(errors="replace").splitlines()[-LAST_LINES:]
        raise SystemExit("\n".join([*last, f"error: {' '.join(arguments)}: exit code {code}"]))
    return largest * (1 if sys.platform == "darwin" else 1024)


def largest_scans(folder: Path) -> tuple[Path, str, str]:
    """The cohort, a patient to hold out, and what it is."""
    if SCANS.is_dir():
        held_out = sorted(path.name for path in SCANS.glob("sub-*"))[-1]
        return SCANS, held_out, "three patients of open-ms-bids"
    shape = "x".join(map(str, SHAPE))
    subprocess.run(
        [sys.executable, "-c", "import sys; from labelgan import api; api.phantom(sys.argv[1], 3, 0, "
         f"shape={SHAPE})", str(folder / "phantoms")],
        check=True,
    )  # fmt: skip
    held_out = sorted(path.name for path in (folder / "phantoms").glob("*/*") if path.is_dir())[-1]
    return folder / "phantoms", held_out, f"three phantoms of {shape}"


def figures(short: bool) -> list[Figure]:
    """Runs every stage once."""
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        scans, held_out, what = largest_scans(folder)
        idle = peak_bytes(["-c", "import torch"], (0,), folder / "log")
        for stage in stages(scans, folder, held_out):
            peak = peak_bytes(["-m", "labelgan", *stage.arguments], stage.fine, folder / "log")
            print(f"{stage.name}: {peak / 1e9:.2f} GB", file=sys.stderr, flush=True)
            rows.append(
                Figure(
                    name=f"`{stage.name}`, peak memory",
                    against="a scan's voxels in single precision",
                    ratio=single(peak / SCAN_BYTES),
                    better="lower",
                    target=LIMIT_GB * 1e9 / SCAN_BYTES,
                    detail=f"{peak / 1e9:.2f} GB; {SCAN_BYTES / 1e9:.3f} GB; `import torch` alone {idle / 1e9:.2f} GB; "
                    f"{what}",
                )
            )
    return rows


BENCH = Bench(
    name="memory",
    title="Peak memory",
    command="python -m bench.speed.stage_memory",
    text=f"""
The largest resident memory of each command, of its process from start to end, as the kernel counts it, against the
voxels of one scan in single precision ({VOLUMES} volumes of {"×".join(map(str, SHAPE))}: FLAIR, T1, mask). Three
patients of that size, one held out; slices of 200×200; the default generator at its default width and batch, two steps;
32 samples, audited with an encoder of 20 steps; the laptop segmenter, two steps, and its masks of all three. The target
is 4 GB. What a prediction by the published networks at full width needs is in [Segmenters](segmenters.md).
""",
    figures=figures,
)

if __name__ == "__main__":
    main(BENCH)
