"""Waits for a GPU: the default r3gan on a prepared glioma store at 128×128, resumable.

Prepare the store where the data is: labelgan prepare Dataset501_LGG cache/lgg-128 --size 128
Then, with the GPU: python bench/gpu/r3gan_lgg.py --store cache/lgg-128 --out runs/lgg-128 --minutes 8
Prints steps, images per second and the diversity watch; run it again to go on.
"""

from __future__ import annotations

import argparse
import os
import signal
import threading
import time
from pathlib import Path

import torch

from labelgan import api
from labelgan.core.progress import Progress


def main() -> None:
    """Trains until the steps or the minutes are used up."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", type=Path, default=Path("cache/lgg-128"))
    parser.add_argument("--out", type=Path, default=Path("runs/lgg-128"))
    parser.add_argument("--steps", type=int, default=50_000)
    parser.add_argument("--minutes", type=float, default=8.0)
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        print("no GPU here: left in the queue")
        return
    if not arguments.store.is_dir():
        print(f"{arguments.store} is not there: prepare it first (see the top of this script)")
        return
    # The loop saves its state on SIGTERM, so a lease that ends loses nothing.
    timer = threading.Timer(arguments.minutes * 60, os.kill, (os.getpid(), signal.SIGTERM))
    timer.daemon = True
    timer.start()
    started = time.monotonic()
    try:
        with Progress("train", "step") as progress:
            result = api.train(
                arguments.store,
                arguments.out,
                model="r3gan",
                steps=arguments.steps,
                settings=["network.width=64", "network.max_width=512", "train.batch_size=64", "train.ema_images=20000"],
                resume=True,
                report=progress,
            )
        print(f"{result.steps} steps, diversity {result.diversity:.2f}, lesion rate {result.lesion_rate:.2f}")
    except KeyboardInterrupt:
        print(f"stopped after {time.monotonic() - started:.0f} s; run again to go on")


if __name__ == "__main__":
    main()
