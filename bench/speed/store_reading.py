"""Measures how fast random batches come out of a slice store, beside a plain ``np.load`` of the same bytes.

Run: ``python -m bench.speed.store_reading [--short]``. The store is one of noise, 200×200 with two channels, in a
temporary folder. Prints one table; the target is 2,000 slices/s.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np

import labelgan
from bench.speed.measure import Bench, Figure, Ratio, main, median_interval, median_ratio, take_turns
from labelgan.config.base import PrepareConfig
from labelgan.core.files import write_json_atomic, write_text_atomic
from labelgan.core.rng import generator_for
from labelgan.data.geometry import SliceGeometry
from labelgan.data.manifests import Intensity, StoredCase
from labelgan.data.prepare.cohort import ArrayWriter
from labelgan.data.store import INDEX_DTYPE, SliceStore, StoreManifest

BATCH = 16
SLICES = 2048
TURN = 50  # batches
TARGET = 2000.0  # slices/s


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


def figures(short: bool) -> list[Figure]:
    """Reads batches in turns."""
    with tempfile.TemporaryDirectory() as folder:
        store = make_store(Path(folder), SLICES)
        rows = generator_for(0, "bench", "rows").integers(0, len(store), (TURN, BATCH))
        parts = (store.images[rows[0]], store.masks[rows[0]], store.brains[rows[0]])
        paths = [Path(folder) / f"batch{number}.npy" for number in range(len(parts))]
        for path, part in zip(paths, parts, strict=True):
            np.save(path, part)

        def many(read: Callable[[np.ndarray], object]) -> None:
            for chosen in rows:
                read(chosen)

        calls = partial(many, store.read), partial(many, lambda _: [np.load(path) for path in paths])
        ours, plain = take_turns(calls, 7 if short else 11)
        megabytes = sum(part.nbytes for part in parts) / BATCH / 1e6
    rates, theirs = ([TURN * BATCH / seconds for seconds in each] for each in (ours, plain))
    rate = Ratio(median(rates), *median_interval(rates), len(rates))
    return [
        Figure(
            name=f"`SliceStore.read`, random rows, batches of {BATCH}, 2×200×200",
            against="slices a second",
            ratio=rate,
            better="higher",
            target=TARGET,
            detail=f"{megabytes:.2f} MB a slice, {rate.value * megabytes:,.0f} MB/s",
            unit="slices/s",
        ),
        Figure(
            name="`SliceStore.read`, share of the speed of `np.load`",
            against="`np.load` of a batch kept as three files",
            ratio=median_ratio(plain, ours),
            better="higher",
            detail=f"{rate.value:,.0f} slices/s; {median(theirs):,.0f} slices/s",
        ),
    ]


BENCH = Bench(
    name="store-reading",
    title="Reading the slice store",
    command="python -m bench.speed.store_reading",
    text="""
Random batches out of a store of 2,048 slices of 200×200 with two channels, against `np.load` of the same bytes kept as
a file of their own. `read` also picks rows from all over the store and turns float16 into float32; `np.load` does
neither. The files are in the page cache on both sides. What a training waits for its data is under
[training steps](#training-steps).
""",
    figures=figures,
)

if __name__ == "__main__":
    main(BENCH)
