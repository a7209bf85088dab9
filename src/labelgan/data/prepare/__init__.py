"""From scans to a slice store: brain mask, normalisation, resampling, crop."""

from labelgan.data.prepare.brain import BRAIN_MASKS
from labelgan.data.prepare.cohort import prepare_store

__all__ = ["BRAIN_MASKS", "prepare_store"]
