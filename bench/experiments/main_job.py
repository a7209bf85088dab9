"""Runs the main job on cohorts: prepare, each game for some hundred steps, sample in every format, check the result.

Run: python -m bench.experiments.main_job COHORT... [--steps 200] [--out runs/main-job] > docs/results/main-job.md
Each line of the table is one training; what is finished is not done again.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from pathlib import Path

from labelgan import api
from labelgan.config.gan import MODELS
from labelgan.core.files import read_json, write_json_atomic
from labelgan.core.progress import Progress
from labelgan.core.provenance import measured_at
from labelgan.data.export.write import EXPORTERS

SIZE, FIELD_MM = 64, {"Dataset501_LGG": 256.0}  # the glioma cohort's voxel size is a placeholder
SAMPLES = 32


def play(store: Path, run: Path, model: str, steps: int) -> dict[str, object]:
    """Trains one model, samples it in every format, checks each; gives the table's row."""
    done = run / "main-job.json"
    if done.is_file():
        return read_json(done)
    started = time.monotonic()
    with Progress(run.name, "step") as progress:
        result = api.train(store, run, model=model, preset="laptop", steps=steps, resume=True, report=progress)
    seconds = time.monotonic() - started
    accepted = []
    for format in EXPORTERS:
        out = run / "samples-out" / format
        shutil.rmtree(out, ignore_errors=True)
        api.sample(run, out, SAMPLES, format=format, seed=1, force=result.collapsed)
        report = api.check(out)
        complete = sum(case.mask is not None for case in report.cohort.cases)
        if report.ok and complete == SAMPLES:
            accepted.append(format)
    row = {
        "seconds": round(seconds, 1),
        "diversity": round(result.diversity, 3),
        "lesion_rate": round(result.lesion_rate, 3),
        "collapsed": result.collapsed,
        "accepted": accepted,
    }
    write_json_atomic(done, row)
    return row


def main() -> None:
    """Prints the table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cohorts", type=Path, nargs="+")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--out", type=Path, default=Path("runs/main-job"))
    arguments = parser.parse_args()
    print(measured_at() + "\n")
    print("| cohort | slices | with lesion | game | seconds | diversity | samples with lesion | accepted by `check` |")
    print("|---|---|---|---|---|---|---|---|")
    for cohort in arguments.cohorts:
        folder = arguments.out / cohort.name
        if not (folder / "store" / "manifest.json").is_file():
            spacing = FIELD_MM.get(cohort.name, 205.0) / SIZE
            every = 4 if "bids" in cohort.name else 1
            with Progress(f"prepare {cohort.name}", "case") as progress:
                api.prepare(
                    cohort, folder / "store", size=(SIZE, SIZE), spacing_mm=spacing, every=every, report=progress
                )
        from labelgan.data.store import SliceStore

        store = SliceStore.open(folder / "store")
        lesions = int((store.index["lesion_voxels"] > 0).sum())
        for model in MODELS:
            row = play(folder / "store", folder / model, model, arguments.steps)
            collapsed = " (collapsed)" if row["collapsed"] else ""
            accepted = row["accepted"]
            assert isinstance(accepted, list)
            cells = [cohort.name, len(store), lesions, model, row["seconds"], f"{row['diversity']}{collapsed}"]
            cells += [f"{row['lesion_rate']:.0%}", ", ".join(accepted) or "none"]
            print("| " + " | ".join(str(cell) for cell in cells) + " |")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
