"""The threshold of an ensemble, chosen on the patients that it was trained on and on no others.

No patient is kept from the training for it: of a few, none can be spared. So the networks are surer of these cases than
they will be of new ones, and many thresholds serve about equally well; the published one is left only for a gain that
is worth it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from labelgan.config.seg import SegPredictConfig
from labelgan.core.errors import DataError
from labelgan.data.store import SliceStore
from labelgan.data.volume import LESION, OTHER_PATHOLOGY

if TYPE_CHECKING:
    from labelgan.seg.predict import Ensemble

THRESHOLDS = tuple(round(0.05 * step, 2) for step in range(1, 20))
PUBLISHED: float = SegPredictConfig.model_fields["threshold"].default
WORTH = 0.005  # of mean DSC; of thresholds that lie closer to the best, the nearest to the published one is taken


@dataclass(frozen=True)
class FittedThreshold:
    """A threshold and what it was chosen by.

    Attributes:
        value: the threshold.
        curve: threshold to mean DSC of the training cases.
        cases: ids of the cases that count: those with a lesion.
    """

    value: float
    curve: Mapping[float, float]
    cases: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """For the segmenter's manifest."""
        return {
            "value": self.value,
            "chosen_on": "training cases",
            "cases": list(self.cases),
            "mean_dsc": [{"threshold": key, "dsc": value} for key, value in self.curve.items()],
        }


def require_lesions(store: SliceStore, rows: np.ndarray) -> None:
    """Raises DataError where no training slice has a lesion, so that a threshold cannot be chosen."""
    if not store.index["lesion_voxels"][rows].any():
        raise DataError(store.path, "no training case has a lesion to choose the threshold by (train.fit_threshold)")


def fit_threshold(ensemble: Ensemble, store: SliceStore, rows: np.ndarray) -> FittedThreshold:
    """Chooses the threshold with the best mean DSC over training cases, on the store's slices.

    Args:
        ensemble: trained networks; emptied slices and mirrored images are as its settings say.
        store: the slices.
        rows: the training's rows, and these alone are read.

    Raises:
        DataError: no case has a lesion.
    """
    require_lesions(store, rows)
    scores = {}
    for number in np.unique(store.index["case"][rows]):
        case, own = store.cases[number], rows[store.index["case"][rows] == number]
        part = store.read(own)
        if (part.masks_NHW == LESION).any():
            probability_ZHW = ensemble.kept_probabilities(
                part.images_NCHW, store.index["z"][own], case.geometry.z.length
            )
            scores[case.id] = dsc_by_threshold(probability_ZHW, part.masks_NHW)
    means = np.mean(list(scores.values()), axis=0)
    return FittedThreshold(
        choose(means), dict(zip(THRESHOLDS, (round(float(mean), 6) for mean in means), strict=True)), tuple(scores)
    )


def choose(mean_dsc: np.ndarray) -> float:
    """Gives the threshold nearest to the published one among those within `WORTH` of the best."""
    good = [value for value, dsc in zip(THRESHOLDS, mean_dsc, strict=True) if dsc >= mean_dsc.max() - WORTH]
    return min(good, key=lambda value: abs(value - PUBLISHED))


def dsc_by_threshold(probability: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """DSC of one case at each of `THRESHOLDS`; pixels of other pathology are left out.

    Args:
        probability: float32, any shape.
        mask: of the same shape, 0, 1 or 2, with at least one lesion pixel.
    """
    counted = mask != OTHER_PATHOLOGY
    # of every pixel, how many of the thresholds it is above
    above = np.searchsorted(np.asarray(THRESHOLDS, np.float32), probability[counted], side="left")
    lesion = mask[counted] == LESION
    found, hits = (
        np.bincount(part, minlength=len(THRESHOLDS) + 1)[::-1].cumsum()[::-1][1:] for part in (above, above[lesion])
    )
    return 2 * hits / (found + lesion.sum())
