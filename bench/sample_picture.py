"""Draws the first samples of a run, uncurated: the pictures in the documentation.

Run: python bench/sample_picture.py RUN OUT.png [--num 8] [--seed 1] [--columns 2]
"""

from __future__ import annotations

import argparse
from pathlib import Path

from labelgan.data.pictures import mosaic, save_png
from labelgan.data.preprocess import to_unit
from labelgan.gan.sample import Generator


def main() -> None:
    """Writes the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--num", type=int, default=8)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--columns", type=int, default=2)
    arguments = parser.parse_args()
    samples = Generator.load(arguments.run).sample(arguments.num, seed=arguments.seed)
    save_png(arguments.out, mosaic(to_unit(samples.images_NCHW), samples.masks_NHW, columns=arguments.columns))


if __name__ == "__main__":
    main()
