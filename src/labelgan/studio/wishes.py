"""A generator that can be asked for something, as the live page wants it: sliders, and images for masks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from labelgan.gan.inputs.compose import LOADS, Wish

if TYPE_CHECKING:
    from labelgan.gan.sample import Generator, Samples

ANY = "any"
LOAD_STEPS = (ANY, *LOADS)


class WishingSampler:
    """Samples a generator that grants wishes; see `studio.live.LiveSampler`.

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
        wish = Wish(load=None if name == ANY else name, height=height or None, site=where)
        return self.generator.sample(count, seed, start=start, wish=wish)

    def from_mask(self, masks_NHW: np.ndarray, seed: int = 0) -> Samples:
        """One image for each mask; lesion outside the brain of the anatomy that is drawn is left out."""
        from labelgan.gan.sample import Samples

        parts = [
            self.generator.sample(1, seed, start=number, wish=Wish(mask_HW=mask_HW > 0))
            for number, mask_HW in enumerate(masks_NHW)
        ]
        return Samples(
            np.concatenate([part.images_NCHW for part in parts]),
            np.concatenate([part.masks_NHW for part in parts]),
            tuple(part.indices[0] for part in parts),
            np.concatenate([part.critic_scores for part in parts]),
        )
