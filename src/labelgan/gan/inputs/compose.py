"""Composing a labelled slice: an anatomy, a lesion shape, and where and how it is painted.

Parameters are drawn first, then applied. Shapes are lesions of training patients, bent, turned and resized; they are
laid about where they came from, at either side, inside the brain. The lesion's contrast to its surroundings is kept
from its donor and scaled, so that it fits the anatomy it comes into. Shape suffixes as in
`labelgan.gan.networks.families`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from labelgan.config.gan import ContentConfig
from labelgan.core.errors import ConfigError
from labelgan.data.slices import DONOR_HEIGHT, MARGIN, Slices, fading_out
from labelgan.data.volume import LESION
from labelgan.gan.inputs.appearance import smooth_noise
from labelgan.gan.inputs.content import Content

INSIDE = 0.7  # share of the lesion that must lie in the brain
TRIES = 12
NEAR_HEIGHT = 0.08  # of the brain; an anatomy comes from no further above or below than this, where there is one
RING = (1, 5)  # pixels around a lesion that count as its surroundings
LOADS = {"none": (0.0, 0.0), "low": (0.0, 1 / 3), "medium": (1 / 3, 2 / 3), "high": (2 / 3, 1.0)}


@dataclass(frozen=True, eq=False)
class Conditions:
    """Conditions that a user sets for a sample.

    Attributes:
        load: key of ``LOADS``: no lesion, or a donor of that third of lesion areas; None: as it comes.
        height: of the slice in the brain, 0 (lowest) to 1; None: any.
        mask_HW: bool lesion to paint, instead of a patient's.
        site: name of a site or scanner of the training patients, whose anatomies and lesions are to be used, and whose
            brightness; None: any.
    """

    load: str | None = None
    height: float | None = None
    mask_HW: np.ndarray | None = None
    site: str | None = None

    def __post_init__(self) -> None:
        if self.load is not None and self.load not in LOADS:
            raise ConfigError("--load", f"unknown '{self.load}'; one of {', '.join(LOADS)}")
        if self.height is not None and not 0 <= self.height <= 1:
            raise ConfigError("--z", f"{self.height} is not a height between 0 and 1")

    @property
    def fixes_lesions(self) -> bool:
        """Whether it says which lesions there are to be."""
        return self.load is not None or self.mask_HW is not None

    @property
    def is_empty(self) -> bool:
        """Whether samples come as they come."""
        return self.height is None and self.site is None and not self.fixes_lesions

    def to_json(self) -> dict[str, str | float | None]:
        """Gives the conditions as plain values, for a manifest; masks are left out."""
        return {"load": self.load, "height": self.height, "site": self.site}


@dataclass(frozen=True, eq=False)
class Composition:
    """A slice to be refined: float32 z-scores (C, H, W), bool lesion and brain (H, W), and its height."""

    image_CHW: np.ndarray
    lesion_HW: np.ndarray
    brain_HW: np.ndarray
    height: float


class Composer:
    """Composes slices from a content.

    Args:
        content: anatomies and lesions.
        config: how they are drawn.
    """

    def __init__(self, content: Content, config: ContentConfig) -> None:
        self.content, self.config = content, config
        patients = content.patients
        areas = patients.lesions_NHW.sum(axis=(1, 2))
        self.donors = np.flatnonzero(areas)
        self.free = np.flatnonzero(areas == 0)
        self.areas = areas[self.donors]
        self.facts = [_lesion_facts(patients, int(donor)) for donor in self.donors]
        self._of_site: dict[str, Composer] = {}

    def of_site(self, site: str) -> Composer:
        """The composer of one site's patients; raises ConfigError where there are none with a lesion."""
        if site not in self._of_site:
            self._of_site[site] = Composer(self.content.of_site(site), self.config)
        return self._of_site[site]

    def compose(self, rng: np.random.Generator, conditions: Conditions | None = None) -> Composition:
        """Draws a slice; it depends on the generator's state and the conditions alone.

        The height comes first: that of a donor, or of any slice where there is to be no lesion. Anatomy and lesion are
        then chosen from about there, as lesions of the white matter are not those of the brain stem.
        """
        conditions = conditions or Conditions()
        if conditions.site is not None:
            return self.of_site(conditions.site).compose(rng, replace(conditions, site=None))
        empty = rng.random() < self.config.lesion_free if conditions.load is None else conditions.load == "none"
        heights = self.content.patients.heights_N
        height = float(rng.choice(heights) if empty else heights[self.donors[self._donor(rng, conditions)]])
        height = height if conditions.height is None else conditions.height
        image_CHW, own_HW, brain_HW, height = self._anatomy(height, rng, fixed=empty or conditions.fixes_lesions)
        if conditions.mask_HW is not None:
            lesion_HW = conditions.mask_HW & brain_HW
            image_CHW = self._paint(image_CHW, brain_HW, own_HW, lesion_HW, self._donor(rng, conditions), None, rng)
        elif empty:
            lesion_HW = np.zeros_like(brain_HW)
        else:
            donor, places, lesion_HW = self._shape(brain_HW, height, rng, conditions)
            image_CHW = self._paint(image_CHW, brain_HW, own_HW, lesion_HW, donor, places, rng)
        return Composition(image_CHW.astype(np.float32), lesion_HW | own_HW, brain_HW, height)

    def example(self, height: float, rng: np.random.Generator) -> np.ndarray:
        """Z-scores of the healthy brain of a patient's slice from about a height, (C, M)."""
        patients = self.content.patients
        row = int(rng.choice(np.flatnonzero(_nearest(patients.heights_N, height, NEAR_HEIGHT))))
        return patients.images_NCHW[row][:, patients.brains_NHW[row] & (patients.masks_NHW[row] != LESION)]

    def _anatomy(
        self, height: float, rng: np.random.Generator, *, fixed: bool
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
        """Image, lesions that it has already, brain and height; mirrored half of the time.

        Where the lesions are ``fixed`` the anatomy must have none of its own.
        """
        content, config = self.content, self.config
        of_phantom = rng.random() < config.phantoms
        keeps_own = rng.random() < config.lesioned
        source, choice = content.patients, self.donors if keeps_own and not fixed else self.free
        if not fixed and not _near(source.heights_N[choice], height, NEAR_HEIGHT).any():
            choice = np.arange(len(source))
        if len(content.phantoms) and (of_phantom or not len(choice)):
            source, choice = content.phantoms, np.arange(len(content.phantoms))
        elif not len(choice):
            choice = self.donors
        row = int(rng.choice(choice[_nearest(source.heights_N[choice], height, NEAR_HEIGHT)]))
        picked = (source.images_NCHW[row], source.masks_NHW[row] == LESION, source.brains_NHW[row])
        if rng.random() < 0.5:
            picked = tuple(plane[..., ::-1] for plane in picked)
        return picked[0].copy(), picked[1].copy(), picked[2].copy(), float(source.heights_N[row])

    def _donor(self, rng: np.random.Generator, conditions: Conditions, height: float | None = None) -> int:
        """Number of a lesion slice among the donors, of the load that is wished, from about the height given."""
        choice = np.arange(len(self.donors))
        if conditions.load is not None and conditions.load != "none":
            low, high = np.quantile(self.areas, LOADS[conditions.load])
            choice = np.flatnonzero((self.areas >= low) & (self.areas <= high))
        if height is not None:
            choice = choice[_nearest(self.content.patients.heights_N[self.donors[choice]], height, DONOR_HEIGHT)]
        return int(rng.choice(choice))

    def _shape(
        self, brain_HW: np.ndarray, height: float, rng: np.random.Generator, conditions: Conditions
    ) -> tuple[int, tuple[np.ndarray, np.ndarray], np.ndarray]:
        """Draws until enough of a moved lesion lies in the brain; gives its donor, the places its pixels come from."""
        patients = self.content.patients
        number, places = 0, self._places(patients.masks_NHW[self.donors[0]] == LESION, rng)
        for _ in range(TRIES):
            number = self._donor(rng, conditions, height)
            donor_HW = (patients.masks_NHW[self.donors[number]] == LESION).astype(np.float32)
            places = self._places(donor_HW, rng)
            moved_HW = ndimage.map_coordinates(donor_HW, places, order=1) > 0.5
            area = int(moved_HW.sum())
            if area >= 2 and (moved_HW & brain_HW).sum() >= INSIDE * area:
                return number, places, moved_HW & brain_HW
        return number, places, np.zeros_like(brain_HW)

    def _places(self, donor_HW: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Rows and columns of the donor that every pixel is taken from: turned, resized, bent, mirrored, moved."""
        config, (height, width) = self.config, donor_HW.shape
        row, column = ndimage.center_of_mass(donor_HW)
        to_row = row + rng.normal(0, config.shift * height)
        to_column = (column if rng.random() < 0.5 else width - 1 - column) + rng.normal(0, config.shift * width)
        angle = np.deg2rad(rng.uniform(-config.rotate, config.rotate))
        size = np.exp(rng.uniform(*np.log(config.zoom)))
        stretch = np.exp(rng.uniform(-config.stretch, config.stretch))
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        back = turn @ np.diag([1 / (size * stretch), stretch / size])
        if rng.random() < 0.5:
            back = back @ np.diag([1.0, -1.0])
        rows, columns = np.mgrid[:height, :width].astype(np.float64)
        away = np.stack([rows - to_row, columns - to_column], axis=-1) @ back.T
        bend, smoothness = config.bend * min(height, width), 0.11 * min(height, width)
        return (
            away[..., 0] + row + bend * smooth_noise(rng, (height, width), smoothness),
            away[..., 1] + column + bend * smooth_noise(rng, (height, width), smoothness),
        )

    def _paint(
        self,
        image_CHW: np.ndarray,
        brain_HW: np.ndarray,
        own_HW: np.ndarray,
        lesion_HW: np.ndarray,
        number: int,
        places: tuple[np.ndarray, np.ndarray] | None,
        rng: np.random.Generator,
    ) -> np.ndarray:
        """Lays the lesion in: surroundings + gain · (donor - donor's surroundings), fading out at its edge.

        Without ``places`` the donor lends its contrast alone, and smooth noise of its spread makes the texture.
        """
        if not lesion_HW.any():
            return image_CHW
        facts, gain = self.facts[number], float(np.exp(rng.normal(0, self.config.contrast)))
        fade = rng.uniform(*MARGIN)
        weight_HW = fading_out(lesion_HW, fade) * brain_HW
        around_HW = _ring(lesion_HW, brain_HW & ~own_HW)
        grain_HW = smooth_noise(rng, lesion_HW.shape, rng.uniform(1, 4))
        painted = image_CHW.copy()
        for channel, plane in enumerate(image_CHW):
            base = float(plane[around_HW].mean()) if around_HW.any() else float(np.median(plane[brain_HW]))
            if places is None:
                rise = facts.contrast[channel] + facts.spread[channel] * grain_HW
            else:
                donor = self.content.patients.images_NCHW[self.donors[number], channel]
                rise = ndimage.map_coordinates(donor, places, order=1, mode="nearest") - facts.surroundings[channel]
            painted[channel] += weight_HW * (base + gain * rise - plane)
        return painted


@dataclass(frozen=True)
class _LesionFacts:
    """Per channel: mean of a lesion's surroundings, its mean above them, and its standard deviation."""

    surroundings: np.ndarray
    contrast: np.ndarray
    spread: np.ndarray


def _lesion_facts(slices: Slices, row: int) -> _LesionFacts:
    image_CHW, lesion_HW, brain_HW = slices.images_NCHW[row], slices.masks_NHW[row] == LESION, slices.brains_NHW[row]
    around_HW = _ring(lesion_HW, brain_HW)
    elsewhere = around_HW if around_HW.any() else brain_HW & ~lesion_HW
    surroundings = image_CHW[:, elsewhere].mean(axis=1) if elsewhere.any() else np.zeros(len(image_CHW), np.float32)
    inside = image_CHW[:, lesion_HW]
    return _LesionFacts(surroundings, inside.mean(axis=1) - surroundings, inside.std(axis=1))


def _ring(lesion_HW: np.ndarray, brain_HW: np.ndarray) -> np.ndarray:
    inner, outer = (np.asarray(ndimage.binary_dilation(lesion_HW, iterations=pixels), bool) for pixels in RING)
    return outer & ~inner & brain_HW


def _near(heights_N: np.ndarray, height: float, reach: float) -> np.ndarray:
    return np.abs(heights_N - height) <= reach


def _nearest(heights_N: np.ndarray, height: float, reach: float) -> np.ndarray:
    """Which of the heights are within reach, or, where none is, the nearest."""
    away = np.abs(heights_N - height)
    return away <= max(reach, float(away.min()))
