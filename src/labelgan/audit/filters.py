"""Which single samples to leave out: fitted on the training patients alone, so that no held-out patient has a say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np

from labelgan.audit.copies.copies import Comparable, Limit, Report, Space, closeness_of, limits_of, neighbours
from labelgan.audit.labels.labels import permuted
from labelgan.audit.labels.lesions import measure_lesions
from labelgan.audit.labels.ring import ContrastFit, contrasts
from labelgan.audit.slices import AuditSlices
from labelgan.core.rng import generator_for

COPY = "copy of a training slice"
MASK = "mask does not fit the image"
LOAD = "more lesion than any training slice"
NO_BRAIN = "no brain in the image"

MASK_RATE = 0.025
"""Share of the training patients' own lesion slices that would be told their mask does not fit."""

LEAST_AGREEMENT = 0.25
"""A mask that agrees better than this is never dropped: 1 as with one's own mask, 0 as with another's."""

MOST_REFERENCE = 2_000
"""Training slices, a seeded draw, on which the limits of copies are set."""


@dataclass(frozen=True, eq=False)
class FilterVerdict:
    """A filter's judgement of N samples.

    Attributes:
        keep: (N,) bool.
        reasons: (N,) str; empty where the sample is kept, else the first reason that applies.
    """

    keep: np.ndarray
    reasons: np.ndarray

    @property
    def dropped(self) -> dict[str, int]:
        """Reason to how many samples it dropped, most first; for the manifest."""
        return dict(Counter(str(reason) for reason in self.reasons if reason).most_common())


@dataclass(frozen=True, eq=False)
class SampleFilter:
    """Limits for single samples.

    Attributes:
        train: the training slices, for the search of copies.
        limits: of copies, by space; empty with a single training patient.
        contrast: how masks lie on their images; None where lesions do not stand out.
        least_agreement: across the edge, of one slice.
        most_load: lesion pixels over brain pixels of one slice.
    """

    train: Comparable
    limits: Mapping[Space, Limit]
    contrast: ContrastFit | None
    least_agreement: float
    most_load: float

    @classmethod
    def fit(
        cls,
        train: AuditSlices,
        features_ND: np.ndarray | None = None,
        *,
        seed: int = 0,
        report: Report | None = None,
    ) -> Self:
        """Fits all limits: those of copies on how near the training patients come to each other.

        Args:
            train: the training patients' slices.
            features_ND: of an encoder, or None.
            seed: of the draws.
            report: called with (slices done, slices, title).
        """
        everyone = Comparable.of(train.images_NCHW, train.patients, features_ND)
        limits: dict[Space, Limit] = {}
        if len(set(train.patients)) > 1:
            some = generator_for(seed, "filter", "reference").permutation(len(train))[:MOST_REFERENCE]
            some = everyone.select(np.sort(some))
            limits = limits_of(neighbours(some, everyone, apart=True, title="training slices", report=report))
        brains_NHW = train.lone_brains_NHW
        _, own_NC = contrasts(train.images_NCHW, train.masks_NHW, brains_NHW)
        _, others_NC = contrasts(train.images_NCHW, permuted(train.masks_NHW, seed), brains_NHW)
        contrast = ContrastFit.of(own_NC, others_NC)
        least = -np.inf
        if contrast is not None:
            least = min(LEAST_AGREEMENT, float(np.nanquantile(contrast.agreement(own_NC), MASK_RATE)))
        load = measure_lesions(train.masks_NHW, brains_NHW).load
        return cls(everyone, limits, contrast, least, float(np.nanmax(load, initial=0)))

    def judge(
        self, samples: AuditSlices, features_ND: np.ndarray | None = None, *, report: Report | None = None
    ) -> FilterVerdict:
        """Tells which samples to keep, and why not the others; every sample is judged alone."""
        reasons = np.full(len(samples), "", dtype=object)
        # the last entered stands: the gravest comes last
        brains_NHW = samples.lone_brains_NHW
        load = measure_lesions(samples.masks_NHW, brains_NHW).load
        reasons[load > self.most_load] = LOAD
        if self.contrast is not None:
            _, edge_NC = contrasts(samples.images_NCHW, samples.masks_NHW, brains_NHW)
            reasons[self.contrast.agreement(edge_NC) < self.least_agreement] = MASK
        if self.limits:
            found = neighbours(
                Comparable.of(samples.images_NCHW, None, features_ND), self.train, title="samples", report=report
            )
            known: dict[Space, Limit] = {space: self.limits[space] for space in self.limits if space in found.distances}
            reasons[closeness_of(found, known).closeness < 1] = COPY
        reasons[~brains_NHW.any((1, 2))] = NO_BRAIN
        return FilterVerdict(reasons == "", reasons.astype(str))
