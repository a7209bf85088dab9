"""Do samples that are asked for of a site have that site's brightness? Wasserstein distances of brain z-scores.

Run: python -m bench.experiments.site_brightness STORE RUN [--num 100] [--seed 2]

Rows are what was asked for, columns the real slices of each site; lesions are left out. The run is a refiner's, trained
on the store.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from scipy.stats import wasserstein_distance

from labelgan.core.provenance import measured_at
from labelgan.core.rng import generator_for
from labelgan.data.store import SliceStore
from labelgan.gan.inputs.compose import Composer, Conditions
from labelgan.gan.inputs.content import Content
from labelgan.gan.sample import Generator


def real_values(store: SliceStore, site: str) -> list[np.ndarray]:
    """Z-scores of a site's healthy brain pixels, channel by channel."""
    batch = store.read(store.rows_of(case.id for case in store.cases if case.site == site))
    healthy_NHW = batch.brains_NHW & (batch.masks_NHW == 0)
    return [batch.images_NCHW[:, channel][healthy_NHW] for channel in range(len(store.channels))]


def sampled_values(
    generator: Generator, composer: Composer, conditions: Conditions | None, num: int, seed: int
) -> list[np.ndarray]:
    """The same of samples; a sample's brain is that of the anatomy it was painted on."""
    samples = generator.sample(num, seed=seed, conditions=conditions)
    made = [composer.compose(generator_for(seed, "composition", index), conditions) for index in samples.indices]
    healthy_NHW = np.stack([item.brain_HW for item in made]) & (samples.masks_NHW == 0)
    return [samples.images_NCHW[:, channel][healthy_NHW] for channel in range(len(generator.channels))]


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", type=Path)
    parser.add_argument("run", type=Path)
    parser.add_argument("--num", type=int, default=100)
    parser.add_argument("--seed", type=int, default=2)
    given = parser.parse_args()
    store, generator = SliceStore.open(given.store), Generator.load(given.run)
    content = Content.load(generator.run.content, generator.channels, generator.size)
    composer = Composer(content, generator.config.content)
    real = {site: real_values(store, site) for site in generator.sites}
    rows = {f"real {site}": values for site, values in real.items()}
    for site in (None, *generator.sites):
        conditions = None if site is None else Conditions(site=site)
        rows[f"samples, {site or 'not asked'}"] = sampled_values(generator, composer, conditions, given.num, given.seed)
    print(measured_at() + "\n")
    print(f"| {', '.join(generator.channels)} | " + " | ".join(real) + " |")
    print("|---" * (1 + len(real)) + "|")
    for name, values in rows.items():
        apart = [[wasserstein_distance(*pair) for pair in zip(values, real[site], strict=True)] for site in real]
        cells = (", ".join(f"{distance:.3f}" for distance in channels) for channels in apart)
        print(f"| {name} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
