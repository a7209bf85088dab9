"""Runs every bench of speed, each in a process of its own: `make bench` writes docs/results/speed.md and the baseline.

Run: ``python -m bench.speed.benches [--only NAME ...] [--short]``. With ``--short`` nothing is written. A bench that
fails is told of at the end, with exit code 1; what it measured before stays in the document.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench.speed.measure import BASELINE, DOCUMENT, ROOT, Figure, as_value, read_baseline, target_text
from labelgan.core.files import read_json
from labelgan.core.provenance import provenance
from tools.sections import write_section

# In the order of the document; names of sections to modules of bench.speed.
SCRIPTS = {
    "metrics": "metrics",
    "store-reading": "store_reading",
    "prepare": "prepare_speed",
    "training-step": "training_step",
    "keras": "keras_rival.speed",
    "sampling": "sampling_speed",
    "audit": "audit_scaling",
    "study": "study.overhead",
    "start": "start_time",
    "memory": "stage_memory",
}


def run_bench(name: str, folder: Path, options: list[str]) -> list[Figure]:
    """Runs a bench with one thread; gives its figures, none where it fails."""
    told = folder / f"{name}.json"
    told.unlink(missing_ok=True)
    command = [sys.executable, "-m", f"bench.speed.{SCRIPTS[name]}", "--json", str(told), *options]
    print(f"== {SCRIPTS[name]}", file=sys.stderr, flush=True)
    subprocess.run(command, check=False, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=sys.stderr)
    return [Figure.from_json(each) for each in read_json(told)] if told.is_file() else []


def machine() -> str:
    """The processor, its cores, and the versions that matter."""
    made = provenance()
    processor = "a processor of unknown name"
    if (told := Path("/proc/cpuinfo")).is_file():
        names = [line.split(":", 1)[1] for line in told.read_text().splitlines() if line.startswith("model name")]
        processor = names[0].strip() if names else processor
    versions = ", ".join(f"{key} {made[key]}" for key in ("labelgan", "python", "torch", "numpy") if key in made)
    return f"{processor}, {os.cpu_count()} cores; {versions}"


def summary(table: dict[str, Any]) -> str:
    """The head of the document: every figure that has a target, and what the machine was doing."""
    lines = ["| what | against | value | target |", "|---|---|---:|---|"]
    loads = [value for entry in table.values() for value in entry["load"]]
    for name in SCRIPTS:
        for each in table.get(name, {}).get("figures", []):
            figure = Figure.from_json(each)
            if figure.target is not None:
                lines.append(f"| {figure.name} | {figure.against} | {as_value(figure)} | {target_text(figure)} |")
    missing = [name for name in SCRIPTS if name not in table]
    if missing:
        lines += ["", f"Not measured yet: `python -m bench.speed.benches --only {' '.join(missing)}`."]
    return f"""## Targets

`make bench` measures everything here and writes this page and `bench/speed/baseline.json`; `make bench-check` measures
again, briefly, compares with the last committed table, and fails where a ratio is more than 20 % worse twice in a row.

Made on {machine()}; load {min(loads):.1f} to {max(loads):.1f} runnable processes a core: other work ran on the machine
all the time. So ours and its rival take turns, seconds are of the processor where nothing else is said, and values are
medians of the ratios of neighbouring turns, with the 95 % interval of that median. Ratios carry over to other machines
far better than seconds do.

{chr(10).join(lines)}
"""


def write_head() -> None:
    """Writes the head from the table as it is."""
    write_section(DOCUMENT, "targets", summary(read_baseline(BASELINE)))


def main() -> int:
    """Runs what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=list(SCRIPTS), default=list(SCRIPTS))
    parser.add_argument("--short", action="store_true", help="fewer repeats; nothing is written")
    options = parser.parse_args()
    if not options.short and not DOCUMENT.exists():
        for name in ("targets", *SCRIPTS):  # in this order, whichever ends first
            write_section(DOCUMENT, name, "")
    failed = []
    with tempfile.TemporaryDirectory() as folder:
        for name in options.only:
            if not run_bench(name, Path(folder), ["--short" if options.short else "--write"]):
                failed.append(name)
    if not options.short and BASELINE.exists():
        write_head()
    if failed:
        print(f"error: {', '.join(failed)}: failed, see above", file=sys.stderr)
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
