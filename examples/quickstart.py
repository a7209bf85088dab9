"""The whole way in Python, on phantoms: a minute or two on a laptop.

Run: python examples/quickstart.py [FOLDER]
"""

import sys
from pathlib import Path

import labelgan


def main(folder: Path) -> None:
    """Makes phantoms, prepares, trains a little, samples, checks."""
    labelgan.phantom(folder / "scans", patients=2, seed=1)
    store = labelgan.prepare(folder / "scans", folder / "store", size=(64, 64), spacing_mm=3.2, every=2)
    print(f"{len(store)} slices of {store.channels}")

    result = labelgan.train(folder / "store", folder / "run", start_from="phantom", steps=20)
    print(f"diversity {result.diversity:.2f}, samples with a lesion {result.lesion_rate:.0%}")

    generator = labelgan.Generator.load(folder / "run")
    samples = generator.sample(16, seed=1)
    print(samples.images_NCHW.shape, samples.masks_NHW.shape)

    labelgan.sample(folder / "run", folder / "synthetic", num=16, format="nnunet", seed=1)
    print("accepted" if labelgan.check(folder / "synthetic").ok else "refused")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "quickstart"))
