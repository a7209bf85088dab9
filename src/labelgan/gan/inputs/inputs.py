"""Inputs of a generator: z alone, or a composed slice with noise. One place to add a kind (a line in INPUTS).

Sample i's input depends on (seed, i) alone, a training batch's on the generator it is drawn from.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import ClassVar, Protocol

import numpy as np
import torch
from torch import Tensor

from labelgan.config.gan import GanConfig, NetworkConfig
from labelgan.core.errors import ConfigError
from labelgan.core.rng import generator_for
from labelgan.data.prepare.case import from_unit, to_unit
from labelgan.data.store import SliceStore
from labelgan.gan.inputs.appearance import match_brightness, restyle
from labelgan.gan.inputs.compose import Composer, Composition, Conditions
from labelgan.gan.inputs.content import Content
from labelgan.gan.inputs.mask_channel import encode_mask
from labelgan.gan.networks.families import family_of


def _draw(rng: np.random.Generator, shape: tuple[int, ...], config: NetworkConfig) -> Tensor:
    values = rng.standard_normal(shape) if config.latent == "normal" else rng.uniform(-1.0, 1.0, shape)
    return torch.from_numpy(values.astype(np.float32))


def sample_latents(config: NetworkConfig, seed: int, indices: Iterable[int]) -> Tensor:
    """Gives z of samples ``indices``: (N, Z) float32 on the CPU; row i depends on ``seed`` and its own index alone."""
    return torch.stack([_draw(generator_for(seed, "z", i), (config.latent_dim,), config) for i in indices])


def batch_latents(config: NetworkConfig, rng: np.random.Generator, count: int) -> Tensor:
    """Gives z of one training batch, (N, Z) float32 on the CPU."""
    return _draw(rng, (count, config.latent_dim), config)


class Inputs(Protocol):
    """Gives a generator's arguments, CPU tensors with one row a slice."""

    def batch(self, rng: np.random.Generator, count: int) -> tuple[Tensor, ...]:
        """Arguments for a training batch."""
        ...

    def samples(self, seed: int, indices: Iterable[int], conditions: Conditions | None = None) -> tuple[Tensor, ...]:
        """Arguments for samples ``indices``; raises ConfigError where conditions are not supported."""
        ...

    def finish(
        self, seed: int, indices: Iterable[int], slices_NCHW: Tensor, conditions: Conditions | None = None
    ) -> Tensor:
        """Turns the generator's output, (N, C, H, W) in [-1, 1], into samples."""
        ...

    @property
    def supported(self) -> tuple[str, ...]:
        """The fields of `Conditions` that it supports."""
        ...

    @property
    def sites(self) -> tuple[str, ...]:
        """The sites that it knows."""
        ...


class Latents:
    """z, and nothing else."""

    settings: ClassVar[Collection[str]] = ("network.latent", "network.latent_dim")

    supported: tuple[str, ...] = ()
    sites: tuple[str, ...] = ()

    def __init__(self, config: GanConfig, content: Content | None) -> None:
        self.config = config.network

    def batch(self, rng: np.random.Generator, count: int) -> tuple[Tensor, ...]:
        """Z (N, Z)."""
        return (batch_latents(self.config, rng, count),)

    def samples(self, seed: int, indices: Iterable[int], conditions: Conditions | None = None) -> tuple[Tensor, ...]:
        """Z (N, Z); raises ConfigError for any condition: z has no axis of a known meaning."""
        if conditions is not None and not conditions.is_empty:
            raise ConfigError(
                "--load, --z, --site", "this model makes slices as they come; train --model refiner to ask for some"
            )
        return (sample_latents(self.config, seed, indices),)

    def finish(
        self, seed: int, indices: Iterable[int], slices_NCHW: Tensor, conditions: Conditions | None = None
    ) -> Tensor:
        """The very same slices."""
        return slices_NCHW


class Compositions:
    """Composed slices (N, C + 1, H, W) in [-1, 1] with the mask channel last, noise (N, K, H, W), and z (N, Z)."""

    settings: ClassVar[Collection[str]] = ("network.latent", "network.latent_dim", "network.noise_maps", "content")
    supported: tuple[str, ...] = ("load", "height", "mask_HW", "site")

    def __init__(self, config: GanConfig, content: Content | None) -> None:
        assert content is not None
        self.config = config
        self.composer = Composer(content, config.content)
        self.sites: tuple[str, ...] = content.sites
        self._stock: tuple[Tensor, np.ndarray] | None = None
        self._last: tuple[int, Conditions | None, dict[int, Composition]] = (
            0,
            None,
            {},
        )  # what `finish` asks for again

    def batch(self, rng: np.random.Generator, count: int) -> tuple[Tensor, ...]:
        """Draws from a stock of composed slices, those with a lesion as often as the critic sees real ones."""
        slices_NCHW, with_lesion = self._composed()
        share = self.config.train.lesion_fraction
        chosen = rng.integers(len(slices_NCHW), size=count)
        if share is not None and with_lesion.any() and not with_lesion.all():
            pick = rng.random(count) < share
            chosen = np.where(
                pick, rng.choice(np.flatnonzero(with_lesion), count), rng.choice(np.flatnonzero(~with_lesion), count)
            )
        part = slices_NCHW[torch.from_numpy(chosen)].float()
        return part, *self._noise(rng, count, part.shape[-2:])

    def samples(self, seed: int, indices: Iterable[int], conditions: Conditions | None = None) -> tuple[Tensor, ...]:
        """Composes and draws each sample from streams of its own."""
        indices = list(indices)
        made = {index: self._compose(seed, index, conditions) for index in indices}
        self._last = (seed, conditions, made)
        slices_NCHW = self._as_channels([made[index] for index in indices])
        noise = [self._noise(generator_for(seed, "z", index), 1, slices_NCHW.shape[-2:]) for index in indices]
        return slices_NCHW, *(torch.cat(parts) for parts in zip(*noise, strict=True))

    def finish(
        self, seed: int, indices: Iterable[int], slices_NCHW: Tensor, conditions: Conditions | None = None
    ) -> Tensor:
        """Restyles each sample's images, at random or to the site of the conditions; its mask stays."""
        strength, site = self.config.content.style, None if conditions is None else conditions.site
        if strength == 0 and site is None:
            return slices_NCHW
        last_seed, last_conditions, last = self._last
        made = last if last_seed == seed and last_conditions is conditions else {}
        finished = slices_NCHW.cpu().clone()
        for number, index in enumerate(indices):
            rng = generator_for(seed, "style", index)
            item = made.get(index) or self._compose(seed, index, conditions)
            z_scores_CHW = from_unit(finished[number, :-1].numpy())
            if site is None:
                styled_CHW = restyle(z_scores_CHW, item.brain_HW, strength, rng)
            else:
                like = self.composer.of_site(site).example(item.height, rng)
                styled_CHW = match_brightness(z_scores_CHW, item.brain_HW, item.lesion_HW, like)
            finished[number, :-1] = torch.from_numpy(to_unit(styled_CHW))
        return finished.to(slices_NCHW.device)

    def _compose(self, seed: int, index: int, conditions: Conditions | None) -> Composition:
        return self.composer.compose(generator_for(seed, "composition", index), conditions)

    def _composed(self) -> tuple[Tensor, np.ndarray]:
        """The stock, made when it is first asked for: float16 slices, and which have a lesion."""
        if self._stock is None:
            seed = self.config.train.seed
            made = [
                self.composer.compose(generator_for(seed, "stock", number))
                for number in range(self.config.content.stock)
            ]
            self._stock = self._as_channels(made).half(), np.array([item.lesion_HW.any() for item in made])
        return self._stock

    def _as_channels(self, made: list[Composition]) -> Tensor:
        images_NCHW = to_unit(torch.from_numpy(np.stack([item.image_CHW for item in made])))
        lesions_NHW = torch.from_numpy(np.stack([item.lesion_HW for item in made]))
        return torch.cat(
            [images_NCHW, encode_mask(lesions_NHW, self.config.mask, torch.zeros(lesions_NHW.shape))], dim=1
        )

    def _noise(self, rng: np.random.Generator, count: int, size: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        network = self.config.network
        maps = rng.standard_normal((count, network.noise_maps, *size)).astype(np.float32)
        return torch.from_numpy(maps), batch_latents(network, rng, count)


def gather_content(store: SliceStore, rows: np.ndarray, config: GanConfig) -> Content | None:
    """Gives what a generator paints on, from its training slices; None for the families that paint on nothing."""
    if family_of(config.network).inputs != "composition":
        return None
    return Content.gather(store, rows, config.content, config.train.seed)


def make_inputs(config: GanConfig, content: Content | None) -> Inputs:
    """The inputs of the configured family."""
    return INPUTS[family_of(config.network).inputs](config, content)


class InputKind(Protocol):
    """Makes the inputs of a generator, and names what it reads, by dotted key; a part's key stands for all of it."""

    settings: Collection[str]

    def __call__(self, config: GanConfig, content: Content | None) -> Inputs: ...


INPUTS: dict[str, InputKind] = {"z": Latents, "composition": Compositions}
