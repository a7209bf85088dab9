"""Makes the small generator that comes with the package, from phantoms alone.

Run: python -m tools.make_phantom_generator [--work DIR] [--steps N]
Interrupted, it goes on where it stopped. The weights go to src/labelgan/assets/phantom64.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from labelgan import api
from labelgan.core.files import read_json, write_json_atomic
from labelgan.core.progress import Progress
from labelgan.data.store import SliceStore

PATIENTS, SEED = 48, 1000  # far from the demo's own phantoms, which have seed 0
SIZE, SPACING_MM = 64, 3.2
MAX_BYTES = 8 * 2**20


def main() -> None:
    """Makes phantoms, store and generator, and copies what the package ships."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("runs/phantom64"))
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    cohort, store, run = arguments.work / "phantom", arguments.work / "store", arguments.work / "run"
    if not (store / "manifest.json").is_file():
        with Progress("phantom", "patient") as progress:
            api.phantom(cohort, PATIENTS, SEED, force=True, report=progress)
        with Progress("prepare", "case") as progress:
            api.prepare(cohort, store, size=(SIZE, SIZE), spacing_mm=SPACING_MM, every=2, report=progress)
        shutil.rmtree(cohort)
    SliceStore.open(store)
    with Progress("train", "step") as progress:
        api.train(
            store, run, model="r3gan", preset="laptop", steps=arguments.steps, resume=True, report=progress,
            settings=[f"train.threads={arguments.threads}"],
        )  # fmt: skip
    asset = api.phantom_generator()
    asset.mkdir(parents=True, exist_ok=True)
    for name in ("config.toml", "generator.safetensors", "critic.safetensors", "card.md"):
        shutil.copyfile(run / name, asset / name)
    manifest = read_json(run / "manifest.json")
    write_json_atomic(asset / "manifest.json", manifest)
    size = sum(path.stat().st_size for path in asset.iterdir())
    if size > MAX_BYTES:
        raise SystemExit(f"{asset} has {size / 2**20:.1f} MiB, more than {MAX_BYTES >> 20}")
    print(f"{asset}: {size / 2**20:.2f} MiB, diversity {manifest['diversity']:.2f}")


if __name__ == "__main__":
    main()
