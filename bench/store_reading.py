"""Measures how fast random batches come out of a slice store, beside a plain ``np.load`` of the same bytes.

Run: ``python bench/store_reading.py [STORE]``. Without STORE it makes one of noise, 200×200 with two channels, in a
temporary folder. Prints one table; the target is 2,000 slices/s.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

import labelgan
from labelgan.config import PrepareConfig
from labelgan.data.geometry import SliceGeometry
from labelgan.data.prepare import ArrayWriter
from labelgan.data.store import INDEX_DTYPE, Intensity, SliceStore, StoredCase, StoreManifest
from labelgan.files import write_json_atomic, write_text_atomic
from labelgan.rng import generator_for

BATCH = 16


def make_store(folder: Path, slices: int, size: int = 200) -> SliceStore:
    """Writes a store of one case of noise."""
    random = generator_for(0, "bench", "store")
    with ArrayWriter(folder / "images.npy", (2, size, size), np.float16) as images:
        for _ in range(slices // 16):
            images.append(random.standard_normal((16, 2, size, size), dtype=np.float32))
    rows = images.rows
    for name in ("masks.npy", "brains.npy"):
        np.save(folder / name, random.integers(0, 2, (rows, size, size), dtype=np.uint8))
    np.save(folder / "index.npy", np.zeros(rows, dtype=INDEX_DTYPE))
    channels = ("FLAIR", "T1")
    case = StoredCase(
        id="noise",
        patient="noise",
        labelled=True,
        first=0,
        count=rows,
        pixel_mm=(1, 1),
        slice_mm=3,
        lesion_voxels_cropped=0,
        hashes=dict.fromkeys(channels, "sha256:0"),
        intensity=dict.fromkeys(channels, Intensity(mean=0, sd=1)),
        geometry=SliceGeometry.of((size, size, rows), np.eye(4), (size, size)),
    )
    manifest = StoreManifest(
        labelgan_version=labelgan.__version__,
        layout="none",
        channels=channels,
        size=(size, size),
        slices=rows,
        cases=(case,),
    )
    write_text_atomic(folder / "config.toml", PrepareConfig.build({}).to_toml())
    write_json_atomic(folder / "manifest.json", manifest.model_dump(mode="json"))
    return SliceStore.open(folder)


def slices_per_second(read: Callable[[int], object], seconds: float = 3.0) -> float:
    """Calls ``read(i)``, a batch each, for some seconds."""
    read(0)
    start, batches = time.perf_counter(), 0
    while (elapsed := time.perf_counter() - start) < seconds:
        batches += 1
        read(batches)
    return batches * BATCH / elapsed


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("store", nargs="?", type=Path)
    parser.add_argument("--slices", type=int, default=2048, help="of the store of noise")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        store = SliceStore.open(arguments.store) if arguments.store else make_store(Path(folder), arguments.slices)
        random = generator_for(0, "bench", "rows")
        rows = random.integers(0, len(store), (512, BATCH))
        parts = (store.images[rows[0]], store.masks[rows[0]], store.brains[rows[0]])
        paths = [Path(folder) / f"batch{number}.npy" for number in range(len(parts))]
        for path, part in zip(paths, parts, strict=True):
            np.save(path, part)
        ours = slices_per_second(lambda i: store.read(rows[i % len(rows)]))
        plain = slices_per_second(lambda _: [np.load(path) for path in paths])
        megabytes = sum(part.nbytes for part in parts) / BATCH / 1e6
    channels, (height, width) = len(store.channels), store.size
    print(f"{len(store)} slices of {channels}×{height}×{width}, {megabytes:.2f} MB each, batches of {BATCH}")
    print(f"{'':34}{'slices/s':>10}{'MB/s':>10}")
    print(f"{'SliceStore.read, random rows':34}{ours:10,.0f}{ours * megabytes:10,.0f}")
    print(f"{'np.load of a batch kept as a file':34}{plain:10,.0f}{plain * megabytes:10,.0f}")
    print(f"ratio {ours / plain:.2f}; read also turns float16 into float32, np.load does not")


if __name__ == "__main__":
    main()
