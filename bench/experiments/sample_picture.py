"""Draws the first samples of a run, uncurated: the pictures in the documentation.

Run: python -m bench.experiments.sample_picture RUN OUT.png [--num 8] [--seed 1] [--columns 2] [--site A,B] [--load
low,high]

Of every site and load that are named NUM samples are drawn, one below the other.
"""

from __future__ import annotations

import argparse
from itertools import product
from pathlib import Path

import numpy as np

from labelgan.data.pictures import mosaic, save_png
from labelgan.data.prepare.case import to_unit
from labelgan.gan.inputs.compose import Conditions
from labelgan.gan.sample import Generator


def names(text: str) -> list[str | None]:
    """Splits at commas; nothing is one condition that holds of anything."""
    return [part or None for part in text.split(",")]


def main() -> None:
    """Writes the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--num", type=int, default=8)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--columns", type=int, default=2)
    parser.add_argument("--site", type=names, default=[None])
    parser.add_argument("--load", type=names, default=[None])
    arguments = parser.parse_args()
    generator = Generator.load(arguments.run)
    conditions = [Conditions(load=load, site=site) for site, load in product(arguments.site, arguments.load)]
    drawn = [generator.sample(arguments.num, seed=arguments.seed, conditions=conditions) for conditions in conditions]
    images_NCHW = np.concatenate([samples.images_NCHW for samples in drawn])
    masks_NHW = np.concatenate([samples.masks_NHW for samples in drawn])
    save_png(arguments.out, mosaic(to_unit(images_NCHW), masks_NHW, columns=arguments.columns))


if __name__ == "__main__":
    main()
