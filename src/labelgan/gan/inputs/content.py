"""Material of a refining generator: anatomies without a lesion's label, and lesions of the training patients.

Anatomies are slices of healthy phantoms, which belong to nobody, and slices of the training patients. A run keeps the
patients' slices that it uses in ``content.safetensors``; the phantoms come with the package.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

import numpy as np
import torch

from labelgan.config.gan import ContentConfig
from labelgan.core.errors import CheckpointError, ConfigError, DataError
from labelgan.core.files import sha256_file
from labelgan.core.rng import generator_for
from labelgan.data.phantom.slices import ASSET, PhantomSlices
from labelgan.data.slices import Slices
from labelgan.data.store import SliceStore
from labelgan.training.checkpoint import load_tensors, save_tensors

HEIGHTS = (0.1, 0.95)  # of the brain; below are skull base and neck, above the vertex
SMALLEST_BRAIN = 0.25  # of the median brain's pixels
SMALLEST_LESION = 2  # pixels
TYPES = {"images": torch.float16, "lesions": torch.bool, "brains": torch.bool, "heights": torch.float32}


@dataclass(frozen=True, eq=False)
class Content:
    """The stock of a refining generator.

    Attributes:
        patients: slices of the training patients, with and without lesions.
        phantoms: healthy slices of phantoms on the same grid; none where phantoms lack a channel.
        sites: names of the sites or scanners that the patients come from, sorted; none where they are not known.
        site_of_N: int16, for each slice of a patient its site's place in ``sites``; -1 where it is not known.
    """

    patients: Slices
    phantoms: Slices
    sites: tuple[str, ...] = ()
    site_of_N: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int16))

    def of_site(self, site: str) -> Content:
        """The same with the patients of one site alone, and all phantoms.

        Raises:
            ConfigError: no training patient is from there, or none of the slices from there has a lesion.
        """
        if site not in self.sites:
            known = f"there are {', '.join(self.sites)}" if self.sites else "the cohort's layout names none"
            raise ConfigError(f"--site {site}", f"no training patient is from this site; {known}")
        chosen_N = self.site_of_N == self.sites.index(site)
        if not self.patients.lesions_NHW[chosen_N].any():
            raise ConfigError(f"--site {site}", "none of the slices from this site has a lesion to paint")
        return replace(self, patients=self.patients.select(chosen_N), site_of_N=self.site_of_N[chosen_N])

    @classmethod
    def gather(cls, store: SliceStore, rows: np.ndarray, config: ContentConfig, seed: int) -> Self:
        """Takes a generator's training slices, at most ``config.keep`` of each kind, and phantoms to match.

        Raises:
            DataError: none of the slices has a lesion.
        """
        heights, pixels = store.index["z_fraction"][rows], store.index["brain_voxels"][rows]
        inner = (heights > HEIGHTS[0]) & (heights < HEIGHTS[1]) & (pixels > SMALLEST_BRAIN * np.median(pixels))
        lesion_pixels = store.index["lesion_voxels"][rows]
        with_lesion = lesion_pixels >= SMALLEST_LESION
        if not with_lesion.any():
            raise DataError(
                store.path, "none of the training slices has a lesion of two pixels or more; nothing to learn"
            )
        kept = [
            _some(rows[chosen], config.keep, generator_for(seed, "content", name))
            for name, chosen in (("lesions", with_lesion), ("anatomies", inner & (lesion_pixels == 0)))
        ]
        taken = np.concatenate(kept)
        patients = store.read(taken)
        names = [store.case_of(row).site for row in taken]
        sites = tuple(sorted({name for name in names if name}))
        site_of_N = np.array([sites.index(name) if name else -1 for name in names], np.int16)
        return cls(patients, _phantoms(store.channels, store.size, patients), sites, site_of_N)

    def save(self, path: Path) -> None:
        """Writes the patients' part; the phantoms are named by the hash of the package's file."""
        patients = self.patients
        sites = {}
        if self.sites:
            names = torch.tensor(list(json.dumps(self.sites).encode()), dtype=torch.uint8)
            sites = {"sites": torch.from_numpy(self.site_of_N), "site_names": names}
        save_tensors(
            path,
            {
                **sites,
                "images": torch.from_numpy(patients.images_NCHW.astype(np.float16)),
                "lesions": torch.from_numpy(patients.lesions_NHW),
                "brains": torch.from_numpy(patients.brains_NHW),
                "heights": torch.from_numpy(patients.heights_N),
                "phantoms": torch.tensor(list(bytes.fromhex(sha256_file(ASSET))), dtype=torch.uint8),
            },
        )

    @classmethod
    def load(cls, path: Path, channels: tuple[str, ...], size: tuple[int, int], sha256: str | None = None) -> Self:
        """Reads what `save` wrote; raises CheckpointError where it is damaged, of other phantoms or another hash."""
        if not path.is_file():
            raise CheckpointError(path, "is missing; the generator paints on the slices in it")
        tensors = load_tensors(path, sha256=sha256)
        shapes = {"images": (len(channels), *size), "lesions": size, "brains": size, "heights": ()}
        count = len(tensors["images"]) if "images" in tensors else 0
        if not count or any(
            name not in tensors or tensors[name].shape != (count, *shape) or tensors[name].dtype != TYPES[name]
            for name, shape in shapes.items()
        ):
            raise CheckpointError(path, f"does not hold slices of {len(channels)} channels, {size[0]}×{size[1]}")
        phantoms = tensors.get("phantoms", torch.empty(0))
        if phantoms.dtype != torch.uint8 or bytes(phantoms.flatten().tolist()).hex() != sha256_file(ASSET):
            raise CheckpointError(path, "was made with other phantoms than this version's; train the generator again")
        patients = Slices(
            tensors["images"].float().numpy(),
            tensors["lesions"].numpy().astype(np.uint8),
            tensors["brains"].numpy(),
            tensors["heights"].numpy(),
        )
        return cls(patients, _phantoms(channels, size, patients), *_sites(path, tensors, count))


def _sites(path: Path, tensors: dict[str, torch.Tensor], count: int) -> tuple[tuple[str, ...], np.ndarray]:
    """Names, and each slice's; none where the cohort has no sites, or was saved before they were kept."""
    if "sites" not in tensors:
        return (), np.full(count, -1, np.int16)
    site_of_N, written = tensors["sites"], tensors.get("site_names", torch.empty(0))
    names: list[str] = []
    try:
        names = json.loads(bytes(written.flatten().tolist()))
        sound = (
            isinstance(names, list)
            and all(isinstance(name, str) for name in names)
            and site_of_N.dtype == torch.int16
            and site_of_N.shape == (count,)
            and bool(((site_of_N >= -1) & (site_of_N < len(names))).all())
        )
    except (ValueError, TypeError):
        sound = False
    if not sound:
        raise CheckpointError(path, "does not tell which site its slices come from; copy the run folder again")
    return tuple(names), site_of_N.numpy()


def _phantoms(channels: tuple[str, ...], size: tuple[int, int], patients: Slices) -> Slices:
    shipped = PhantomSlices.read().with_channels(channels)
    if shipped is None:
        return patients.select(slice(0))
    slices = shipped.on_grid(size, patients)
    # What the phantom's head has grown out of the picture carries no brain.
    return slices.select(slices.brains_NHW.any(axis=(1, 2)))


def _some(rows: np.ndarray, most: int, rng: np.random.Generator) -> np.ndarray:
    return rows if len(rows) <= most else np.sort(rng.choice(rows, most, replace=False))
