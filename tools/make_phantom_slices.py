"""Makes the healthy phantom slices that come with the package: the anatomies that a refining generator starts from.

Run: python -m tools.make_phantom_slices [--work DIR]
They go to src/labelgan/assets/phantom_slices.npz.
"""

from __future__ import annotations

import argparse
import io
import shutil
from pathlib import Path

import numpy as np

from labelgan import api
from labelgan.core.files import write_bytes_atomic
from labelgan.core.progress import Progress
from labelgan.core.rng import generator_for
from labelgan.data.phantom.cohort import write_phantom_cohort
from labelgan.data.phantom.slices import ASSET, PhantomSlices
from labelgan.data.store import SliceStore

PATIENTS, SEED = 36, 2000  # other heads than the demo's (seed 0) and the shipped generator's (seed 1000)
SIZE, SPACING_MM = 128, 1.6
PER_PATIENT = 12
HEIGHTS = (0.12, 0.95)  # of the brain: below are the skull base and neck, above the vertex


def main() -> None:
    """Makes phantoms and store, and writes the slices that the package ships."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("runs/phantom-slices"))
    work = parser.parse_args().work
    cohort, folder = work / "phantom", work / "store"
    if not (folder / "manifest.json").is_file():
        with Progress("phantom", "patient") as progress:
            write_phantom_cohort(
                cohort, PATIENTS, SEED, force=True, healthy=True, progress=lambda name: progress(0, PATIENTS, name)
            )
        with Progress("prepare", "case") as progress:
            api.prepare(cohort, folder, size=(SIZE, SIZE), spacing_mm=SPACING_MM, report=progress)
        shutil.rmtree(cohort)
    store = SliceStore.open(folder)
    rows = np.concatenate([_chosen(store, number) for number in range(len(store.cases))])
    slices = PhantomSlices(store.read(rows), store.channels, SPACING_MM)
    stream = io.BytesIO()
    slices.write(stream)
    write_bytes_atomic(ASSET, stream.getvalue())
    print(f"{ASSET}: {len(rows)} slices, {ASSET.stat().st_size / 2**20:.2f} MiB")


def _chosen(store: SliceStore, number: int) -> np.ndarray:
    """Slices of one phantom, one from each of equally high parts of its brain."""
    heights = np.where(store.index["case"] == number, store.index["z_fraction"], np.nan)
    rng = generator_for(SEED, "slices", number)
    edges = np.linspace(*HEIGHTS, PER_PATIENT + 1)
    wanted = rng.uniform(edges[:-1], edges[1:])
    return np.unique([int(np.nanargmin(np.abs(heights - height))) for height in wanted])


if __name__ == "__main__":
    main()
