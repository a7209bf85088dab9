"""Sampling while somebody watches: what a generator offers is asked of it, not known here.

A sampler is any object of `LiveSampler`. What it can do besides is told by what it has: ``controls`` (sliders of its
own, such as truncation or lesion load) and ``from_mask`` (an image for a mask that is given). Families that lack them
do not show them.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from labelgan.core.errors import DataError
from labelgan.data.pictures import grey_window
from labelgan.gan.inputs.compose import LOADS, Conditions
from labelgan.studio.images import Cache
from labelgan.studio.pictures import draw_mask, draw_slice

if TYPE_CHECKING:
    from labelgan.gan.sample import Generator, Samples

ANY = "any"
LOAD_STEPS = (ANY, *LOADS)


class ConditionalSampler:
    """Samples a generator that supports conditions; see `studio.live.LiveSampler`.

    Attributes:
        controls: height 0 leaves the height open, load 0 the lesions, site 0 (where there are several) the site.
    """

    _SLIDERS = (
        {"name": "height", "label": "Height in the brain (0: any)", "low": 0, "high": 1, "step": 0.05, "default": 0},
        {
            "name": "load",
            "label": "Lesions: " + ", ".join(f"{number} {name}" for number, name in enumerate(LOAD_STEPS)),
            "low": 0,
            "high": len(LOAD_STEPS) - 1,
            "step": 1,
            "default": 0,
        },
    )

    def __init__(self, generator: Generator) -> None:
        self.generator = generator
        self.sites = generator.sites if len(generator.sites) > 1 else ()
        names = ", ".join(f"{number} {name}" for number, name in enumerate((ANY, *self.sites)))
        slider = {"name": "site", "label": f"Site: {names}", "low": 0, "high": len(self.sites), "step": 1, "default": 0}
        self.controls = (*self._SLIDERS, slider) if self.sites else self._SLIDERS

    @property
    def channels(self) -> tuple[str, ...]:
        """Channel names in order."""
        return self.generator.channels

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.generator.size

    def sample(
        self, count: int, seed: int = 0, *, start: int = 0, height: float = 0, load: float = 0, site: float = 0
    ) -> Samples:
        """Samples as the sliders stand."""
        name = LOAD_STEPS[round(load)]
        where = (None, *self.sites)[round(site)]
        conditions = Conditions(load=None if name == ANY else name, height=height or None, site=where)
        return self.generator.sample(count, seed, start=start, conditions=conditions)

    def from_mask(self, masks_NHW: np.ndarray, seed: int = 0) -> Samples:
        """One image for each mask; lesion outside the brain of the anatomy that is drawn is left out."""
        from labelgan.gan.sample import Samples

        parts = [
            self.generator.sample(1, seed, start=number, conditions=Conditions(mask_HW=mask_HW > 0))
            for number, mask_HW in enumerate(masks_NHW)
        ]
        return Samples(
            np.concatenate([part.images_NCHW for part in parts]),
            np.concatenate([part.masks_NHW for part in parts]),
            tuple(part.indices[0] for part in parts),
            np.concatenate([part.critic_scores for part in parts]),
        )


MOST_SEED = 2**31 - 1
MOST_INDEX = 999_999
BLOCK = 8  # samples made at a time: generators make as many for one


class LiveSamples(Protocol):
    """Samples of a sampler: z-scores (N, C, H, W) and masks (N, H, W), as `gan.sample.Samples` has them."""

    @property
    def images_NCHW(self) -> np.ndarray: ...
    @property
    def masks_NHW(self) -> np.ndarray: ...


@runtime_checkable
class LiveSampler(Protocol):
    """A generator that can be sampled; `gan.sample.Generator` is one."""

    @property
    def channels(self) -> tuple[str, ...]: ...
    @property
    def size(self) -> tuple[int, int]: ...

    def sample(self, count: int, seed: int = 0, *, start: int = 0) -> LiveSamples:
        """Samples ``start`` to ``start + count - 1``; the values of its controls come as arguments of their names."""
        ...


@runtime_checkable
class MaskConditioned(Protocol):
    """A sampler that makes images for masks."""

    def from_mask(self, masks_NHW: np.ndarray, seed: int = 0) -> LiveSamples:
        """Images for masks (N, H, W), uint8, 1 where there is to be a lesion; image i depends on (mask, seed, i)."""
        ...


@dataclass(frozen=True)
class Control:
    """A number that a sampler takes besides seed and index, by the name of its argument.

    A sampler has them as ``controls``: a sequence of objects, or mappings, with these fields.
    """

    name: str
    label: str
    low: float
    high: float
    step: float
    default: float
    unit: str = ""


def controls_of(sampler: Any) -> tuple[Control, ...]:
    """The controls that a sampler says it has; those that make no sense are left out."""
    found = []
    for given in getattr(sampler, "controls", ()) or ():
        names = Control.__annotations__
        values: Mapping[str, Any] = given if isinstance(given, Mapping) else {k: getattr(given, k, None) for k in names}
        try:
            control = Control(
                name=str(values["name"]),
                label=str(values.get("label") or values["name"]),
                low=float(values["low"]),
                high=float(values["high"]),
                step=float(values["step"]),
                default=float(values["default"]),
                unit=str(values.get("unit") or ""),
            )
        except (KeyError, TypeError, ValueError):
            continue
        if control.name.isidentifier() and control.low <= control.default <= control.high and control.step > 0:
            found.append(control)
    return tuple(found)


@dataclass(frozen=True)
class LivePicture:
    """One sample as the page shows it: a PNG a channel, with and without outline, the mask, and its lesion area."""

    plain: tuple[bytes, ...]
    outlined: tuple[bytes, ...]
    mask: bytes
    lesion_mm2: float
    lesion_pixels: int

    @property
    def bytes(self) -> int:
        """Size in memory, bytes."""
        return len(self.mask) + sum(map(len, (*self.plain, *self.outlined)))


class LiveRun:
    """A sampler with its controls; one question at a time, so that the machine is not overrun."""

    def __init__(self, sampler: LiveSampler, pixel_mm: tuple[float, float] = (1.0, 1.0)) -> None:
        self.sampler, self.pixel_mm = sampler, pixel_mm
        self.controls = controls_of(sampler)
        self._lock = threading.Lock()
        self._blocks: Cache[LiveSamples] = Cache(64 * 2**20, lambda block: block.images_NCHW.nbytes)
        self._cache: Cache[LivePicture] = Cache(64 * 2**20, lambda picture: picture.bytes)

    @classmethod
    def open(cls, run: Path) -> LiveRun:
        """Loads a run folder; raises CheckpointError, ConfigError or RefusedError where it cannot be sampled."""
        from labelgan.gan.sample import Generator
        from labelgan.studio.live import ConditionalSampler

        generator = Generator.load(run, force=True)
        _, row_mm, column_mm = (float(length) for length in generator.manifest["spacing_mm"])
        sampler: LiveSampler = ConditionalSampler(generator) if generator.inputs.supported else generator
        return cls(sampler, (row_mm, column_mm))

    @property
    def takes_masks(self) -> bool:
        """Whether it makes images for masks that are given."""
        return isinstance(self.sampler, MaskConditioned)

    def offers(self) -> dict[str, Any]:
        """Settings that the page may ask for, as JSON values."""
        return {
            "channels": list(self.sampler.channels),
            "size": list(self.sampler.size),
            "pixel_mm": list(self.pixel_mm),
            "from_mask": self.takes_masks,
            "controls": [{key: getattr(control, key) for key in Control.__annotations__} for control in self.controls],
            "most_seed": MOST_SEED,
            "most_index": MOST_INDEX,
        }

    def sample(self, seed: int, index: int, settings: Mapping[str, Any], side: int) -> LivePicture:
        """Sample ``index`` of a seed.

        Raises:
            DataError: a value is out of its range, or a setting is not one that the sampler has.
        """
        _require("seed", seed, MOST_SEED)
        _require("index", index, MOST_INDEX)
        values = self._settings(settings)
        key = ("sample", seed, index, tuple(sorted(values.items())), side)
        block = index // BLOCK
        return self._cache.get(key, lambda: self._draw(self._block(seed, block, values), index % BLOCK, side))

    def strip(self, seed: int, index: int, settings: Mapping[str, Any], side: int) -> tuple[int, list[LivePicture]]:
        """The block of neighbours that a sample belongs to: the index of the first, and all of them."""
        first = index // BLOCK * BLOCK
        return first, [self.sample(seed, number, settings, side) for number in range(first, first + BLOCK)]

    def _block(self, seed: int, block: int, values: dict[str, float]) -> LiveSamples:
        def make() -> LiveSamples:
            with self._lock:
                sampler: Any = self.sampler
                return sampler.sample(BLOCK, seed, start=block * BLOCK, **values)

        return self._blocks.get((seed, block, tuple(sorted(values.items()))), make)

    def from_mask(self, mask_HW: np.ndarray, seed: int, side: int) -> LivePicture:
        """The image made for a mask, (H, W) of 0 and 1 on the sampler's grid.

        Raises:
            DataError: the sampler takes no masks, or the mask has another shape.
        """
        sampler = self.sampler
        if not isinstance(sampler, MaskConditioned):
            raise DataError("from_mask", "this generator makes image and mask together; it takes no mask")
        _require("seed", seed, MOST_SEED)
        if mask_HW.shape != tuple(self.sampler.size):
            raise DataError("mask", f"has shape {mask_HW.shape}, expected {tuple(self.sampler.size)}")
        with self._lock:
            return self._draw(sampler.from_mask(mask_HW[None].astype(np.uint8), seed), 0, side)

    def _settings(self, given: Mapping[str, Any]) -> dict[str, float]:
        known = {control.name: control for control in self.controls}
        values = {}
        for name, value in given.items():
            control = known.get(name)
            if control is None:
                raise DataError(str(name)[:64], "is no control of this generator")
            if not isinstance(value, int | float) or not control.low <= value <= control.high:
                raise DataError(name, f"is not between {control.low:g} and {control.high:g}")
            values[name] = float(value)
        return values

    def _draw(self, samples: LiveSamples, row: int, side: int) -> LivePicture:
        images_CHW, mask_HW = samples.images_NCHW[row], np.asarray(samples.masks_NHW[row], np.uint8)
        plain, outlined = [], []
        for plane in images_CHW:
            window = grey_window(plane)
            plain.append(draw_slice(plane, None, window, self.pixel_mm, side, "none"))
            outlined.append(draw_slice(plane, mask_HW, window, self.pixel_mm, side))
        pixels = int((mask_HW == 1).sum())
        area = pixels * self.pixel_mm[0] * self.pixel_mm[1]
        return LivePicture(tuple(plain), tuple(outlined), draw_mask(mask_HW, side), area, pixels)


def mask_from_rows(rows: Sequence[str], size: tuple[int, int]) -> np.ndarray:
    """Reads a mask that the page drew: a string of 0 and 1 a row.

    Raises:
        DataError: it has another size or other letters.
    """
    height, width = size
    if not isinstance(rows, list) or len(rows) != height:
        raise DataError("mask", f"expected {height} rows of {width} letters 0 or 1")
    if any(not isinstance(row, str) or len(row) != width or set(row) - {"0", "1"} for row in rows):
        raise DataError("mask", f"expected {height} rows of {width} letters 0 or 1")
    return np.array([[letter == "1" for letter in row] for row in rows], np.uint8)


def _require(name: str, value: Any, most: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
        raise DataError(name, f"is not a whole number from 0 to {most}")
