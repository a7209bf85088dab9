"""The U-Net of Li et al. 2018 in Keras, with random weights: the other side of ``keras_parity.py``.

Runs in an environment of its own, which has keras, a backend and h5py, and not LabelGAN. Of every network it leaves
behind its weights as ``.h5`` files and its answers to random slices.

Run: ``KERAS_BACKEND=torch python -m bench.speed.keras_rival.unet OUT [--channels C] [--sizes 200x200,...] [--width W]
[--seed S]``.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

STAGES = (64, 96, 128, 256, 512)  # channels of the five stages at width 64


def build_unet(channels: int, width: int, size: tuple[int, int], normalised: bool = False) -> Any:
    """The published network for slices of one size, (N, H, W, C) -> (N, H, W, 1) probabilities.

    With ``normalised`` a batch norm stands between each convolution and its ReLU.
    """
    import keras  # pyright: ignore[reportMissingImports]
    from keras import layers  # pyright: ignore[reportMissingImports]

    a, b, c, d, e = (round(width * stage / STAGES[0]) for stage in STAGES)

    def two_convolutions(x: Any, filters: int, first: int = 3, second: int = 3) -> Any:
        for kernel in (first, second):
            x = layers.Conv2D(filters, kernel, padding="same", activation=None if normalised else "relu")(x)
            x = layers.ReLU()(layers.BatchNormalization(momentum=0.9, epsilon=1e-5)(x)) if normalised else x
        return x

    def missing(large: Any, small: Any) -> tuple[tuple[int, int], tuple[int, int]]:
        rows, columns = large.shape[1] - small.shape[1], large.shape[2] - small.shape[2]
        return (rows // 2, rows - rows // 2), (columns // 2, columns - columns // 2)

    slices = x = keras.Input((*size, channels))
    skips = []
    for filters, first, second in ((a, 5, 5), (b, 3, 3), (c, 3, 3), (d, 3, 4)):
        x = two_convolutions(x, filters, first, second)
        skips.append(x)
        x = layers.MaxPooling2D(2)(x)
    x = two_convolutions(x, e)
    for filters in (d, c, b, a):
        x = layers.UpSampling2D(2)(x)
        skip = skips.pop()
        x = layers.Concatenate()([x, layers.Cropping2D(missing(skip, x))(skip)])
        x = two_convolutions(x, filters)
    x = layers.ZeroPadding2D(missing(slices, x))(x)
    return keras.Model(slices, layers.Conv2D(1, 1, activation="sigmoid")(x))


def draw_weights(model: Any, random: np.random.Generator) -> None:
    """He-scaled kernels and small biases, so that probabilities spread and no weight is zero."""
    drawn = []
    for value in model.get_weights():
        fan_in = float(np.prod(value.shape[:-1])) if value.ndim == 4 else 0.0
        scale = np.sqrt(2 / fan_in) if fan_in else 0.1
        drawn.append(random.normal(0, scale, value.shape).astype(np.float32))
    model.set_weights(drawn)


def save_weights(model: Any, path: Path) -> None:
    """Writes what ``save_weights("x.h5")`` of Keras 2 wrote: layers and weights named in attributes of the root."""
    import h5py

    # the only place where Keras 3 keeps that layout
    from keras.src.legacy.saving import legacy_h5_format  # pyright: ignore[reportMissingImports]

    with h5py.File(path, "w") as file:
        legacy_h5_format.save_weights_to_hdf5_group(file, model)


def main() -> None:
    """Writes ``OUT/{weights.h5,model.h5}`` and ``OUT/answers.npz`` with slices and probabilities of every size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--channels", type=int, default=2)
    parser.add_argument("--sizes", default="200x200")
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--slices", type=int, default=2)
    options = parser.parse_args()

    import keras  # pyright: ignore[reportMissingImports]

    random = np.random.Generator(np.random.PCG64(options.seed))
    sizes = [tuple(int(side) for side in size.split("x")) for size in options.sizes.split(",")]
    options.out.mkdir(parents=True, exist_ok=True)
    weights, answers = None, {}
    for height, width in sizes:
        model = build_unet(options.channels, options.width, (height, width))
        if weights is None:
            draw_weights(model, random)
            weights = model.get_weights()
            save_weights(model, options.out / "weights.h5")
            model.save(options.out / "model.h5")
        model.set_weights(weights)
        slices = random.standard_normal((options.slices, height, width, options.channels)).astype(np.float32)
        answers[f"slices_{height}x{width}"] = slices
        answers[f"probabilities_{height}x{width}"] = np.asarray(model.predict(slices, batch_size=1, verbose=0))
    np.savez(options.out / "answers.npz", **answers)
    print(json.dumps({"keras": keras.__version__, "backend": keras.backend.backend()}))


if __name__ == "__main__":
    main()
