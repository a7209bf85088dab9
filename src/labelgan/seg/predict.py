"""From a scan to its lesion mask: prepared as the training was, averaged over the ensemble, back on the native grid."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch

from labelgan.config.base import PrepareConfig, Settings
from labelgan.config.seg import SegConfig, SegPredictConfig
from labelgan.core.errors import CheckpointError, ConfigError, DataError
from labelgan.data.case import Case
from labelgan.data.check.leaks import KnownScan, find_meetings
from labelgan.data.check.seen import SeenCase
from labelgan.data.manifests import Member
from labelgan.data.prepare.case import prepare_case
from labelgan.seg.folder import SegmenterFolder
from labelgan.seg.networks import build_segmenter
from labelgan.training.checkpoint import load_tensors, load_weights
from labelgan.training.device import autocast, choose_device


@dataclass(frozen=True)
class Prediction:
    """A case's mask on the grid of its first image.

    Attributes:
        case: the case's id.
        mask_XYZ: uint8, 1 where there is a lesion.
        probability_XYZ: float32, the ensemble's mean; 0 outside the slices that were looked at.
        affine: (4, 4), voxel index to millimetres, RAS+.
        trained_on: whether the ensemble has seen the case in training, under any name and in other forms too.
        known: by what the case is known.
    """

    case: str
    mask_XYZ: np.ndarray
    probability_XYZ: np.ndarray
    affine: np.ndarray
    trained_on: bool
    known: KnownScan


class Ensemble:
    """Trained segmenters, ready to predict.

    Example:
        >>> ensemble = Ensemble.load("segmenter")  # doctest: +SKIP
        >>> ensemble.predict(read_cohort("scans").cases[0]).mask_XYZ.sum()  # doctest: +SKIP
    """

    def __init__(
        self,
        networks: list[torch.nn.Module],
        channels: tuple[str, ...],
        prepare: PrepareConfig,
        config: SegConfig,
        device: torch.device,
        seen: tuple[SeenCase, ...] = (),
    ) -> None:
        self.networks = [network.to(device).eval() for network in networks]
        self.channels, self.config, self.device, self.seen = channels, config, device, seen
        # Training may thin slices out; a prediction is of every slice.
        known_by_prints = any(entry.fingerprints for entry in seen)
        self.prepare = prepare.model_copy(update={"every": 1, "fingerprints": known_by_prints})

    @classmethod
    def load(cls, path: str | Path, *, device: str = "auto", settings: Settings = ()) -> Self:
        """Loads the ensemble of a segmenter folder.

        Args:
            path: segmenter folder.
            device: where to predict.
            settings: ``["predict.x=value"]`` or ``{"predict.x": value}``.

        Raises:
            CheckpointError: the folder holds no finished training, or is damaged.
            ConfigError: a setting is unknown.
        """
        folder = SegmenterFolder(Path(path))
        manifest = folder.read_manifest()
        if manifest.status != "complete":
            raise CheckpointError(
                path, f"its training is not complete (status: {manifest.status}); go on with segment train --resume"
            )
        if foreign := [setting for setting in settings if not setting.strip().startswith("predict.")]:
            raise ConfigError(f"--set {foreign[0]}", "is settled by the training; only predict.* can be changed")
        trained = folder.read_config()
        config = trained.model_copy(update={"predict": trained.with_settings(settings).predict})
        networks = load_networks(folder, config, len(manifest.channels), manifest.members)
        prepare, seen = folder.read_prepare(), manifest.training_cases
        return cls(networks, manifest.channels, prepare, config, choose_device(device), seen)

    @classmethod
    def load_joined(cls, paths: Sequence[str | Path], *, device: str = "auto", settings: Settings = ()) -> Self:
        """Loads segmenter folders as one ensemble, as where its members were trained by jobs of their own.

        Args:
            paths: segmenter folders, one or more, trained on slices prepared alike.
            device: where to predict.
            settings: ``["predict.x=value"]`` or ``{"predict.x": value}``; without them those of the first folder hold.

        Raises:
            CheckpointError: as `load`; or a folder has other channels or another preparation than the first.
            ConfigError: a setting is unknown.
        """
        parts = [cls.load(path, device=device, settings=settings) for path in paths]
        first = parts[0]
        for path, part in zip(paths, parts, strict=True):
            if part.channels != first.channels or part.prepare != first.prepare:
                raise CheckpointError(path, f"has other channels or another preparation than {paths[0]}")
        networks = [network for part in parts for network in part.networks]
        seen = tuple(entry for part in parts for entry in part.seen)
        return cls(networks, first.channels, first.prepare, first.config, first.device, seen)

    @torch.no_grad()
    def probabilities(self, images_NCHW: np.ndarray) -> np.ndarray:
        """Gives the mean probability of lesion, (N, H, W) float32, for slices of z-scores; memory holds one batch."""
        settings = self.config.predict
        result = np.empty((len(images_NCHW), *images_NCHW.shape[2:]), dtype=np.float32)
        for first in range(0, len(images_NCHW), settings.batch_size):
            part = slice(first, first + settings.batch_size)
            # Training saw z-scores in the store's half precision.
            batch_NCHW = torch.from_numpy(images_NCHW[part].astype(np.float16)).to(self.device).float()
            total = self._sum_over_members(batch_NCHW)
            if settings.flips:
                total = (total + self._sum_over_members(batch_NCHW.flip(3)).flip(2)) / 2
            result[part] = (total / len(self.networks)).cpu().numpy()
        return result

    def kept_probabilities(self, images_ZCHW: np.ndarray, z: np.ndarray, count: int) -> np.ndarray:
        """As `probabilities`, 0 in the slices that ``predict.emptied`` empties; the networks do not look at them.

        Args:
            images_ZCHW: slices of one case, from the lowest up.
            z: (Z,) which of the case's slices each is.
            count: slices of the case's grid.
        """
        emptied = int(count * self.config.predict.emptied)
        kept = slice(*np.searchsorted(z, (emptied, count - emptied)))  # a view: volumes are large
        result_ZHW = np.zeros((len(images_ZCHW), *images_ZCHW.shape[2:]), dtype=np.float32)
        result_ZHW[kept] = self.probabilities(images_ZCHW[kept])
        return result_ZHW

    def _sum_over_members(self, batch_NCHW: torch.Tensor) -> torch.Tensor:
        total_NHW = torch.zeros(len(batch_NCHW), *batch_NCHW.shape[2:], device=self.device)
        for network in self.networks:
            with autocast(self.device, self.config.train.precision):
                logits_N1HW = network(batch_NCHW)
            total_NHW += logits_N1HW[:, 0].float().sigmoid()
        return total_NHW

    def predict(self, case: Case) -> Prediction:
        """Finds the lesions of one case. An expert mask beside its images is not looked at.

        Raises:
            DataError: an image is missing or cannot be used; the message names it. Or the networks give NaN.
        """
        prepared = prepare_case(dataclasses.replace(case, mask=None), self.prepare, self.channels)
        probability_ZHW = self.kept_probabilities(prepared.images_ZCHW, prepared.z, prepared.geometry.z.length)
        if not np.isfinite(probability_ZHW).all():
            raise DataError(case.id, "the networks give no probabilities but NaN: their weights are damaged")
        probability_XYZ = prepared.geometry.to_native(probability_ZHW, order="image", z=prepared.z)
        return Prediction(
            case=case.id,
            mask_XYZ=to_lesions(probability_XYZ, self.config.predict),
            probability_XYZ=probability_XYZ,
            affine=np.asarray(prepared.geometry.native_affine),
            trained_on=bool(find_meetings((prepared.known,), self.seen)),
            known=prepared.known,
        )


def load_networks(
    folder: SegmenterFolder, config: SegConfig, channels: int, members: Sequence[Member] = ()
) -> list[torch.nn.Module]:
    """Loads the members' final weights, or the early ones where ``predict.early`` says so.

    Args:
        folder: of the segmenter.
        config: its settings.
        channels: of the images.
        members: what its manifest tells of each member; weights must have the hash that stands there.

    Raises:
        CheckpointError: naming the file that is missing or damaged.
    """
    networks = []
    for number in range(config.train.members):
        member = folder.member(number)
        weights = member.early if config.predict.early else member.weights
        if config.predict.early and not weights.is_file():
            raise CheckpointError(weights, "is not there: training kept no early weights (train.early_step)")
        network = build_segmenter(config.network, channels)
        told = members[number] if number < len(members) else Member()
        digest = told.early_sha256 if config.predict.early else told.sha256
        load_weights(network, load_tensors(weights, sha256=digest), weights)
        networks.append(network)
    return networks


def to_lesions(probability_XYZ: np.ndarray, config: SegPredictConfig) -> np.ndarray:
    """Thresholds probabilities and removes lesions (26-connected) of fewer than ``min_voxels`` voxels: uint8."""
    mask = probability_XYZ > config.threshold
    if config.min_voxels > 1 and mask.any():
        from scipy import ndimage

        labels = np.empty(mask.shape, dtype=np.int32)
        ndimage.label(mask, structure=np.ones((3, 3, 3)), output=labels)
        kept = np.bincount(labels.ravel()) >= config.min_voxels
        kept[0] = False
        mask = kept[labels]
    return mask.astype(np.uint8)


def manifest_facts(folder: Path) -> dict[str, Any]:
    """Describes a segmenter for a prediction's manifest."""
    manifest = SegmenterFolder(folder).read_manifest().content
    keys = ("network", "steps", "members", "training_cases", "held_out_cases", "synthetic", "threshold", "origin")
    return {key: manifest[key] for key in keys if key in manifest}
