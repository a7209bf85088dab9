"""What a whole audit costs: samples against as many training slices, part by part, in seconds and in memory.

    python -m bench.speed.audit_speed --slices 10000 --held-out 2000 --side 128 --threads 2

Another process first writes a slice store and a synthetic cohort of drawn slices: smooth textures of patients inside
an ellipse, half of them with a lesion. What is timed is `audit.run.run_audit` on these folders, from reading to the
last picture. The processor's seconds stand beside the elapsed ones, which other work on the machine lengthens.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from labelgan import __version__
from labelgan.config.audit import AuditConfig
from labelgan.config.base import PrepareConfig
from labelgan.core.files import write_json_atomic, write_text_atomic
from labelgan.core.rng import generator_for
from labelgan.data.export.write import CohortFacts, LabelledSlice, export_cohort
from labelgan.data.geometry import SliceGeometry
from labelgan.data.manifests import Intensity, StoredCase
from labelgan.data.prepare.cohort import ArrayWriter
from labelgan.data.store import INDEX_DTYPE, SliceStore, StoreManifest

CHANNELS = ("FLAIR", "T1")
PATIENTS, HELD_OUT_PATIENTS = 100, 25


def drawn(name: str, patient: int, row: int, side: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One slice of two channels, its mask and its brain: a mix of the patient's own texture and the slice's."""
    from scipy.ndimage import zoom

    rows, columns = np.mgrid[:side, :side].astype(np.float32) / (side - 1) - 0.5
    brain = (rows / 0.45) ** 2 + (columns / 0.38) ** 2 < 1
    draw, own = generator_for(0, name, row), generator_for(0, name, "patient", patient)
    coarse = own.standard_normal((2, side // 8, side // 8)) + draw.standard_normal((2, side // 8, side // 8))
    image = np.asarray(zoom(coarse, (1, 8, 8), order=1), np.float32)
    mask = np.zeros((side, side), np.uint8)
    if row % 2:
        down, right = draw.uniform(-0.25, 0.25, 2)
        mask[(rows - down) ** 2 + (columns - right) ** 2 < draw.uniform(0.02, 0.06) ** 2] = 1
        image[0] += 2.5 * mask
    image = np.where(brain, image, np.float32(-4))
    return image + 0.1 * draw.standard_normal(image.shape, dtype=np.float32), mask, brain.astype(np.uint8)


def write_store(folder: Path, slices: int, held_out: int, side: int) -> None:
    """A slice store of patients ``t0``, ``t1``, ... and, to hold out, ``h0``, ``h1``, ..."""
    folder.mkdir()
    counts = {f"t{number}": len(range(number, slices, PATIENTS)) for number in range(min(PATIENTS, slices))}
    counts |= {f"h{number}": len(range(number, held_out, HELD_OUT_PATIENTS)) for number in range(HELD_OUT_PATIENTS)}
    cases: list[StoredCase] = []
    with (
        ArrayWriter(folder / "images.npy", (2, side, side), np.float16) as images,
        ArrayWriter(folder / "masks.npy", (side, side), np.uint8) as masks,
        ArrayWriter(folder / "brains.npy", (side, side), np.uint8) as brains,
        ArrayWriter(folder / "index.npy", (), INDEX_DTYPE) as index,
    ):
        for number, (patient, count) in enumerate(counts.items()):
            cases.append(
                StoredCase(
                    id=patient,
                    patient=patient,
                    labelled=True,
                    first=images.rows,
                    count=count,
                    pixel_mm=(1.0, 1.0),
                    slice_mm=3.0,
                    lesion_voxels_cropped=0,
                    hashes={channel: f"drawn:{patient}:{channel}" for channel in CHANNELS},
                    intensity={channel: Intensity(mean=100.0, sd=20.0) for channel in CHANNELS},
                    geometry=SliceGeometry.of((side, side, count), np.diag([1.0, 1.0, 3.0, 1.0]), (side, side)),
                )
            )
            for z in range(count):
                image, mask, brain = drawn(patient[0], int(patient[1:]), images.rows, side)
                record = np.zeros(1, INDEX_DTYPE)
                record["case"], record["z"], record["z_fraction"] = number, z, z / max(1, count - 1)
                record["lesion_voxels"], record["brain_voxels"] = mask.sum(), brain.sum()
                for writer, rows in ((images, image), (masks, mask), (brains, brain)):
                    writer.append(rows[None])
                index.append(record)
        total = images.rows
    manifest = StoreManifest(
        labelgan_version=__version__,
        layout="wmh",
        channels=CHANNELS,
        size=(side, side),
        slices=total,
        cases=tuple(cases),
    )
    write_text_atomic(folder / "config.toml", PrepareConfig.build({"size": (side, side)}).to_toml())
    write_json_atomic(folder / "manifest.json", manifest.model_dump(mode="json"))


def write_samples(folder: Path, count: int, side: int) -> None:
    """A synthetic cohort of NumPy archives, as ``labelgan sample --format npz`` writes it."""

    def slices() -> Iterator[LabelledSlice]:
        for row in range(count):
            image, mask, _ = drawn("s", row, row, side)
            yield LabelledSlice(f"syn{row:06d}", image, image, mask)

    generator = {"training_cases": [], "inherited_cases": []}
    told = {"kind": "synthetic-slices", "generator": generator}
    export_cohort("npz", slices(), folder, CohortFacts(CHANNELS, (side, side), (3.0, 1.0, 1.0)), lambda: told)


def build(folder: Path, slices: int, held_out: int, side: int) -> None:
    """Writes both folders."""
    write_store(folder / "store", slices, held_out, side)
    write_samples(folder / "samples", slices, side)


def peak_gib() -> float:
    """Most memory that this process has held, GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 2**30


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slices", type=int, default=10_000, help="samples, and training slices")
    parser.add_argument("--held-out", type=int, default=2_000)
    parser.add_argument("--side", type=int, default=128)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="keep the slices here; where they are, they are taken as they are")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = options.folder or Path(name)
        if not (folder / "samples").exists():
            folder.mkdir(parents=True, exist_ok=True)
            arguments = folder, options.slices, options.held_out, options.side
            builder = multiprocessing.get_context("spawn").Process(target=build, args=arguments)
            builder.start()
            builder.join()
            if builder.exitcode:
                raise SystemExit("error: the slices could not be written")
        audit(folder, options.threads)


def audit(folder: Path, threads: int) -> None:
    """Audits the folders, and prints every part as it ends."""
    rows: list[tuple[str, float, float, float]] = []
    last = "read", time.process_time(), time.monotonic()

    def report(done: int, steps: int, what: str) -> None:
        nonlocal last
        now = time.process_time(), time.monotonic()
        rows.append((last[0], now[0] - last[1], now[1] - last[2], peak_gib()))
        print("{:<10} {:8.1f} s processor {:8.1f} s elapsed   peak {:.2f} GiB".format(*rows[-1]), flush=True)
        last = what or "write", *now

    from labelgan.audit.run import run_audit

    store = SliceStore.open(folder / "store")
    held_out = [case.id for case in store.cases if case.id.startswith("h")]
    config = AuditConfig().with_settings([f"data.threads={threads}", "data.device=cpu"])
    run_audit(folder / "samples", store, held_out, folder / "audit", config, report=report)
    report(0, 0, "")
    spent, elapsed = sum(row[1] for row in rows), sum(row[2] for row in rows)
    print(f"{'in all':<10} {spent:8.1f} s processor {elapsed:8.1f} s elapsed   peak {peak_gib():.2f} GiB")


if __name__ == "__main__":
    main()
